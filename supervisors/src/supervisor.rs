//! Supervisors with declared children.

use std::sync::Arc;

use crate::actor::launch;
use crate::core::Mode;
use crate::error::{SpecError, StartChildError};
use crate::handle::Handle;
use crate::intensity::Intensity;
use crate::position::{Plan, Populate, Position, check_child};
use crate::rules::{AutoShutdown, Strategy};
use crate::spec::{ChildSpec, StartContext, StartFn, StartFuture};

/// A supervisor with declared children, as a value. It can be built, passed on and nested before anything is started.
pub struct Supervisor {
    pub(crate) plan: Plan,
}

impl Supervisor {
    /// Makes a supervisor without children. It restarts children by `strategy`, and at most as often as `intensity` allows for
    /// all of them together.
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

    /// Adds a child after the children that were added before.
    #[must_use]
    pub fn child(mut self, spec: ChildSpec) -> Self {
        self.plan.children.push(spec);
        self
    }

    /// Adds the children that `populate` returns after the declared ones. The function is called at each start of the
    /// supervisor. A child whose specification is invalid is left out. A child that does not start fails the start of the
    /// supervisor, as a declared one does.
    #[must_use]
    pub fn populate(mut self, populate: Populate) -> Self {
        self.plan.populate = Some(populate);
        self
    }

    /// Sets whether the supervisor ends when its significant children have ended by themselves.
    #[must_use]
    pub fn auto_shutdown(mut self, mode: AutoShutdown) -> Self {
        self.plan.auto_shutdown = mode;
        self
    }

    /// Sets the value of the metric label `supervisor`, which is otherwise the name of the supervisor.
    #[must_use]
    pub fn label(mut self, label: &'static str) -> Self {
        self.plan.label = Some(label);
        self
    }

    /// Makes this supervisor a child of another one. The child is permanent, has no start timeout and no shutdown timeout.
    pub fn into_child(self) -> ChildSpec {
        nest(Position::new(self.plan))
    }

    /// Makes this supervisor a child of another one, as `into_child` does, and returns the handle to it as well.
    pub fn into_child_with_handle(self) -> (ChildSpec, SupervisorHandle) {
        let position = Position::new(self.plan);
        (nest(Arc::clone(&position)), Handle::new(position))
    }
}

/// A handle to a supervisor with declared children.
pub type SupervisorHandle = Handle<Supervisor>;

impl Handle<Supervisor> {
    /// Changes the strategy, the restart intensity and the auto-shutdown of the supervisor, for this incarnation and all later
    /// ones. No child is restarted or stopped. The new strategy applies from the next exit on, and the restarts so far count
    /// toward the new intensity.
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

    /// Forgets all restarts: the shared restart budget is full, the next restart of each child is immediate, and the restart
    /// counts of the children are zero. Metrics that only grow keep their values. A delay that has begun goes on, and a child
    /// that is down stays down.
    pub fn reset(&self) {
        self.position.inner.lock().core.reset();
        self.changed();
    }

    /// Forgets the restarts of one child: its next restart is immediate and its restart counts are zero. Its restarts still
    /// count toward the shared restart intensity.
    pub fn reset_child(&self, id: &str) -> Result<(), StartChildError> {
        self.reset_one(id)
    }
}

/// Makes a supervisor the child of another one. The child has started when all its own children have.
pub(crate) fn nest(position: Arc<Position>) -> ChildSpec {
    let id = Arc::clone(&position.plan.name);
    let start: StartFn = {
        let position = Arc::clone(&position);
        Arc::new(move |context: StartContext| -> StartFuture {
            let position = Arc::clone(&position);
            Box::pin(launch(
                position,
                Some(context.supervisor),
                context.path,
                context.scope,
                context.restarted,
            ))
        })
    };
    ChildSpec::supervisor(id, position, start)
}
