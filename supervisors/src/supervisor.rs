//! A supervisor with declared children.

use std::sync::Arc;

use crate::actor::launch;
use crate::core::Mode;
use crate::event::Bus;
use crate::exit::ExitReason;
use crate::handle::{Handle, SupervisorHandle};
use crate::intensity::Intensity;
use crate::position::{Plan, Populate, Position, Scope, SpecError};
use crate::rules::{AutoShutdown, Strategy};
use crate::spec::{ChildSpec, StartContext, StartFn, StartFuture};
use crate::tree::Tree;

/// Why a tree did not start. Whatever had started was stopped again, in reverse order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The tree was declared wrongly; nothing was started.
    #[error(transparent)]
    Invalid(#[from] SpecError),
    /// A child did not start.
    #[error("{path} did not start: {reason}")]
    Child {
        /// The child: the deepest one, when a supervisor did not start because of it.
        path: String,
        /// Why.
        reason: ExitReason,
    },
    /// The supervisor itself was stopped or killed meanwhile.
    #[error("the supervisor ended while it started: {0}")]
    Interrupted(ExitReason),
}

/// A supervisor with declared children, as a value: it can be built, passed on and nested before anything runs.
pub struct Supervisor {
    plan: Plan,
}

impl Supervisor {
    /// A supervisor without children, restarting by `strategy` at most as often as `intensity` allows for all of them
    /// together.
    pub fn new(name: impl Into<String>, strategy: Strategy, intensity: Intensity) -> Self {
        Self {
            plan: Plan {
                name: Arc::from(name.into()),
                mode: Mode::Static(strategy),
                budget: intensity,
                auto_shutdown: AutoShutdown::Never,
                label: None,
                children: Vec::new(),
                populate: None,
            },
        }
    }

    /// Adds a child after those added before.
    #[must_use]
    pub fn child(mut self, spec: ChildSpec) -> Self {
        self.plan.children.push(spec);
        self
    }

    /// More children, after those declared, asked for at each start of the supervisor. One that cannot be is left out; one
    /// that does not start fails the supervisor's start, like any other.
    #[must_use]
    pub fn populate(mut self, populate: Populate) -> Self {
        self.plan.populate = Some(populate);
        self
    }

    /// Whether it ends when its significant children have ended by themselves.
    #[must_use]
    pub fn auto_shutdown(mut self, mode: AutoShutdown) -> Self {
        self.plan.auto_shutdown = mode;
        self
    }

    /// The value of the metric label `supervisor`, its name unless given.
    #[must_use]
    pub fn label(mut self, label: &'static str) -> Self {
        self.plan.label = Some(label);
        self
    }

    /// This supervisor as a child of another: permanent, and waited for when it stops.
    pub fn into_child(self) -> ChildSpec {
        nest(Position::new(self.plan))
    }

    /// This supervisor as a child of another, and the handle to it.
    pub fn into_child_with_handle(self) -> (ChildSpec, SupervisorHandle) {
        let position = Position::new(self.plan);
        (nest(Arc::clone(&position)), Handle::new(position))
    }

    /// Starts the tree on the current tokio runtime. Returns when every child has started.
    pub async fn start(self) -> Result<Tree, StartError> {
        self.plan.check()?;
        let bus = Bus::new();
        let path = self.plan.name.to_string();
        let position = Position::new(self.plan);
        let scope = Scope {
            bus: bus.clone(),
            label: None,
        };
        let error = match launch(Arc::clone(&position), None, path.clone(), scope).await {
            Ok(started) => return Ok(Tree::new(position, started.cell, path, bus)),
            Err(error) => error,
        };
        let reason = ExitReason::from_start_error(&path, &*error);
        let ExitReason::StartFailed { path: failed, reason } = reason else {
            return Err(StartError::Interrupted(reason));
        };
        if failed == path {
            return Err(StartError::Interrupted(*reason));
        }
        Err(StartError::Child {
            path: failed,
            reason: *reason,
        })
    }
}

/// A supervisor as a child, whose start is that of all its children.
pub(crate) fn nest(position: Arc<Position>) -> ChildSpec {
    let id = Arc::clone(&position.plan.name);
    let start: StartFn = {
        let position = Arc::clone(&position);
        Arc::new(move |context: StartContext| -> StartFuture {
            let position = Arc::clone(&position);
            Box::pin(launch(position, Some(context.supervisor), context.path, context.scope))
        })
    };
    ChildSpec::supervisor(id, position, start)
}
