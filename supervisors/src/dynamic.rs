//! A supervisor whose children come and go.

use std::sync::Arc;

use ractor::ActorCell;
use tokio::sync::oneshot;

use crate::actor::Msg;
use crate::core::{Mode, Refused};
use crate::exit::ExitReason;
use crate::intensity::Intensity;
use crate::node::{Node, Plan, Populate, SpecError};
use crate::spec::{AutoShutdown, ChildSpec, Kind};
use crate::supervisor::nest;

/// Why a command on a dynamic supervisor was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartChildError {
    /// The child's spec is there, and it is down: `restart` brings it back.
    #[error("the child is already present")]
    AlreadyPresent,
    /// The child runs, or is about to.
    #[error("the child is already started")]
    AlreadyStarted,
    /// As many children as allowed run or wait for a restart.
    #[error("too many children")]
    MaxChildren,
    /// It did not start; or it was stopped by another command before it had.
    #[error("the child did not start: {0}")]
    Failed(ExitReason),
    /// There is no such child.
    #[error("there is no such child")]
    NotFound,
    /// The spec cannot be.
    #[error(transparent)]
    Invalid(SpecError),
    /// The supervisor is not there: its tree has stopped, or it is being restarted.
    #[error("the supervisor is gone")]
    Gone,
}

impl From<Refused> for StartChildError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::AlreadyPresent => Self::AlreadyPresent,
            Refused::AlreadyStarted => Self::AlreadyStarted,
            Refused::MaxChildren => Self::MaxChildren,
            Refused::NotFound => Self::NotFound,
            Refused::Gone => Self::Gone,
        }
    }
}

/// A supervisor whose children come and go, each independent of the others.
///
/// A deliberate departure from OTP: the budget is each child's own. A child that spends it becomes `failed` and stays down
/// until told to restart, while its siblings live; the supervisor itself never melts down.
pub struct Dynamic {
    plan: Plan,
}

impl Dynamic {
    /// A dynamic supervisor that allows `intensity` to each child whose spec says nothing else.
    pub fn new(name: impl Into<String>, intensity: Intensity) -> Self {
        Self {
            plan: Plan {
                name: Arc::from(name.into()),
                mode: Mode::Dynamic {
                    max_children: usize::MAX,
                },
                budget: intensity,
                auto_shutdown: AutoShutdown::Never,
                label: None,
                children: Vec::new(),
                populate: None,
            },
        }
    }

    /// The children to start with, asked for at each start of the supervisor. One whose start fails is restarted under its
    /// budget and does not fail the supervisor's start.
    #[must_use]
    pub fn populate(mut self, populate: Populate) -> Self {
        self.plan.populate = Some(populate);
        self
    }

    /// How many children may run or wait for a restart before `start_child` refuses.
    #[must_use]
    pub fn max_children(mut self, max_children: usize) -> Self {
        self.plan.mode = Mode::Dynamic { max_children };
        self
    }

    /// The value of the metric label `supervisor` here and below, its name unless given.
    #[must_use]
    pub fn label(mut self, label: &'static str) -> Self {
        self.plan.label = Some(label);
        self
    }

    /// This supervisor as a child of another, and the handle to it.
    pub fn into_child(self) -> (ChildSpec, DynamicHandle) {
        let node = Node::new(self.plan);
        (nest(Arc::clone(&node)), DynamicHandle { node })
    }
}

/// A child as `which_children` shows it.
#[derive(Debug, Clone)]
pub struct ChildInfo {
    /// Its id.
    pub id: String,
    /// `worker` or `supervisor`.
    pub kind: &'static str,
    /// `running`, `starting`, `backoff`, `restarting`, `failed`, `stopping` or `stopped`.
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
    /// Those that run.
    pub active: usize,
    /// Supervisors, running or not.
    pub supervisors: usize,
    /// Workers, running or not.
    pub workers: usize,
}

/// A handle to a dynamic supervisor, the same over its restarts.
#[derive(Clone)]
pub struct DynamicHandle {
    node: Arc<Node>,
}

impl DynamicHandle {
    /// Adds a child and starts it. A child whose first start fails is not kept.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<ActorCell, StartChildError> {
        self.ask(|reply| Msg::StartChild(Box::new(spec), reply)).await
    }

    /// Stops a child as its spec says, and keeps the spec. Returns when it is gone.
    pub async fn terminate(&self, id: &str) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Terminate(id.into(), reply)).await
    }

    /// Starts a child anew and restores its budget, whatever its state: a running one is stopped first, a failed one
    /// revived.
    pub async fn restart(&self, id: &str) -> Result<ActorCell, StartChildError> {
        self.ask(|reply| Msg::Restart(id.into(), reply)).await
    }

    /// Stops a child and forgets its spec. Returns when it is gone.
    pub async fn delete(&self, id: &str) -> Result<(), StartChildError> {
        self.ask(|reply| Msg::Delete(id.into(), reply)).await
    }

    /// The actor of a child that runs.
    pub fn child(&self, id: &str) -> Option<ActorCell> {
        self.node.cell_of(id)
    }

    /// All children, in the order they were added, whatever their state.
    pub fn which_children(&self) -> Vec<ChildInfo> {
        let inner = self.node.inner.lock();
        let info = |(id, child): (&Arc<str>, &crate::core::Child)| ChildInfo {
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
        let inner = self.node.inner.lock();
        let supervisor = |spec: &&ChildSpec| matches!(spec.kind, Kind::Supervisor(_));
        let specs = inner.specs.len();
        let supervisors = inner.specs.values().filter(supervisor).count();
        let running = inner.core.counts()[0];
        ChildCounts {
            specs,
            active: usize::try_from(running).unwrap_or(0),
            supervisors,
            workers: specs - supervisors,
        }
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, StartChildError>>) -> Msg,
    ) -> Result<T, StartChildError> {
        let actor = self.node.actor().ok_or(StartChildError::Gone)?;
        let (reply, answer) = oneshot::channel();
        actor.cast(message(reply)).map_err(|_| StartChildError::Gone)?;
        answer.await.unwrap_or(Err(StartChildError::Gone))
    }
}
