//! `/api/v1/messages`: the history.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::query::{NoParameters, PageSize, Query};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::api::http::representation;
use crate::error::Error;
use crate::fipa::Performative;
use crate::journal::projections::{MessageQuery, Page, Stored};
use crate::message::{Address, MessageView, Status};
use crate::node::Node;
use crate::principal::Caller;
use crate::time::Timestamp;

/// A message of the history. `attempts` is the most tries of any receiver, and `reason` says why a failed message failed.
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

/// A page of the history. `next_cursor` is null on the last page.
#[derive(Debug, Serialize, ToSchema)]
struct MessageList<'a> {
    messages: Vec<Told<'a>>,
    total: u64,
    /// False: there are at least `total`, and they were not counted further.
    total_is_exact: bool,
    next_cursor: Option<&'a str>,
}

/// Which messages of the history to list. A message must match all given parameters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct History {
    conversation_id: Option<String>,
    /// As `sender`, of the sender or of a receiver.
    agent: Option<String>,
    /// The id or name of an agent, the name of a client, also as `client:<name>`, or `platform`.
    sender: Option<String>,
    /// As `sender`.
    receiver: Option<String>,
    #[param(value_type = Option<String>)]
    performative: Option<Performative>,
    protocol: Option<String>,
    /// Messages from this time on.
    #[param(inline)]
    since: Option<Timestamp>,
    /// Messages before this time.
    #[param(inline)]
    until: Option<Timestamp>,
    #[param(inline)]
    status: Option<Status>,
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

impl History {
    async fn query(self, address_of: impl AsyncFn(&str) -> Result<Address, Error>) -> Result<MessageQuery, Error> {
        let address = async |text: Option<String>| match text {
            Some(text) => address_of(&text).await.map(Some),
            None => Ok(None),
        };
        Ok(MessageQuery {
            conversation_id: self.conversation_id,
            party: address(self.agent).await?,
            sender: address(self.sender).await?,
            receiver: address(self.receiver).await?,
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

/// Lists the messages of the history, oldest first.
///
/// A page of large messages can end before its limit. With `Accept: application/x-ndjson`, all messages that match now are
/// streamed, one on each line, and `limit` is the number that is read at a time.
#[utoipa::path(
    get,
    path = "/api/v1/messages",
    tag = "messages",
    params(History),
    responses(
        (
            status = 200, description = "A page of messages, or all messages on a line each",
            content((MessageList = "application/json"), (Told = "application/x-ndjson"))
        ),
        (status = 404, description = "`AGENT_NOT_FOUND`: an agent in the query"),
    )
)]
pub(super) async fn list_messages(
    front: web::Data<Front>,
    Query(asked): Query<History>,
    layout: Layout,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[]);
    let query = asked
        .query(async |text| front.node.address(&caller, text).await)
        .await?;
    if layout == Layout::Lines {
        let lines = export(front.node.clone(), caller, query).await?;
        return Ok(HttpResponse::Ok().content_type(NDJSON).streaming(lines));
    }
    let Page {
        messages,
        total,
        total_is_exact,
        next_cursor,
    } = front.node.messages(&caller, query).await?;
    let messages = messages.iter().map(Told::of).collect();
    Ok(HttpResponse::Ok().json(MessageList {
        messages,
        total,
        total_is_exact,
        next_cursor: next_cursor.as_deref(),
    }))
}

const NDJSON: &str = "application/x-ndjson";

/// The layout of the history in the response, by the header `Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Page,
    /// All messages, one on each line.
    Lines,
}

impl FromRequest for Layout {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let lines = representation::accepts(request.headers(), NDJSON);
        ready(Ok(if lines { Self::Lines } else { Self::Page }))
    }
}

/// The messages that match when the export begins, in order. A page is read when the client has taken the previous one. An error
/// after the first page cuts the response off, so that no client takes a part for the whole.
async fn export(
    node: Arc<Node>,
    caller: Caller,
    query: MessageQuery,
) -> Result<impl Stream<Item = Result<Bytes, Error>> + use<>, Error> {
    let end = node.durable();
    let mut query = MessageQuery {
        uncounted: true,
        ..query
    };
    let first = node.messages(&caller, query.clone()).await?;
    query.cursor.clone_from(&first.next_cursor);
    Ok(stream::try_unfold(Some((query, Some(first))), move |at| {
        let (node, caller) = (node.clone(), caller.clone());
        async move {
            let Some((mut query, read)) = at else { return Ok(None) };
            let page = match read {
                Some(page) => page,
                None => node.messages(&caller, query.clone()).await?,
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

/// Returns a message of the history.
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
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let stored = front.node.message(&credentials.caller(&[]), &id).await?;
    Ok(HttpResponse::Ok().json(Told::of(&stored)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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

    async fn plain(text: &str) -> Result<Address, Error> {
        Ok(text.parse()?)
    }

    #[actix_web::test]
    async fn a_query_of_the_history_names_what_is_wrong() {
        let good =
            "conversation_id=conv_789&performative=query-ref&since=2024-01-15T10:30:00Z&status=processed&limit=50";
        let message_query = async |query: &str| Query::<History>::parse(query)?.0.query(plain).await;
        let query = message_query(good).await.unwrap();
        assert_eq!(query.conversation_id.as_deref(), Some("conv_789"));
        assert_eq!((query.performative, query.limit), (Some(Performative::QueryRef), 50));
        for &status in Status::ALL {
            let query = message_query(&format!("status={}", status.as_str())).await.unwrap();
            assert_eq!(query.status, Some(status));
        }
        for (bad, field) in [
            ("performative=shout", "performative"),
            ("since=yesterday", "since"),
            ("status=asleep", "status"),
            ("limit=0", "limit"),
            ("conversation=conv_789", "conversation"),
        ] {
            assert_eq!(
                message_query(bad).await.unwrap_err().details(),
                json!({"field": field}),
                "{bad}"
            );
        }
    }
}
