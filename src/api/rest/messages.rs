//! `/api/v1/messages`.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::Posted;
use super::openapi::{IdempotencyKey, MessageDocument};
use super::query::{NoParameters, PageSize, Query};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::api::limits;
use crate::error::Error;
use crate::fipa::Performative;
use crate::id::MessageId;
use crate::journal::projections::{MessageQuery, Page, Status, Stored};
use crate::message::{Address, MessageView};
use crate::node::{Node, Receipt, ReceiverOutcome};
use crate::time::Timestamp;

/// Durably journaled, and in the mailbox of each receiver that did not refuse.
const DELIVERED: &str = "delivered";

/// What a send answers. `receivers` tells of each where there are several: some may have refused.
#[derive(Debug, Serialize, ToSchema)]
struct Sent<'a> {
    message_id: MessageId,
    status: &'static str,
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
    status: &'static str,
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
            status: DELIVERED,
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
            status: if refused.is_some() { "failed" } else { DELIVERED },
            reason: refused.map(|(reason, _)| reason.as_ref()),
            detail: refused.map(|(_, detail)| detail.as_str()),
        }
    }
}

/// Sends a message.
///
/// Answers once it is durable and in the mailboxes of its receivers; where there are several, some may have refused.
#[utoipa::path(
    post,
    path = "/api/v1/messages",
    tag = "messages",
    params(IdempotencyKey),
    request_body = MessageDocument,
    responses(
        (status = 200, description = "It is delivered", body = Sent),
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

/// What a send that waits answers.
#[derive(Debug, Serialize, ToSchema)]
struct Answered<'a> {
    message_id: MessageId,
    status: &'static str,
    delivered_at: Timestamp,
    conversation_id: &'a str,
    reply: MessageView<'a>,
}

/// How to wait for an answer.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// 30 if left out.
    #[param(exclusive_minimum = 0, maximum = 300)]
    timeout_seconds: Option<f64>,
    #[param(inline)]
    until: Option<Until>,
}

/// Which message ends a wait. Without it, the one that ends the exchange: an `agree` is only a promise of the answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Until {
    /// Whatever the receiver says first.
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

/// Sends a message and waits for the answer to it.
#[utoipa::path(
    post,
    path = "/api/v1/messages/wait",
    tag = "messages",
    params(IdempotencyKey, Wait),
    request_body = MessageDocument,
    responses(
        (status = 200, description = "The answer", body = Answered),
        (status = 403, description = "`FORBIDDEN`: `sender` names an agent"),
        (status = 404, description = "`AGENT_NOT_FOUND`: a receiver"),
        (status = 429, description = "`MAILBOX_FULL`, or `RESOURCE_LIMIT_EXCEEDED`"),
        (status = 500, description = "`MESSAGE_DELIVERY_FAILED`, or `INTERNAL_ERROR`"),
        (status = 504, description = "`TIMEOUT`: no answer in time; the message stays delivered"),
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
        status: DELIVERED,
        delivered_at: reply.receipt.delivered_at,
        conversation_id: &reply.receipt.conversation_id,
        reply: MessageView {
            status: Some(DELIVERED),
            ..MessageView::of(&reply.message)
        },
    }))
}

/// A message of the history: with its status, how often a receiver tried it at most, and why it failed if it did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoredMessage)]
struct Told<'a> {
    #[serde(flatten)]
    message: MessageView<'a>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn of(stored: &'a Stored) -> Self {
        Self {
            message: MessageView {
                status: Some(stored.status.as_str()),
                ..MessageView::of(&stored.message)
            },
            attempts: stored.attempts,
            reason: stored.reason.as_deref(),
        }
    }
}

/// A page of the history. `next_cursor` is null on the last one.
#[derive(Debug, Serialize, ToSchema)]
struct MessageList<'a> {
    messages: Vec<Told<'a>>,
    total: u64,
    /// False: there are more than `total`.
    total_is_exact: bool,
    next_cursor: Option<&'a str>,
}

/// Which messages of the history are wanted: all that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct History {
    conversation_id: Option<String>,
    /// The id or name of an agent that sent the message or received it.
    agent: Option<String>,
    /// The id or name of an agent, `client:<name>`, or `platform`.
    sender: Option<String>,
    /// As `sender`.
    receiver: Option<String>,
    #[param(value_type = Option<String>)]
    performative: Option<Performative>,
    protocol: Option<String>,
    /// Messages that were sent then or later.
    #[param(inline)]
    since: Option<Timestamp>,
    /// Messages that were sent before then.
    #[param(inline)]
    until: Option<Timestamp>,
    #[param(inline)]
    status: Option<Status>,
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl History {
    fn query(self, address_of: impl Fn(&str) -> Result<Address, Error>) -> Result<MessageQuery, Error> {
        let address = |text: Option<String>| text.map(|text| address_of(&text)).transpose();
        let agent = address(self.agent)?;
        if agent.as_ref().is_some_and(|address| address.agent().is_none()) {
            return Err(Error::invalid(
                "agent",
                "is no agent: name clients and the platform as sender or receiver",
            ));
        }
        Ok(MessageQuery {
            conversation_id: self.conversation_id,
            agent: agent.and_then(|agent| agent.agent()),
            sender: address(self.sender)?,
            receiver: address(self.receiver)?,
            performative: self.performative,
            protocol: self.protocol,
            since: self.since,
            until: self.until,
            status: self.status,
            limit: self.limit.0,
            cursor: self.cursor,
            uncounted: false,
        })
    }
}

/// Lists messages of the history, oldest first.
///
/// A page of large messages ends before its limit. With `Accept: application/x-ndjson` all that match now are streamed, a message
/// on each line; `limit` is then how many are read at a time.
#[utoipa::path(
    get,
    path = "/api/v1/messages",
    tag = "messages",
    params(History),
    responses(
        (
            status = 200, description = "A page; or all, a message on each line",
            content((MessageList = "application/json"), (Told = "application/x-ndjson"))
        ),
        (status = 404, description = "`AGENT_NOT_FOUND`: one that is named in the query"),
    )
)]
pub(super) async fn list_messages(
    front: web::Data<Front>,
    Query(asked): Query<History>,
    layout: Layout,
) -> Result<HttpResponse, Failure> {
    let query = asked.query(|text| front.node.address(text))?;
    if layout == Layout::Lines {
        let lines = export(front.node.clone(), query).await?;
        return Ok(HttpResponse::Ok().content_type(NDJSON).streaming(lines));
    }
    let Page {
        messages,
        total,
        total_is_exact,
        next_cursor,
    } = front.node.messages(query).await?;
    let messages = messages.iter().map(Told::of).collect();
    Ok(HttpResponse::Ok().json(MessageList {
        messages,
        total,
        total_is_exact,
        next_cursor: next_cursor.as_deref(),
    }))
}

const NDJSON: &str = "application/x-ndjson";

/// How the history is laid out in the answer, as the header `Accept` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Page,
    /// All of it, a message on each line.
    Lines,
}

impl FromRequest for Layout {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let accept = request.headers().get(header::ACCEPT);
        let lines = accept.and_then(|accept| accept.to_str().ok()).is_some_and(|accept| {
            let kinds = accept.split(',').filter_map(|kind| kind.split(';').next());
            kinds.map(str::trim).any(|kind| kind.eq_ignore_ascii_case(NDJSON))
        });
        ready(Ok(if lines { Self::Lines } else { Self::Page }))
    }
}

/// What matches when it begins, in order. A page is read when the client has taken the one before. An error after the first
/// page cuts the answer off, so that a part is not taken for the whole.
async fn export(
    node: Arc<Node>,
    query: MessageQuery,
) -> Result<impl Stream<Item = Result<Bytes, Error>> + use<>, Error> {
    let end = node.durable();
    let mut query = MessageQuery {
        uncounted: true,
        ..query
    };
    let first = node.messages(query.clone()).await?;
    query.cursor.clone_from(&first.next_cursor);
    Ok(stream::try_unfold(Some((query, Some(first))), move |at| {
        let node = node.clone();
        async move {
            let Some((mut query, read)) = at else { return Ok(None) };
            let page = match read {
                Some(page) => page,
                None => node.messages(query.clone()).await?,
            };
            let mut lines = Vec::new();
            for stored in page.messages.iter().take_while(|stored| stored.seq <= end) {
                serde_json::to_writer(&mut lines, &Told::of(stored)).map_err(Error::internal)?;
                lines.push(b'\n');
            }
            let over = page.messages.last().is_none_or(|last| last.seq > end);
            query.cursor = page.next_cursor;
            let next = (!over && query.cursor.is_some()).then_some((query, None));
            Ok(Some((Bytes::from(lines), next)))
        }
    }))
}

/// Shows a message of the history.
#[utoipa::path(
    get,
    path = "/api/v1/messages/{id}",
    tag = "messages",
    params(("id" = String, Path, description = "The id of the message")),
    responses(
        (status = 200, description = "The message", body = Told),
        (status = 404, description = "`MESSAGE_NOT_FOUND`"),
    )
)]
pub(super) async fn get_message(
    front: web::Data<Front>,
    id: web::Path<String>,
    _: Query<NoParameters>,
) -> Result<HttpResponse, Failure> {
    let stored = front.node.message(&id).await?;
    Ok(HttpResponse::Ok().json(Told::of(&stored)))
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    fn read<T: DeserializeOwned>(query: &str) -> Result<T, Error> {
        Query::parse(query).map(|Query(read)| read)
    }

    #[test]
    fn a_send_answers_as_printed_and_tells_of_several_receivers() {
        let outcome = |receiver: &str, refused| ReceiverOutcome {
            receiver: receiver.to_owned(),
            refused,
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
            Some(("overloaded".into(), "its mailbox is full".to_owned())),
        ));
        let view = serde_json::to_value(Sent::of(&receipt)).unwrap();
        assert_eq!(
            view["receivers"],
            json!([
                {"receiver": "a", "status": "delivered"},
                {"receiver": "b", "status": "failed", "reason": "overloaded", "detail": "its mailbox is full"}
            ])
        );
    }

    #[test]
    fn a_told_message_keeps_its_content_as_written() {
        let content = r#"{"n":18446744073709551616,"e":1e400}"#;
        let stored = Stored {
            seq: crate::id::Seq(1),
            message: crate::api::testing::message(crate::message::Content::Json(content.into())),
            status: Status::Failed,
            reason: Some("overloaded".to_owned()),
            attempts: 3,
        };
        let told = serde_json::to_string(&Told::of(&stored)).unwrap();
        assert!(told.contains(&format!("\"content\":{content}")), "{told}");
        assert!(
            told.contains(r#""status":"failed""#) && told.contains(r#""attempts":3,"reason":"overloaded""#),
            "{told}"
        );
    }

    #[test]
    fn a_wait_has_a_default_and_limits() {
        let wait = |query: &str| read::<Wait>(query).and_then(|wait| wait.timeout());
        assert_eq!(wait("").unwrap(), Duration::from_secs(30));
        assert_eq!(wait("timeout_seconds=0.5").unwrap(), Duration::from_millis(500));
        assert_eq!(wait("timeout_seconds=300").unwrap(), Duration::from_mins(5));
        for bad in ["0", "-1", "300.1", "NaN", "inf", "soon"] {
            let error = wait(&format!("timeout_seconds={bad}")).unwrap_err();
            assert_eq!(error.details(), json!({"field": "timeout_seconds"}), "{bad}");
        }
    }

    fn plain(text: &str) -> Result<Address, Error> {
        Ok(text.parse()?)
    }

    #[test]
    fn a_query_of_the_history_names_what_is_wrong() {
        let good =
            "conversation_id=conv_789&performative=query-ref&since=2024-01-15T10:30:00Z&status=processed&limit=50";
        let message_query = |query: &str| read::<History>(query).and_then(|asked| asked.query(plain));
        let query = message_query(good).unwrap();
        assert_eq!(query.conversation_id.as_deref(), Some("conv_789"));
        assert_eq!((query.performative, query.limit), (Some(Performative::QueryRef), 50));
        for (bad, field) in [
            ("performative=shout", "performative"),
            ("since=yesterday", "since"),
            ("status=asleep", "status"),
            ("limit=0", "limit"),
            ("conversation=conv_789", "conversation"),
            ("agent=client:me", "agent"),
        ] {
            assert_eq!(
                message_query(bad).unwrap_err().details(),
                json!({"field": field}),
                "{bad}"
            );
        }
    }
}
