//! The ways back to those who wait for a router, as values that its decisions can hold.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Where the result of one request goes.
#[derive(Debug)]
pub struct ReplyTo<T>(oneshot::Sender<T>);

/// The result of one request, when it comes. It fails when the router ended before.
pub type Awaited<T> = oneshot::Receiver<T>;

impl<T> ReplyTo<T> {
    pub fn channel() -> (Self, Awaited<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// A caller that has gone needs no result.
    pub fn send(self, result: T) {
        let _ = self.0.send(result);
    }

    /// Whether nobody waits any more.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

/// A client's share of what may be on its way to the journal: a message, and its KiB. Dropped, it is given back.
#[derive(Debug)]
pub struct InFlight {
    pub message: OwnedSemaphorePermit,
    pub kib: OwnedSemaphorePermit,
}
