//! Shares of a mailbox, as values: dropping one gives it back.

use std::sync::Arc;

use super::Mailbox;

/// What a message occupies of a mailbox, from its admission until its turn has been recorded.
#[derive(Debug)]
pub enum Reservation {
    Room(Room),
    ReplySlot(ReplySlot),
}

/// One message and its bytes of the mailbox's capacity.
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

/// The right of one reply to enter, apart from the capacity. The question holds it until its reply comes.
#[derive(Debug)]
pub struct ReplySlot {
    pub(super) mailbox: Arc<Mailbox>,
}

impl Drop for ReplySlot {
    fn drop(&mut self) {
        self.mailbox.inner.lock().reply_slots += 1;
    }
}
