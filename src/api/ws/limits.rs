//! Limits of one connection.

use std::time::Duration;

/// Bytes of a message from a client, in one frame or in fragments.
pub(super) const MESSAGE_BYTES: usize = 64 << 10;
pub(super) const SUBSCRIPTIONS: usize = 64;
/// Batches of the journal that a resuming connection reads at a time.
pub(super) const REPLAY_BATCHES: usize = 64;
/// Values of one field of a subscription.
pub(super) const VALUES: usize = 256;
/// How often a connection is pinged.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pings without a pong after which a connection is closed.
pub(super) const MISSED_HEARTBEATS: u32 = 2;
