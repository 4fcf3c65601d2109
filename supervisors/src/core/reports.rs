//! Reports from the shell: results of starts and stops, exits, and timers. A report is ignored when it is not about the latest
//! incarnation of its child, or when the child is in a state in which the report means nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::{Action, Exit, Outcome};
use super::child::{After, ChildId, IfStartFails, State};
use super::machine::{Core, Mode, Phase};
use crate::exit::ExitReason;
use crate::note::{EventKind, Note};

impl Core {
    /// A start has succeeded.
    pub(crate) fn on_started(&mut self, id: &ChildId, incarnation: u64, now: Instant) -> Vec<Action> {
        let Some(child) = self.latest(id, incarnation) else {
            return Vec::new();
        };
        if !matches!(child.state, State::Starting { .. }) {
            return Vec::new();
        }
        let again = std::mem::replace(&mut child.started_before, true);
        let replaced = std::mem::replace(&mut child.if_start_fails, IfStartFails::Retry);
        let replaced = matches!(replaced, IfStartFails::Revert(_));
        let recovery = child
            .down_since
            .take()
            .map(|since| now.saturating_duration_since(since));
        let why = child.last_reason();
        let (used, limit) = self.usage(id, now);
        let mut note = Note::new(EventKind::ChildStarted, incarnation);
        if replaced {
            note = Note::new(EventKind::Replaced, incarnation);
            note.recovery = recovery;
        } else if again {
            note = Note::new(EventKind::Restarted, incarnation)
                .because(why)
                .attempt(used, limit);
            note.recovery = recovery;
        }
        self.out.push(Action::Emit(Arc::clone(id), note));
        self.set(id, State::Running { since: now });
        self.settle(id, Outcome::Running);
        self.first_starts.remove(id);
        self.proceed(now);
        self.take_actions()
    }

    /// A start has failed.
    pub(crate) fn on_start_failed(
        &mut self,
        id: &ChildId,
        incarnation: u64,
        reason: ExitReason,
        now: Instant,
    ) -> Vec<Action> {
        let Some(child) = self.latest(id, incarnation) else {
            return Vec::new();
        };
        if !matches!(child.state, State::Starting { .. }) {
            return Vec::new();
        }
        let if_fails = child.if_start_fails;
        child.end(reason.clone(), Duration::ZERO, now);
        let note = Note::new(EventKind::StartFailed, incarnation).because(reason.clone());
        self.out.push(Action::Emit(Arc::clone(id), note));
        self.first_starts.remove(id);
        if matches!(if_fails, IfStartFails::Revert(_)) && !matches!(self.phase, Phase::Closed) {
            self.revert(id, reason, now);
            return self.take_actions();
        }
        self.settle(id, Outcome::StartFailed(reason.clone()));
        if matches!(if_fails, IfStartFails::Forget | IfStartFails::StayDown) {
            if matches!(if_fails, IfStartFails::Forget) {
                self.forget(id);
            } else {
                self.children[id].if_start_fails = IfStartFails::Retry;
                self.stay_down(id);
            }
            self.proceed(now);
            return self.take_actions();
        }
        match (&self.phase, self.mode) {
            (Phase::Closed, _) => self.set(id, State::Stopped),
            (Phase::Init, Mode::Static(_)) => {
                self.set(id, State::Stopped);
                self.phase = Phase::Closed;
                self.out.push(Action::Exit(Exit::StartFailed(reason)));
            }
            // In a group restart by `rest_for_one`, the next attempt begins with this child. Those before it have started and stay.
            (Phase::Init | Phase::Running | Phase::Group(_), _) => self.decide(id, now),
        }
        self.proceed(now);
        self.take_actions()
    }

    /// A child ended by itself, or was stopped or killed by somebody other than its supervisor.
    pub(crate) fn on_exit(&mut self, id: &ChildId, incarnation: u64, reason: ExitReason, now: Instant) -> Vec<Action> {
        let Some(child) = self.latest(id, incarnation) else {
            return Vec::new();
        };
        match child.state {
            State::Running { since } => {
                let uptime = now.saturating_duration_since(since);
                self.ended(id, reason, uptime, now);
            }
            // The child is being stopped. This is its exit reason, and `on_stopped` follows.
            State::Stopping { .. } => child.end(reason, Duration::ZERO, now),
            State::Starting { .. }
            | State::Backoff { .. }
            | State::Waiting
            | State::Parked { .. }
            | State::Stopped
            | State::Failed => {}
        }
        self.take_actions()
    }

    /// A stop or a kill by the supervisor is complete. A zombie is still running after its kill, and counts as ended.
    pub(crate) fn on_stopped(&mut self, id: &ChildId, incarnation: u64, zombie: bool, now: Instant) -> Vec<Action> {
        let Some(child) = self.latest(id, incarnation) else {
            return Vec::new();
        };
        let State::Stopping { after } = child.state else {
            return Vec::new();
        };
        child.down_since.get_or_insert(now);
        if zombie {
            let note = Note::new(EventKind::Zombie, incarnation);
            self.out.push(Action::Emit(Arc::clone(id), note));
        }
        if after == After::HeartbeatLost {
            self.ended(id, ExitReason::HeartbeatLost, Duration::ZERO, now);
            self.proceed(now);
            return self.take_actions();
        }
        self.terminated(id, now);
        match after {
            After::HeartbeatLost => {}
            After::Group => {
                self.set(id, State::Waiting);
            }
            After::Stopped => self.stay_down(id),
            After::Start if matches!(self.phase, Phase::Closed) => self.stay_down(id),
            After::Start if matches!(&self.phase, Phase::Group(group) if group.will_stop(id)) => {
                self.set(id, State::Waiting);
            }
            After::Start => self.start_now(id, now),
            After::Delete => self.forget(id),
        }
        self.proceed(now);
        self.take_actions()
    }

    /// A child showed no sign of life in time.
    pub(crate) fn on_heartbeat_lost(&mut self, id: &ChildId, incarnation: u64, now: Instant) -> Vec<Action> {
        if let Some(child) = self.latest(id, incarnation)
            && let State::Running { since } = child.state
        {
            // The uptime and the recovery are measured from now, not from the end of the kill.
            child.end(ExitReason::HeartbeatLost, now.saturating_duration_since(since), now);
            let after = After::HeartbeatLost;
            self.set(id, State::Stopping { after });
            self.out.push(Action::Kill(Arc::clone(id), incarnation));
        }
        self.take_actions()
    }

    /// The backoff of a child is over. A timer with an old token is ignored.
    pub(crate) fn on_timer(&mut self, id: &ChildId, token: u64, now: Instant) -> Vec<Action> {
        let due = self
            .children
            .get(id)
            .is_some_and(|child| matches!(child.state, State::Backoff { token: set, .. } if set == token));
        if !due {
            return Vec::new();
        }
        if matches!(&self.phase, Phase::Group(group) if group.is_delayed_by(id)) {
            self.group_delay_over(now);
        } else if !matches!(self.phase, Phase::Closed) {
            self.start(id, now);
        }
        self.take_actions()
    }

    /// A child has stopped because its supervisor ends.
    pub(crate) fn on_closed(&mut self, id: &ChildId, reason: ExitReason, zombie: bool, now: Instant) -> Vec<Action> {
        let Some(child) = self.children.get_mut(id) else {
            return Vec::new();
        };
        let incarnation = child.incarnation;
        let was_there = matches!(
            child.state,
            State::Running { .. } | State::Starting { .. } | State::Stopping { .. }
        );
        if was_there {
            child.end(reason, Duration::ZERO, now);
            if zombie {
                self.push_note(id, Note::new(EventKind::Zombie, incarnation));
            }
            self.terminated(id, now);
        }
        if self.children[id].state != State::Failed {
            self.set(id, State::Stopped);
        }
        self.take_actions()
    }
}
