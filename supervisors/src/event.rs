//! The events of a tree, in one order, and their readers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::exit::ExitReason;
use crate::note::{EventKind, Note};

/// The number of events that are kept for a slow reader. A reader that falls further behind gets [`EventError::Lagged`].
pub const EVENT_CAPACITY: usize = 4_096;

/// Something that happened to a child or a supervisor of a tree.
#[derive(Debug, Clone)]
pub struct Event {
    /// The sequence number: 1 for the first event of the tree, and one more for each event that follows.
    pub seq: u64,
    /// When the event happened.
    pub at: SystemTime,
    /// The path of the child or supervisor, such as `node/core/journal`.
    pub path: String,
    /// What happened.
    pub kind: EventKind,
    /// The incarnation of the child to which the event happened, or 0 in events of the supervisor itself.
    pub incarnation: u64,
    /// The exit reason that led to the event.
    pub reason: Option<ExitReason>,
    /// The number of restarts within the period of the restart intensity, this one included.
    pub attempt: Option<u32>,
    /// The number of restarts that the restart intensity allows.
    pub limit: Option<u32>,
    /// The delay before the next restart.
    pub delay: Option<Duration>,
    /// The time from the exit until the child was running again.
    pub recovery: Option<Duration>,
}

/// Why [`EventStream::recv`] returns no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The reader was too slow and lost this many events. The next call returns the oldest event that is still kept.
    #[error("the reader was too slow and lost {0} events")]
    Lagged(u64),
    /// The tree has ended, and no more events follow.
    #[error("the supervision tree has ended")]
    Closed,
}

/// A reader of the events that a tree has published since the reader subscribed.
#[derive(Debug)]
pub struct EventStream(broadcast::Receiver<Event>);

impl EventStream {
    /// Waits for the next event. A reader that fell too far behind gets [`EventError::Lagged`] once, and then the oldest event
    /// that is still kept.
    pub async fn recv(&mut self) -> Result<Event, EventError> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(lost) => EventError::Lagged(lost),
            broadcast::error::RecvError::Closed => EventError::Closed,
        })
    }
}

/// The channel that puts all events of a tree into one sequence.
#[derive(Debug, Clone)]
pub(crate) struct Bus {
    sender: broadcast::Sender<Event>,
    /// The lock is held while an event is sent, so that sequence numbers arrive in order.
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
        // It is no error that nobody has subscribed.
        let _ = self.sender.send(event);
    }
}

/// Logs an event. Crashes of children and starts that fail are expected and logged as debug: whoever asked for a start gets its
/// error. What ends a part of the tree, or shows that it is in trouble, is logged as a warning or an error.
fn log(path: &str, note: &Note) {
    let (kind, incarnation) = (note.kind.name(), note.incarnation);
    let reason = note.reason.as_ref().map(ToString::to_string);
    match note.kind {
        EventKind::Meltdown | EventKind::Zombie => tracing::error!(path, kind, incarnation, reason, "supervision"),
        EventKind::ChildFailed | EventKind::GroupRestart => {
            tracing::warn!(path, kind, incarnation, reason, "supervision");
        }
        EventKind::ChildStarted
        | EventKind::StartFailed
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
