//! Limits of one connection.

use std::time::Duration;

/// Bytes of a frame from a client.
pub(super) const FRAME_BYTES: usize = 64 << 10;
pub(super) const SUBSCRIPTIONS: usize = 64;
/// Batches of the journal that are read at once for a connection that resumes.
pub(super) const REPLAY_BATCHES: usize = 64;
/// Values of one field of a subscription.
pub(super) const VALUES: usize = 256;
/// How often a connection is pinged.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pings without a pong after which a connection counts as dead.
pub(super) const MISSED_HEARTBEATS: u32 = 2;
