//! The agent's timers as a turn sees them: the committed ones with the changes of this turn.

use std::time::Duration;

use super::guest::Guest;
use super::refusal::Refusal;
use crate::time::Timestamp;
use crate::timer::{Timer, TimerChange, limits};

impl Guest {
    /// Sets a timer that fires once, after the time `after` or a little later.
    pub(in crate::wasm) fn set_timer(&mut self, after: Duration) -> Result<u32, Refusal> {
        self.add_timer(after.max(limits::SHORTEST), false)
    }

    /// Sets a timer that fires again and again, each time that `every` has passed.
    pub(in crate::wasm) fn set_periodic(&mut self, every: Duration) -> Result<u32, Refusal> {
        self.may_use_timers()?;
        if every < limits::SHORTEST_PERIOD {
            return Err(Refusal::OverLimit);
        }
        self.add_timer(every, true)
    }

    /// Cancels a timer, and returns whether it existed. If it has fired already, its message still comes.
    pub(in crate::wasm) fn cancel_timer(&mut self, id: u32) -> Result<bool, Refusal> {
        self.may_use_timers()?;
        let changes = &mut self.turn.effects.timers;
        match changes.get(&id) {
            Some(TimerChange::Set(_)) => {
                changes.remove(&id);
                self.turn.timers_set -= 1;
                Ok(true)
            }
            None if self.host.timers.contains(id) => {
                changes.insert(id, TimerChange::Cancel(id));
                Ok(true)
            }
            Some(TimerChange::Cancel(_)) | None => Ok(false),
        }
    }

    fn may_use_timers(&self) -> Result<(), Refusal> {
        if self.host.grants.timers() {
            Ok(())
        } else {
            Err(Refusal::NotPermitted)
        }
    }

    fn add_timer(&mut self, after: Duration, periodic: bool) -> Result<u32, Refusal> {
        self.may_use_timers()?;
        let turn = &mut self.turn;
        let cancelled = turn.effects.timers.len() - turn.timers_set;
        // A timer that this turn has cancelled may have fired meanwhile. Then it is subtracted twice, and the guest may have one
        // timer more. That does no harm.
        let live = self.host.timers.len().saturating_sub(cancelled) + turn.timers_set;
        if after > limits::LONGEST || live >= self.timer_limit {
            return Err(Refusal::OverLimit);
        }
        let changes = &turn.effects.timers;
        let id = self
            .host
            .timers
            .free_id(turn.last_timer, |id| changes.contains_key(&id));
        let timer = Timer {
            id,
            due: Timestamp::steady().plus(after),
            every: periodic.then(|| u64::try_from(after.as_micros()).unwrap_or(u64::MAX)),
        };
        turn.last_timer = Some(id);
        turn.timers_set += 1;
        turn.effects.timers.insert(id, TimerChange::Set(timer));
        Ok(id)
    }
}
