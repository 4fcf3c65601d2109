//! What others see of a mailbox.

use std::time::{Duration, Instant};

use super::Mailbox;
use crate::id::Seq;
use crate::message::Address;

impl Mailbox {
    /// Messages queued or leased.
    pub fn depth(&self) -> usize {
        self.inner.lock().lanes.len()
    }

    /// Whether a message of `sender` that came with record `seq` or before is queued or leased.
    pub fn has_any_of(&self, sender: &Address, seq: Seq) -> bool {
        self.inner.lock().lanes.has_any_of(sender, seq)
    }

    /// Messages and bytes of the capacity that are occupied: by what is queued or leased, and by turns on their way to the journal.
    pub fn occupied(&self) -> (u32, u64) {
        let inner = self.inner.lock();
        (inner.used_messages, inner.used_bytes)
    }

    /// How long the oldest queued message has waited.
    pub fn oldest(&self, now: Instant) -> Duration {
        let inner = self.inner.lock();
        let waits = inner
            .lanes
            .waiting()
            .map(|delivery| now.saturating_duration_since(delivery.admitted));
        waits.max().unwrap_or_default()
    }

    /// Whether it leases nothing because the disk is full; see [`Self::hold`].
    pub fn is_held(&self) -> bool {
        self.inner.lock().paused.held
    }
}
