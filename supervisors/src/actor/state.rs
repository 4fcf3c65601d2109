//! What a supervisor's actor remembers between messages.

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
    /// The scope of the children.
    pub(super) scope: Scope,
    pub(super) ready: Option<oneshot::Sender<Result<(), ExitReason>>>,
    pub(super) by_actor: HashMap<ActorId, (ChildId, u64)>,
    /// Starts under way, and exits of actors not known yet: a child can end before its start is reported.
    pub(super) starting: usize,
    pub(super) early: HashMap<ActorId, ExitReason>,
    pub(super) timers: HashMap<ChildId, AbortHandle>,
    pub(super) waiters: HashMap<ChildId, Vec<Waiter>>,
    pub(super) window_timer: Option<AbortHandle>,
    pub(super) exit: Option<Exit>,
}

impl Drop for State {
    fn drop(&mut self) {
        for timer in self.timers.values().chain(&self.window_timer) {
            timer.abort();
        }
    }
}

/// Whoever waits for a child to be up, or down.
pub(super) enum Waiter {
    Run(RunReply),
    Done(DoneReply),
    /// Waits for its new spec to be used.
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
