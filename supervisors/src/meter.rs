//! Metrics, through the `metrics` facade.
//!
//! The labels are the supervisor's name, its strategy and the reason. Below a dynamic supervisor, where names may come from
//! users, the label is the dynamic supervisor's own.

use std::sync::Arc;

use metrics::{counter, gauge, histogram};

use crate::core::STATES;
use crate::exit::ExitReason;
use crate::note::{EventKind, Note};

pub(crate) struct Meter {
    supervisor: Arc<str>,
    strategy: &'static str,
    published: [i64; STATES.len()],
}

impl Meter {
    pub(crate) fn new(supervisor: Arc<str>, strategy: &'static str) -> Self {
        Self {
            supervisor,
            strategy,
            published: [0; STATES.len()],
        }
    }

    pub(crate) fn restart(&self, reason: &'static str) {
        counter!("supervisor_restarts_total", "supervisor" => self.name(), "strategy" => self.strategy, "reason" => reason)
            .increment(1);
    }

    pub(crate) fn note(&self, note: &Note) {
        match note.kind {
            EventKind::Meltdown | EventKind::ChildFailed => {
                let reason = note.reason.as_ref().map_or("normal", ExitReason::label);
                counter!("supervisor_meltdowns_total", "supervisor" => self.name(), "strategy" => self.strategy, "reason" => reason)
                    .increment(1);
            }
            EventKind::Restarted => {
                if let Some(recovery) = note.recovery {
                    histogram!("supervisor_recovery_seconds", "supervisor" => self.name(), "strategy" => self.strategy)
                        .record(recovery.as_secs_f64());
                }
            }
            EventKind::Backoff => {
                if let Some(delay) = note.delay {
                    histogram!("supervisor_backoff_seconds", "supervisor" => self.name(), "strategy" => self.strategy)
                        .record(delay.as_secs_f64());
                }
            }
            EventKind::ChildStarted
            | EventKind::ChildExited
            | EventKind::StartFailed
            | EventKind::GroupRestart
            | EventKind::ChildTerminated
            | EventKind::Zombie
            | EventKind::Suspended
            | EventKind::Resumed
            | EventKind::Replaced
            | EventKind::AutoShutdown => {}
        }
        // Under a dynamic supervisor this is the budget of the child it happened to.
        if let (Some(used), Some(limit)) = (note.attempt, note.limit) {
            self.intensity(used, limit);
        }
    }

    pub(crate) fn intensity(&self, used: u32, limit: u32) {
        gauge!("supervisor_intensity_used", "supervisor" => self.name(), "strategy" => self.strategy)
            .set(f64::from(used));
        gauge!("supervisor_intensity_limit", "supervisor" => self.name(), "strategy" => self.strategy)
            .set(f64::from(limit));
    }

    /// From now on all goes to this strategy's account.
    pub(crate) fn set_strategy(&mut self, strategy: &'static str) {
        if strategy != self.strategy {
            let published = self.published;
            self.children([0; STATES.len()]);
            self.strategy = strategy;
            self.children(published);
        }
    }

    /// Publishes the children by state. Differences, so that supervisors of one label add up.
    pub(crate) fn children(&mut self, counts: [i64; STATES.len()]) {
        for (index, state) in STATES.into_iter().enumerate() {
            let change = counts[index] - self.published[index];
            if change != 0 {
                gauge!("supervisor_children", "supervisor" => self.name(), "strategy" => self.strategy, "state" => state)
                    .increment(change as f64);
            }
        }
        self.published = counts;
    }

    fn name(&self) -> metrics::SharedString {
        Arc::clone(&self.supervisor).into()
    }
}

/// The children of a supervisor that is gone are no more, however it went.
impl Drop for Meter {
    fn drop(&mut self) {
        self.children([0; STATES.len()]);
    }
}
