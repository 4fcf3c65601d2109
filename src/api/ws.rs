//! The WebSocket: events of the node, as they happen, to clients that subscribe.
//!
//! Purpose: one actor a connection, which lives and dies with it. Owner: the REST server, whose listener it shares.
//! Invariant: a slow client costs no memory. Its actor is polled only while the socket takes more, so that what it does not
//! read stays in the node's broadcast, whose bound is the bound here; what it missed is told as `lagged`.
//!
//! The server sends `{"type":"hello","heartbeat_interval_seconds","seq"}` first; every event after `seq` comes, if it is
//! subscribed to in time. Then answers and events:
//!
//! | the client sends | the answer |
//! |---|---|
//! | `{"type":"subscribe","filter":{"agents","performatives"}}` | `{"type":"subscribed","subscription_id"}` |
//! | `{"type":"subscribe","events":[globs],"filters":{"agent_ids"}}` | the same; both forms may be joined, by AND |
//! | either with `"since_seq":n` | the same, then all durable events after n, and then those that happen |
//! | `{"type":"unsubscribe","subscription_id"}` | `{"type":"unsubscribed","subscription_id"}` |
//! | `{"type":"ping"}` | `{"type":"pong"}` |
//!
//! A message that cannot be done is answered with `{"type":"error","error":{…}}`, and the connection stays. An event is sent
//! once, with the `subscription_ids` that it matches. `{"type":"lagged","dropped":n}` tells that n events were missed.
//!
//! Who comes back subscribes with the last `seq` that it has seen and misses nothing: what it did not hear is read again from
//! the journal, in order and once, and so is what it is too slow for from then on. `{"type":"gap","from","to"}` tells that
//! events in this range, ends included, are no longer kept.
//!
//! | close code | meaning |
//! |---|---|
//! | 1000 | the client closed |
//! | 1001 | the server is stopping |
//! | 1011 | the past that was asked for cannot be read |
//! | 1002, 1003, 1009 | a frame that is broken, that is not text, that is over [`limits::FRAME_BYTES`] |
//! | 4008 | [`limits::MISSED_HEARTBEATS`] pings in a row had no pong |

mod replay;
mod subscription;

use std::sync::Arc;

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, StreamHandler, WrapFuture as _};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{self, CloseCode, CloseReason, ProtocolError, WebsocketContext};
use serde_json::{Value, json};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use self::replay::Place;
use self::subscription::{Asked, Filter, Subscriptions};
use super::rest::State;
use super::rest::failure::Failure;
use super::trace::Trace;
use crate::error::Error;
use crate::events::Event;
use crate::id::Seq;

/// Limits of one connection.
pub(super) mod limits {
    use std::time::Duration;

    /// Bytes of a frame from a client.
    pub(crate) const FRAME_BYTES: usize = 64 << 10;
    pub(crate) const SUBSCRIPTIONS: usize = 64;
    /// Batches of the journal that are read at once for a connection that resumes.
    pub(crate) const REPLAY_BATCHES: usize = 64;
    /// Values of one field of a subscription.
    pub(crate) const VALUES: usize = 256;
    /// How often a connection is pinged.
    pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
    /// Pings without a pong after which a connection counts as dead.
    pub(crate) const MISSED_HEARTBEATS: u32 = 2;
}

/// The close code of a connection whose client no longer answers.
const HEARTBEAT_LOST: u16 = 4008;

/// `GET /ws`: upgrades the connection.
pub(super) async fn connect(
    state: web::Data<State>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    let trace = request.extensions().get::<Trace>().copied().unwrap_or_else(Trace::new);
    let connection = Connection {
        state,
        trace,
        subscriptions: Subscriptions::default(),
        place: Place::default(),
        unanswered: 0,
    };
    ws::WsResponseBuilder::new(connection, &request, payload)
        .frame_size(limits::FRAME_BYTES)
        .start()
        .map_err(|error| Failure::from(Error::invalid("upgrade", format!("is no WebSocket handshake: {error}"))))
}

struct Connection {
    state: web::Data<State>,
    trace: Trace,
    subscriptions: Subscriptions,
    place: Place,
    /// Pings since the client was last heard.
    unanswered: u32,
}

type Context = WebsocketContext<Connection>;

impl Actor for Connection {
    type Context = Context;

    fn started(&mut self, context: &mut Context) {
        // Subscribed before `hello`: whoever has read it misses nothing that happens later.
        context.add_stream(BroadcastStream::new(self.state.node.events()));
        let durable = self.state.node.durable();
        self.place = Place::at(durable);
        say(
            context,
            &json!({
                "type": "hello",
                "heartbeat_interval_seconds": limits::HEARTBEAT.as_secs(),
                "seq": durable,
            }),
        );
        context.run_interval(limits::HEARTBEAT, Self::beat);
        let mut stopping = self.state.stopping.clone();
        let stopped = async move {
            // An error means that the handle is gone, and with it the server.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        context.spawn(stopped.into_actor(self).map(|(), _, context| {
            close(context, CloseCode::Away, "the server is stopping");
        }));
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

    /// Handles one message of the client. Others wait until it is answered, and so do events.
    fn hear(&mut self, text: &str, context: &mut Context) {
        match Asked::read(text.as_bytes()) {
            Ok(Asked::Ping) => say(context, &json!({"type": "pong"})),
            Ok(Asked::Unsubscribe(id)) => match self.subscriptions.remove(&id) {
                Ok(()) => say(context, &json!({"type": "unsubscribed", "subscription_id": id})),
                Err(error) => self.fail(error, context),
            },
            Ok(Asked::Subscribe(wanted)) => {
                let (state, since) = (self.state.clone(), wanted.since());
                let resolving = async move {
                    let node = &state.node;
                    wanted.resolve(async |key| Ok(node.agent(key).await?.summary.id)).await
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

    fn subscribe(&mut self, filter: Filter, since: Option<Seq>, context: &mut Context) -> Result<(), Error> {
        let durable = self.state.node.durable();
        if since.is_some_and(|since| since > durable) {
            let mend = format!("is after the last event, which has {durable}; was it another server's?");
            return Err(Error::invalid("since_seq", mend));
        }
        // What was told is told to the new subscription alone.
        self.subscriptions.told(self.place.told());
        let id = self.subscriptions.add(filter, since.unwrap_or(self.place.live()))?;
        let answer = json!({"type": "subscribed", "subscription_id": id.to_string()});
        say(context, &answer);
        if let Some(since) = since {
            self.read_from(since, context);
        }
        Ok(())
    }

    /// Tells the subscriptions that want it.
    fn tell(&self, event: &Event, context: &mut Context) {
        let ids = self.subscriptions.matching(event);
        if ids.is_empty() {
            return;
        }
        let mut shown = event.to_json();
        if let Some(members) = shown.as_object_mut() {
            members.insert("subscription_ids".to_owned(), ids.into());
        }
        say(context, &shown);
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
                if self.place.happened(event.seq) {
                    self.tell(&event, context);
                }
            }
            Err(BroadcastStreamRecvError::Lagged(dropped)) => {
                if self.place.resumes() {
                    self.read_from(self.place.told(), context);
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
            Ok(ws::Message::Binary(_)) => close(context, CloseCode::Unsupported, "messages are text"),
            Ok(ws::Message::Continuation(_)) => close(context, CloseCode::Unsupported, "messages are one frame each"),
            Err(ProtocolError::Overflow) => close(context, CloseCode::Size, "frames have at most 64 KiB"),
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

fn say(context: &mut Context, message: &Value) {
    context.text(message.to_string());
}

fn close(context: &mut Context, code: CloseCode, why: &str) {
    let description = (!why.is_empty()).then(|| why.to_owned());
    context.close(Some(CloseReason { code, description }));
    context.stop();
}
