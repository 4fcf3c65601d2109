//! What happens in a tree, in order.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::exit::ExitReason;
use crate::note::{EventKind, Note};

/// Events kept for a reader that falls behind; one that falls further is told how many it lost.
pub const EVENT_CAPACITY: usize = 4_096;

/// One thing that happened in a tree.
#[derive(Debug, Clone)]
pub struct Event {
    /// 1 for the tree's first event, one more for each that follows.
    pub seq: u64,
    /// When it happened.
    pub at: SystemTime,
    /// The child's path, such as `node/core/journal`.
    pub path: String,
    /// What happened.
    pub kind: EventKind,
    /// Which incarnation of the child it happened to.
    pub incarnation: u64,
    /// Why.
    pub reason: Option<ExitReason>,
    /// Which restart within the period this is.
    pub attempt: Option<u32>,
    /// How many the budget allows.
    pub limit: Option<u32>,
    /// How long the next restart waits.
    pub delay: Option<Duration>,
    /// How long it took from the exit to running again.
    pub recovery: Option<Duration>,
}

/// The reader was too slow and lost this many events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// This many events were dropped before the next.
    #[error("{0} events were dropped")]
    Lagged(u64),
    /// The tree is gone.
    #[error("the tree is gone")]
    Closed,
}

/// A reader of a tree's events, from the moment it subscribed.
#[derive(Debug)]
pub struct EventStream(broadcast::Receiver<Event>);

impl EventStream {
    /// The next event. A reader that fell behind gets [`EventError::Lagged`] once and then the oldest event still kept.
    pub async fn recv(&mut self) -> Result<Event, EventError> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(lost) => EventError::Lagged(lost),
            broadcast::error::RecvError::Closed => EventError::Closed,
        })
    }
}

/// The tree's one sequence of events.
#[derive(Debug, Clone)]
pub(crate) struct Bus {
    sender: broadcast::Sender<Event>,
    /// Held while sending, so that sequence numbers arrive in order.
    seq: Arc<Mutex<u64>>,
}

impl Bus {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(EVENT_CAPACITY),
            seq: Arc::default(),
        }
    }

    pub(crate) fn subscribe(&self) -> EventStream {
        EventStream(self.sender.subscribe())
    }

    pub(crate) fn publish(&self, path: String, note: Note) {
        log(&path, &note);
        let mut seq = self.seq.lock();
        *seq += 1;
        let event = Event {
            seq: *seq,
            at: SystemTime::now(),
            path,
            kind: note.kind,
            incarnation: note.incarnation,
            reason: note.reason,
            attempt: note.attempt,
            limit: note.limit,
            delay: note.delay,
            recovery: note.recovery,
        };
        // Nobody listening is the usual case, and no error.
        let _ = self.sender.send(event);
    }
}

/// Crashes of children are daily work; what ends or gives up a part of the tree is not.
fn log(path: &str, note: &Note) {
    let (kind, incarnation) = (note.kind.name(), note.incarnation);
    let reason = note.reason.as_ref().map(ToString::to_string);
    match note.kind {
        EventKind::Meltdown | EventKind::Zombie => tracing::error!(path, kind, incarnation, reason, "supervision"),
        EventKind::ChildFailed | EventKind::GroupRestart | EventKind::StartFailed => {
            tracing::warn!(path, kind, incarnation, reason, "supervision");
        }
        EventKind::ChildStarted
        | EventKind::ChildExited
        | EventKind::Backoff
        | EventKind::Restarted
        | EventKind::ChildTerminated
        | EventKind::Suspended
        | EventKind::Resumed
        | EventKind::Replaced
        | EventKind::AutoShutdown => tracing::debug!(path, kind, incarnation, reason, "supervision"),
    }
}
