//! Starts of children: the first ones when the supervisor starts, and each that follows.

use std::sync::Arc;
use std::time::Instant;

use super::action::{Action, Outcome};
use super::child::{Child, ChildId, Counted, State};
use super::machine::{Core, Mode, Phase};

impl Core {
    /// Starts the declared children, one after the other, or all at once under a dynamic supervisor.
    pub(crate) fn begin(&mut self, now: Instant) -> Vec<Action> {
        if matches!(self.mode, Mode::Dynamic { .. }) {
            let ids: Vec<ChildId> = self.children.keys().cloned().collect();
            self.first_starts.extend(ids.iter().cloned());
            for id in &ids {
                self.start(id, now);
            }
        }
        self.continue_init(now);
        self.take_actions()
    }

    /// Starts a child. A suspended child is started when it is resumed.
    pub(super) fn start(&mut self, id: &ChildId, now: Instant) {
        if self.children[id].suspended {
            self.set(id, State::Parked { decided: true });
            self.first_starts.remove(id);
            self.settle(id, Outcome::Stopped);
        } else {
            self.start_now(id, now);
        }
    }

    /// Starts a child, also a suspended one.
    pub(super) fn start_now(&mut self, id: &ChildId, now: Instant) {
        self.set(id, State::Starting { since: now });
        let child = &mut self.children[id];
        child.held = false;
        child.counted = match child.counted {
            Counted::NextStart => Counted::LatestStart,
            Counted::Nothing | Counted::LatestStart => Counted::Nothing,
        };
        child.incarnation += 1;
        self.out.push(Action::Start(Arc::clone(id), child.incarnation));
    }

    /// Continues the start of the supervisor or the group restart that is under way.
    pub(super) fn proceed(&mut self, now: Instant) {
        match self.phase {
            Phase::Init => self.continue_init(now),
            Phase::Group(_) => self.continue_group(now),
            Phase::Running | Phase::Closed => {}
        }
    }

    /// Starts the next declared child, unless one is still starting or stopping. After the last one the supervisor is running.
    fn continue_init(&mut self, now: Instant) {
        if let Mode::Static(_) = self.mode {
            loop {
                let moving = |child: &Child| matches!(child.state, State::Starting { .. } | State::Stopping { .. });
                let unstarted = |child: &Child| child.state == State::Stopped && !child.held;
                let next = self
                    .children
                    .iter()
                    .find(|(_, child)| moving(child) || unstarted(child));
                match next {
                    Some((_, child)) if moving(child) => return,
                    Some((id, _)) => {
                        let id = Arc::clone(id);
                        self.start(&id, now);
                    }
                    None => break,
                }
            }
        } else if !self.first_starts.is_empty() {
            return;
        }
        self.phase = Phase::Running;
        self.out.push(Action::Ready);
        self.decide_deferred(now);
    }

    /// Decides about the exits that were deferred while children started for the first time.
    pub(super) fn decide_deferred(&mut self, now: Instant) {
        while matches!(self.phase, Phase::Running)
            && let Some(id) = self.deferred.pop_front()
        {
            if self
                .children
                .get(&id)
                .is_some_and(|child| child.state == State::Waiting)
            {
                self.decide(&id, now);
            }
        }
    }
}
