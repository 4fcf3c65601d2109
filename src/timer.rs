//! Timers of agents: durable, set and cancelled by turns.
//!
//! A timer that fires sends a message of the platform to its agent. Order, redelivery and dead letters are therefore the same as
//! for every message. While a process runs, due times are on its steady clock, which nobody can set; in the journal they are on
//! the wall clock, which goes on between two processes.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;

use crate::fipa::Performative;
use crate::id::{AgentId, MessageId};
use crate::message::{Address, Content, Message};
use crate::time::{Moment, Timestamp};

/// Limits on one timer.
pub mod limits {
    use std::time::Duration;

    /// The shortest time until a one-shot timer fires. A shorter one is replaced by this.
    pub const SHORTEST: Duration = Duration::from_millis(1);
    /// The shortest period. A periodic timer costs its router work at every due time, even if the agent cannot keep up.
    pub const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
    /// The longest time until a timer fires.
    pub const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);
    /// The greatest id. The core ABI passes ids to guests as positive i32.
    pub const LAST_ID: u32 = i32::MAX.cast_unsigned();
}

/// The protocol of the messages that timers send.
pub const PROTOCOL: &str = "caxton-timer";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// From 1 to [`limits::LAST_ID`]. Unique among the agent's timers that are set or have a message in its mailbox.
    pub id: u32,
    /// On the steady clock; in the journal on the wall clock.
    pub due: Timestamp,
    /// The period, in microseconds. None: the timer fires once.
    pub every: Option<u64>,
}

impl Timer {
    /// A timer of the journal, with its due time on the steady clock of this process.
    #[must_use]
    pub fn on_the_steady_clock(self, now: Moment) -> Self {
        Self {
            due: now.on_the_steady_clock(self.due),
            ..self
        }
    }

    /// When a timer that fires at `now` is due again. Due times that it missed are skipped, and the next one is still a whole
    /// number of periods after the last. None: it fires no more.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let every = self.every?.max(1);
        let late = u64::try_from(now.since(self.due).as_micros()).unwrap_or(u64::MAX);
        let beats = every.saturating_mul(late / every + 1);
        Some(self.due.plus(Duration::from_micros(beats)))
    }
}

/// What a turn does to a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerChange {
    Set(Timer),
    Cancel(u32),
}

impl TimerChange {
    /// The change as the journal has it.
    #[must_use]
    pub fn on_the_wall(&self, now: Moment) -> Self {
        match self {
            Self::Set(timer) => Self::Set(Timer {
                due: now.on_the_wall(timer.due),
                ..*timer
            }),
            Self::Cancel(id) => Self::Cancel(*id),
        }
    }
}

/// The timers that one agent has set. A turn changes them when it ends, and the router when it fires one; both may happen before
/// the change is durable.
#[derive(Debug, Default)]
pub struct Timers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    live: BTreeMap<u32, Timer>,
    /// The id that was given last, 0 before the first.
    last: u32,
}

impl Timers {
    pub fn apply(&self, changes: &[TimerChange]) {
        if changes.is_empty() {
            return;
        }
        let mut inner = self.0.lock();
        for change in changes {
            match change {
                TimerChange::Set(timer) => {
                    inner.last = timer.id;
                    inner.live.insert(timer.id, *timer);
                }
                TimerChange::Cancel(id) => drop(inner.live.remove(id)),
            }
        }
    }

    /// Takes over the timers that the journal has. `queued` are the ids of timers that fired and whose messages wait in the
    /// mailbox.
    pub fn restore(&self, live: &[Timer], queued: impl Iterator<Item = u32>) {
        let mut inner = self.0.lock();
        inner.last = live.iter().map(|timer| timer.id).chain(queued).max().unwrap_or(0);
        inner.live = live.iter().map(|timer| (timer.id, *timer)).collect();
    }

    /// Fires the timer: it is due again at `next`, or removed if that is None. False: it was cancelled, and must not fire.
    #[must_use]
    pub fn fire(&self, timer: &Timer, next: Option<Timestamp>) -> bool {
        let mut inner = self.0.lock();
        let Some(live) = inner.live.get_mut(&timer.id).filter(|live| *live == timer) else {
            return false;
        };
        match next {
            Some(due) => live.due = due,
            None => drop(inner.live.remove(&timer.id)),
        }
        true
    }

    /// The first id after `last` (None: after the id given last) that no timer has and that is not `taken`. Ids in queued
    /// messages need no look: an id comes again only after two thousand million others.
    pub fn free_id(&self, last: Option<u32>, taken: impl Fn(u32) -> bool) -> u32 {
        let inner = self.0.lock();
        let mut id = last.unwrap_or(inner.last);
        loop {
            id = if id >= limits::LAST_ID { 1 } else { id + 1 };
            if !inner.live.contains_key(&id) && !taken(id) {
                return id;
            }
        }
    }

    pub fn contains(&self, id: u32) -> bool {
        self.0.lock().live.contains_key(&id)
    }

    pub fn len(&self) -> usize {
        self.0.lock().live.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Deserialize)]
struct Fired {
    timer: u32,
}

/// The message that the agent gets when its timer fires.
pub fn message(agent: AgentId, timer: u32, now: Timestamp) -> Message {
    let id = MessageId::new();
    Message {
        id,
        performative: Performative::Inform,
        sender: Address::Platform,
        receivers: vec![Address::Agent(agent)],
        reply_to: None,
        content: Content::json(&serde_json::json!({"timer": timer})),
        language: None,
        ontology: None,
        protocol: Some(PROTOCOL.to_owned()),
        conversation_id: format!("conv_{}", id.uuid().simple()),
        reply_with: None,
        in_reply_to: None,
        reply_by: None,
        timestamp: now,
        causation_id: None,
        traceparent: None,
        hops: 0,
        extensions: BTreeMap::new(),
    }
}

/// The id of the timer that sent this message. None: no timer did.
///
/// The protocol alone does not show it: a `failure` of the platform has the protocol of the message that failed, and anybody may
/// choose that. An `inform` of the platform is always from a timer.
pub fn fired(message: &Message) -> Option<u32> {
    let ours = message.sender == Address::Platform
        && message.performative == Performative::Inform
        && message.protocol.as_deref() == Some(PROTOCOL);
    match &message.content {
        Content::Json(json) if ours => serde_json::from_slice(json).ok().map(|Fired { timer }| timer),
        Content::Json(_) | Content::Bytes { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::FailureReason;

    const fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    const fn timer(id: u32, due: i64, every: Option<u64>) -> Timer {
        let due = at(due);
        Timer { id, due, every }
    }

    #[test]
    fn missed_times_are_one_and_the_beat_is_kept() {
        let beat = timer(1, 1_000, Some(10));
        for (now, next) in [(1_000, 1_010), (1_009, 1_010), (1_010, 1_020), (1_995, 2_000)] {
            assert_eq!(beat.next(at(now)), Some(at(next)), "{now}");
        }
        assert_eq!(beat.next(at(900)), Some(at(1_010)), "the clock went back");
        assert_eq!(timer(1, 1_000, None).next(at(2_000)), None);
        assert_eq!(
            timer(1, i64::MAX, Some(u64::MAX)).next(at(i64::MAX)),
            Some(at(i64::MAX))
        );
    }

    #[test]
    fn a_timer_fires_only_while_it_lives_and_as_it_was_set() {
        let timers = Timers::default();
        timers.apply(&[
            TimerChange::Set(timer(1, 5, None)),
            TimerChange::Set(timer(2, 5, Some(3))),
        ]);
        assert!(!timers.fire(&timer(1, 6, None), None), "another due time");
        assert!(timers.fire(&timer(1, 5, None), None));
        assert!(!timers.fire(&timer(1, 5, None), None), "once");
        assert!(timers.fire(&timer(2, 5, Some(3)), Some(at(8))));
        assert!(timers.fire(&timer(2, 8, Some(3)), Some(at(11))));
        timers.apply(&[TimerChange::Cancel(2)]);
        assert!(!timers.fire(&timer(2, 11, Some(3)), Some(at(14))));
        assert!(timers.is_empty());
    }

    #[test]
    fn ids_are_not_those_of_timers_that_live_or_have_a_message() {
        let timers = Timers::default();
        assert_eq!(timers.free_id(None, |_| false), 1);
        timers.restore(&[timer(4, 5, None)], [9].into_iter());
        assert_eq!(timers.free_id(None, |_| false), 10);
        assert_eq!(timers.free_id(Some(3), |id| id == 5), 6);
        assert_eq!(timers.free_id(Some(limits::LAST_ID), |_| false), 1);
    }

    #[test]
    fn nobody_but_the_platform_says_that_a_timer_fired() {
        let agent = AgentId::new();
        let true_one = message(agent, 7, at(0));
        assert_eq!(fired(&true_one), Some(7));
        let forged = Message {
            sender: Address::Agent(agent),
            ..true_one.clone()
        };
        assert_eq!(fired(&forged), None);
        // What an agent sends to nobody comes back with the protocol that it chose.
        let failure = Message::failure(&forged, FailureReason::UnknownReceiver, "", at(0));
        assert_eq!((failure.sender.clone(), fired(&failure)), (Address::Platform, None));
    }
}
