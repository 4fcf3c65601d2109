//! One connection: an actor that lives and dies with it.
//!
//! Who resumes is sent events that the journal has before those that happen. The connection has one small piece of the journal
//! in memory at a time; the next piece is read when the socket takes more.

use std::sync::Arc;

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, StreamHandler, WrapFuture as _};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::{self, CloseCode, CloseReason, ProtocolError, WebsocketContext};
use serde_json::{Value, json};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::limits;
use super::progress::{Next, Progress};
use super::subscription::{Asked, Filter, Subscriptions};
use crate::api::http::Front;
use crate::api::http::edge::trace;
use crate::api::http::failure::Failure;
use crate::api::trace::Trace;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::id::Seq;
use crate::node::Replayed;

/// The close code of a connection whose client no longer answers.
const HEARTBEAT_LOST: u16 = 4008;

/// `GET /ws`: upgrades the connection. The raw request is taken because the handshake is in its head and its payload.
pub(crate) async fn connect(
    front: web::Data<Front>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    let connection = Connection {
        front,
        trace: trace(&request),
        subscriptions: Subscriptions::default(),
        progress: Progress::default(),
        unanswered: 0,
    };
    ws::WsResponseBuilder::new(connection, &request, payload)
        .frame_size(limits::FRAME_BYTES)
        .start()
        .map_err(|error| Failure::from(Error::invalid("upgrade", format!("is no WebSocket handshake: {error}"))))
}

struct Connection {
    front: web::Data<Front>,
    trace: Trace,
    subscriptions: Subscriptions,
    progress: Progress,
    /// Pings since the client was last heard.
    unanswered: u32,
}

type Context = WebsocketContext<Connection>;

impl Actor for Connection {
    type Context = Context;

    fn started(&mut self, context: &mut Context) {
        // Subscribed before `hello`: whoever has read it misses nothing that happens later.
        context.add_stream(BroadcastStream::new(self.front.node.events()));
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
        let mut stopping = self.front.stopping.clone();
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
                let (front, since) = (self.front.clone(), wanted.since());
                let resolving = async move {
                    let node = &front.node;
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

    fn subscribe(&mut self, filter: Filter, since: Option<Seq>, context: &mut Context) -> Result<()> {
        let durable = self.front.node.durable();
        if since.is_some_and(|since| since > durable) {
            let mend = format!("is after the last event, which has {durable}; was it another server's?");
            return Err(Error::invalid("since_seq", mend));
        }
        // What was told is told to the new subscription alone.
        self.subscriptions.told(self.progress.told());
        let id = self.subscriptions.add(filter, since.unwrap_or(self.progress.live()))?;
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

    /// Tells the subscriptions of what came after `since` and they were not told of.
    fn read_from(&mut self, since: Seq, context: &mut Context) {
        if self.progress.go_back(since) {
            self.read(Next::Piece, context);
        }
    }

    fn read(&mut self, what: Next, context: &mut Context) {
        let (front, after) = (self.front.clone(), self.progress.told());
        let reading = async move { front.node.events_after(after, limits::REPLAY_BATCHES).await };
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
        if next != Next::Again {
            if let Some(first) = read.gap_before {
                let gap = json!({"type": "gap", "from": after.0 + 1, "to": first.0 - 1});
                say(context, &gap);
            }
            for event in &read.events {
                self.tell(event, context);
            }
        }
        if next != Next::Live {
            self.read(next, context);
        }
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
                    self.tell(&event, context);
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
