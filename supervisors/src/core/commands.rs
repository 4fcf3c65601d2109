//! Commands on a running supervisor.
//!
//! The commands are OTP's `start_child`, `terminate_child`, `restart_child` and `delete_child` (`supervisor`, stdlib), with two
//! differences. OTP's supervisor accepts no command while it starts or restarts children; here a command during a group
//! restart changes which children that restart starts. OTP refuses to delete or restart a running child; here the child is
//! stopped first.

use std::sync::Arc;
use std::time::Instant;

use super::action::{Action, Refused};
use super::child::{After, Child, ChildId, IfStartFails, State};
use super::machine::{Core, Mode, Phase};
use crate::backoff::Backoff;
use crate::intensity::Intensity;
use crate::rules::{AutoShutdown, Restart, Rules, Strategy};

impl Core {
    /// Adds a child after all others and starts it. When this first start fails, the child is removed again.
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
            // The start of the supervisor, which is under way, comes to it.
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

    /// Stops a child and keeps its specification.
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

    /// Starts a child in any state, with its restart budget restored. A running child is stopped first.
    pub(crate) fn restart(&mut self, id: &ChildId, now: Instant) -> Result<Vec<Action>, Refused> {
        let state = self.commanded(id)?;
        if matches!(state, State::Stopping { after: After::Delete }) {
            return Err(Refused::NotFound);
        }
        let shared = matches!(self.mode, Mode::Static(_));
        let child = &mut self.children[id];
        child.restore_budget();
        // As with OTP's `restart_child`, a failed start leaves the child down. Under a dynamic supervisor it is retried, because
        // that concerns only the restart intensity of the child itself.
        let down = !state.is_active() && !matches!(self.phase, Phase::Init);
        if shared && down && matches!(child.if_start_fails, IfStartFails::Retry) {
            child.if_start_fails = IfStartFails::StayDown;
        }
        if !state.is_active() {
            // The child was down on purpose, so its recovery begins with this command.
            child.down_since = Some(now);
        }
        self.start_anew(id, state, now);
        self.proceed(now);
        Ok(self.take_actions())
    }

    /// Stops a child and removes its specification.
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
                // The group restart finds its delay by this child, so the delay must end before the child is removed.
                self.stay_down(id);
                self.skip_delay(id, now);
                self.forget(id);
            }
            State::Waiting | State::Parked { .. } | State::Stopped | State::Failed => self.forget(id),
        }
        self.proceed(now);
        Ok(self.take_actions())
    }

    /// Changes the strategy, the restart intensity and the auto-shutdown of the supervisor. No child is started or stopped, and
    /// the restarts so far count toward the new intensity.
    pub(crate) fn reconfigure(&mut self, strategy: Strategy, intensity: Intensity, auto_shutdown: AutoShutdown) {
        if let Mode::Static(current) = &mut self.mode {
            *current = strategy;
        }
        self.window.set_intensity(intensity);
        self.auto_shutdown = auto_shutdown;
    }

    /// Changes the restart type and the backoff of one child. No child is started or stopped, and a delay that has begun goes on.
    pub(crate) fn reconfigure_child(
        &mut self,
        id: &str,
        restart: Restart,
        backoff: Option<Backoff>,
    ) -> Result<(), Refused> {
        let rules = &mut self.children.get_mut(id).ok_or(Refused::NotFound)?.rules;
        rules.restart = restart;
        rules.backoff = backoff;
        Ok(())
    }

    /// Forgets all restarts. A child that is down stays down, and a delay that has begun goes on.
    pub(crate) fn reset(&mut self) {
        self.window.clear();
        self.children.values_mut().for_each(Child::reset);
    }

    /// Forgets the restarts of one child. They still count toward a shared restart intensity.
    pub(crate) fn reset_child(&mut self, id: &str) -> Result<(), Refused> {
        self.children.get_mut(id).ok_or(Refused::NotFound)?.reset();
        Ok(())
    }

    /// Starts a child by command. It is stopped first when it is running, and started with its siblings when it is a member of
    /// the group restart that is under way.
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

    /// Starts a child that is down, at once or with its siblings.
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

    /// Whether the old specification of the child is restored when its next start fails.
    pub(crate) fn may_revert(&self, id: &ChildId) -> bool {
        let child = self.children.get(id);
        child.is_some_and(|child| matches!(child.if_start_fails, IfStartFails::Revert(_)))
    }

    /// The child that a command is about.
    pub(super) fn known(&mut self, id: &ChildId) -> Result<&mut Child, Refused> {
        if matches!(self.phase, Phase::Closed) {
            return Err(Refused::Gone);
        }
        self.children.get_mut(id).ok_or(Refused::NotFound)
    }

    /// The state of the child that a command is about. A child that is being added is no longer removed when its start fails,
    /// because this command refers to it.
    fn commanded(&mut self, id: &ChildId) -> Result<State, Refused> {
        let child = self.known(id)?;
        if matches!(child.if_start_fails, IfStartFails::Forget) {
            child.if_start_fails = IfStartFails::Retry;
        }
        Ok(child.state)
    }

    /// Whether a dynamic supervisor has as many children as it may. Children that wait for a restart count too.
    fn is_full(&self) -> bool {
        let Mode::Dynamic { max_children } = self.mode else {
            return false;
        };
        let down = self.counts[State::Stopped.index()] + self.counts[State::Failed.index()];
        let active = self.counts.iter().sum::<i64>() - down;
        usize::try_from(active).is_ok_and(|active| active >= max_children)
    }
}
