//! What a supervisor's actor receives: the reports of its tasks, and commands.

use ractor::ActorCell;
use tokio::sync::oneshot;

use crate::core::ChildId;
use crate::error::StartChildError;
use crate::position::Ended;
use crate::spec::ChildSpec;

pub(crate) type RunReply = oneshot::Sender<Result<ActorCell, StartChildError>>;
pub(crate) type DoneReply = oneshot::Sender<Result<(), StartChildError>>;

pub(crate) enum Msg {
    /// A start has ended; its result is in the child's slot.
    StartDone(ChildId, u64),
    StopDone(ChildId, u64, Ended),
    /// A child turned out to be gone without an event.
    Lost(ChildId, u64),
    HeartbeatLost(ChildId, u64),
    Due(ChildId, u64),
    /// Restarts have left the window since.
    WindowMoved,
    /// The specification or the budget is not what it was.
    Changed,
    StartChild(Box<ChildSpec>, RunReply),
    Terminate(ChildId, DoneReply),
    Restart(ChildId, RunReply),
    Delete(ChildId, DoneReply),
    Suspend(ChildId, DoneReply),
    Resume(ChildId, DoneReply),
    Replace(Box<ChildSpec>, DoneReply),
}
