//! The recorded timers of a partition's agents, and when each is checked next.
//!
//! Only recorded timers are here: a turn that runs ahead of the journal has not set its timers yet. The agents' limits
//! on timers bound the size.

use std::collections::{BTreeSet, HashMap};

use crate::id::{AgentId, Seq};
use crate::time::Timestamp;
use crate::timer::{Timer, TimerChange};

#[derive(Debug, Default)]
pub(super) struct Agenda {
    agents: HashMap<AgentId, HashMap<u32, Item>>,
    looks: BTreeSet<(Timestamp, AgentId, u32)>,
}

#[derive(Debug)]
struct Item {
    timer: Timer,
    /// When the timer is checked next. None: not before its agent takes messages again.
    look: Option<Timestamp>,
    /// The sequence number of the record with which the timer fired last.
    fired: Seq,
}

impl Agenda {
    pub(super) fn apply(&mut self, agent: AgentId, changes: &[TimerChange]) {
        for change in changes {
            match change {
                TimerChange::Set(timer) => self.set(agent, *timer, Seq(0)),
                TimerChange::Cancel(id) => self.drop(agent, *id),
            }
        }
    }

    /// The timer fired, in the batch that ends with `seq`, and is due again at `next`; None: never.
    pub(super) fn fired(&mut self, agent: AgentId, timer: Timer, next: Option<Timestamp>, seq: Seq) {
        match next {
            Some(due) => self.set(agent, Timer { due, ..timer }, seq),
            None => self.drop(agent, timer.id),
        }
    }

    fn set(&mut self, agent: AgentId, timer: Timer, fired: Seq) {
        let look = Some(timer.due);
        let item = Item { timer, look, fired };
        let before = self.agents.entry(agent).or_default().insert(timer.id, item);
        if let Some(look) = before.and_then(|item| item.look) {
            self.looks.remove(&(look, agent, timer.id));
        }
        self.looks.insert((timer.due, agent, timer.id));
    }

    fn drop(&mut self, agent: AgentId, id: u32) {
        let Some(timers) = self.agents.get_mut(&agent) else {
            return;
        };
        if let Some(look) = timers.remove(&id).and_then(|item| item.look) {
            self.looks.remove(&(look, agent, id));
        }
        if timers.is_empty() {
            self.agents.remove(&agent);
        }
    }

    /// Drops the timers of an agent that was removed.
    pub(super) fn forget(&mut self, agent: AgentId) {
        for (id, item) in self.agents.remove(&agent).unwrap_or_default() {
            if let Some(look) = item.look {
                self.looks.remove(&(look, agent, id));
            }
        }
    }

    /// When the next timer is to be checked.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.looks.first().map(|(look, _, _)| *look)
    }

    /// Takes the timer that has been due for check the longest by `now`, with the sequence number at which it fired
    /// last. The timer is not checked again until another method schedules it.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<(AgentId, Timer, Seq)> {
        let (look, ..) = *self.looks.first()?;
        if look > now {
            return None;
        }
        let (_, agent, id) = self.looks.pop_first()?;
        let item = self.agents.get_mut(&agent)?.get_mut(&id)?;
        item.look = None;
        Some((agent, item.timer, item.fired))
    }

    /// Schedules another check of a timer that was taken and did not fire.
    pub(super) fn look_again(&mut self, agent: AgentId, id: u32, at: Timestamp) {
        if let Some(item) = self.agents.get_mut(&agent).and_then(|timers| timers.get_mut(&id)) {
            item.look = Some(at);
            self.looks.insert((at, agent, id));
        }
    }

    /// Schedules a check of the timers that an agent missed, because it takes messages again.
    pub(super) fn resume(&mut self, agent: AgentId) {
        for (id, item) in self.agents.get_mut(&agent).into_iter().flatten() {
            if item.look.is_none() {
                item.look = Some(item.timer.due);
                self.looks.insert((item.timer.due, agent, *id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InstanceId;

    const fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    const fn timer(id: u32, due: i64) -> Timer {
        Timer {
            id,
            due: at(due),
            every: None,
            set_by: InstanceId::FIRST,
        }
    }

    fn taken(agenda: &mut Agenda, now: i64) -> Vec<u32> {
        std::iter::from_fn(|| agenda.take(at(now)).map(|(_, timer, _)| timer.id)).collect()
    }

    #[test]
    fn timers_are_taken_when_they_are_due_the_longest_due_first() {
        let (mut agenda, agent) = (Agenda::default(), AgentId::new());
        let set = |id, due| TimerChange::Set(timer(id, due));
        agenda.apply(
            agent,
            &[set(1, 30), set(2, 10), set(3, 20), set(4, 15), TimerChange::Cancel(4)],
        );
        assert_eq!(agenda.next(), Some(at(10)));
        assert_eq!(taken(&mut agenda, 9), [0; 0]);
        assert_eq!(taken(&mut agenda, 20), [2, 3]);
        assert_eq!(agenda.next(), Some(at(30)));
    }

    #[test]
    fn what_did_not_fire_waits_for_its_agent_or_for_the_time_that_was_said() {
        let (mut agenda, agent) = (Agenda::default(), AgentId::new());
        agenda.apply(agent, &[TimerChange::Set(timer(1, 10)), TimerChange::Set(timer(2, 10))]);
        assert_eq!(taken(&mut agenda, 10), [1, 2]);
        assert_eq!(agenda.next(), None, "nobody polls for an agent that is stopped");
        agenda.look_again(agent, 2, at(40));
        assert_eq!(agenda.next(), Some(at(40)));
        agenda.resume(agent);
        assert_eq!(taken(&mut agenda, 39), [1], "the other is waited for already");
        assert_eq!(taken(&mut agenda, 40), [2]);
    }

    #[test]
    fn what_fired_is_gone_or_due_again_and_nothing_is_left_of_an_agent_that_is_gone() {
        let (mut agenda, agent, other) = (Agenda::default(), AgentId::new(), AgentId::new());
        agenda.apply(agent, &[TimerChange::Set(timer(1, 10)), TimerChange::Set(timer(2, 10))]);
        agenda.apply(other, &[TimerChange::Set(timer(1, 50))]);
        assert_eq!(taken(&mut agenda, 10), [1, 2]);
        agenda.fired(agent, timer(1, 10), None, Seq(7));
        agenda.fired(agent, timer(2, 10), Some(at(20)), Seq(7));
        agenda.resume(agent);
        assert_eq!(agenda.take(at(20)), Some((agent, timer(2, 20), Seq(7))));
        assert_eq!(agenda.take(at(20)), None);
        agenda.look_again(agent, 2, at(21));
        agenda.forget(agent);
        agenda.look_again(agent, 2, at(22));
        assert_eq!(taken(&mut agenda, 99), [1]);
        agenda.forget(other);
        assert!(agenda.agents.is_empty() && agenda.looks.is_empty());
    }
}
