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

mod connection;
mod limits;
mod progress;
mod subscription;

pub(super) use self::connection::connect;
