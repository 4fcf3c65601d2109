//! Restarts of several children at once: `one_for_all` and `rest_for_one`.
//!
//! First every member stops, last one first and each before the next; then the delay, if there is one, passes; then they
//! start in order. One such restart is under way at a time. A member of the old generation that fails meanwhile has its
//! restart under way already; one of the new generation is a failed attempt and costs another restart.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::child::{After, State};
use super::{ChildId, Core, Mode, Phase};
use crate::event::{EventKind, Note};
use crate::spec::{Restart, Strategy};

#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// The first member; all children when there is none.
    from: Option<ChildId>,
    /// The child whose exit began it.
    trigger: ChildId,
    delay: Duration,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Stopping,
    Delay {
        until: Instant,
    },
    /// Members that have not been started again yet.
    Starting {
        pending: VecDeque<ChildId>,
    },
}

impl Core {
    pub(super) fn restart_group(&mut self, id: &ChildId, now: Instant) {
        let Some(delay) = self.spend(id, now) else {
            return;
        };
        self.set(id, State::Waiting);
        let (used, limit) = self.usage(id, now);
        let child = &self.children[id];
        let note = Note::new(EventKind::GroupRestart, child.incarnation);
        let note = note.because(child.last_reason()).attempt(used, limit);
        self.push_note(id, note);
        let whole = matches!(self.mode, Mode::Static(Strategy::OneForAll));
        self.phase = Phase::Group(Group {
            from: (!whole).then(|| Arc::clone(id)),
            trigger: Arc::clone(id),
            delay,
            stage: Stage::Stopping,
        });
        self.continue_group(now);
    }

    /// A member of the new generation could not start. It is the first of the next attempt: under `rest_for_one` those
    /// before it have started and stay.
    pub(super) fn group_start_failed(&mut self, id: &ChildId, now: Instant) {
        if self.comes_back(id) {
            self.restart_group(id, now);
        } else {
            self.leave_down(id);
        }
    }

    pub(super) fn ended_in_group(&mut self, id: &ChildId, now: Instant) {
        let member = self.members().contains(id);
        let Phase::Group(group) = &self.phase else {
            return;
        };
        let new_generation = member && matches!(group.stage, Stage::Starting { .. });
        if new_generation {
            self.decide(id, now);
        } else if member {
            self.set(id, State::Waiting);
        } else if self.comes_back(id) {
            self.set(id, State::Waiting);
            self.widen(id, now);
        } else {
            self.leave_down(id);
        }
        self.continue_group(now);
    }

    /// A child before the first member failed too: the restart begins with it instead.
    fn widen(&mut self, id: &ChildId, now: Instant) {
        let Phase::Group(group) = &mut self.phase else {
            return;
        };
        group.from = Some(Arc::clone(id));
        let stage = std::mem::replace(&mut group.stage, Stage::Stopping);
        match stage {
            // The rest of the delay follows once the new members are down; the timer that runs is stale by its token.
            Stage::Delay { until } => {
                group.delay = until.saturating_duration_since(now);
                let trigger = Arc::clone(&group.trigger);
                self.set(&trigger, State::Waiting);
            }
            Stage::Starting { .. } => group.delay = Duration::ZERO,
            Stage::Stopping => {}
        }
    }

    pub(super) fn group_delay_over(&mut self, now: Instant) {
        let pending = self.members().into();
        if let Phase::Group(group) = &mut self.phase {
            let trigger = Arc::clone(&group.trigger);
            group.stage = Stage::Starting { pending };
            self.set(&trigger, State::Waiting);
            self.continue_group(now);
        }
    }

    pub(super) fn continue_group(&mut self, now: Instant) {
        let Phase::Group(group) = &mut self.phase else {
            return;
        };
        match &mut group.stage {
            Stage::Stopping => self.stop_members(now),
            Stage::Delay { .. } => {}
            Stage::Starting { .. } => self.start_members(now),
        }
    }

    fn stop_members(&mut self, now: Instant) {
        let members = self.members();
        let state = |id: &ChildId| self.children[id].state;
        if members.iter().any(|id| matches!(state(id), State::Stopping { .. })) {
            return;
        }
        let alive = |id: &&ChildId| matches!(state(id), State::Running { .. } | State::Starting { .. });
        if let Some(last) = members.iter().rev().find(alive) {
            self.stop(last, After::Group);
            return;
        }
        for id in members {
            if self.children[&id].rules.restart == Restart::Temporary {
                self.forget(&id);
            } else {
                self.set(&id, State::Waiting);
            }
        }
        let pending = self.members().into();
        let Phase::Group(group) = &mut self.phase else {
            return;
        };
        let delay = group.delay;
        if delay.is_zero() {
            group.stage = Stage::Starting { pending };
            self.start_members(now);
        } else {
            let trigger = Arc::clone(&group.trigger);
            group.stage = Stage::Delay { until: now + delay };
            self.back_off(&trigger, delay, now);
        }
    }

    fn start_members(&mut self, now: Instant) {
        let members = self.members();
        let starting = |id: &ChildId| matches!(self.children[id].state, State::Starting { .. });
        if members.iter().any(starting) {
            return;
        }
        let Phase::Group(group) = &mut self.phase else {
            return;
        };
        let Stage::Starting { pending } = &mut group.stage else {
            return;
        };
        if let Some(next) = pending.pop_front() {
            self.start(&next, now);
            return;
        }
        self.phase = Phase::Running;
        self.decide_deferred(now);
    }

    fn members(&self) -> Vec<ChildId> {
        let Phase::Group(group) = &self.phase else {
            return Vec::new();
        };
        let first = group.from.as_ref().and_then(|from| self.children.get_index_of(from));
        self.children.keys().skip(first.unwrap_or(0)).cloned().collect()
    }
}
