//! Shares of a mailbox, as values. A share is given back when its value is dropped.

use std::sync::Arc;

use super::Mailbox;

/// What a message occupies in a mailbox, from its admission until its turn has been recorded.
#[derive(Debug)]
pub enum Reservation {
    Room(Room),
    ReplySlot(ReplySlot),
}

/// A message's share of the capacity: one message, and its bytes.
#[derive(Debug)]
pub struct Room {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut inner = self.mailbox.inner.lock();
        inner.used_messages -= 1;
        inner.used_bytes -= self.bytes;
    }
}

/// The right of one reply to enter beside the capacity. A question holds it until its reply comes.
#[derive(Debug)]
pub struct ReplySlot {
    pub(super) mailbox: Arc<Mailbox>,
}

impl Drop for ReplySlot {
    fn drop(&mut self) {
        self.mailbox.inner.lock().reply_slots += 1;
    }
}
