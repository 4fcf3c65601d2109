//! Limits of REST and gRPC.

use std::time::Duration;

use crate::config::Config;

/// What the configuration says of a front.
#[derive(Clone, Copy, Debug)]
pub struct Front {
    /// Open connections.
    pub connections: usize,
    /// The time until the first bytes of a connection.
    pub handshake: Duration,
    /// The time of a connection without a request.
    pub idle: Duration,
    /// The time for the body of a request to arrive.
    pub body: Duration,
    /// The time that requests in progress have when the server stops. It is a part of `shutdown`, because the agents need the rest.
    pub drain: Duration,
}

/// The part of `shutdown` that requests in progress have: one in so many.
const DRAIN_SHARE: u32 = 4;

impl Front {
    /// The limits of REST with so many connections.
    pub fn rest(config: &Config, connections: usize) -> Self {
        let limits = &config.limits;
        Self {
            connections,
            handshake: limits.handshake_time.0,
            idle: limits.rest_idle_time.0,
            body: limits.body_time.0,
            drain: config.shutdown.0 / DRAIN_SHARE,
        }
    }

    /// The limits of gRPC with so many connections.
    pub fn grpc(config: &Config, connections: usize) -> Self {
        Self {
            idle: config.limits.grpc_idle_time.0,
            ..Self::rest(config, connections)
        }
    }

    /// Of the connections, so many may be WebSockets.
    pub const fn websockets(&self) -> usize {
        self.connections.div_ceil(2)
    }
}

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
/// How long a client may leave sent bytes unread before its connection is cut (on Linux).
pub const STALL: Duration = Duration::from_secs(45);
/// How long a closing connection waits for the client to close too, so that the client can read the last response.
pub const LINGER: Duration = Duration::from_secs(2);
/// The most agents or messages of one page.
pub const PAGE: usize = 1_000;
/// The most agents or messages of a page without a `limit` in its request.
pub const DEFAULT_PAGE: usize = 50;
/// The longest time that a caller may wait for a reply.
pub const REPLY_WAIT: Duration = Duration::from_mins(5);
/// The time that a caller waits by default.
pub const DEFAULT_REPLY_WAIT: Duration = Duration::from_secs(30);
