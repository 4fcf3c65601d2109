//! `/api/v1/messages`: sending.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::Posted;
use super::openapi::{IdempotencyKey, MessageDocument};
use super::query::{NoParameters, Query};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::api::limits;
use crate::error::Error;
use crate::id::MessageId;
use crate::message::{MessageView, Status};
use crate::node::{Receipt, ReceiverOutcome};
use crate::time::Timestamp;

/// A message that was sent. `receivers` has the outcome for each of several receivers, because some may have refused it.
#[derive(Debug, Serialize, ToSchema)]
struct Sent<'a> {
    message_id: MessageId,
    status: Status,
    delivered_at: Timestamp,
    conversation_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    receivers: Vec<Outcome<'a>>,
}

/// `reason` is for programs, `detail` for people.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReceiverOutcome)]
struct Outcome<'a> {
    receiver: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> Sent<'a> {
    fn of(receipt: &'a Receipt) -> Self {
        let several = if receipt.receivers.len() > 1 {
            receipt.receivers.as_slice()
        } else {
            &[]
        };
        Self {
            message_id: receipt.message_id,
            status: receipt.status(),
            delivered_at: receipt.delivered_at,
            conversation_id: &receipt.conversation_id,
            receivers: several.iter().map(Outcome::of).collect(),
        }
    }
}

impl<'a> Outcome<'a> {
    fn of(outcome: &'a ReceiverOutcome) -> Self {
        let refused = outcome.refused.as_ref();
        Self {
            receiver: &outcome.receiver,
            status: outcome.status(),
            reason: refused.map(|(reason, _)| reason.as_str()),
            detail: refused.map(|(_, detail)| detail.as_str()),
        }
    }
}

/// Sends a message.
///
/// The response comes when the message is durable and in the mailboxes of its receivers. `receivers` has the outcome for each of
/// several receivers, because some may have refused it.
#[utoipa::path(
    post,
    path = "/api/v1/messages",
    tag = "messages",
    params(IdempotencyKey),
    request_body = MessageDocument,
    responses(
        (status = 200, description = "The message is delivered, or queued for a client", body = Sent),
        (status = 403, description = "`FORBIDDEN`: `sender` names an agent"),
        (status = 404, description = "`AGENT_NOT_FOUND`: a receiver"),
        (status = 429, description = "`MAILBOX_FULL`, or `RESOURCE_LIMIT_EXCEEDED`"),
        (status = 500, description = "`MESSAGE_DELIVERY_FAILED`, or `INTERNAL_ERROR`"),
    )
)]
pub(super) async fn send_message(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    credentials: Credentials,
    posted: Posted,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[&posted.bytes]);
    let receipt = front.node.send(&caller, posted.draft).await?;
    Ok(HttpResponse::Ok().json(Sent::of(&receipt)))
}

/// A message that was sent, and its reply.
#[derive(Debug, Serialize, ToSchema)]
struct Answered<'a> {
    message_id: MessageId,
    status: Status,
    delivered_at: Timestamp,
    conversation_id: &'a str,
    reply: MessageView<'a>,
}

/// How to wait for a reply.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Default: 30.
    #[param(exclusive_minimum = 0, maximum = 300)]
    timeout_seconds: Option<f64>,
    #[param(inline)]
    until: Option<Until>,
}

/// Which reply ends the wait. By default an `agree` does not, because it only announces another reply.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Until {
    /// The first message that answers, an `agree` too.
    First,
}

impl Wait {
    fn timeout(&self) -> Result<Duration, Error> {
        let Some(seconds) = self.timeout_seconds else {
            return Ok(limits::DEFAULT_REPLY_WAIT);
        };
        let wait = Duration::try_from_secs_f64(seconds).ok();
        wait.filter(|wait| !wait.is_zero() && *wait <= limits::REPLY_WAIT)
            .ok_or_else(|| {
                let most = limits::REPLY_WAIT.as_secs();
                let problem = format!("is {seconds}, and must be more than 0 and at most {most}");
                Error::invalid("timeout_seconds", problem)
            })
    }
}

/// Sends a message and waits for the reply.
#[utoipa::path(
    post,
    path = "/api/v1/messages/wait",
    tag = "messages",
    params(IdempotencyKey, Wait),
    request_body = MessageDocument,
    responses(
        (status = 200, description = "The reply", body = Answered),
        (status = 403, description = "`FORBIDDEN`: `sender` names an agent"),
        (status = 404, description = "`AGENT_NOT_FOUND`: a receiver"),
        (status = 429, description = "`MAILBOX_FULL`, or `RESOURCE_LIMIT_EXCEEDED`"),
        (status = 500, description = "`MESSAGE_DELIVERY_FAILED`, or `INTERNAL_ERROR`"),
        (status = 504, description = "`TIMEOUT`: no reply in time. The message stays delivered"),
    )
)]
pub(super) async fn send_message_and_wait(
    front: web::Data<Front>,
    Query(wait): Query<Wait>,
    credentials: Credentials,
    posted: Posted,
) -> Result<HttpResponse, Failure> {
    let (timeout, first) = (wait.timeout()?, wait.until.is_some());
    let caller = credentials.caller(&[&posted.bytes]);
    let reply = front.node.send_and_wait(&caller, posted.draft, timeout, first).await?;
    Ok(HttpResponse::Ok().json(Answered {
        message_id: reply.receipt.message_id,
        status: reply.receipt.status(),
        delivered_at: reply.receipt.delivered_at,
        conversation_id: &reply.receipt.conversation_id,
        reply: MessageView {
            status: Some(Status::Processed.as_str()),
            ..MessageView::of(&reply.message)
        },
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message::FailureReason;

    #[test]
    fn a_send_answers_as_printed_and_tells_of_several_receivers() {
        let outcome = |receiver: &str, refused| ReceiverOutcome {
            receiver: receiver.to_owned(),
            refused,
            unread: receiver.starts_with("client:"),
        };
        let mut receipt = Receipt {
            message_id: MessageId::new(),
            conversation_id: "conv_789".to_owned(),
            delivered_at: Timestamp::now(),
            receivers: vec![outcome("a", None)],
        };
        let view = serde_json::to_value(Sent::of(&receipt)).unwrap();
        assert_eq!((&view["status"], view.get("receivers")), (&json!("delivered"), None));
        assert!(view["message_id"].is_string() && view["delivered_at"].is_string());

        receipt.receivers.push(outcome(
            "b",
            Some((FailureReason::Overloaded, "its mailbox is full".to_owned())),
        ));
        let view = serde_json::to_value(Sent::of(&receipt)).unwrap();
        assert_eq!(
            view["receivers"],
            json!([
                {"receiver": "a", "status": "delivered"},
                {"receiver": "b", "status": "failed", "reason": "overloaded", "detail": "its mailbox is full"}
            ])
        );

        receipt.receivers = vec![outcome("client:me", None)];
        assert_eq!(serde_json::to_value(Sent::of(&receipt)).unwrap()["status"], "queued");
    }

    #[test]
    fn a_wait_has_a_default_and_limits() {
        let wait = |query: &str| Query::<Wait>::parse(query).and_then(|Query(wait)| wait.timeout());
        assert_eq!(wait("").unwrap(), Duration::from_secs(30));
        assert_eq!(wait("timeout_seconds=0.5").unwrap(), Duration::from_millis(500));
        assert_eq!(wait("timeout_seconds=300").unwrap(), Duration::from_mins(5));
        for bad in ["0", "-1", "300.1", "NaN", "inf", "soon"] {
            let error = wait(&format!("timeout_seconds={bad}")).unwrap_err();
            assert_eq!(error.details(), json!({"field": "timeout_seconds"}), "{bad}");
        }
    }
}
