//! The stop of a front, which everything in progress hears of.
//!
//! When the stop begins, nothing new is taken. What waits for something that may never come (a reply, the next event) is answered at
//! once. Requests that are worked on have a part of the time that the whole server has for its stop: the rest is for the agents.

use std::time::Duration;

use tokio::sync::watch;

use crate::error::Error;
use crate::node::Node;

/// Whether and since when a front stops: the whole node, or this front alone before it is started again.
#[derive(Clone, Debug)]
pub(super) struct Stopping {
    node: watch::Receiver<bool>,
    front: watch::Receiver<bool>,
    drain: Duration,
}

impl Stopping {
    /// `front` is true when the front alone stops, or its sender is dropped.
    pub(super) fn new(node: &Node, front: watch::Receiver<bool>, drain: Duration) -> Self {
        Self {
            node: node.stopping(),
            front,
            drain,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        *self.node.borrow() || *self.front.borrow()
    }

    /// Resolves when the stop begins.
    pub(super) async fn begun(&self) {
        let (mut node, mut front) = (self.node.clone(), self.front.clone());
        // An error means that the sender is gone, and what it stops with it.
        tokio::select! {
            _ = node.wait_for(|stops| *stops) => {}
            _ = front.wait_for(|stops| *stops) => {}
        }
    }

    /// Resolves when requests in progress have had their time.
    pub(super) async fn overdue(&self) {
        self.begun().await;
        tokio::time::sleep(self.drain).await;
    }

    /// Resolves when the front itself is told to stop.
    pub(super) async fn front(&self) {
        let _ = self.front.clone().wait_for(|stops| *stops).await;
    }
}

/// The answer to what is cut off, and to what is new.
pub(super) fn unavailable() -> Error {
    Error::Unavailable {
        reason: "the server is stopping".to_owned(),
        retry_after: Duration::from_secs(1),
    }
}
