//! What happens to a child or a supervisor, as the decision core knows it: without path, sequence number and time.

use std::time::Duration;

use crate::exit::ExitReason;

/// What happened to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Its first incarnation runs.
    ChildStarted,
    /// It ended by itself.
    ChildExited,
    /// An incarnation could not start.
    StartFailed,
    /// It waits before its next restart.
    Backoff,
    /// It and its siblings are stopped to be started again.
    GroupRestart,
    /// A later incarnation runs.
    Restarted,
    /// Its budget is spent; it stays down until told to restart.
    ChildFailed,
    /// It was stopped on purpose.
    ChildTerminated,
    /// It could not be killed in time and was left behind.
    Zombie,
    /// Its supervisor restarts too often and ends. The path is the supervisor's.
    Meltdown,
    /// Its exits are not followed by a start until it is resumed.
    Suspended,
    /// It is supervised as before.
    Resumed,
    /// An incarnation by its new spec runs.
    Replaced,
    /// A significant child has ended, and its supervisor follows. The path is the supervisor's.
    AutoShutdown,
}

impl EventKind {
    /// The name in `snake_case`.
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

/// An event without its place and time: what the decision core knows of it.
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
