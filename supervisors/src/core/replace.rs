//! Commands for upgrades: suspending and resuming the supervision of a child, and replacing its specification.
//!
//! OTP's `suspend`, `code_change` and `resume` (`sys`, stdlib) act on the process of the child. Here the mailbox and the state
//! belong to whoever wrote the actor. The supervisor only decides when an incarnation ends, and which specification the next
//! one is started by.

use std::sync::Arc;
use std::time::Instant;

use super::action::{Action, Outcome, Refused};
use super::child::{After, ChildId, IfStartFails, State};
use super::machine::{Core, Mode, Phase};
use crate::exit::ExitReason;
use crate::note::{EventKind, Note};
use crate::rules::Rules;

impl Core {
    /// Suspends a child: until it is resumed, no exit of it is followed by a start.
    pub(crate) fn suspend(&mut self, id: &ChildId) -> Result<Vec<Action>, Refused> {
        let child = self.known(id)?;
        if !child.suspended {
            let incarnation = child.incarnation;
            self.change(id, |child| child.suspended = true);
            self.push_note(id, Note::new(EventKind::Suspended, incarnation));
        }
        Ok(self.take_actions())
    }

    /// Resumes a suspended child, and decides about an exit that occurred meanwhile.
    pub(crate) fn resume(&mut self, id: &ChildId, now: Instant) -> Result<Vec<Action>, Refused> {
        let child = self.known(id)?;
        let (state, incarnation) = (child.state, child.incarnation);
        if child.suspended {
            self.change(id, |child| child.suspended = false);
            self.push_note(id, Note::new(EventKind::Resumed, incarnation));
        }
        match (state, &self.phase, self.mode) {
            (State::Parked { decided: true }, ..) => self.bring_up(id, now),
            (State::Parked { decided: false }, Phase::Init, Mode::Static(_)) => {
                self.set(id, State::Waiting);
                self.deferred.push_back(Arc::clone(id));
            }
            (State::Parked { decided: false }, Phase::Group(_), _) => self.ended_in_group(id, now),
            (State::Parked { decided: false }, ..) => self.decide(id, now),
            _ => {}
        }
        self.proceed(now);
        Ok(self.take_actions())
    }

    /// Gives a child new rules and starts it by its new specification. It is stopped first when it is running, and it is not
    /// started when it was down. No restart is counted. The old rules are kept until the new specification has started, to be
    /// restored when it does not.
    pub(crate) fn replace(&mut self, id: &ChildId, rules: Rules, now: Instant) -> Result<Vec<Action>, Refused> {
        let default = self.window.intensity();
        let child = self.known(id)?;
        let state = child.state;
        if matches!(state, State::Stopping { after: After::Delete }) {
            return Err(Refused::NotFound);
        }
        let stays_down = !state.is_active() || matches!(state, State::Stopping { after: After::Stopped });
        let old = std::mem::replace(&mut child.rules, rules);
        child.window.set_intensity(rules.intensity.unwrap_or(default));
        match child.if_start_fails {
            // A specification that never started is not restored.
            IfStartFails::Retry | IfStartFails::StayDown if child.started_before && !stays_down => {
                child.if_start_fails = IfStartFails::Revert(old);
            }
            IfStartFails::Retry | IfStartFails::StayDown | IfStartFails::Forget | IfStartFails::Revert(_) => {}
        }
        if !state.is_active() {
            self.settle(id, Outcome::Stopped);
        } else if !stays_down {
            self.start_anew(id, state, now);
        }
        self.proceed(now);
        Ok(self.take_actions())
    }

    /// Restores the old rules and starts the child by its old specification, because the new one did not start.
    pub(super) fn revert(&mut self, id: &ChildId, reason: ExitReason, now: Instant) {
        let default = self.window.intensity();
        let child = &mut self.children[id];
        if let IfStartFails::Revert(old) = std::mem::replace(&mut child.if_start_fails, IfStartFails::Retry) {
            child.rules = old;
            child.window.set_intensity(old.intensity.unwrap_or(default));
            child.reverting = Some(reason);
            self.out.push(Action::Revert(Arc::clone(id)));
            self.start_now(id, now);
        }
    }
}
