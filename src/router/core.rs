//! The decisions of a partition's owner, without waiting, clock or actor.

use std::sync::Arc;

use super::agenda::Agenda;
use super::catalog::Changed;
use super::dispatch::{Letter, Stamp};
use super::{Answer, Expected, InFlight, KeyLock, Receipt, ReplyTo, RouterMessage, Shared};
use crate::agent::{Agent, Outcome, Permit, Recorded, Standing};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::id::{AgentId, AgentName, Partition, Seq};
use crate::journal::{Placed, Record, Turn, TurnEnd};
use crate::mailbox::{ReplySlot, Reservation};
use crate::message::{Address, Draft, FailureReason, Message};
use crate::time::{Moment, Timestamp};
use crate::timer::{Timer, TimerChange};

/// The state, besides the directory, from which a partition's owner decides.
pub struct Core {
    pub(super) partition: Partition,
    pub(super) shared: Arc<Shared>,
    pub(super) agenda: Agenda,
    /// The last record that the partition was restored from. What came up to there is in the mailboxes or given up.
    pub(super) restored: Seq,
}

/// Records that are appended together, and what follows once they have their position in the log.
pub struct Batch {
    records: Vec<Record>,
    letters: Vec<Letter>,
    then: Then,
}

/// What follows from a batch, besides handing on its letters.
pub(super) enum Then {
    Nothing,
    /// A client's message is accepted, and its caller gets the receipt.
    Sent {
        receipt: Receipt,
        reply: ReplyTo<Result<(Receipt, Placed)>>,
        /// Dropped when the batch has its position, which gives the lock and the share back.
        held: (Option<KeyLock>, Option<InFlight>),
    },
    /// A turn took effect.
    Committed(Box<Committed>),
    /// Timers fired. Each is due again at the given time, or is gone.
    Fired(Vec<(AgentId, Timer, Option<Timestamp>)>),
    /// A change of the catalog is recorded.
    Changed {
        effect: Effect,
        reply: Option<ReplyTo<Result<Changed>>>,
        /// Dropped when the answer is recorded, which releases the key lock.
        answered: Option<Answer>,
    },
}

/// A turn whose records are being appended.
pub(super) struct Committed {
    /// The turn without its writes, which are in the records.
    turn: Turn,
    message: Option<Arc<Message>>,
    held: (Option<Reservation>, Option<Permit>),
    recorded: Option<Recorded>,
}

/// What a change of the catalog opens or removes once it is recorded. What the change closes was closed before.
pub(super) enum Effect {
    Nothing,
    /// The agent enters this state.
    Enter(Arc<Agent>, Standing),
    RemoveAgent(Arc<Agent>),
    ReplaceGroup(Arc<Group>, Box<crate::group::GroupSpec>),
    RemoveGroup(AgentName),
}

impl Batch {
    pub(super) fn new(records: Vec<Record>, letters: Vec<Letter>, then: Then) -> Self {
        Self { records, letters, then }
    }

    /// The same batch, with `then` as what follows from it.
    pub(super) fn followed_by(self, then: Then) -> Self {
        Self { then, ..self }
    }

    /// Whether the batch is the outcome of a turn. Only such a batch can be refused.
    pub fn is_turn(&self) -> bool {
        matches!(self.then, Then::Committed(_))
    }
}

impl Core {
    /// Creates the owner of a partition that was restored from the log up to `restored`, with the partition's live timers.
    pub fn new(partition: Partition, shared: Arc<Shared>, timers: Vec<(AgentId, Timer)>, restored: Seq) -> Self {
        let mut agenda = Agenda::default();
        for (agent, timer) in timers {
            agenda.apply(agent, &[TimerChange::Set(timer)]);
        }
        Self {
            partition,
            shared,
            agenda,
            restored,
        }
    }

    pub const fn partition(&self) -> Partition {
        self.partition
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes the records of a batch out, each with the partition that it belongs to. The records of its letters come last. It can
    /// be done once.
    pub fn take_records(&self, batch: &mut Batch) -> Vec<(Partition, Record)> {
        let mut records = Vec::with_capacity(batch.records.len() + batch.letters.len());
        records.extend(batch.records.drain(..).map(|record| (self.partition, record)));
        for letter in &batch.letters {
            letter.record(self.partition, self.shared.partitions, &mut records);
        }
        records
    }

    /// When a timer may be due, on the steady clock.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.agenda.next()
    }

    /// Decides one input. The caller appends the batches in order, each followed by [`Self::placed`].
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
                    let answer = key.as_ref().map(|key| key.record(&receipt, now));
                    let then = Then::Sent {
                        receipt,
                        reply,
                        held: (key, in_flight),
                    };
                    vec![Batch::new(answer.into_iter().collect(), vec![letter], then)]
                }
                Err(error) => {
                    drop((key, in_flight));
                    reply.send(Err(error));
                    Vec::new()
                }
            },
            RouterMessage::Commit(outcome) => self.commit(*outcome, now).into_iter().collect(),
            RouterMessage::Change { change, reply } => self.change(*change, reply, now),
            RouterMessage::Alarm => self.fire(now).into_iter().collect(),
            RouterMessage::Sweep => self.sweep(now),
        }
    }

    /// Does what follows from a batch that has its position in the log: its letters go to the mailboxes and to waiting
    /// callers.
    pub fn placed(&mut self, batch: Batch, placed: &Placed, now: Moment) {
        for letter in batch.letters {
            self.shared.hand_on(letter, placed, now.monotonic);
        }
        match batch.then {
            Then::Nothing => {}
            // What is held is given back first: who gets the reply may come again at once.
            Then::Sent { receipt, reply, held } => {
                drop(held);
                reply.send(Ok((receipt, placed.clone())));
            }
            Then::Committed(committed) => {
                self.agenda.apply(committed.turn.agent, &committed.turn.timers);
                drop(committed.held);
                if let Some(recorded) = committed.recorded {
                    let _ = recorded.send(()); // the waiting instance may have ended
                }
            }
            Then::Fired(timers) => {
                for (agent, timer, next) in timers {
                    self.agenda.fired(agent, timer, next, placed.seq);
                }
            }
            Then::Changed {
                effect,
                reply,
                answered,
            } => {
                self.take_effect(effect);
                drop(answered);
                if let Some(reply) = reply {
                    reply.send(Ok(Changed::At(placed.clone())));
                }
            }
        }
    }

    /// Prepares the message of a client, with reservations in the mailboxes of its receivers.
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
            let message = &letter.message;
            let about = [
                ("conversation_id", message.conversation_id.clone()),
                ("reply_with", message.reply_with.clone().unwrap_or_default()),
            ];
            return Err(Error::conflict(problem, about));
        }
        let receipt = letter.receipt(refused, now);
        Ok((letter, receipt))
    }

    /// Makes a turn take effect: its message is done, and its sends, state and timers are recorded, all in one batch.
    fn commit(&self, outcome: Outcome, now: Moment) -> Option<Batch> {
        // If the agent was removed meanwhile, its message became a dead letter with it.
        let agent = self.shared.directory.by_id(outcome.agent)?;
        let moment = now;
        let now = now.wall;
        self.shared.turns.ended(outcome.latency_micros, outcome.end.label());
        let mut letters = Vec::with_capacity(outcome.sends.len());
        for (draft, reply_slot) in outcome.sends {
            self.letters_of_send(&agent, draft, reply_slot, outcome.message.as_ref(), now, &mut letters);
        }
        let turn = Turn {
            agent: outcome.agent,
            instance: outcome.instance,
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
            timers: turn.timers.iter().map(|change| change.on_the_wall(moment)).collect(),
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
                    let times = if outcome.attempt == 1 { "time" } else { "times" };
                    let detail = format!("{kind}: {detail} (delivered {} {times})", outcome.attempt);
                    let reason = FailureReason::Crashed;
                    self.bury_one(message, agent.id, reason, &detail, now, &mut records, &mut letters);
                }
                TurnEnd::Ok | TurnEnd::Crash { .. } => {}
            }
        }
        let then = Then::Committed(Box::new(Committed {
            turn,
            message: outcome.message,
            held: (outcome.reservation, outcome.permit),
            recorded: outcome.recorded,
        }));
        Some(Batch::new(records, letters, then))
    }

    /// Replaces a turn that the journal cannot hold: the turn has no effect, and its message becomes a dead letter. The
    /// second part of the result says why. The partition must then restart without the state that ran ahead of the
    /// journal.
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

    /// The letters of one send of a turn: the message, and one failure that names the receivers which did not take it.
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
            letters.push(Letter::refused(first)); // recorded, so that the failure names a message that exists
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
            // The failure takes the slot that was reserved for the reply, which will never come.
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
