//! `/api/v1/messages`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::Serialize;

use super::State;
use super::failure::Failure;
use super::idempotency::caller;
use super::query::Parameters;
use crate::api::limits;
use crate::api::trace::Trace;
use crate::error::Error;
use crate::fipa::Performative;
use crate::id::MessageId;
use crate::journal::projections::{MessageQuery, Page, Status, Stored};
use crate::message::{Address, Draft, MessageView};
use crate::node::{Caller, Node, Receipt, ReceiverOutcome};
use crate::time::Timestamp;

/// Durably journaled, and in the mailbox of each receiver that did not refuse.
const DELIVERED: &str = "delivered";

/// What a send answers. `receivers` tells of each where there are several: some may have refused.
#[derive(Debug, Serialize)]
struct Sent<'a> {
    message_id: MessageId,
    status: &'static str,
    delivered_at: Timestamp,
    conversation_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    receivers: Vec<Outcome<'a>>,
}

/// `reason` is for programs, `detail` for people.
#[derive(Debug, Serialize)]
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
            reason: refused.map(|(reason, _)| reason.as_str()),
            detail: refused.map(|(_, detail)| detail.as_str()),
        }
    }
}

async fn draft(request: &HttpRequest, payload: web::Payload) -> Result<(Caller, Draft), Failure> {
    let body = super::body::read(request, payload, "message", limits::MESSAGE_BODY_BYTES).await?;
    // The middleware gave every request its trace.
    let trace = request.extensions().get::<Trace>().copied().unwrap_or_else(Trace::new);
    let traceparent = Some(trace.traceparent());
    let draft = Draft {
        traceparent,
        ..Draft::from_json(&body)?
    };
    Ok((caller(request, &[&body])?, draft))
}

/// `POST /api/v1/messages`: a message. Answers once it is durable and in the receivers' mailboxes.
pub(super) async fn send(
    state: web::Data<State>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    Parameters::of(&request)?.finish()?;
    let (caller, draft) = draft(&request, payload).await?;
    let receipt = state.node.send(&caller, draft).await?;
    Ok(HttpResponse::Ok().json(Sent::of(&receipt)))
}

/// `POST /api/v1/messages/wait?timeout_seconds=30&until=first`: a message; answers with what its receiver says. Without
/// `until=first`, an `agree` is only a promise of the answer. 504 `TIMEOUT`: no answer in time.
pub(super) async fn send_and_wait(
    state: web::Data<State>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    #[derive(Serialize)]
    struct Answer<'a> {
        message_id: MessageId,
        status: &'static str,
        delivered_at: Timestamp,
        conversation_id: &'a str,
        reply: MessageView<'a>,
    }
    let mut query = Parameters::of(&request)?;
    let timeout = wait(&mut query)?;
    let first = query.one_of("until", &["first"], |word| word)?.is_some();
    query.finish()?;
    let (caller, draft) = draft(&request, payload).await?;
    let reply = state.node.send_and_wait(&caller, draft, timeout, first).await?;
    Ok(HttpResponse::Ok().json(Answer {
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

fn wait(query: &mut Parameters) -> Result<Duration, Error> {
    let Some(seconds) = query.parsed::<f64>("timeout_seconds")? else {
        return Ok(limits::DEFAULT_REPLY_WAIT);
    };
    let wait = Duration::try_from_secs_f64(seconds).ok();
    wait.filter(|wait| !wait.is_zero() && *wait <= limits::REPLY_WAIT)
        .ok_or_else(|| {
            let most = limits::REPLY_WAIT.as_secs();
            Error::invalid(
                "timeout_seconds",
                format!("is {seconds}, and must be more than 0 and at most {most}"),
            )
        })
}

/// A message of the history: with its status, how often a receiver tried it at most, and why it failed if it did.
#[derive(Debug, Serialize)]
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

/// `GET /api/v1/messages?conversation_id=&agent=&sender=&receiver=&performative=&protocol=&since=&until=&status=&limit=&cursor=`.
/// All that are given must hold; `agent` is at either end; `since` is inclusive, `until` is not. `next_cursor` is null on
/// the last page, and a page of large messages ends before its limit.
///
/// With `Accept: application/x-ndjson` all that match now are streamed, a message on each line; `limit` is then how many are
/// read at a time.
pub(super) async fn history(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    #[derive(Serialize)]
    struct Answer<'a> {
        messages: Vec<Told<'a>>,
        total: u64,
        total_is_exact: bool,
        next_cursor: Option<&'a str>,
    }
    let query = message_query(|text| state.node.address(text), Parameters::of(&request)?)?;
    if wants_lines(&request) {
        let lines = export(state.node.clone(), query).await?;
        return Ok(HttpResponse::Ok().content_type(NDJSON).streaming(lines));
    }
    let Page {
        messages,
        total,
        total_is_exact,
        next_cursor,
    } = state.node.messages(query).await?;
    let messages = messages.iter().map(Told::of).collect();
    Ok(HttpResponse::Ok().json(Answer {
        messages,
        total,
        total_is_exact,
        next_cursor: next_cursor.as_deref(),
    }))
}

const NDJSON: &str = "application/x-ndjson";

fn wants_lines(request: &HttpRequest) -> bool {
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| {
        let kinds = accept.split(',').filter_map(|kind| kind.split(';').next());
        kinds.map(str::trim).any(|kind| kind.eq_ignore_ascii_case(NDJSON))
    })
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

fn message_query(
    address_of: impl Fn(&str) -> Result<Address, Error>,
    mut query: Parameters,
) -> Result<MessageQuery, Error> {
    let mut address = |name| query.text(name)?.map(|text| address_of(&text)).transpose();
    let (agent, sender, receiver) = (address("agent")?, address("sender")?, address("receiver")?);
    if agent.as_ref().is_some_and(|address| address.agent().is_none()) {
        return Err(Error::invalid(
            "agent",
            "is no agent: name clients and the platform as sender or receiver",
        ));
    }
    let asked = MessageQuery {
        conversation_id: query.text("conversation_id")?,
        agent: agent.and_then(|agent| agent.agent()),
        sender,
        receiver,
        performative: query.parsed::<Performative>("performative")?,
        protocol: query.text("protocol")?,
        since: query.parsed("since")?,
        until: query.parsed("until")?,
        status: query.one_of("status", Status::ALL, Status::as_str)?,
        limit: query.limit()?,
        cursor: query.text("cursor")?,
        uncounted: false,
    };
    query.finish()?;
    Ok(asked)
}

/// `GET /api/v1/messages/{id}`.
pub(super) async fn one(
    state: web::Data<State>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    Parameters::of(&request)?.finish()?;
    let stored = state.node.message(&id).await?;
    Ok(HttpResponse::Ok().json(Told::of(&stored)))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use serde_json::json;

    use super::*;
    use crate::message::FailureReason;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&TestRequest::get().uri(&format!("/?{query}")).to_http_request()).unwrap()
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
        assert_eq!(wait(&mut parameters("")).unwrap(), Duration::from_secs(30));
        assert_eq!(
            wait(&mut parameters("timeout_seconds=0.5")).unwrap(),
            Duration::from_millis(500)
        );
        assert_eq!(
            wait(&mut parameters("timeout_seconds=300")).unwrap(),
            Duration::from_mins(5)
        );
        for bad in ["0", "-1", "300.1", "NaN", "inf", "soon"] {
            let error = wait(&mut parameters(&format!("timeout_seconds={bad}"))).unwrap_err();
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
        let query = message_query(plain, parameters(good)).unwrap();
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
                message_query(plain, parameters(bad)).unwrap_err().details(),
                json!({"field": field}),
                "{bad}"
            );
        }
    }
}
