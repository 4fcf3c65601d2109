//! The decisions of a partition's owner, without await, clock or actor.

use std::sync::Arc;

use super::agenda::Agenda;
use super::catalog::Changed;
use super::dispatch::{Letter, Stamp};
use super::{Answer, Expected, InFlight, KeyLock, Orphans, Receipt, ReplyTo, RouterMessage, Shared};
use crate::agent::{Agent, Outcome, Permit, Recorded, Standing};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::id::{AgentId, AgentName, Partition, Seq};
use crate::journal::{Record, Turn, TurnEnd};
use crate::mailbox::{ReplySlot, Reservation};
use crate::message::{Address, Draft, FailureReason, Message};
use crate::time::{Moment, Timestamp};
use crate::timer::{Timer, TimerChange};

/// What a partition's owner knows beside the directory, and decides by.
pub struct Core {
    partition: Partition,
    pub(super) shared: Arc<Shared>,
    pub(super) agenda: Agenda,
}

/// What is appended together, and what follows once it has its position in the log.
pub struct Batch {
    records: Vec<Record>,
    letters: Vec<Letter>,
    then: Then,
}

/// What follows from a batch beside the hand-over of its letters.
pub(super) enum Then {
    Nothing,
    /// A client's message is accepted.
    Sent {
        receipt: Receipt,
        reply: ReplyTo<Result<(Receipt, Seq)>>,
        /// Given back now.
        _held: (Option<KeyLock>, Option<InFlight>),
    },
    /// A turn took effect.
    Committed(Box<Committed>),
    /// Timers fired, and are due again or gone.
    Fired(Vec<(AgentId, Timer, Option<Timestamp>)>),
    /// A change of the catalog is recorded.
    Changed {
        effect: Effect,
        reply: Option<ReplyTo<Result<Changed>>>,
        /// The lock of the answer that was recorded, given back now.
        _answered: Option<Answer>,
    },
}

/// A turn that is being recorded.
pub(super) struct Committed {
    /// Without its writes.
    turn: Turn,
    message: Option<Arc<Message>>,
    _held: (Option<Reservation>, Option<Permit>),
    recorded: Option<Recorded>,
}

/// What a change of the catalog opens or takes away once it is recorded. What it shuts is shut before.
pub(super) enum Effect {
    Nothing,
    /// The agent is in this state from now on.
    Enter(Arc<Agent>, Standing),
    RemoveAgent(Arc<Agent>),
    ReplaceGroup(Arc<Group>, Box<crate::group::GroupSpec>),
    RemoveGroup(AgentName),
}

impl Batch {
    pub(super) fn new(records: Vec<Record>, letters: Vec<Letter>, then: Then) -> Self {
        Self { records, letters, then }
    }

    /// Its records, once: those of its letters come last.
    pub fn take_records(&mut self) -> Vec<Record> {
        let mut records = std::mem::take(&mut self.records);
        records.extend(self.letters.iter().map(Letter::record));
        records
    }

    /// The same batch, with something that follows from it.
    pub(super) fn followed_by(self, then: Then) -> Self {
        Self { then, ..self }
    }

    /// Whether it is the outcome of a turn, which can be refused.
    pub fn is_turn(&self) -> bool {
        matches!(self.then, Then::Committed(_))
    }
}

impl Core {
    /// The owner of a partition whose live timers are these.
    pub fn new(partition: Partition, shared: Arc<Shared>, timers: Vec<(AgentId, Timer)>) -> Self {
        let mut agenda = Agenda::default();
        for (agent, timer) in timers {
            agenda.apply(agent, &[TimerChange::Set(timer)]);
        }
        Self {
            partition,
            shared,
            agenda,
        }
    }

    pub const fn partition(&self) -> Partition {
        self.partition
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// When a timer may be due.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.agenda.next()
    }

    /// Decides one input. The batches are to be appended in their order, each followed by [`Self::placed`].
    pub fn decide(&mut self, input: RouterMessage, now: Moment) -> Vec<Batch> {
        match input {
            RouterMessage::Send {
                sender,
                draft,
                expected,
                key,
                in_flight,
                reply,
            } => match self.accept(sender, *draft, expected, now.wall) {
                Ok((letter, receipt)) => {
                    let answer = key.as_ref().map(|key| key.record(&receipt, now.wall));
                    let then = Then::Sent {
                        receipt,
                        reply,
                        _held: (key, in_flight),
                    };
                    vec![Batch::new(answer.into_iter().collect(), vec![letter], then)]
                }
                Err(error) => {
                    reply.send(Err(error));
                    Vec::new()
                }
            },
            RouterMessage::Commit(outcome) => self.commit(*outcome, now).into_iter().collect(),
            RouterMessage::Change { change, reply } => self.change(*change, reply, now),
            RouterMessage::Alarm => self.fire(now.wall).into_iter().collect(),
        }
    }

    /// A batch has its position in the log: its letters go to the mailboxes and to those who wait, and what else follows from
    /// it is done. Messages whose mailbox closed meanwhile come back as batches of dead letters.
    pub fn placed(&mut self, batch: Batch, seq: Seq, now: Moment) -> Vec<Batch> {
        let mut bounced = Orphans::new();
        for letter in batch.letters {
            bounced.extend(self.shared.hand_on(letter, seq, now.monotonic));
        }
        match batch.then {
            Then::Nothing => {}
            Then::Sent { receipt, reply, .. } => {
                reply.send(Ok((receipt, seq)));
            }
            Then::Committed(committed) => {
                self.agenda.apply(committed.turn.agent, &committed.turn.timers);
                if let Some(recorded) = committed.recorded {
                    let _ = recorded.send(()); // who waited may be gone
                }
            }
            Then::Fired(timers) => {
                for (agent, timer, next) in timers {
                    self.agenda.fired(agent, timer, next, seq);
                }
            }
            Then::Changed { effect, reply, .. } => {
                self.take_effect(effect);
                if let Some(reply) = reply {
                    reply.send(Ok(Changed::At(seq)));
                }
            }
        }
        self.bury(bounced, "the agent was stopped, given up or removed", now)
    }

    /// The message of a client, with room reserved for it.
    fn accept(
        &self,
        sender: Address,
        draft: Draft,
        expected: Option<Expected>,
        now: Timestamp,
    ) -> Result<(Letter, Receipt)> {
        let stamp = Stamp {
            sender,
            now,
            cause: None,
        };
        let (letter, mut refused) = self.shared.prepare(stamp, draft, Vec::new());
        let Some(letter) = letter else {
            return Err(refused.swap_remove(0).error);
        };
        if let Some(expected) = expected
            && !self.shared.waiters.expect(&letter.message, expected)
        {
            let problem =
                "another call waits for an answer to the same conversation_id and reply_with; use another reply_with";
            return Err(Error::Conflict(problem.to_owned()));
        }
        let receipt = letter.receipt(refused, now);
        Ok((letter, receipt))
    }

    /// A turn takes effect: message done, sends, state and timers, in one batch.
    fn commit(&self, outcome: Outcome, now: Moment) -> Option<Batch> {
        // An agent that was removed meanwhile had its message given up with it.
        let agent = self.shared.directory.by_id(outcome.agent)?;
        let now = now.wall;
        self.shared.turns.ended(outcome.latency_micros, outcome.end.label());
        let mut letters = Vec::with_capacity(outcome.sends.len());
        for (draft, reply_slot) in outcome.sends {
            self.letters_of_send(&agent, draft, reply_slot, outcome.message.as_ref(), now, &mut letters);
        }
        let turn = Turn {
            agent: outcome.agent,
            message: outcome.message.as_ref().map(|message| message.id),
            attempt: outcome.attempt,
            end: outcome.end,
            writes: Vec::new(),
            timers: outcome.timers,
            at: now,
            latency_micros: outcome.latency_micros,
            guest_micros: outcome.guest_micros,
        };
        let mut records = vec![Record::Turn(Turn {
            writes: outcome.writes,
            ..turn.clone()
        })];
        if let Some(message) = &outcome.message {
            match &turn.end {
                TurnEnd::Error { reason } => {
                    let failure = self
                        .shared
                        .failure(message, agent.id, FailureReason::Error, reason, now);
                    letters.extend(failure);
                }
                TurnEnd::Crash { kind, detail } if outcome.dead => {
                    let detail = format!("{kind}: {detail} (delivered {} times)", outcome.attempt);
                    let reason = FailureReason::Crashed;
                    self.bury_one(message, agent.id, reason, &detail, now, &mut records, &mut letters);
                }
                TurnEnd::Ok | TurnEnd::Crash { .. } => {}
            }
        }
        let then = Then::Committed(Box::new(Committed {
            turn,
            message: outcome.message,
            _held: (outcome.reservation, outcome.permit),
            recorded: outcome.recorded,
        }));
        Some(Batch::new(records, letters, then))
    }

    /// A turn that the journal cannot hold did not happen: its message is given up. The second part says why, and the
    /// partition is to start again, without the state that ran ahead of the journal.
    pub fn refuse(&self, batch: Batch, bytes: usize, now: Moment) -> (Batch, String) {
        let detail = format!("the turn's effects take {bytes} bytes of the journal, over its limit for one batch");
        let Then::Committed(committed) = batch.then else {
            return (batch, detail);
        };
        let agent = committed.turn.agent;
        let end = TurnEnd::Crash {
            kind: "over_limit".to_owned(),
            detail: detail.clone(),
        };
        let mut records = vec![Record::Turn(Turn {
            end,
            timers: Vec::new(),
            ..committed.turn
        })];
        let mut letters = Vec::new();
        if let Some(message) = &committed.message {
            let reason = FailureReason::Crashed;
            self.bury_one(message, agent, reason, &detail, now.wall, &mut records, &mut letters);
        }
        (Batch::new(records, letters, Then::Nothing), detail)
    }

    /// What one send of a turn becomes: the message, and one failure that names the receivers which do not take it.
    fn letters_of_send(
        &self,
        sender: &Arc<Agent>,
        draft: Draft,
        reply_slot: ReplySlot,
        cause: Option<&Arc<Message>>,
        now: Timestamp,
        letters: &mut Vec<Letter>,
    ) {
        let stamp = Stamp {
            sender: Address::Agent(sender.id),
            now,
            cause: cause.map(Arc::as_ref),
        };
        let (letter, mut refused) = self.shared.prepare(stamp, draft, vec![reply_slot]);
        let receivers: Vec<_> = refused.iter().map(|refusal| refusal.receiver.as_str()).collect();
        let receivers = match receivers.as_slice() {
            [one] => (*one).into(),
            several => several.into(),
        };
        if letter.is_none()
            && let Some(first) = refused.first()
        {
            letters.push(Letter::refused(first)); // so that the failure is about something that can be looked up
        }
        if let Some(first) = refused.first_mut()
            && first.about.performative.may_be_answered()
        {
            let detail = first.error.to_string();
            let failure = Arc::new(Message::failure_of(
                &first.about,
                &receivers,
                first.reason,
                &detail,
                now,
            ));
            // The slot of the reply that will never come is the failure's.
            let reply_slot = first.reply_slot.take().or_else(|| sender.mailbox.reserve_reply());
            letters.push(Letter::to_agent(
                failure,
                sender.clone(),
                reply_slot.map(Reservation::ReplySlot),
            ));
        }
        letters.extend(letter);
    }
}
