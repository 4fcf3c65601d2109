//! What the core answers: the actions that its shell carries out, and why a command is refused.

use std::time::Duration;

use super::child::ChildId;
use crate::exit::ExitReason;
use crate::note::Note;

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start this incarnation.
    Start(ChildId, u64),
    /// Stop it as its spec says, or give up its start.
    Stop(ChildId, u64),
    /// Kill it.
    Kill(ChildId, u64),
    /// Call `on_timer` with this token after a while.
    SetTimer(ChildId, u64, Duration),
    CancelTimer(ChildId),
    /// Tell what happened to a child.
    Emit(ChildId, Note),
    /// Tell what happened to the supervisor itself.
    EmitSelf(Note),
    /// Tell the child's owner that it will not come back by itself.
    GiveUp(ChildId, ExitReason),
    /// The child and its spec are no more.
    Forget(ChildId),
    /// Put back the spec it had before the last replacement.
    Revert(ChildId),
    /// What was asked of this child is done.
    Settled(ChildId, Outcome),
    /// A restart was decided, for this reason.
    Count(&'static str),
    /// All children have started.
    Ready,
    /// End the supervisor.
    Exit(Exit),
}

/// How a command on a child ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Running,
    StartFailed(ExitReason),
    /// It runs, or rests, by its old spec: the new one did not start.
    Reverted(ExitReason),
    Stopped,
    Gone,
}

/// Why a supervisor ends by its own decision.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Exit {
    Meltdown(ChildId, ExitReason),
    StartFailed(ExitReason),
    AutoShutdown,
}

/// Why a child is not added, or not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    AlreadyPresent,
    AlreadyStarted,
    MaxChildren,
    NotFound,
    Gone,
}
