//! Handles to running supervisors.

use std::marker::PhantomData;
use std::sync::Arc;

use ractor::ActorCell;
use tokio::sync::oneshot;

use crate::core::{Child, State};
use crate::error::StartChildError;
use crate::message::Msg;
use crate::position::Position;
use crate::spec::{ChildSpec, Kind};

/// A child as `which_children` shows it.
#[derive(Debug, Clone)]
pub struct ChildInfo {
    /// Its id.
    pub id: String,
    /// `worker` or `supervisor`.
    pub kind: &'static str,
    /// `running`, `starting`, `backoff`, `restarting`, `failed`, `stopping`, `stopped` or `suspended`.
    pub state: &'static str,
    /// Of its latest start.
    pub incarnation: u64,
    /// The actor, when it runs.
    pub cell: Option<ActorCell>,
}

/// How many children there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChildCounts {
    /// All.
    pub specs: usize,
    /// Those that run, suspended or not.
    pub active: usize,
    /// Supervisors, running or not.
    pub supervisors: usize,
    /// Workers, running or not.
    pub workers: usize,
}

/// A handle to a supervisor, the same over its restarts. `K` is [`Supervisor`](crate::Supervisor) or [`Dynamic`](crate::Dynamic).
///
/// What commands add, exchange or take away lasts as long as the supervisor runs: its next incarnation begins with what was
/// declared and populated, as in OTP. How it was reconfigured lasts.
pub struct Handle<K> {
    pub(crate) position: Arc<Position>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Handle<K> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.position))
    }
}

impl<K> Handle<K> {
    pub(crate) fn new(position: Arc<Position>) -> Self {
        Self {
            position,
            kind: PhantomData,
        }
    }

    /// Adds a child after all others and starts it. A child whose first start fails is not kept, and is no restart.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<ActorCell, StartChildError> {
        self.ask(|reply| Msg::StartChild(Box::new(spec), reply)).await
    }

    /// Stops a child as its spec says, and keeps the spec unless it is temporary. Returns when the incarnation that was there
    /// is gone; a `restart` that comes meanwhile brings up the next.
    ///
    /// It stays down until `restart`, or until a sibling's exit restarts it with its group: a group begins with all its
    /// members, as in OTP. One that is terminated while its group restarts stays down.
    pub async fn terminate(&self, id: &str) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Terminate(id.into(), reply)).await
    }

    /// Starts a child anew, whatever its state: a running one is stopped first, a failed one revived. It is no restart, and
    /// restores the child's own budget and delays.
    ///
    /// When it does not start: under a supervisor with declared children one that was down stays down; any other is retried
    /// as after a failed restart.
    pub async fn restart(&self, id: &str) -> Result<ActorCell, StartChildError> {
        self.ask(|reply| Msg::Restart(id.into(), reply)).await
    }

    /// Stops a child and forgets its spec. Returns when it is gone.
    pub async fn delete(&self, id: &str) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Delete(id.into(), reply)).await
    }

    /// Leaves a child alone: from now on its exits are followed by no start, not even with its siblings, until `resume`. A
    /// supervisor that is itself restarted forgets this.
    pub async fn suspend(&self, id: &str) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Suspend(id.into(), reply)).await
    }

    /// Ends what `suspend` began. An exit that came meanwhile is decided now, under the rules and the budget of now.
    pub async fn resume(&self, id: &str) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Resume(id.into(), reply)).await
    }

    /// Gives the child of this id another spec and an incarnation that goes by it, in its old place: the running one is
    /// stopped by its own spec, then the new one is started. It is no restart. Returns when the new one runs; for a child
    /// that is down, and stays so, at once.
    ///
    /// When the new one does not start, the old spec is put back and started, and the error says why once that runs.
    pub async fn replace(&self, spec: ChildSpec) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Replace(Box::new(spec), reply)).await
    }

    /// The actor of a child that runs.
    pub fn child(&self, id: &str) -> Option<ActorCell> {
        self.position.cell_of(id)
    }

    /// All children, in the order they were added, whatever their state.
    pub fn which_children(&self) -> Vec<ChildInfo> {
        let inner = self.position.inner.lock();
        let info = |(id, child): (&Arc<str>, &Child)| ChildInfo {
            id: id.to_string(),
            kind: inner.kind_of(id),
            state: child.state_name(),
            incarnation: child.incarnation,
            cell: inner.running(id),
        };
        inner.core.children().iter().map(info).collect()
    }

    /// How many children there are.
    pub fn count_children(&self) -> ChildCounts {
        let inner = self.position.inner.lock();
        let supervisor = |spec: &&Arc<ChildSpec>| matches!(spec.kind, Kind::Supervisor(_));
        let running = |child: &&Child| matches!(child.state, State::Running { .. });
        let specs = inner.specs.len();
        let supervisors = inner.specs.values().filter(supervisor).count();
        ChildCounts {
            specs,
            active: inner.core.children().values().filter(running).count(),
            supervisors,
            workers: specs - supervisors,
        }
    }

    /// Has the gauges follow.
    pub(crate) fn changed(&self) {
        if let Some(actor) = self.position.actor() {
            let _ = actor.cast(Msg::Changed);
        }
    }

    pub(crate) fn reset_one(&self, id: &str) -> Result<(), StartChildError> {
        self.position.inner.lock().core.reset_child(id)?;
        self.changed();
        Ok(())
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, StartChildError>>) -> Msg,
    ) -> Result<T, StartChildError> {
        let actor = self.position.actor().ok_or(StartChildError::Gone)?;
        let (reply, answer) = oneshot::channel();
        actor.cast(message(reply)).map_err(|_| StartChildError::Gone)?;
        answer.await.unwrap_or(Err(StartChildError::Gone))
    }
}
