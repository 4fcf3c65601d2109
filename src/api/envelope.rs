//! The JSON of an error, for REST and the WebSocket.

use serde::Serialize;
use serde_json::Value;

use super::trace::Trace;

/// `{"error": {"code", "message", "details", "trace_id"}}`.
#[derive(Debug, Serialize)]
pub(super) struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    code: &'static str,
    message: &'a str,
    details: &'a Value,
    trace_id: String,
}

impl<'a> Envelope<'a> {
    pub(super) fn new(code: &'static str, message: &'a str, details: &'a Value, trace: Trace) -> Self {
        let trace_id = trace.to_string();
        Self {
            error: Body {
                code,
                message,
                details,
                trace_id,
            },
        }
    }
}

/// An error with its sources, for the log. Only [`Error::Internal`](crate::error::Error::Internal) has sources that a caller
/// must not see.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_envelope_is_the_references() {
        let details = json!({"agent_id": "agent_999"});
        let trace = Trace::continuing(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        let envelope = Envelope::new(
            "AGENT_NOT_FOUND",
            "Agent with ID 'agent_999' not found",
            &details,
            trace,
        );
        assert_eq!(
            serde_json::to_value(envelope).unwrap(),
            json!({"error": {
                "code": "AGENT_NOT_FOUND",
                "message": "Agent with ID 'agent_999' not found",
                "details": {"agent_id": "agent_999"},
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"
            }})
        );
    }

    #[test]
    fn the_log_has_the_whole_chain() {
        let error = crate::error::Error::internal(std::io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "internal error: disk on fire");
        assert_eq!(error.to_string(), "internal error");
    }
}
