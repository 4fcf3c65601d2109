//! What can be asked of a running supervisor.
//!
//! The commands are OTP's `start_child`, `terminate_child`, `restart_child` and `delete_child` (`supervisor`, stdlib), and do
//! what they do there, except that OTP's supervisor reads none while it starts or restarts children and refuses to delete or
//! restart a child that runs. Here a command that comes while a group restarts changes what that restart starts, and a child
//! that runs is stopped first.

use std::sync::Arc;
use std::time::Instant;

use super::action::{Action, Refused};
use super::child::{After, Child, ChildId, IfStartFails, State};
use super::machine::{Core, Mode, Phase};
use crate::intensity::Intensity;
use crate::rules::{AutoShutdown, Rules, Strategy};

impl Core {
    /// Adds a child after all others and starts it. When its first start fails it is forgotten again.
    pub(crate) fn add(&mut self, id: &ChildId, rules: Rules, now: Instant) -> Result<Vec<Action>, Refused> {
        if matches!(self.phase, Phase::Closed) {
            return Err(Refused::Gone);
        }
        if let Some(child) = self.children.get(id) {
            return Err(if child.state.is_active() {
                Refused::AlreadyStarted
            } else {
                Refused::AlreadyPresent
            });
        }
        if self.is_full() {
            return Err(Refused::MaxChildren);
        }
        self.declare(id, rules);
        self.children[id].if_start_fails = IfStartFails::Forget;
        match (&mut self.phase, self.mode) {
            // Its turn comes.
            (Phase::Init, Mode::Static(_)) => {}
            (Phase::Group(group), _) => {
                group.append(id);
                self.set(id, State::Waiting);
            }
            (Phase::Init | Phase::Running | Phase::Closed, _) => self.start(id, now),
        }
        self.proceed(now);
        Ok(self.take_actions())
    }

    /// Stops a child and keeps its spec.
    pub(crate) fn terminate(&mut self, id: &ChildId, now: Instant) -> Result<Vec<Action>, Refused> {
        let state = self.commanded(id)?;
        self.children[id].held = true;
        match state {
            State::Starting { .. } | State::Running { .. } => self.stop(id, After::Stopped),
            State::Stopping { after } => {
                let after = if after == After::Delete { after } else { After::Stopped };
                self.set(id, State::Stopping { after });
            }
            State::Backoff { .. } => {
                self.out.push(Action::CancelTimer(Arc::clone(id)));
                self.terminated(id, now);
                self.stay_down(id);
                self.skip_delay(id, now);
            }
            State::Waiting | State::Parked { .. } | State::Stopped | State::Failed => self.stay_down(id),
        }
        self.proceed(now);
        Ok(self.take_actions())
    }

    /// Starts a child anew with its budget restored, whether it runs, waits, has failed or was terminated.
    pub(crate) fn restart(&mut self, id: &ChildId, now: Instant) -> Result<Vec<Action>, Refused> {
        let state = self.commanded(id)?;
        if matches!(state, State::Stopping { after: After::Delete }) {
            return Err(Refused::NotFound);
        }
        let shared = matches!(self.mode, Mode::Static(_));
        let child = &mut self.children[id];
        child.restore_budget();
        // `restart_child` of OTP: its error leaves the child down. Under a dynamic supervisor only its own budget is at stake.
        let down = !state.is_active() && !matches!(self.phase, Phase::Init);
        if shared && down && matches!(child.if_start_fails, IfStartFails::Retry) {
            child.if_start_fails = IfStartFails::StayDown;
        }
        if !state.is_active() {
            // It was meant to be down until now.
            child.down_since = Some(now);
        }
        self.start_anew(id, state, now);
        self.proceed(now);
        Ok(self.take_actions())
    }

    /// Stops a child and forgets its spec.
    pub(crate) fn delete(&mut self, id: &ChildId, now: Instant) -> Result<Vec<Action>, Refused> {
        match self.commanded(id)? {
            State::Starting { .. } | State::Running { .. } => self.stop(id, After::Delete),
            State::Stopping { .. } => {
                let after = After::Delete;
                self.set(id, State::Stopping { after });
            }
            State::Backoff { .. } => {
                self.out.push(Action::CancelTimer(Arc::clone(id)));
                self.terminated(id, now);
                // Before it is gone: a group finds its delay by it.
                self.stay_down(id);
                self.skip_delay(id, now);
                self.forget(id);
            }
            State::Waiting | State::Parked { .. } | State::Stopped | State::Failed => self.forget(id),
        }
        self.proceed(now);
        Ok(self.take_actions())
    }

    /// Changes the supervisor's own specification. Children, running or not, are left alone, and restarts that were made
    /// count under the new budget.
    pub(crate) fn reconfigure(&mut self, strategy: Strategy, intensity: Intensity, auto_shutdown: AutoShutdown) {
        if let Mode::Static(current) = &mut self.mode {
            *current = strategy;
        }
        self.window.set_intensity(intensity);
        self.auto_shutdown = auto_shutdown;
    }

    /// Forgets all restarts. Who is down stays down, and a delay that has begun passes.
    pub(crate) fn reset(&mut self) {
        self.window.clear();
        self.children.values_mut().for_each(Child::reset);
    }

    /// Forgets the restarts of one child. What they used of a shared budget stays used.
    pub(crate) fn reset_child(&mut self, id: &str) -> Result<(), Refused> {
        self.children.get_mut(id).ok_or(Refused::NotFound)?.reset();
        Ok(())
    }

    /// Brings a child up by command: stopped first when it is there, and with its siblings when a group restart has it.
    pub(super) fn start_anew(&mut self, id: &ChildId, state: State, now: Instant) {
        self.children[id].held = false;
        match state {
            State::Starting { .. } | State::Running { .. } => {
                if !matches!(&self.phase, Phase::Group(group) if group.will_stop(id)) {
                    self.stop(id, After::Start);
                }
            }
            State::Stopping { .. } => {
                let after = After::Start;
                self.set(id, State::Stopping { after });
            }
            State::Backoff { .. } => {
                self.out.push(Action::CancelTimer(Arc::clone(id)));
                if matches!(&self.phase, Phase::Group(group) if group.is_delayed_by(id)) {
                    self.group_delay_over(now);
                } else {
                    self.start_now(id, now);
                }
            }
            State::Waiting | State::Parked { .. } | State::Stopped | State::Failed => self.bring_up(id, now),
        }
    }

    /// Starts a child that is down, now or with its siblings.
    pub(super) fn bring_up(&mut self, id: &ChildId, now: Instant) {
        match (&mut self.phase, self.mode) {
            (Phase::Closed, _) => {}
            (Phase::Init, Mode::Static(_)) => self.set(id, State::Stopped),
            (Phase::Group(group), _) => {
                if group.schedule(id) {
                    self.set(id, State::Waiting);
                } else {
                    self.start_now(id, now);
                }
            }
            (Phase::Init | Phase::Running, _) => self.start_now(id, now),
        }
    }

    /// Whether its spec is on trial.
    pub(crate) fn may_revert(&self, id: &ChildId) -> bool {
        let child = self.children.get(id);
        child.is_some_and(|child| matches!(child.if_start_fails, IfStartFails::Revert(_)))
    }

    pub(super) fn known(&mut self, id: &ChildId) -> Result<&mut Child, Refused> {
        if matches!(self.phase, Phase::Closed) {
            return Err(Refused::Gone);
        }
        self.children.get_mut(id).ok_or(Refused::NotFound)
    }

    /// A child that commands are given about stays, even if somebody is just adding it.
    fn commanded(&mut self, id: &ChildId) -> Result<State, Refused> {
        let child = self.known(id)?;
        if matches!(child.if_start_fails, IfStartFails::Forget) {
            child.if_start_fails = IfStartFails::Retry;
        }
        Ok(child.state)
    }

    /// Children that wait for a restart count too: their place is taken.
    fn is_full(&self) -> bool {
        let Mode::Dynamic { max_children } = self.mode else {
            return false;
        };
        let down = self.counts[State::Stopped.index()] + self.counts[State::Failed.index()];
        let active = self.counts.iter().sum::<i64>() - down;
        usize::try_from(active).is_ok_and(|active| active >= max_children)
    }
}
