//! The actor of one connection.
//!
//! A client that resumes gets the past events from the journal before new ones. The connection has one small piece of the journal in
//! memory at a time, and reads the next piece when the socket accepts more.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, StreamHandler, WrapFuture as _};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{self, CloseCode, CloseReason, HandshakeError, ProtocolError, WebsocketContext};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::fragments::{Fragments, Refused};
use super::limits;
use super::progress::{Next, Progress};
use super::subscription::{Asked, Filter, Matching, Subscriptions};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::edge::trace;
use crate::api::http::failure::Failure;
use crate::api::trace::Trace;
use crate::error::{Error, Result};
use crate::events::{Event, SentContent, ShownEvent};
use crate::id::Seq;
use crate::message::Content;
use crate::node::Replayed;
use crate::principal::Caller;

/// The close code of a connection whose client does not respond to pings.
const HEARTBEAT_LOST: u16 = 4008;

/// Upgrades the connection to a WebSocket of events.
#[utoipa::path(
    get,
    path = "/ws",
    tag = "events",
    responses(
        (status = 101, description = "The connection is a WebSocket"),
        (status = 503, description = "`UNAVAILABLE`: half of the connections of REST are WebSockets already"),
    )
)]
pub(crate) async fn connect(
    front: web::Data<Front>,
    credentials: Credentials,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[]);
    ws::handshake(&request).map_err(no_handshake)?;
    let most = front.limits.websockets();
    let place = front.websockets.clone().try_acquire_owned();
    let place = place.map_err(|_| Error::Unavailable {
        reason: format!("{most} WebSockets are open, half of `limits.rest_connections`"),
        retry_after: Duration::from_secs(1),
    })?;
    let connection = Connection {
        _place: place,
        events: Some(front.node.events(&caller)?),
        caller,
        front,
        trace: trace(&request.extensions()),
        subscriptions: Subscriptions::default(),
        progress: Progress::default(),
        fragments: Fragments::default(),
        unanswered: 0,
    };
    ws::WsResponseBuilder::new(connection, &request, payload)
        .frame_size(limits::MESSAGE_BYTES)
        .start()
        .map_err(|error| Failure::from(Error::internal(error.to_string())))
}

/// Which header keeps a request from being the handshake of RFC 6455, section 4.2.1.
fn no_handshake(error: HandshakeError) -> Failure {
    let (field, problem) = match error {
        HandshakeError::GetMethodRequired => ("method", "must be GET, for a WebSocket"),
        HandshakeError::NoWebsocketUpgrade => ("Upgrade", "must be websocket; this path answers no other request"),
        HandshakeError::NoConnectionUpgrade => ("Connection", "must be Upgrade, for a WebSocket"),
        HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion => {
            ("Sec-WebSocket-Version", "must be 13, the version of RFC 6455")
        }
        HandshakeError::BadWebsocketKey => ("Sec-WebSocket-Key", "is missing; it has 16 random bytes in base64"),
    };
    Error::invalid(field, problem).into()
}

/// Upgrades the connection to a WebSocket of events, under the path of this version of the API.
#[utoipa::path(
    get,
    path = "/api/v1/ws",
    tag = "events",
    responses(
        (status = 101, description = "The connection is a WebSocket"),
        (status = 503, description = "`UNAVAILABLE`: half of the connections of REST are WebSockets already"),
    )
)]
pub(crate) async fn connect_versioned(
    front: web::Data<Front>,
    credentials: Credentials,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    connect(front, credentials, request, payload).await
}

struct Connection {
    _place: OwnedSemaphorePermit,
    front: web::Data<Front>,
    /// Who made the handshake. All that is asked on the connection is asked by this caller.
    caller: Caller,
    /// The events since the handshake, until the connection starts and receives them.
    events: Option<broadcast::Receiver<Arc<Event>>>,
    trace: Trace,
    subscriptions: Subscriptions,
    progress: Progress,
    fragments: Fragments,
    /// Pings since the last frame of the client.
    unanswered: u32,
}

type Context = WebsocketContext<Connection>;

impl Actor for Connection {
    type Context = Context;

    fn started(&mut self, context: &mut Context) {
        metrics::gauge!("caxton_websockets").increment(1.0);
        // Before `hello`, so that a client that has read it misses no later event.
        if let Some(events) = self.events.take() {
            context.add_stream(BroadcastStream::new(events));
        }
        let durable = self.front.node.durable();
        self.progress = Progress::at(durable);
        say(
            context,
            &json!({
                "type": "hello",
                "heartbeat_interval_seconds": limits::HEARTBEAT.as_secs(),
                "seq": durable,
            }),
        );
        context.run_interval(limits::HEARTBEAT, Self::beat);
        let stopping = self.front.stopping.clone();
        let stopped = async move { stopping.begun().await };
        context.spawn(stopped.into_actor(self).map(|(), _, context| {
            close(context, CloseCode::Away, "the server is stopping");
        }));
    }

    fn stopped(&mut self, _: &mut Context) {
        metrics::gauge!("caxton_websockets").decrement(1.0);
    }
}

impl Connection {
    fn beat(&mut self, context: &mut Context) {
        if self.unanswered >= limits::MISSED_HEARTBEATS {
            return close(context, CloseCode::Other(HEARTBEAT_LOST), "no answer to heartbeats");
        }
        self.unanswered += 1;
        context.ping(b"");
    }

    /// Handles one message of the client. Further messages and events wait until it is answered.
    fn hear(&mut self, text: &str, context: &mut Context) {
        match Asked::read(text.as_bytes()) {
            Ok(Asked::Ping) => say(context, &json!({"type": "pong"})),
            Ok(Asked::Unsubscribe(id)) => match self.subscriptions.remove(&id) {
                Ok(()) => say(context, &json!({"type": "unsubscribed", "subscription_id": id})),
                Err(error) => self.fail(error, context),
            },
            Ok(Asked::Subscribe(wanted)) => {
                let (front, caller, since) = (self.front.clone(), self.caller.clone(), wanted.since());
                let resolving = async move {
                    let node = &front.node;
                    wanted.resolve(async |key| node.address(&caller, key).await).await
                };
                context.wait(resolving.into_actor(self).map(move |filter, connection, context| {
                    let subscribed = filter.and_then(|filter| connection.subscribe(filter, since, context));
                    if let Err(error) = subscribed {
                        connection.fail(error, context);
                    }
                }));
            }
            Err(error) => self.fail(error, context),
        }
    }

    fn subscribe(&mut self, filter: Filter, since: Option<Seq>, context: &mut Context) -> Result<()> {
        let durable = self.front.node.durable();
        if since.is_some_and(|since| since > durable) {
            let mend = format!("is after the last event, which has {durable}; was it another server's?");
            return Err(Error::invalid("since_seq", mend));
        }
        // Only the new subscription gets the events that were sent already.
        self.subscriptions.told(self.progress.told());
        let id = self.subscriptions.add(filter, since.unwrap_or(self.progress.live()))?;
        let answer = json!({"type": "subscribed", "subscription_id": id.to_string()});
        say(context, &answer);
        if let Some(since) = since {
            self.read_from(since, context);
        }
        Ok(())
    }

    /// Sends the events that a subscription wants, in their order, and then does `next`. A large content is read from the history
    /// when it is the turn of its event, so that the connection has one of them in memory at a time.
    fn tell(&mut self, mut events: impl Iterator<Item = Arc<Event>> + 'static, next: Next, context: &mut Context) {
        while let Some(event) = events.next() {
            let Matching { ids, content } = self.subscriptions.matching(&event);
            if ids.is_empty() {
                continue;
            }
            match event.sent.as_ref().filter(|_| content) {
                Some(SentContent { message, content: None }) => {
                    let (front, caller, id) = (self.front.clone(), self.caller.clone(), message.to_string());
                    let reading = async move { front.node.message(&caller, &id).await };
                    context.wait(reading.into_actor(self).map(move |read, connection, context| {
                        match read {
                            Ok(stored) => show(&event, &ids, Some(&stored.message.content), context),
                            Err(error) => connection.fail(error, context),
                        }
                        connection.tell(events, next, context);
                    }));
                    return;
                }
                sent => show(&event, &ids, sent.and_then(|sent| sent.content.as_ref()), context),
            }
        }
        if next != Next::Live {
            self.read(next, context);
        }
    }

    /// Sends the subscriptions the events after `since` that they have not got.
    fn read_from(&mut self, since: Seq, context: &mut Context) {
        if self.progress.go_back(since) {
            self.read(Next::Piece, context);
        }
    }

    fn read(&mut self, what: Next, context: &mut Context) {
        let (front, caller, after) = (self.front.clone(), self.caller.clone(), self.progress.told());
        let reading = async move { front.node.events_after(&caller, after, limits::REPLAY_BATCHES).await };
        let reading = reading
            .into_actor(self)
            .map(move |read, connection, context| connection.tell_past(after, read, context));
        if what == Next::Rest {
            context.wait(reading);
        } else {
            context.spawn(reading);
        }
    }

    fn tell_past(&mut self, after: Seq, read: Result<Replayed>, context: &mut Context) {
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                self.fail(error, context);
                return close(context, CloseCode::Error, "the past cannot be read");
            }
        };
        let next = self.progress.read(after, read.to, read.end);
        if next == Next::Again {
            return self.read(next, context);
        }
        if let Some(first) = read.gap_before {
            let gap = json!({"type": "gap", "from": after.0 + 1, "to": first.0 - 1});
            say(context, &gap);
        }
        self.tell(read.events.into_iter().map(Arc::new), next, context);
    }

    fn fail(&self, error: Error, context: &mut Context) {
        let failure = Failure::from(error);
        let envelope = serde_json::to_value(failure.envelope(self.trace));
        if let Ok(Value::Object(mut members)) = envelope {
            members.insert("type".to_owned(), "error".into());
            say(context, &Value::Object(members));
        }
    }
}

impl StreamHandler<Result<Arc<Event>, BroadcastStreamRecvError>> for Connection {
    fn handle(&mut self, event: Result<Arc<Event>, BroadcastStreamRecvError>, context: &mut Context) {
        match event {
            Ok(event) => {
                if self.progress.happened(event.seq) {
                    self.tell(std::iter::once(event), Next::Live, context);
                }
            }
            Err(BroadcastStreamRecvError::Lagged(dropped)) => {
                if self.progress.resumes() {
                    self.read_from(self.progress.told(), context);
                } else if !self.subscriptions.is_empty() {
                    say(context, &json!({"type": "lagged", "dropped": dropped}));
                }
            }
        }
    }

    fn finished(&mut self, context: &mut Context) {
        close(context, CloseCode::Away, "the server is stopping");
    }
}

impl StreamHandler<Result<ws::Message, ProtocolError>> for Connection {
    fn handle(&mut self, message: Result<ws::Message, ProtocolError>, context: &mut Context) {
        self.unanswered = 0;
        match message {
            Ok(ws::Message::Text(text)) => self.hear(&text, context),
            Ok(ws::Message::Ping(payload)) => context.pong(&payload),
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Ok(ws::Message::Close(_)) => close(context, CloseCode::Normal, ""),
            Ok(ws::Message::Binary(_)) => refuse(context, &Refused::Binary),
            Ok(ws::Message::Continuation(fragment)) => match self.fragments.add(fragment) {
                Ok(Some(text)) => self.hear(&text, context),
                Ok(None) => {}
                Err(refused) => refuse(context, &refused),
            },
            Err(ProtocolError::Overflow) => refuse(context, &Refused::TooLarge),
            // actix tells a text that is not UTF-8 in this way, and a broken connection, for which no code matters any more.
            Err(ProtocolError::Io(error)) if error.kind() == ErrorKind::Other => refuse(context, &Refused::NotUtf8),
            Err(error) => {
                tracing::debug!(%error, trace_id = %self.trace, "a WebSocket client broke the protocol");
                close(context, CloseCode::Protocol, "the frame is broken");
            }
        }
    }

    fn finished(&mut self, context: &mut Context) {
        context.stop();
    }
}

fn show(event: &Event, subscriptions: &[String], content: Option<&Content>, socket: &mut Context) {
    let shown = ShownEvent {
        event,
        subscriptions,
        content,
    };
    match serde_json::to_string(&shown) {
        Ok(text) => socket.text(text),
        Err(error) => tracing::error!(%error, seq = event.seq.0, "an event cannot be shown"),
    }
}

fn say(context: &mut Context, message: &Value) {
    context.text(message.to_string());
}

fn refuse(context: &mut Context, refused: &Refused) {
    close(context, refused.code(), refused.why());
}

fn close(context: &mut Context, code: CloseCode, why: &str) {
    let description = (!why.is_empty()).then(|| why.to_owned());
    context.close(Some(CloseReason { code, description }));
    context.stop();
}
