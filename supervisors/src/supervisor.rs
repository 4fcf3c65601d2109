//! A supervisor with declared children.

use std::sync::Arc;

use crate::actor::launch;
use crate::core::Mode;
use crate::error::{SpecError, StartChildError};
use crate::handle::Handle;
use crate::intensity::Intensity;
use crate::position::{Plan, Populate, Position, check_child};
use crate::rules::{AutoShutdown, Strategy};
use crate::spec::{ChildSpec, StartContext, StartFn, StartFuture};

/// A supervisor with declared children, as a value: it can be built, passed on and nested before anything runs.
pub struct Supervisor {
    pub(crate) plan: Plan,
}

impl Supervisor {
    /// A supervisor without children, restarting by `strategy` at most as often as `intensity` allows for all of them
    /// together.
    pub fn new(name: impl Into<String>, strategy: Strategy, intensity: Intensity) -> Self {
        Self {
            plan: Plan {
                name: Arc::from(name.into()),
                mode: Mode::Static(strategy),
                intensity,
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
}

/// A handle to a supervisor with declared children.
pub type SupervisorHandle = Handle<Supervisor>;

impl Handle<Supervisor> {
    /// Changes the supervisor's own specification, for this incarnation and those to come. No child is restarted or stopped:
    /// the next exit goes by the new strategy, and the restarts made so far count under the new budget.
    pub fn reconfigure(
        &self,
        strategy: Strategy,
        intensity: Intensity,
        auto_shutdown: AutoShutdown,
    ) -> Result<(), SpecError> {
        {
            let mut inner = self.position.inner.lock();
            let specs = inner.specs.values().map(|spec| &**spec);
            for spec in specs.chain(&self.position.plan.children) {
                check_child(spec, auto_shutdown)?;
            }
            inner.core.reconfigure(strategy, intensity, auto_shutdown);
        }
        self.changed();
        Ok(())
    }

    /// Forgets all restarts: the shared budget is full again, delays begin from the beginning, and the children's counts are
    /// zero. Metrics, which only grow, stay. A delay that has begun passes, and who is down stays down.
    pub fn reset(&self) {
        self.position.inner.lock().core.reset();
        self.changed();
    }

    /// Forgets one child's restarts: its delays begin from the beginning and its counts are zero. What it used of the
    /// shared budget stays used.
    pub fn reset_child(&self, id: &str) -> Result<(), StartChildError> {
        self.reset_one(id)
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
