//! Limits of REST and gRPC.

use std::time::Duration;

/// Bytes of a request with one message: the largest content in base64 or with escapes, and the parameters.
pub const MESSAGE_BODY_BYTES: usize = 6 << 20;
/// Bytes of a deploy's `config`.
pub const CONFIG_BYTES: usize = 256 << 10;
/// Bytes that framing (multipart boundaries, JSON members, protobuf tags) may add to a deploy.
pub const FRAMING_BYTES: usize = 64 << 10;
/// Bytes of the metadata of a gRPC call, as HTTP/2 counts them.
pub const METADATA_BYTES: usize = 16 << 10;
/// Bytes of metadata from which on HTTP/2 itself refuses the call. It has no words for that, so it comes far behind the limit.
pub const MOST_METADATA_BYTES: u32 = 256 << 10;
/// Bytes of any other request.
pub const SMALL_BODY_BYTES: usize = 64 << 10;
/// Deploys of one interface whose bodies are in memory at a time. The bodies of others are not read until there is a permit.
pub const UPLOADS: usize = 8;
/// Time for a request's body to arrive.
pub const BODY_TIME: Duration = Duration::from_mins(5);
/// Connections of one REST worker.
pub const CONNECTIONS: usize = 4_096;
/// How long a client may leave sent bytes unread before its connection is cut (on Linux).
pub const STALL: Duration = Duration::from_secs(45);
/// How long a closing connection waits for the client to close too, so that the client can read the last response.
pub const LINGER: Duration = Duration::from_secs(2);
/// How long a stopping server waits for requests in flight.
pub const DRAIN: Duration = Duration::from_secs(10);
/// The most agents or messages of one page.
pub const PAGE: usize = 1_000;
/// The most agents or messages of a page without a `limit` in its request.
pub const DEFAULT_PAGE: usize = 50;
/// The longest time that a caller may wait for a reply.
pub const REPLY_WAIT: Duration = Duration::from_mins(5);
/// The time that a caller waits by default.
pub const DEFAULT_REPLY_WAIT: Duration = Duration::from_secs(30);
