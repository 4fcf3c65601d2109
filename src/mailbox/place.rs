//! Shares of a mailbox, as values: dropping one gives it back.

use std::sync::Arc;

use super::Mailbox;

/// A share of a mailbox.
#[derive(Debug)]
pub enum Place {
    Room(Room),
    Ticket(Ticket),
}

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

/// The right of one answer to enter. Held by the question until the answer comes.
#[derive(Debug)]
pub struct Ticket {
    pub(super) mailbox: Arc<Mailbox>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.mailbox.inner.lock().tickets += 1;
    }
}
