//! Decisions about exits: whether and when a child is restarted, and what follows when it may not be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;

use super::action::{Action, Exit};
use super::child::{Child, ChildId, State};
use super::machine::{Core, Mode, Phase};
use crate::note::{EventKind, Note};
use crate::rules::{AutoShutdown, Restart, Strategy};

impl Core {
    /// Whether the restart type of a child has it restarted after its last exit.
    pub(super) fn comes_back(&self, id: &ChildId) -> bool {
        let child = &self.children[id];
        match child.rules.restart {
            Restart::Permanent => true,
            Restart::Transient => child.last_exit.as_ref().is_none_or(|exit| exit.reason.is_abnormal()),
            Restart::Temporary => false,
        }
    }

    /// Restarts a child that has ended, or leaves it down.
    pub(super) fn decide(&mut self, id: &ChildId, now: Instant) {
        if !self.comes_back(id) {
            self.leave_down(id);
            return;
        }
        if self.children[id].suspended {
            self.set(id, State::Parked { decided: false });
            return;
        }
        match self.mode {
            Mode::Static(Strategy::OneForOne) | Mode::Dynamic { .. } => {
                if let Some(delay) = self.spend(id, now) {
                    self.start_after(id, delay, now);
                }
            }
            Mode::Static(Strategy::OneForAll | Strategy::RestForOne) => {
                self.restart_group(id, now);
            }
        }
    }

    /// Leaves down a child that has ended by itself and is not restarted, and ends the supervisor if its auto-shutdown says so.
    pub(super) fn leave_down(&mut self, id: &ChildId) {
        let child = &self.children[id];
        let significant = child.rules.significant;
        let reason = child.last_reason();
        self.out.push(Action::GiveUp(Arc::clone(id), reason.clone()));
        self.stay_down(id);
        let lasting = |other: &Child| other.rules.significant && other.state.is_active();
        let ends = significant
            && match self.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.children.values().any(lasting),
            };
        if ends && !matches!(self.phase, Phase::Closed) {
            self.phase = Phase::Closed;
            let note = Note::new(EventKind::AutoShutdown, 0).because(reason);
            self.out.push(Action::EmitSelf(note));
            self.out.push(Action::Exit(Exit::AutoShutdown));
        }
    }

    /// Counts one restart toward the restart intensity and returns the delay before it. When the intensity is exceeded, the
    /// child is failed or the supervisor ends in a meltdown, and there is no delay.
    pub(super) fn spend(&mut self, id: &ChildId, now: Instant) -> Option<Duration> {
        let dynamic = matches!(self.mode, Mode::Dynamic { .. });
        let child = &mut self.children[id];
        let incarnation = child.incarnation;
        let reason = child.last_reason();
        let window = if dynamic { &mut child.window } else { &mut self.window };
        let limit = window.intensity().restarts;
        if window.record(now) {
            child.count_restart(reason.label());
            let delay = child.next_delay(self.rng.random());
            self.out.push(Action::Count(reason.label()));
            return Some(delay);
        }
        let attempt = limit.saturating_add(1);
        if dynamic {
            let note = Note::new(EventKind::ChildFailed, incarnation);
            let note = note.because(reason.clone()).attempt(attempt, limit);
            self.out.push(Action::Emit(Arc::clone(id), note));
            self.out.push(Action::GiveUp(Arc::clone(id), reason));
            self.set(id, State::Failed);
        } else {
            self.set(id, State::Stopped);
            self.phase = Phase::Closed;
            let note = Note::new(EventKind::Meltdown, 0);
            let note = note.because(reason.clone()).attempt(attempt, limit);
            self.out.push(Action::EmitSelf(note));
            self.out.push(Action::Exit(Exit::Meltdown(Arc::clone(id), reason)));
        }
        None
    }

    /// Starts a child after a delay, which may be zero.
    pub(super) fn start_after(&mut self, id: &ChildId, delay: Duration, now: Instant) {
        if delay.is_zero() {
            self.start(id, now);
        } else {
            self.back_off(id, delay, now);
        }
    }

    pub(super) fn back_off(&mut self, id: &ChildId, delay: Duration, now: Instant) {
        self.last_token += 1;
        let token = self.last_token;
        let until = now + delay;
        self.set(id, State::Backoff { until, token });
        let (used, limit) = self.usage(id, now);
        let child = &self.children[id];
        let mut note = Note::new(EventKind::Backoff, child.incarnation).attempt(used, limit);
        note.delay = Some(delay);
        note.reason = Some(child.last_reason());
        self.out.push(Action::Emit(Arc::clone(id), note));
        self.out.push(Action::SetTimer(Arc::clone(id), token, delay));
    }
}
