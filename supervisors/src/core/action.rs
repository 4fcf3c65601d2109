//! The results of decisions: actions for the shell to carry out, and reasons to refuse a command.

use std::time::Duration;

use super::child::ChildId;
use crate::exit::ExitReason;
use crate::note::Note;

/// What the shell has to do. The number after the id of a child is its incarnation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start this incarnation of the child.
    Start(ChildId, u64),
    /// Stop the child as its specification says, or abort its start.
    Stop(ChildId, u64),
    /// Kill the child.
    Kill(ChildId, u64),
    /// Call `on_timer` with this token after this delay.
    SetTimer(ChildId, u64, Duration),
    /// Cancel the timer of the child.
    CancelTimer(ChildId),
    /// Publish an event of a child.
    Emit(ChildId, Note),
    /// Publish an event of the supervisor itself.
    EmitSelf(Note),
    /// Call the `on_give_up` function of the child, which has ended and is not restarted.
    GiveUp(ChildId, ExitReason),
    /// Remove the specification of the child.
    Forget(ChildId),
    /// Restore the specification that the child had before it was replaced.
    Revert(ChildId),
    /// Answer the commands that wait for this child.
    Settled(ChildId, Outcome),
    /// Count a restart in the metrics, with the label of its exit reason.
    Count(&'static str),
    /// Report that all children have started for the first time.
    Ready,
    /// End the supervisor.
    Exit(Exit),
}

/// The result of a command on a child.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The child is running.
    Running,
    StartFailed(ExitReason),
    /// The new specification did not start, for this reason, and the old one is restored.
    Reverted(ExitReason),
    /// The child is down and keeps its specification.
    Stopped,
    /// The child is down and its specification is removed.
    Gone,
}

/// Why the core ends the supervisor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Exit {
    /// This child exceeded the restart intensity when it ended for this reason.
    Meltdown(ChildId, ExitReason),
    /// A declared child did not start for the first time.
    StartFailed(ExitReason),
    /// This significant child ended for this reason.
    AutoShutdown(ChildId, ExitReason),
}

/// Why the core refuses a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A child with this id exists and is down.
    AlreadyPresent,
    /// A child with this id is running or about to run.
    AlreadyStarted,
    MaxChildren,
    NotFound,
    Gone,
}
