//! The state of a supervisor's actor.

use std::collections::HashMap;
use std::sync::Arc;

use ractor::ActorId;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::core::{ChildId, Exit};
use crate::error::StartChildError;
use crate::exit::ExitReason;
use crate::message::{DoneReply, RunReply};
use crate::position::Position;
use crate::scope::Scope;

pub(crate) struct State {
    pub(super) position: Arc<Position>,
    pub(super) path: String,
    /// The scope of the children, not of the supervisor itself.
    pub(super) scope: Scope,
    /// Tells the starter of the supervisor that all children have started, or that one did not.
    pub(super) ready: Option<oneshot::Sender<Result<(), ExitReason>>>,
    /// The running children, by their actors.
    pub(super) by_actor: HashMap<ActorId, (ChildId, u64)>,
    /// The number of starts that are not reported yet.
    pub(super) starting: usize,
    /// Exits of unknown actors while starts are not reported: a child can end before its start is reported.
    pub(super) early: HashMap<ActorId, ExitReason>,
    pub(super) timers: HashMap<ChildId, AbortHandle>,
    pub(super) waiters: HashMap<ChildId, Vec<Waiter>>,
    pub(super) window_timer: Option<AbortHandle>,
    /// Why the core has ended the supervisor.
    pub(super) exit: Option<Exit>,
}

impl Drop for State {
    fn drop(&mut self) {
        for timer in self.timers.values().chain(&self.window_timer) {
            timer.abort();
        }
    }
}

/// A command that waits for its result.
pub(super) enum Waiter {
    /// Waits until the child is running.
    Run(RunReply),
    /// Waits until the incarnation that the command stops has ended.
    Done(DoneReply),
    /// Waits until the child is running by its new specification.
    Replace(DoneReply),
}

impl Waiter {
    pub(super) fn refuse(self, error: StartChildError) {
        match self {
            Self::Run(reply) => drop(reply.send(Err(error))),
            Self::Done(reply) | Self::Replace(reply) => drop(reply.send(Err(error))),
        }
    }
}
