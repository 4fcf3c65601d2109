//! The WebSocket: sends events of the node to clients that subscribe.
//!
//! Purpose: an actor for each connection. Owner: the HTTP server, on which REST is too.
//! Invariant: a slow client needs no memory. Its actor is polled only while the socket accepts more. Events that the client has
//! not read stay in the node's broadcast, which is bounded; the client gets `lagged` for the events that it missed.
//!
//! The server first sends `{"type":"hello","heartbeat_interval_seconds","seq"}`. A client that subscribes at once gets every event
//! after `seq`. Then the server sends answers and events:
//!
//! | the client sends | the answer |
//! |---|---|
//! | `{"type":"subscribe","filter":{"agents","performatives"}}` | `{"type":"subscribed","subscription_id"}` |
//! | `{"type":"subscribe","events":[globs],"filters":{"agent_ids"}}` | the same; both forms can be combined, by AND |
//! | either with `"content":true` | the same; each event `message.sent` then has the `content` of the message, as it was written |
//! | either with `"since_seq":n` | the same, then all durable events after n, and then new events |
//! | `{"type":"unsubscribe","subscription_id"}` | `{"type":"unsubscribed","subscription_id"}` |
//! | `{"type":"ping"}` | `{"type":"pong"}` |
//!
//! The answer to a wrong message is `{"type":"error","error":{…}}`, and the connection stays open. An event is sent once, with the
//! `subscription_ids` that it matches. `{"type":"lagged","dropped":n}` means that the client missed n events.
//!
//! A client that reconnects subscribes with the last `seq` that it has seen, and misses nothing: the server reads the events since
//! then from the journal, each once and in order, and later also those for which the client is too slow. `{"type":"gap","from","to"}`
//! means that the journal no longer has the events from `from` to `to`, both included.
//!
//! | close code | meaning |
//! |---|---|
//! | 1000 | the client closed |
//! | 1001 | the server is stopping |
//! | 1011 | the events after `since_seq` cannot be read |
//! | 1002 | a frame is broken |
//! | 1003 | a message is not text |
//! | 1007 | a message is not UTF-8 |
//! | 1009 | a message is larger than [`limits::MESSAGE_BYTES`], in one frame or in fragments |
//! | 4008 | [`limits::MISSED_HEARTBEATS`] pings in a row got no pong |

pub(super) mod connection;
mod fragments;
mod limits;
mod progress;
mod subscription;
