//! What others see of a mailbox.

use std::time::Duration;

use super::Mailbox;
use crate::id::Seq;

impl Mailbox {
    /// Messages queued or in hand.
    pub fn depth(&self) -> usize {
        let inner = self.inner.lock();
        inner.queue.len() + usize::from(inner.in_hand.is_some())
    }

    /// Whether anything that came with record `seq` or before is queued or in hand.
    pub fn has_any_by(&self, seq: Seq) -> bool {
        let inner = self.inner.lock();
        let in_hand = inner.in_hand.as_ref().map(|(_, _, seq)| *seq);
        let oldest = in_hand.or_else(|| inner.queue.front().map(|next| next.seq));
        oldest.is_some_and(|oldest| oldest <= seq)
    }

    /// How long the oldest queued message has waited.
    pub fn oldest(&self) -> Duration {
        self.inner
            .lock()
            .queue
            .front()
            .map_or(Duration::ZERO, |delivery| delivery.admitted.elapsed())
    }

    /// Whether it gives out nothing because the disk is full; see [`Self::hold`].
    pub fn is_held(&self) -> bool {
        self.inner.lock().paused.held
    }
}
