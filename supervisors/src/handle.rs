//! Handles: commands on a running supervisor, under every strategy.

use std::marker::PhantomData;
use std::sync::Arc;

use ractor::ActorCell;
use tokio::sync::oneshot;

use crate::backoff::Backoff;
use crate::core::{Child, State};
use crate::error::StartChildError;
use crate::message::Msg;
use crate::position::{Position, check_child};
use crate::rules::Restart;
use crate::spec::{ChildSpec, Kind};

/// A child as [`Handle::which_children`] shows it.
#[derive(Debug, Clone)]
pub struct ChildInfo {
    /// The id of the child.
    pub id: String,
    /// `worker` or `supervisor`.
    pub kind: &'static str,
    /// `running`, `starting`, `backoff`, `restarting`, `failed`, `stopping`, `stopped` or `suspended`.
    pub state: &'static str,
    /// The incarnation of the latest start: 1 for the first start, and one more for each start that follows.
    pub incarnation: u64,
    /// The actor, while the child is running.
    pub cell: Option<ActorCell>,
}

/// The numbers of children of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChildCounts {
    /// All children.
    pub specs: usize,
    /// Children that are running, suspended or not.
    pub active: usize,
    /// Children that are supervisors, running or not.
    pub supervisors: usize,
    /// Children that are workers, running or not.
    pub workers: usize,
}

/// A handle to a supervisor, which stays valid when the supervisor is restarted. `K` is [`Supervisor`](crate::Supervisor) or
/// [`Dynamic`](crate::Dynamic).
///
/// The children that commands add, replace, reconfigure or delete are changed until the supervisor is restarted. The next incarnation of
/// the supervisor begins with its declared and populated children, as in OTP. What `reconfigure` changes outlasts a restart.
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

    /// Adds a child after all others, starts it, and returns its actor. When this first start fails, the child is removed again
    /// and no restart is counted.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<ActorCell, StartChildError> {
        self.ask(|reply| Msg::StartChild(Box::new(spec), reply)).await
    }

    /// Stops a child as its [`Shutdown`](crate::Shutdown) says, and keeps its specification unless the child is temporary.
    /// Returns when the running incarnation has ended, also when another command has started the next one meanwhile.
    ///
    /// The child stays down until `restart`, or until a group restart that begins later, which as in OTP starts all members of
    /// the group. A child that is terminated during a group restart is not started by it.
    pub async fn terminate(&self, id: &str) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Terminate(id.into(), reply)).await
    }

    /// Starts a child, whatever its state, and returns its actor. A running child is stopped first. This counts as no restart,
    /// and it restores the child's own restart budget and backoff.
    ///
    /// When the child does not start, the error says why. A child that was down under a supervisor with declared children then
    /// stays down. Any other child is retried, as after a restart that failed.
    pub async fn restart(&self, id: &str) -> Result<ActorCell, StartChildError> {
        self.ask(|reply| Msg::Restart(id.into(), reply)).await
    }

    /// Stops a child and removes its specification. Returns when the child has ended.
    pub async fn delete(&self, id: &str) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Delete(id.into(), reply)).await
    }

    /// Suspends the supervision of a child: until `resume`, no exit of it is followed by a start, not even by a group restart.
    /// When the supervisor itself is restarted, the child is no longer suspended.
    pub async fn suspend(&self, id: &str) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Suspend(id.into(), reply)).await
    }

    /// Resumes the supervision of a suspended child. An exit that occurred meanwhile is decided now, by the rules and the restart
    /// budget that apply now.
    pub async fn resume(&self, id: &str) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Resume(id.into(), reply)).await
    }

    /// Replaces the specification of the child with this id. The running incarnation is stopped as the old specification says,
    /// and the next one is started by the new specification, at the same position among its siblings. This counts as no
    /// restart. Returns when the new incarnation is running, or at once for a child that is down, which stays down.
    ///
    /// When the new incarnation does not start, the old specification is restored and started. The call then returns why the
    /// new one did not start, as soon as the old one is running.
    pub async fn replace(&self, spec: ChildSpec) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Replace(Box::new(spec), reply)).await
    }

    /// Changes the restart type and the backoff of a child, from its next exit on. No child is restarted or stopped, and a delay
    /// that has begun goes on.
    pub fn reconfigure_child(
        &self,
        id: &str,
        restart: Restart,
        backoff: Option<Backoff>,
    ) -> Result<(), StartChildError> {
        let mut inner = self.position.inner.lock();
        let mut spec = ChildSpec::clone(inner.specs.get(id).ok_or(StartChildError::NotFound)?);
        spec.rules.restart = restart;
        spec.rules.backoff = backoff;
        check_child(&spec, inner.core.auto_shutdown()).map_err(StartChildError::Invalid)?;
        inner.core.reconfigure_child(id, restart, backoff)?;
        inner.specs.insert(Arc::clone(&spec.id), Arc::new(spec));
        Ok(())
    }

    /// The actor of a child, while the child is running.
    pub fn child(&self, id: &str) -> Option<ActorCell> {
        self.position.cell_of(id)
    }

    /// All children in start order, whatever their state.
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

    /// The numbers of children.
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

    /// Makes the actor publish its metrics again, after the core was changed without a message to the actor.
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

    /// Sends a command to the actor of the supervisor and waits for the answer.
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
