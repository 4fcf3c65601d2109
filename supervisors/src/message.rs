//! The messages to the actor of a supervisor: reports of its own tasks, and commands from handles.

use ractor::ActorCell;
use tokio::sync::oneshot;

use crate::core::ChildId;
use crate::error::StartChildError;
use crate::position::Ended;
use crate::spec::ChildSpec;

/// The answer to a command after which the child is running.
pub(crate) type RunReply = oneshot::Sender<Result<ActorCell, StartChildError>>;
/// The answer to any other command.
pub(crate) type DoneReply = oneshot::Sender<Result<(), StartChildError>>;

pub(crate) enum Msg {
    /// A start has ended. Its result is in the start slot of the child.
    StartDone(ChildId, u64),
    /// A stop or kill has ended.
    StopDone(ChildId, u64, Ended),
    /// A child has ended, possibly without an event.
    Lost(ChildId, u64),
    HeartbeatLost(ChildId, u64),
    /// The backoff timer with this token has fired.
    Due(ChildId, u64),
    /// Restarts have left the sliding window, so the metrics have changed.
    WindowMoved,
    /// A handle has changed the rules or the restart counts in the core, so the metrics have changed.
    Changed,
    StartChild(Box<ChildSpec>, RunReply),
    Terminate(ChildId, DoneReply),
    Restart(ChildId, RunReply),
    Delete(ChildId, DoneReply),
    Suspend(ChildId, DoneReply),
    Resume(ChildId, DoneReply),
    Replace(Box<ChildSpec>, DoneReply),
}
