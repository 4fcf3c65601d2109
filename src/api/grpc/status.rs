//! The one place where a code of the node becomes a gRPC status, and what goes with every call.

use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::Value;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code as GrpcCode, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::Instrument as _;

use super::caller::caller;
use crate::api::envelope::chain;
use crate::api::trace::Trace;
use crate::error::{Code, Error, Result};
use crate::principal::Caller;

/// `domain` of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "caxton";
/// Bytes of a text in a status. Statuses travel in HTTP/2 trailers, of which many clients take 8 KiB.
const TEXT_BYTES: usize = 1_024;
/// The most members of the details in a status.
const DETAILS: usize = 4;

pub(super) const TRACEPARENT: &str = "traceparent";

/// The gRPC status of each code.
const fn grpc_code(code: Code) -> GrpcCode {
    match code {
        Code::AgentNotFound | Code::MessageNotFound | Code::SupervisorNotFound | Code::NotFound => GrpcCode::NotFound,
        Code::AgentAlreadyExists => GrpcCode::AlreadyExists,
        Code::InvalidWasm | Code::InvalidRequest => GrpcCode::InvalidArgument,
        Code::Conflict | Code::IdempotencyKeyReused | Code::InvalidState => GrpcCode::FailedPrecondition,
        Code::PayloadTooLarge | Code::ResourceLimitExceeded | Code::MailboxFull => GrpcCode::ResourceExhausted,
        Code::DeploymentFailed | Code::MessageDeliveryFailed => GrpcCode::Aborted,
        Code::Forbidden => GrpcCode::PermissionDenied,
        Code::Timeout => GrpcCode::DeadlineExceeded,
        Code::Unavailable => GrpcCode::Unavailable,
        Code::Internal => GrpcCode::Internal,
    }
}

/// When the server gives a call up, a little before its client does. It is an extension of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(pub(super) Instant);

/// Who calls, in what trace, and until when the client waits.
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) trace: Trace,
    pub(super) deadline: Option<Instant>,
}

/// Runs one call in its trace and makes its answer or its status.
pub(super) async fn call<Q, A, F>(request: Request<Q>, handle: impl FnOnce(Q, Call) -> F) -> Result<Response<A>, Status>
where
    Q: prost::Message,
    F: Future<Output = Result<A>>,
{
    let parents = request.metadata().get_all(TRACEPARENT).iter();
    let trace = Trace::of(parents.map(MetadataValue::as_bytes));
    let span = tracing::info_span!("call", trace_id = %trace);
    let answered = async {
        let caller = caller(&request)?;
        let deadline = request.extensions().get().map(|Deadline(at)| *at);
        let call = Call {
            caller,
            trace,
            deadline,
        };
        handle(request.into_inner(), call).await.map(Response::new)
    };
    let answered = async { answered.await.map_err(|error: Error| status(&error, trace)) };
    let mut answered = answered.instrument(span).await;
    put_trace(
        answered
            .as_mut()
            .map_or_else(Status::metadata_mut, Response::metadata_mut),
        trace,
    );
    answered
}

fn put_trace(metadata: &mut MetadataMap, trace: Trace) {
    if let Ok(value) = MetadataValue::try_from(trace.traceparent()) {
        metadata.insert(TRACEPARENT, value);
    }
}

pub(super) fn status(error: &Error, trace: Trace) -> Status {
    if let Error::Internal(_) = error {
        tracing::error!(error = chain(error), "a call failed");
    }
    let refusal = Refusal {
        grpc: grpc_code(error.code()),
        code: error.code(),
        message: &error.to_string(),
        details: &error.details(),
        retry_after: error.retry_after(),
    };
    refusal.status(trace)
}

/// The parts of a status.
pub(super) struct Refusal<'a> {
    pub(super) grpc: GrpcCode,
    pub(super) code: Code,
    pub(super) message: &'a str,
    pub(super) details: &'a Value,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal<'_> {
    pub(super) fn status(&self, trace: Trace) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.code.as_str(), DOMAIN, metadata(self.details));
        details.set_request_info(trace.to_string(), "");
        if let Some(wait) = self.retry_after {
            details.set_retry_info(Some(wait));
        }
        if let Some(field) = self.details["field"].as_str() {
            details.add_bad_request_violation(cut(field), cut(self.message));
        }
        Status::with_error_details(self.grpc, cut(self.message), details)
    }
}

/// The details as `ErrorInfo` has them: texts as they are, everything else as JSON.
fn metadata(details: &Value) -> HashMap<String, String> {
    let members = details.as_object().into_iter().flatten().take(DETAILS);
    members
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), cut(&text))
        })
        .collect()
}

fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(TEXT_BYTES)])
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn each_code_has_its_published_status() {
        let table = [
            (Code::AgentNotFound, GrpcCode::NotFound),
            (Code::MessageNotFound, GrpcCode::NotFound),
            (Code::SupervisorNotFound, GrpcCode::NotFound),
            (Code::NotFound, GrpcCode::NotFound),
            (Code::AgentAlreadyExists, GrpcCode::AlreadyExists),
            (Code::InvalidWasm, GrpcCode::InvalidArgument),
            (Code::InvalidRequest, GrpcCode::InvalidArgument),
            (Code::Conflict, GrpcCode::FailedPrecondition),
            (Code::IdempotencyKeyReused, GrpcCode::FailedPrecondition),
            (Code::InvalidState, GrpcCode::FailedPrecondition),
            (Code::PayloadTooLarge, GrpcCode::ResourceExhausted),
            (Code::ResourceLimitExceeded, GrpcCode::ResourceExhausted),
            (Code::MailboxFull, GrpcCode::ResourceExhausted),
            (Code::DeploymentFailed, GrpcCode::Aborted),
            (Code::MessageDeliveryFailed, GrpcCode::Aborted),
            (Code::Forbidden, GrpcCode::PermissionDenied),
            (Code::Timeout, GrpcCode::DeadlineExceeded),
            (Code::Unavailable, GrpcCode::Unavailable),
            (Code::Internal, GrpcCode::Internal),
        ];
        for (code, expected) in table {
            assert_eq!(grpc_code(code), expected, "{}", code.as_str());
        }
    }

    #[tokio::test]
    async fn an_error_has_its_code_in_error_info_and_the_callers_trace() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let mut request = Request::new(());
        let parent = format!("00-{id}-00f067aa0ba902b7-01");
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        let refused = call(request, |(), _| async {
            Err::<(), _>(Error::AgentNotFound("agent_999".to_owned()))
        });
        let status = refused.await.unwrap_err();
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("AGENT_NOT_FOUND", "caxton")
        );
        assert_eq!(info.metadata["agent_id"], "agent_999");
        assert_eq!(details.request_info().unwrap().request_id, id);
        assert!(
            status
                .metadata()
                .get("traceparent")
                .unwrap()
                .to_str()
                .unwrap()
                .contains(id)
        );
    }

    #[test]
    fn a_status_says_when_to_try_again_hides_the_inside_and_fits_in_trailers() {
        let busy = Error::Unavailable {
            reason: "starting".to_owned(),
            retry_after: Duration::from_secs(2),
        };
        let details = status(&busy, Trace::new()).get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));

        let internal = status(&Error::internal(io_error()), Trace::new());
        assert_eq!(
            (internal.code(), internal.message()),
            (GrpcCode::Internal, "internal error")
        );

        let long = status(&Error::invalid("x".repeat(100_000), "ä".repeat(100_000)), Trace::new());
        assert!(
            long.message().len() + long.details().len() < 8_192,
            "{}",
            long.details().len()
        );
    }

    fn io_error() -> std::io::Error {
        std::io::Error::other("secret")
    }
}
