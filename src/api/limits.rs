//! Limits of the edges, the same on each of them.

use std::time::Duration;

/// Bytes of a request that carries one message: its content at the most, in base64 or escaped, and its parameters.
pub const MESSAGE_BODY_BYTES: usize = 6 << 20;
/// Bytes of a deploy's `config`.
pub const CONFIG_BYTES: usize = 256 << 10;
/// Bytes that framing (multipart boundaries, JSON members, protobuf tags) may add to a deploy.
pub const FRAMING_BYTES: usize = 64 << 10;
/// Bytes of any other request.
pub const SMALL_BODY_BYTES: usize = 64 << 10;
/// Deploys whose bodies are in memory at once on one interface. Others wait before their bodies are read.
pub const UPLOADS: usize = 8;
/// Time for a request's body to arrive.
pub const BODY_TIME: Duration = Duration::from_mins(5);
/// Connections of one REST worker.
pub const CONNECTIONS: usize = 4_096;
/// How long a client may leave what it was sent unread, before its connection is cut (on Linux).
pub const STALL: Duration = Duration::from_secs(45);
/// How long a connection that is being closed waits for its client to do the same, so that the last answer is read.
pub const LINGER: Duration = Duration::from_secs(2);
/// How long a stopping server waits for the requests in flight.
pub const DRAIN: Duration = Duration::from_secs(10);
/// Agents or messages of one page.
pub const PAGE: usize = 1_000;
/// Agents or messages of a page whose request names no limit.
pub const DEFAULT_PAGE: usize = 50;
/// How long a caller may wait for a reply.
pub const REPLY_WAIT: Duration = Duration::from_mins(5);
/// How long a caller waits who does not say.
pub const DEFAULT_REPLY_WAIT: Duration = Duration::from_secs(30);
