//! The errors of the HTTP interfaces. This is the only place where an error code becomes an HTTP status.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};

use crate::api::envelope::{Envelope, chain};
use crate::api::trace::Trace;
use crate::error::{Code, Error};
use crate::json::cut;

/// The media type of RFC 9457.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// An error without its body. The middleware [`edge`](super::edge) adds the body, because only the middleware knows the trace and
/// which media types the client accepts.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: Code,
    message: String,
    details: Value,
    retry_after: Option<Duration>,
    /// What the client can do instead, such as `Allow`.
    hint: Option<Box<(HeaderName, Arc<str>)>>,
}

/// The HTTP status of each code.
const fn status(code: Code) -> StatusCode {
    match code {
        Code::AgentNotFound | Code::MessageNotFound | Code::SupervisorNotFound | Code::NotFound => {
            StatusCode::NOT_FOUND
        }
        Code::AgentAlreadyExists | Code::Conflict | Code::InvalidState => StatusCode::CONFLICT,
        Code::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Code::InvalidWasm | Code::InvalidRequest => StatusCode::BAD_REQUEST,
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::ResourceLimitExceeded | Code::MailboxFull => StatusCode::TOO_MANY_REQUESTS,
        Code::DeploymentFailed | Code::MessageDeliveryFailed | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Failure {
    fn new(status: StatusCode, code: Code, message: impl Into<String>, details: Value) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details,
            retry_after: None,
            hint: None,
        }
    }

    /// The path does not exist.
    pub(crate) fn no_route(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            Code::NotFound,
            "nothing is at this path",
            json!({"path": path}),
        )
    }

    /// The path has other methods. `allow` is the value of the `Allow` header.
    pub(crate) fn wrong_method(method: &str, allow: &str) -> Self {
        let message = format!("this path has no method {}; it has {allow}", cut(method));
        let details = json!({"method": cut(method), "allow": allow});
        let failure = Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::InvalidRequest, message, details);
        Self {
            hint: Some(Box::new((header::ALLOW, allow.into()))),
            ..failure
        }
    }

    /// A body, or a part of one, of a kind that is not read here. `field` is the header that says so.
    pub(super) fn unsupported_media(field: &str, given: &str, expected: &str) -> Self {
        let message = format!("`{field}` is `{given}`, and must be {expected}");
        let details = json!({"field": field, "given": given});
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::InvalidRequest,
            message,
            details,
        )
    }

    /// A body in a content coding.
    pub(super) fn coded_body(coding: &str) -> Self {
        Self {
            hint: Some(Box::new((header::ACCEPT_ENCODING, "identity".into()))),
            ..Self::unsupported_media("Content-Encoding", coding, "left out; send the body as it is")
        }
    }

    /// The client expects what this server does not do.
    pub(super) fn expectation(given: &str) -> Self {
        let message = format!("`Expect` is `{given}`, and must be 100-continue or left out");
        let details = json!({"field": "Expect", "given": given});
        Self::new(StatusCode::EXPECTATION_FAILED, Code::InvalidRequest, message, details)
    }

    /// The body did not arrive in time.
    pub(crate) fn slow_body(limit: Duration) -> Self {
        let message = format!(
            "the body did not arrive within {} s (`limits.body_time`)",
            limit.as_secs()
        );
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            Code::InvalidRequest,
            message,
            json!({"field": "body"}),
        )
    }

    /// The HTTP parser cannot read the head of the request, and answers with this status.
    pub(super) fn unreadable(status: StatusCode) -> Self {
        let message = match status {
            StatusCode::REQUEST_TIMEOUT => "the head of the request did not arrive in time",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                "the head of the request is too large; send fewer or shorter headers"
            }
            _ => "the request is not HTTP/1.1 as RFC 9112 has it",
        };
        Self::new(status, Code::InvalidRequest, message, json!({"field": "headers"}))
    }

    /// An error of the framework, which has only a status.
    fn foreign(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::NOT_FOUND => (Code::NotFound, "nothing is at this path"),
            StatusCode::PAYLOAD_TOO_LARGE => (Code::PayloadTooLarge, "the body is larger than this path takes"),
            status if status.is_client_error() => {
                (Code::InvalidRequest, "the request cannot be read as one to this path")
            }
            _ => (Code::Internal, "internal error"),
        };
        Self::new(status, code, message, json!({}))
    }

    /// The time of `Retry-After`, which has whole seconds.
    fn retry_seconds(&self) -> Option<u64> {
        let wait = self.retry_after?;
        Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// The whole response as it is sent, where no framework writes it. The connection closes after it.
    pub(super) fn as_last_response(&self, trace: Trace) -> String {
        let body = serde_json::to_string(&self.envelope(trace)).unwrap_or_default();
        let retry = self
            .retry_seconds()
            .map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
        format!(
            "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\ntraceparent: {}\r\n{retry}\
             connection: close\r\n\r\n{body}",
            self.status,
            body.len(),
            trace.traceparent(),
        )
    }

    /// The failure behind `response`, if `response` is an error.
    pub(super) fn of<B>(response: &HttpResponse<B>) -> Option<Self> {
        let status = response.status();
        let own = response.extensions().get::<Self>().cloned();
        own.or_else(|| (status.is_client_error() || status.is_server_error()).then(|| Self::foreign(status)))
    }

    /// The response with its body: the envelope, or a problem (RFC 9457) with `code`, `details` and `trace_id` as extensions.
    pub(super) fn render(&self, trace: Trace, as_problem: bool) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(seconds) = self.retry_seconds() {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if let Some((name, value)) = self.hint.as_deref() {
            response.insert_header((name.clone(), &**value));
        }
        if as_problem {
            let problem = json!({
                "type": "about:blank",
                "title": self.status.canonical_reason().unwrap_or("Error"),
                "status": self.status.as_u16(),
                "detail": self.message,
                "code": self.code.as_str(),
                "details": self.details,
                "trace_id": trace.to_string(),
            });
            response.content_type(PROBLEM_JSON).body(problem.to_string())
        } else {
            response.json(self.envelope(trace))
        }
    }

    pub(crate) fn envelope(&self, trace: Trace) -> Envelope<'_> {
        Envelope::new(self.code.as_str(), &self.message, &self.details, trace)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Error::Internal(_) = error {
            tracing::error!(error = chain(&error), "a request failed");
        }
        let failure = Self::new(status(error.code()), error.code(), error.to_string(), error.details());
        Self {
            retry_after: error.retry_after(),
            ..failure
        }
    }
}

impl From<crate::message::InvalidDraft> for Failure {
    fn from(error: crate::message::InvalidDraft) -> Self {
        Error::from(error).into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::new(self.status);
        response.extensions_mut().insert(self.clone());
        response
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    #[test]
    fn each_code_has_its_published_status() {
        let table = [
            (Code::AgentNotFound, 404),
            (Code::MessageNotFound, 404),
            (Code::SupervisorNotFound, 404),
            (Code::NotFound, 404),
            (Code::AgentAlreadyExists, 409),
            (Code::InvalidWasm, 400),
            (Code::InvalidRequest, 400),
            (Code::Conflict, 409),
            (Code::InvalidState, 409),
            (Code::PayloadTooLarge, 413),
            (Code::ResourceLimitExceeded, 429),
            (Code::MailboxFull, 429),
            (Code::DeploymentFailed, 500),
            (Code::MessageDeliveryFailed, 500),
            (Code::Forbidden, 403),
            (Code::Timeout, 504),
            (Code::Unavailable, 503),
            (Code::Internal, 500),
        ];
        for (code, expected) in table {
            assert_eq!(status(code).as_u16(), expected, "{}", code.as_str());
        }
    }

    #[actix_web::test]
    async fn the_envelope_hides_internal_errors_and_rounds_retry_after_up() {
        let failure = Failure::from(Error::internal(std::io::Error::other("secret")));
        let body = to_bytes(failure.render(Trace::new(), false).into_body()).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "INTERNAL_ERROR");
        assert_eq!(body["error"]["message"], "internal error");
        assert!(!body.to_string().contains("secret"));

        let busy = Error::Unavailable {
            reason: "starting".to_owned(),
            retry_after: Duration::from_millis(1_200),
        };
        let response = Failure::from(busy).render(Trace::new(), false);
        assert_eq!(response.headers().get("retry-after").unwrap(), "2");
    }

    #[actix_web::test]
    async fn a_problem_has_the_members_of_rfc_9457_and_ours() {
        let failure = Failure::from(Error::AgentNotFound("agent_999".to_owned()));
        let response = failure.render(Trace::new(), true);
        assert_eq!(response.headers().get("content-type").unwrap(), PROBLEM_JSON);
        let body = to_bytes(response.into_body()).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["status"], &body["title"]), (&json!(404), &json!("Not Found")));
        assert_eq!(
            (&body["code"], &body["details"]["agent_id"]),
            (&json!("AGENT_NOT_FOUND"), &json!("agent_999"))
        );
    }
}
