//! The router of a partition: the one place where messages become facts.
//!
//! Purpose: it stamps what agents and clients send, finds and admits the receivers, records a turn's outcome with all its
//! sends in one batch, and hands the messages on. Owner of its partition by the fence that it claims when it starts; a router
//! that was replaced cannot record anything any more.
//!
//! Invariants: a batch is appended before any of its messages is handed on; what goes to a client waits until the batch is
//! durable; everything of one sender passes one router, so order is kept without locks.

use std::pin::Pin;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};
use supervisors::Failure;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::agent::{Agent, Outcome, Standing};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::id::{AgentId, Fence, MessageId, Partition, Seq};
use crate::journal::{Journal, JournalError, Record, Turn, TurnEnd};
use crate::mailbox::{ReplySlot, Reservation};
use crate::message::{Address, Draft, FailureReason, Message};
use crate::telemetry::{Recoveries, Spawns, Turns};
use crate::time::Timestamp;
use crate::timer::{Timer, TimerChange};

mod agenda;
mod burial;
mod dispatch;
mod key_locks;
mod timers;
mod waiters;

pub use key_locks::{KeyLock, KeyLocks};
pub use waiters::{Expected, Waiters};

use agenda::Agenda;
use dispatch::{Letter, Stamp};
use timers::Alarm;

/// What became of a message at one of its receivers when it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverOutcome {
    pub receiver: String,
    /// None: it is in the receiver's mailbox. Else the reason and, for people, the detail.
    pub refused: Option<(FailureReason, String)>,
}

/// The message is durably journaled and in the mailbox of each receiver that did not refuse.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Receipt {
    pub message_id: MessageId,
    pub conversation_id: String,
    pub delivered_at: Timestamp,
    pub receivers: Vec<ReceiverOutcome>,
}

/// What routers share. Nothing in it belongs to a partition.
pub struct Shared {
    pub journal: Arc<dyn Journal>,
    pub directory: Arc<Directory>,
    pub waiters: Waiters,
    pub key_locks: Arc<KeyLocks>,
    pub turns: Turns,
    pub spawns: Arc<Spawns>,
    pub recoveries: Arc<Recoveries>,
}

/// Messages whose agent will never handle them: it is stopped, cannot be loaded, or is gone.
pub type Orphans = Vec<(AgentId, Arc<Message>)>;

/// What a router finds when it starts.
#[derive(Default)]
pub struct Restored {
    pub orphans: Orphans,
    /// Live timers of the partition's agents.
    pub timers: Vec<(AgentId, Timer)>,
}

/// Brings the agents of a partition back from the journal, before its router takes the first message.
pub trait Restore: Send + Sync + 'static {
    fn restore(&self, partition: Partition) -> Pin<Box<dyn Future<Output = Result<Restored>> + Send + '_>>;
}

#[derive(Debug)]
pub struct Router;

pub struct Start {
    pub partition: Partition,
    pub shared: Arc<Shared>,
    pub restore: Arc<dyn Restore>,
}

pub enum RouterMessage {
    /// A client sends.
    Send {
        sender: Address,
        draft: Box<Draft>,
        /// Who waits for the reply. Registered before any reply can come.
        expected: Option<Expected>,
        /// The request has an idempotency key, and its answer is recorded with the message.
        key: Option<KeyLock>,
        /// The message's share of what may be on its way, given back when it has its position in the journal.
        permits: [OwnedSemaphorePermit; 2],
        reply: oneshot::Sender<Result<(Receipt, Seq)>>,
    },
    /// An agent's turn ended.
    Commit(Box<Outcome>),
    /// A change of this partition's agents or groups. It is decided here, after all that was recorded before it, so that
    /// two changes at once cannot undo each other.
    Catalog {
        change: Change,
        /// What to do once it is recorded, before anything else is.
        then: Box<dyn FnOnce() + Send>,
        /// None: there was nothing to change any more.
        reply: oneshot::Sender<Option<Seq>>,
    },
    /// An agent will never handle what it has: it was stopped or given up.
    GiveUp {
        agent: AgentId,
        /// The end that the agent comes to: stopped, or failed and why.
        standing: Standing,
        /// Recorded in the same batch.
        records: Vec<Record>,
        reply: Option<oneshot::Sender<Seq>>,
    },
    /// An agent takes messages again: timers that it missed fire.
    Resume(AgentId),
    /// A timer may be due.
    Alarm,
}

/// Looks at how things stand and says what is to be recorded. None: nothing.
pub type Change = Box<dyn FnOnce() -> Option<Vec<Record>> + Send>;

pub struct PartitionOwner {
    partition: Partition,
    fence: Fence,
    shared: Arc<Shared>,
    agenda: Agenda,
    alarm: Option<Alarm>,
}

impl Actor for Router {
    type Msg = RouterMessage;
    type State = PartitionOwner;
    type Arguments = Start;

    async fn pre_start(
        &self,
        myself: ActorRef<RouterMessage>,
        start: Start,
    ) -> Result<PartitionOwner, ActorProcessingErr> {
        // The claim comes first: from here on an earlier owner cannot add what the restoration would not see.
        let fence = start.shared.journal.claim(start.partition);
        let restored = start.restore.restore(start.partition).await?;
        let mut agenda = Agenda::default();
        for (agent, timer) in restored.timers {
            agenda.apply(agent, &[TimerChange::Set(timer)]);
        }
        let mut owner = PartitionOwner {
            partition: start.partition,
            fence,
            shared: start.shared,
            agenda,
            alarm: None,
        };
        owner
            .bury(
                restored.orphans,
                "the agent is stopped, cannot be loaded, or is gone",
                Vec::new(),
            )
            .await?;
        owner.arm(&myself);
        Ok(owner)
    }

    async fn handle(
        &self,
        myself: ActorRef<RouterMessage>,
        message: RouterMessage,
        owner: &mut PartitionOwner,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RouterMessage::Send {
                sender,
                draft,
                expected,
                key,
                permits,
                reply,
            } => {
                let answer = owner.send(sender, *draft, expected, key.as_ref()).await?;
                drop((permits, key));
                let _ = reply.send(answer); // a caller that has gone needs no answer
            }
            RouterMessage::Commit(outcome) => owner.commit(*outcome).await?,
            RouterMessage::Catalog { change, then, reply } => {
                let seq = match change() {
                    None => None,
                    Some(records) => {
                        owner.forget_removed(&records);
                        Some(owner.append(records, Vec::new()).await?)
                    }
                };
                if seq.is_some() {
                    then();
                }
                let _ = reply.send(seq);
            }
            RouterMessage::GiveUp {
                agent,
                standing,
                records,
                reply,
            } => {
                let seq = owner.give_up(agent, standing, records).await?;
                if let Some(reply) = reply {
                    let _ = reply.send(seq);
                }
            }
            RouterMessage::Resume(agent) => owner.agenda.resume(agent),
            RouterMessage::Alarm => owner.ring().await?,
        }
        owner.arm(&myself);
        Ok(())
    }
}

impl PartitionOwner {
    /// Appends one batch and then hands its messages on. An error means that this router must not go on.
    async fn append(&self, records: Vec<Record>, letters: Vec<Letter>) -> Result<Seq, ActorProcessingErr> {
        let (seq, bounced) = self
            .append_once(records, letters)
            .await
            .map_err(|error| broken(&error))?;
        let detail = "the agent was stopped, given up or removed";
        if !bounced.is_empty() {
            Box::pin(self.bury(bounced, detail, Vec::new())).await?;
        }
        Ok(seq)
    }

    /// As [`Self::append`]; answers also with what came too late for its mailbox.
    async fn append_once(
        &self,
        mut records: Vec<Record>,
        letters: Vec<Letter>,
    ) -> Result<(Seq, Orphans), JournalError> {
        records.extend(letters.iter().map(Letter::record));
        let batch = records.into_iter().map(|record| (self.partition, record)).collect();
        let seq = self.shared.journal.append(self.partition, self.fence, batch).await?;
        let bounced = letters
            .into_iter()
            .flat_map(|letter| self.shared.hand_on(letter, seq))
            .collect();
        Ok((seq, bounced))
    }

    async fn send(
        &self,
        sender: Address,
        draft: Draft,
        expected: Option<Expected>,
        key: Option<&KeyLock>,
    ) -> Result<Result<(Receipt, Seq)>, ActorProcessingErr> {
        let now = Timestamp::now();
        let stamp = Stamp {
            sender,
            now,
            cause: None,
        };
        let (letter, mut refused) = self.shared.prepare(stamp, draft, Vec::new());
        let Some(letter) = letter else {
            let first = refused.swap_remove(0);
            return Ok(Err(first.error));
        };
        if let Some(expected) = expected
            && !self.shared.waiters.expect(&letter.message, expected)
        {
            let mend =
                "another call waits for an answer to the same conversation_id and reply_with; use another reply_with";
            return Ok(Err(Error::Conflict(mend.to_owned())));
        }
        let receipt = letter.receipt(refused, now);
        let answer = key.map(|key| key.answer(&receipt, now));
        let seq = self.append(answer.into_iter().collect(), vec![letter]).await?;
        Ok(Ok((receipt, seq)))
    }

    /// A turn takes effect: done, sends, state, timers, in one batch.
    async fn commit(&mut self, outcome: Outcome) -> Result<(), ActorProcessingErr> {
        let Some(agent) = self.shared.directory.by_id(outcome.agent) else {
            return Ok(()); // removed meanwhile; its message was given up with it
        };
        let now = Timestamp::now();
        self.shared.turns.ended(outcome.latency_micros, outcome.end.label());
        let mut letters = Vec::with_capacity(outcome.sends.len());
        for (draft, reply_slot) in outcome.sends {
            self.letters_of_send(&agent, draft, reply_slot, outcome.message.as_ref(), now, &mut letters);
        }
        let turn = Turn {
            agent: outcome.agent,
            message: outcome.message.as_ref().map(|message| message.id),
            attempt: outcome.attempt,
            end: outcome.end.clone(),
            writes: outcome.writes,
            timers: outcome.timers,
            at: now,
            latency_micros: outcome.latency_micros,
            guest_micros: outcome.guest_micros,
        };
        let mut records = vec![Record::Turn(turn.clone())];
        if let Some(message) = &outcome.message {
            match &outcome.end {
                TurnEnd::Error { reason } => {
                    letters.extend(
                        self.shared
                            .failure(message, agent.id, FailureReason::Error, reason, now),
                    );
                }
                TurnEnd::Crash { kind, detail } if outcome.dead => {
                    let detail = format!("{kind}: {detail} (delivered {} times)", outcome.attempt);
                    self.bury_one(
                        message,
                        agent.id,
                        FailureReason::Crashed,
                        &detail,
                        &mut records,
                        &mut letters,
                    );
                }
                TurnEnd::Ok | TurnEnd::Crash { .. } => {}
            }
        }
        match self.append_once(records, letters).await {
            Ok((_, bounced)) => {
                self.agenda.apply(turn.agent, &turn.timers);
                self.bury(bounced, "the agent was stopped, given up or removed", Vec::new())
                    .await?;
                drop((outcome.reservation, outcome.permit));
                if let Some(recorded) = outcome.recorded {
                    let _ = recorded.send(()); // who waited may be gone
                }
                Ok(())
            }
            Err(JournalError::TooLarge(bytes)) => self.refuse(turn, outcome.message.as_deref(), bytes).await,
            Err(error) => Err(broken(&error)),
        }
    }

    /// A turn that the journal cannot hold did not happen: its message is given up, and the partition starts again without
    /// the state that ran ahead of it.
    async fn refuse(&self, turn: Turn, message: Option<&Message>, bytes: usize) -> Result<(), ActorProcessingErr> {
        let detail = format!("the turn's effects take {bytes} bytes of the journal, over its limit for one batch");
        let agent = turn.agent;
        let end = TurnEnd::Crash {
            kind: "over_limit".to_owned(),
            detail: detail.clone(),
        };
        let mut records = vec![Record::Turn(Turn {
            end,
            writes: Vec::new(),
            timers: Vec::new(),
            ..turn
        })];
        let mut letters = Vec::new();
        if let Some(message) = message {
            self.bury_one(
                message,
                agent,
                FailureReason::Crashed,
                &detail,
                &mut records,
                &mut letters,
            );
        }
        self.append(records, letters).await?;
        Err(Box::new(Failure::new("over_limit", detail)))
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

fn broken(error: &JournalError) -> ActorProcessingErr {
    Box::new(Failure::new("journal", error.to_string()))
}
