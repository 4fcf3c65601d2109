//! A supervisor whose children come and go.

use std::sync::Arc;

use crate::core::Mode;
use crate::error::StartChildError;
use crate::handle::Handle;
use crate::intensity::Intensity;
use crate::position::{Plan, Populate, Position};
use crate::rules::AutoShutdown;
use crate::spec::ChildSpec;
use crate::supervisor::nest;

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
                intensity,
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
        let position = Position::new(self.plan);
        (nest(Arc::clone(&position)), Handle::new(position))
    }
}

/// A handle to a dynamic supervisor.
pub type DynamicHandle = Handle<Dynamic>;

impl Handle<Dynamic> {
    /// Forgets one child's restarts: its budget is full again, its delays begin from the beginning, and its counts are zero.
    /// One that has failed stays down until `restart`.
    pub fn reset(&self, id: &str) -> Result<(), StartChildError> {
        self.reset_one(id)
    }
}
