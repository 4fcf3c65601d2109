//! Metrics of a supervisor, through the `metrics` facade.
//!
//! The labels are the name of the supervisor, its strategy and the exit reason. Below a dynamic supervisor names may come from
//! users, so there the label is the name of that dynamic supervisor.
//!
//! Counts of several supervisors with the same labels add up. A restart intensity does not: it is published only by a supervisor
//! whose label is its own name, and which has one intensity for all its children. Every other one is in the snapshot.

use std::sync::Arc;

use metrics::{counter, gauge, histogram};

use crate::core::STATES;
use crate::exit::ExitReason;
use crate::note::{EventKind, Note};

pub(crate) struct Meter {
    supervisor: Arc<str>,
    strategy: &'static str,
    /// Whether the restart intensity is published.
    intensity: bool,
    published: [i64; STATES.len()],
}

impl Meter {
    pub(crate) fn new(supervisor: Arc<str>, strategy: &'static str, intensity: bool) -> Self {
        Self {
            supervisor,
            strategy,
            intensity,
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
    }

    pub(crate) fn intensity(&self, used: u32, limit: u32) {
        if !self.intensity {
            return;
        }
        gauge!("supervisor_intensity_used", "supervisor" => self.name(), "strategy" => self.strategy)
            .set(f64::from(used));
        gauge!("supervisor_intensity_limit", "supervisor" => self.name(), "strategy" => self.strategy)
            .set(f64::from(limit));
    }

    /// Changes the label `strategy`. The gauges of the children move from the old strategy to the new one.
    pub(crate) fn set_strategy(&mut self, strategy: &'static str) {
        if strategy != self.strategy {
            let published = self.published;
            self.children([0; STATES.len()]);
            self.strategy = strategy;
            self.children(published);
        }
    }

    /// Publishes the numbers of children by state. It publishes differences, so that the numbers of supervisors with the same
    /// label add up.
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

/// Takes the children of a supervisor that has ended out of the gauges, however it ended.
impl Drop for Meter {
    fn drop(&mut self) {
        self.children([0; STATES.len()]);
    }
}
