//! One-shot channels to callers that wait for a router, as values that its decisions can hold.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Where the result of one request goes.
#[derive(Debug)]
pub struct ReplyTo<T>(oneshot::Sender<T>);

/// The future result of one request. It fails if the router ended before.
pub type Awaited<T> = oneshot::Receiver<T>;

impl<T> ReplyTo<T> {
    pub fn channel() -> (Self, Awaited<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Sends the result. A caller that has gone needs none, so this never fails.
    pub fn send(self, result: T) {
        let _ = self.0.send(result);
    }

    /// Whether the caller has stopped waiting.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

/// A client's share of the limit on messages that are on their way to the journal: one message, and its KiB. Dropping
/// it gives the share back.
#[derive(Debug)]
pub struct InFlight {
    pub message: OwnedSemaphorePermit,
    pub kib: OwnedSemaphorePermit,
}
