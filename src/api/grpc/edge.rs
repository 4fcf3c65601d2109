//! What is around every call: the limit on its metadata, its deadline, and the envelope on errors that tonic found.
//!
//! tonic refuses some calls by itself: those of unknown methods, and messages that are too large or that cannot be decoded. Its
//! statuses have no details, so here they get the same as those of the node.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use serde_json::json;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::service::Routes;
use tonic::{Code as GrpcCode, Status};

use super::proto::{agent_service_server, message_service_server, supervision_service_server};
use super::status::{Deadline, Refusal, TRACEPARENT};
use crate::api::limits;
use crate::api::trace::Trace;
use crate::error::Code;
use crate::json::cut;

/// Bytes of the largest message that a service takes. `module_bytes` is the largest module.
pub(super) fn largest(service: &str, module_bytes: usize) -> usize {
    /// The limit of the services that are tonic's own.
    const DEFAULT: usize = 4 << 20;
    match service {
        agent_service_server::SERVICE_NAME => module_bytes.saturating_add(limits::CONFIG_BYTES + limits::FRAMING_BYTES),
        message_service_server::SERVICE_NAME => limits::MESSAGE_BODY_BYTES,
        supervision_service_server::SERVICE_NAME => limits::SMALL_BODY_BYTES,
        _ => DEFAULT,
    }
}

#[derive(Clone)]
pub(super) struct Edge {
    routes: Routes,
    module_bytes: usize,
}

impl Edge {
    pub(super) const fn new(routes: Routes, module_bytes: usize) -> Self {
        Self { routes, module_bytes }
    }
}

impl Service<http::Request<Body>> for Edge {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        let call = Asked::of(&request, largest(service, self.module_bytes));
        if let Err(refused) = call.check(request.headers()) {
            return Box::pin(async { Ok(refused.into_http()) });
        }
        let timeout = timeout(request.headers());
        if let Some(timeout) = timeout {
            // A little before the server answers by itself, so that the answer of the method itself comes first.
            let deadline = Deadline(Instant::now() + timeout.saturating_sub(2 * lead(timeout)));
            request.extensions_mut().insert(deadline);
        }
        let answering = self.routes.call(request);
        Box::pin(async move {
            let answered = match timeout {
                None => answering.await,
                Some(timeout) => match tokio::time::timeout(timeout.saturating_sub(lead(timeout)), answering).await {
                    Ok(answered) => answered,
                    Err(_) => return Ok(call.timed_out(timeout).into_http()),
                },
            };
            answered.map(|response| call.enveloped(response))
        })
    }
}

/// How long before the deadline of a client the server gives up. An answer at the deadline itself would find a client that has
/// gone.
fn lead(timeout: Duration) -> Duration {
    const LONGEST: Duration = Duration::from_millis(25);
    (timeout / 10).min(LONGEST)
}

/// The header `grpc-timeout`: up to eight digits and a unit.
fn timeout(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// What an error says of the call that it is about.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    /// The compression of the request's messages, if there is any.
    coding: Option<String>,
    /// Bytes of the largest message that the method takes.
    largest: usize,
    trace: Trace,
}

impl Asked {
    fn of(request: &http::Request<Body>, largest: usize) -> Self {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        Self {
            method: cut(request.uri().path()),
            coding: header("grpc-encoding").filter(|coding| *coding != "identity").map(cut),
            largest,
            trace: Trace::of(
                request
                    .headers()
                    .get_all(TRACEPARENT)
                    .iter()
                    .map(http::HeaderValue::as_bytes),
            ),
        }
    }

    fn check(&self, headers: &http::HeaderMap) -> Result<(), Status> {
        /// What HTTP/2 adds to name and value (RFC 9113, section 6.5.2).
        const ENTRY: usize = 32;
        let bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + ENTRY)
            .sum();
        if bytes <= limits::METADATA_BYTES {
            return Ok(());
        }
        Err(self.refuse(
            GrpcCode::ResourceExhausted,
            Code::PayloadTooLarge,
            &format!("the metadata is larger than {} bytes", limits::METADATA_BYTES),
            &json!({"limit_bytes": limits::METADATA_BYTES}),
        ))
    }

    fn timed_out(&self, timeout: Duration) -> Status {
        let seconds = timeout.as_secs_f64();
        self.refuse(
            GrpcCode::DeadlineExceeded,
            Code::Timeout,
            &format!(
                "the call did not end within its deadline of {seconds} s; what it asked for may still take effect"
            ),
            &json!({"waited_seconds": seconds}),
        )
    }

    fn refuse(&self, grpc: GrpcCode, code: Code, message: &str, details: &serde_json::Value) -> Status {
        let refusal = Refusal {
            grpc,
            code,
            message,
            details,
            retry_after: None,
        };
        refusal.status(self.trace)
    }

    /// The same status with the envelope. One that has details comes from the node.
    fn envelope(&self, found: &Status) -> Option<Status> {
        if found.code() == GrpcCode::Ok || !found.details().is_empty() {
            return None;
        }
        let method = &self.method;
        let (grpc, code, message, details) = match (found.code(), &self.coding) {
            (GrpcCode::OutOfRange | GrpcCode::ResourceExhausted, _) => (
                GrpcCode::ResourceExhausted,
                Code::PayloadTooLarge,
                format!("the message is larger than {} bytes", self.largest),
                json!({"limit_bytes": self.largest}),
            ),
            (GrpcCode::Unimplemented, Some(coding)) => (
                GrpcCode::Unimplemented,
                Code::InvalidRequest,
                format!("`grpc-encoding` is `{coding}`, and must be identity; send messages uncompressed"),
                json!({"field": "grpc-encoding"}),
            ),
            (GrpcCode::Unimplemented, None) => (
                GrpcCode::Unimplemented,
                Code::NotFound,
                format!("there is no method {method}; reflection lists those that there are"),
                json!({"method": method}),
            ),
            (GrpcCode::NotFound, _) => (
                GrpcCode::NotFound,
                Code::NotFound,
                format!(
                    "{method} found nothing by the name that was given; reflection lists the services that there are"
                ),
                json!({"method": method}),
            ),
            (GrpcCode::Internal | GrpcCode::InvalidArgument | GrpcCode::DataLoss | GrpcCode::Unknown, _) => (
                GrpcCode::InvalidArgument,
                Code::InvalidRequest,
                format!(
                    "`request` is not the encoding of the message that {method} takes, or it nests more than 100 messages; deep \
                     content goes into `content_bytes`"
                ),
                json!({"field": "request"}),
            ),
            (
                other @ (GrpcCode::Ok
                | GrpcCode::Cancelled
                | GrpcCode::DeadlineExceeded
                | GrpcCode::AlreadyExists
                | GrpcCode::PermissionDenied
                | GrpcCode::FailedPrecondition
                | GrpcCode::Aborted
                | GrpcCode::Unavailable
                | GrpcCode::Unauthenticated),
                _,
            ) => (
                other,
                Code::Unavailable,
                format!("{method} was cut off; send the call again"),
                json!({}),
            ),
        };
        Some(self.refuse(grpc, code, &message, &details))
    }

    /// A response whose status has the envelope, wherever it is: among the headers of a call that failed at once, or behind
    /// the messages of one that failed later.
    fn enveloped(self, response: http::Response<Body>) -> http::Response<Body> {
        let found = Status::from_header_map(response.headers());
        match found.and_then(|found| self.envelope(&found)) {
            Some(status) => status.into_http(),
            None => response.map(|body| Body::new(Trailing { body, call: self })),
        }
    }
}

/// A body whose trailers have the envelope.
struct Trailing {
    body: Body,
    call: Asked,
}

impl http_body::Body for Trailing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(polled.map(|frame| {
            let mut frame = frame?;
            if let Some(trailers) = frame.trailers_mut() {
                let found = Status::from_header_map(trailers);
                if let Some(status) = found.and_then(|found| self.call.envelope(&found)) {
                    let mut enveloped = http::HeaderMap::new();
                    status.add_header(&mut enveloped)?;
                    *trailers = enveloped;
                }
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    fn asked() -> Asked {
        Asked {
            method: "/caxton.v1.MessageService/SendMessage".to_owned(),
            coding: None,
            largest: 100,
            trace: Trace::new(),
        }
    }

    #[test]
    fn a_timeout_is_a_number_and_a_unit() {
        let timeout = |text: &'static str| {
            let header = [("grpc-timeout".parse().unwrap(), text.parse().unwrap())];
            timeout(&header.into_iter().collect())
        };
        assert_eq!(timeout("500m"), Some(Duration::from_millis(500)));
        assert_eq!(timeout("2S"), Some(Duration::from_secs(2)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for none in ["", "S", "5", "-1S", "+1S", "1s", "123456789n", "1.5S"] {
            assert_eq!(timeout(none), None, "{none}");
        }
    }

    #[test]
    fn what_tonic_refuses_has_the_envelope() {
        for (found, code, reason) in [
            (
                Status::out_of_range("x"),
                GrpcCode::ResourceExhausted,
                "PAYLOAD_TOO_LARGE",
            ),
            (Status::unimplemented(""), GrpcCode::Unimplemented, "NOT_FOUND"),
            (
                Status::internal("failed to decode"),
                GrpcCode::InvalidArgument,
                "INVALID_REQUEST",
            ),
            (
                Status::not_found("service not registered"),
                GrpcCode::NotFound,
                "NOT_FOUND",
            ),
            (Status::unavailable("x"), GrpcCode::Unavailable, "UNAVAILABLE"),
        ] {
            let status = asked().envelope(&found).unwrap();
            let info = status.get_details_error_info().unwrap();
            assert_eq!((status.code(), info.reason.as_str()), (code, reason), "{found}");
            assert!(asked().envelope(&status).is_none(), "it has the envelope already");
        }
        assert!(asked().envelope(&Status::ok("")).is_none());
        let compressed = Asked {
            coding: Some("gzip".to_owned()),
            ..asked()
        };
        let status = compressed.envelope(&Status::unimplemented("")).unwrap();
        assert!(status.message().contains("gzip"), "{status}");
    }
}
