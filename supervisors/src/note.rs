//! Events as the decision core reports them: without path, sequence number and time.

use std::time::Duration;

use crate::exit::ExitReason;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The first incarnation of the child is running.
    ChildStarted,
    /// The child ended by itself, was stopped or killed by somebody other than its supervisor, or was killed because its
    /// heartbeat was lost.
    ChildExited,
    /// An incarnation of the child did not start.
    StartFailed,
    /// The child waits before its next restart.
    Backoff,
    /// A group restart begins: the child has ended, and siblings are stopped and started again with it.
    GroupRestart,
    /// A later incarnation of the child is running.
    Restarted,
    /// The child of a dynamic supervisor has exceeded its restart intensity. It stays down until it is restarted by command.
    ChildFailed,
    /// The supervisor has stopped the child.
    ChildTerminated,
    /// The child was still running [`KILL_WAIT`](crate::KILL_WAIT) after it was killed, and was left behind.
    Zombie,
    /// A supervisor has exceeded its restart intensity and ends. The path of the event is that of the supervisor.
    Meltdown,
    /// The child is suspended: until it is resumed, no exit of it is followed by a start.
    Suspended,
    /// The child is no longer suspended.
    Resumed,
    /// An incarnation of the child by its new specification is running.
    Replaced,
    /// A supervisor ends because significant children have ended. The path of the event is that of the supervisor.
    AutoShutdown,
}

impl EventKind {
    /// The name of the kind in `snake_case`, as it is serialized.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChildStarted => "child_started",
            Self::ChildExited => "child_exited",
            Self::StartFailed => "start_failed",
            Self::Backoff => "backoff",
            Self::GroupRestart => "group_restart",
            Self::Restarted => "restarted",
            Self::ChildFailed => "child_failed",
            Self::ChildTerminated => "child_terminated",
            Self::Zombie => "zombie",
            Self::Meltdown => "meltdown",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::Replaced => "replaced",
            Self::AutoShutdown => "auto_shutdown",
        }
    }
}

/// An event without its path, sequence number and time. The fields are those of [`Event`](crate::Event).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Note {
    pub(crate) kind: EventKind,
    pub(crate) incarnation: u64,
    pub(crate) reason: Option<ExitReason>,
    pub(crate) attempt: Option<u32>,
    pub(crate) limit: Option<u32>,
    pub(crate) delay: Option<Duration>,
    pub(crate) recovery: Option<Duration>,
}

impl Note {
    pub(crate) fn new(kind: EventKind, incarnation: u64) -> Self {
        Self {
            kind,
            incarnation,
            reason: None,
            attempt: None,
            limit: None,
            delay: None,
            recovery: None,
        }
    }

    pub(crate) fn because(mut self, reason: ExitReason) -> Self {
        self.reason = Some(reason);
        self
    }

    pub(crate) fn attempt(mut self, attempt: u32, limit: u32) -> Self {
        self.attempt = Some(attempt);
        self.limit = Some(limit);
        self
    }
}
