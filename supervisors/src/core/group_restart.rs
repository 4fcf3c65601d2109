//! Group restarts: restarts of several children at once, by `one_for_all` and `rest_for_one`.
//!
//! First the members are stopped one after the other, the last one first. Then the delay passes, if there is one. Then they are
//! started one after the other, in start order. At most one group restart is under way at a time.
//!
//! A member that fails while members are being stopped belongs to the group restart already. A member that fails after it was
//! started again, or does not start, causes another restart, which counts toward the restart intensity.
//!
//! The restart of each member is counted by its reason: that of its own exit, or [`SIBLING`] for a member that was stopped.
//!
//! As in OTP, a child that is down when the group restart begins, because it was terminated or had ended for good, is started
//! with the others. A child that is terminated during the group restart stays down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::Action;
use super::child::{After, Child, ChildId, Counted, State};
use super::group::{Group, Stage};
use super::machine::{Core, Mode, Phase};
use crate::exit::SIBLING;
use crate::note::{EventKind, Note};
use crate::rules::{Restart, Strategy};

impl Core {
    /// Begins a group restart because this child has ended.
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
        let members = if whole {
            self.children.keys().cloned().collect()
        } else {
            // Members that still wait for the group restart which this one supersedes are restarted with it.
            let waits = |member: &ChildId| self.children[member].state == State::Waiting;
            let first = self.members().into_iter().find(waits);
            let before = |other: &ChildId| self.children.get_index_of(other) < self.children.get_index_of(id);
            self.since(first.as_ref().filter(|first| before(first)).unwrap_or(id))
        };
        for member in &members {
            self.children[member].held = false;
        }
        self.phase = Phase::Group(Group {
            members,
            trigger: Arc::clone(id),
            delay,
            stage: Stage::Stopping,
        });
        self.continue_group(now);
    }

    /// A child and those after it, in start order.
    fn since(&self, id: &ChildId) -> Vec<ChildId> {
        let first = self.children.get_index_of(id).unwrap_or(0);
        self.children.keys().skip(first).cloned().collect()
    }

    /// Decides about a child that ended during a group restart.
    pub(super) fn ended_in_group(&mut self, id: &ChildId, now: Instant) {
        let Phase::Group(group) = &self.phase else {
            return;
        };
        let member = group.is_member(id);
        let new_generation = member && matches!(group.stage, Stage::Starting { .. });
        let with_siblings = !matches!(self.mode, Mode::Static(Strategy::OneForOne));
        if member && !new_generation {
            self.set(id, State::Waiting);
            let reason = self.children[id].last_reason().label();
            self.count_in_group(id, reason);
        } else if !member && with_siblings && self.comes_back(id) && !self.children[id].suspended {
            self.set(id, State::Waiting);
            self.widen(id, now);
        } else {
            self.decide(id, now);
        }
        self.continue_group(now);
    }

    /// Widens the group restart, because a child before its first member has failed too. It now begins with that child.
    fn widen(&mut self, id: &ChildId, now: Instant) {
        let members = self.since(id);
        let Phase::Group(group) = &mut self.phase else {
            return;
        };
        for new in members.iter().filter(|member| !group.is_member(member)) {
            self.children[new].held = false;
        }
        group.members = members;
        let stage = std::mem::replace(&mut group.stage, Stage::Stopping);
        match stage {
            // The rest of the delay passes when the new members are down. The running timer is ignored because its token is old.
            Stage::Delay { until } => {
                group.delay = until.saturating_duration_since(now);
                let trigger = Arc::clone(&group.trigger);
                self.set(&trigger, State::Waiting);
            }
            Stage::Starting { .. } => group.delay = Duration::ZERO,
            Stage::Stopping => {}
        }
    }

    /// Ends the delay of the group restart if this child, which no longer waits for its timer, was its cause.
    pub(super) fn skip_delay(&mut self, id: &ChildId, now: Instant) {
        if matches!(&self.phase, Phase::Group(group) if group.is_delayed_by(id)) {
            self.group_delay_over(now);
        }
    }

    /// Begins to start the members.
    pub(super) fn group_delay_over(&mut self, now: Instant) {
        if let Phase::Group(group) = &mut self.phase {
            let trigger = Arc::clone(&group.trigger);
            let pending = group.members.iter().cloned().collect();
            group.stage = Stage::Starting { pending };
            let waits = |child: &Child| matches!(child.state, State::Backoff { .. });
            if self.children.get(&trigger).is_some_and(waits) {
                self.set(&trigger, State::Waiting);
            }
            self.continue_group(now);
        }
    }

    /// Takes the next step of the group restart that is under way, if there is one.
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

    /// Stops the next member, unless one is still stopping. After the last one the delay begins.
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
        for id in &members {
            if self.children[id].rules.restart == Restart::Temporary {
                self.forget(id);
            } else if !self.children[id].held {
                self.set(id, State::Waiting);
                self.count_in_group(id, SIBLING);
            }
        }
        let Phase::Group(group) = &mut self.phase else {
            return;
        };
        let (trigger, delay) = (Arc::clone(&group.trigger), group.delay);
        let delays = |child: &Child| child.state == State::Waiting;
        if !delay.is_zero() && self.children.get(&trigger).is_some_and(delays) {
            group.stage = Stage::Delay { until: now + delay };
            self.back_off(&trigger, delay, now);
        } else {
            self.group_delay_over(now);
        }
    }

    /// Counts the restart of a member, which counts toward no intensity. A restart that was counted before is not counted again.
    fn count_in_group(&mut self, id: &ChildId, reason: &'static str) {
        let child = &mut self.children[id];
        if child.started_before && child.counted != Counted::NextStart {
            child.count_restart(reason);
            self.out.push(Action::Count(reason));
        }
    }

    /// Starts the next member, unless one is still starting or stopping. After the last one the group restart is over.
    fn start_members(&mut self, now: Instant) {
        let members = self.members();
        let moving = |id: &ChildId| matches!(self.children[id].state, State::Starting { .. } | State::Stopping { .. });
        if members.iter().any(moving) {
            return;
        }
        let Phase::Group(group) = &mut self.phase else {
            return;
        };
        let Stage::Starting { pending } = &mut group.stage else {
            return;
        };
        while let Some(next) = pending.pop_front() {
            if self.children[&next].state == State::Waiting {
                self.start(&next, now);
                // A suspended member was not started, and the next one does not wait for it.
                return self.start_members(now);
            }
        }
        self.phase = Phase::Running;
        self.decide_deferred(now);
    }

    /// The members of the group restart that is under way.
    fn members(&self) -> Vec<ChildId> {
        match &self.phase {
            Phase::Group(group) => group.members.clone(),
            Phase::Init | Phase::Running | Phase::Closed => Vec::new(),
        }
    }
}
