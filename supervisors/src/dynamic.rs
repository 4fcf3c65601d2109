//! Dynamic supervisors, whose children are added and removed at run time.

use std::sync::Arc;

use crate::core::Mode;
use crate::error::StartChildError;
use crate::handle::Handle;
use crate::intensity::Intensity;
use crate::position::{Plan, Populate, Position};
use crate::rules::AutoShutdown;
use crate::spec::ChildSpec;
use crate::supervisor::nest;

/// A dynamic supervisor. Its children are added and removed while it runs, and they are independent of each other.
///
/// The restart intensity applies to each child on its own, which departs from OTP on purpose. A child that exceeds it becomes
/// `failed` and stays down until [`Handle::restart`] starts it again. Its siblings are not affected, and the supervisor itself
/// never ends in a meltdown.
pub struct Dynamic {
    plan: Plan,
}

impl Dynamic {
    /// Makes a dynamic supervisor. The intensity applies to each child whose specification does not set its own.
    pub fn new(name: impl Into<String>, intensity: Intensity) -> Self {
        Self {
            plan: Plan {
                name: Arc::from(name.into()),
                mode: Mode::Dynamic {
                    max_children: usize::MAX,
                },
                intensity,
                auto_shutdown: AutoShutdown::Never,
                label: None,
                children: Vec::new(),
                populate: None,
            },
        }
    }

    /// Sets the function that returns the first children. It is called at each start of the supervisor. A child that does not
    /// start is retried within its restart intensity, and does not fail the start of the supervisor.
    #[must_use]
    pub fn populate(mut self, populate: Populate) -> Self {
        self.plan.populate = Some(populate);
        self
    }

    /// Sets how many children may be running or waiting for a restart. Beyond that, `start_child` is refused.
    #[must_use]
    pub fn max_children(mut self, max_children: usize) -> Self {
        self.plan.mode = Mode::Dynamic { max_children };
        self
    }

    /// Sets the value of the metric label `supervisor` for this supervisor and all supervisors below it. It is otherwise the
    /// name of this supervisor.
    #[must_use]
    pub fn label(mut self, label: &'static str) -> Self {
        self.plan.label = Some(label);
        self
    }

    /// Makes this supervisor a child of another one, and returns the handle to it as well. The child is permanent, has no start
    /// timeout and no shutdown timeout.
    pub fn into_child(self) -> (ChildSpec, DynamicHandle) {
        let position = Position::new(self.plan);
        (nest(Arc::clone(&position)), Handle::new(position))
    }
}

/// A handle to a dynamic supervisor.
pub type DynamicHandle = Handle<Dynamic>;

impl Handle<Dynamic> {
    /// Forgets the restarts of one child: its restart budget is full, its next restart is immediate, and its restart counts are
    /// zero. A child that has failed stays down until `restart`.
    pub fn reset(&self, id: &str) -> Result<(), StartChildError> {
        self.reset_one(id)
    }
}
