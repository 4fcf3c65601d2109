//! What can be asked of a dynamic supervisor.

use std::sync::Arc;
use std::time::Instant;

use super::child::{After, State};
use super::{Action, ChildId, Core, Mode, Phase};
use crate::event::Note;
use crate::spec::Rules;

/// Why a child is not added, or not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    AlreadyPresent,
    AlreadyStarted,
    MaxChildren,
    NotFound,
    Gone,
}

impl Core {
    /// Adds and starts a child. When its first start fails it is forgotten again.
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
        self.children[id].adopted = false;
        self.start(id, now);
        Ok(self.take_actions())
    }

    /// Stops a child and keeps its spec.
    pub(crate) fn terminate(&mut self, id: &ChildId, now: Instant) -> Result<Vec<Action>, Refused> {
        match self.commanded(id)? {
            State::Starting { .. } | State::Running { .. } => self.stop(id, After::Stopped),
            State::Stopping { after } => {
                let after = if after == After::Delete { after } else { After::Stopped };
                self.set(id, State::Stopping { after });
            }
            State::Backoff { .. } => {
                self.out.push(Action::CancelTimer(Arc::clone(id)));
                self.terminated(id, now);
                self.rest(id);
            }
            State::Waiting | State::Stopped | State::Failed => self.rest(id),
        }
        Ok(self.take_actions())
    }

    /// Starts a child anew with its budget restored, whether it runs, waits, has failed or was terminated.
    pub(crate) fn restart(&mut self, id: &ChildId, now: Instant) -> Result<Vec<Action>, Refused> {
        let state = self.commanded(id)?;
        self.children[id].forgive();
        match state {
            State::Starting { .. } | State::Running { .. } => self.stop(id, After::Start),
            State::Stopping { after: After::Delete } => return Err(Refused::NotFound),
            State::Stopping { .. } => {
                let after = After::Start;
                self.set(id, State::Stopping { after });
            }
            State::Backoff { .. } => {
                self.out.push(Action::CancelTimer(Arc::clone(id)));
                self.start(id, now);
            }
            State::Waiting | State::Stopped | State::Failed => {
                self.children[id].down_since = Some(now);
                self.start(id, now);
            }
        }
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
                self.forget(id);
            }
            State::Waiting | State::Stopped | State::Failed => self.forget(id),
        }
        Ok(self.take_actions())
    }

    fn commanded(&mut self, id: &ChildId) -> Result<State, Refused> {
        if matches!(self.phase, Phase::Closed) {
            return Err(Refused::Gone);
        }
        let child = self.children.get_mut(id).ok_or(Refused::NotFound)?;
        child.adopted = true;
        Ok(child.state)
    }

    /// Children that wait for a restart count too: their place is taken.
    fn is_full(&self) -> bool {
        let Mode::Dynamic { max_children } = self.mode else {
            return true;
        };
        let active: i64 =
            self.counts.iter().sum::<i64>() - self.counts[State::Stopped.index()] - self.counts[State::Failed.index()];
        usize::try_from(active).is_ok_and(|active| active >= max_children)
    }

    pub(super) fn push_note(&mut self, id: &ChildId, note: Note) {
        self.out.push(Action::Emit(Arc::clone(id), note));
    }
}
