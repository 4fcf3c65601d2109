//! The router of a partition: the one place where messages become facts.
//!
//! Purpose: it stamps what agents and clients send, finds and admits the receivers, records a turn's outcome with all its
//! sends in one batch, and hands the messages on. Owner of its partition by the fence it claims when it starts; a router
//! that was replaced cannot record anything any more.
//!
//! Invariants: a batch is appended before any of its messages is handed on; what goes to a client waits until the batch is
//! durable; everything of one sender passes one router, so order is kept without locks.

use std::pin::Pin;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::Failure;
use tokio::sync::oneshot;

use crate::agent::Outcome;
use crate::directory::{Directory, Entry, Standing};
use crate::error::Result;
use crate::id::{AgentId, Fence, MessageId, Partition, Seq};
use crate::journal::{Journal, Record, Turn, TurnEnd};
use crate::mailbox::{Place, Ticket};
use crate::message::{Address, Draft, Message};
use crate::telemetry::{Recoveries, Spawns, Turns};
use crate::time::Timestamp;

mod dispatch;
mod waiters;

pub use waiters::{Expected, Waiters};

use dispatch::{Letter, Stamp};

/// What became of a message at one of its receivers when it was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverOutcome {
    pub receiver: String,
    /// None: it is in the receiver's mailbox. Else the reason and, for people, the detail.
    pub refused: Option<(&'static str, String)>,
}

/// The message is durably journaled and in the mailbox of each receiver that did not refuse.
#[derive(Clone, Debug)]
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
    pub turns: Turns,
    pub spawns: Arc<Spawns>,
    pub recoveries: Arc<Recoveries>,
}

/// Messages whose agent will never handle them: it is stopped, cannot be loaded, or is gone.
pub type Orphans = Vec<(AgentId, Arc<Message>)>;

/// Brings the agents of a partition back from the journal, before its router takes the first message.
pub trait Restore: Send + Sync + 'static {
    fn restore(&self, partition: Partition) -> Pin<Box<dyn Future<Output = Result<Orphans>> + Send + '_>>;
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
        /// Told before any answer can come: who waits for one.
        expected: Option<Expected>,
        reply: oneshot::Sender<Result<(Receipt, Seq)>>,
    },
    /// An agent's turn ended.
    Record(Box<Outcome>),
    /// Facts about agents of this partition, and what to do once they are recorded and before anything else is.
    Catalog {
        records: Vec<Record>,
        then: Box<dyn FnOnce() + Send>,
        reply: oneshot::Sender<Seq>,
    },
    /// An agent will never handle what it has: it was stopped, given up, or removed.
    GiveUp {
        agent: AgentId,
        /// `failed` when its supervisor gave it up; else it was stopped.
        reason: &'static str,
        detail: String,
        /// Recorded in the same batch.
        records: Vec<Record>,
        reply: Option<oneshot::Sender<Seq>>,
    },
}

pub struct State {
    partition: Partition,
    fence: Fence,
    shared: Arc<Shared>,
}

impl Actor for Router {
    type Msg = RouterMessage;
    type State = State;
    type Arguments = Start;

    async fn pre_start(&self, _: ActorRef<RouterMessage>, start: Start) -> Result<State, ActorProcessingErr> {
        // The claim comes first: from here on an earlier owner cannot add what the restoration would not see.
        let fence = start.shared.journal.claim(start.partition);
        let orphans = start.restore.restore(start.partition).await?;
        let state = State {
            partition: start.partition,
            fence,
            shared: start.shared,
        };
        if !orphans.is_empty() {
            let (mut records, mut letters) = (Vec::new(), Vec::new());
            for (agent, message) in orphans {
                state.bury(
                    &message,
                    agent,
                    "gone",
                    "the agent is stopped, cannot be loaded, or is gone",
                    &mut records,
                    &mut letters,
                );
            }
            state.append(records, letters).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<RouterMessage>,
        message: RouterMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RouterMessage::Send {
                sender,
                draft,
                expected,
                reply,
            } => {
                let answer = state.send(sender, *draft, expected).await?;
                let _ = reply.send(answer); // a caller that has gone needs no answer
            }
            RouterMessage::Record(outcome) => state.record(*outcome).await?,
            RouterMessage::Catalog { records, then, reply } => {
                let seq = state.append(records, Vec::new()).await?;
                then();
                let _ = reply.send(seq);
            }
            RouterMessage::GiveUp {
                agent,
                reason,
                detail,
                records,
                reply,
            } => {
                let seq = state.give_up(agent, reason, &detail, records).await?;
                if let Some(reply) = reply {
                    let _ = reply.send(seq);
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// Appends one batch and then hands its messages on. An error means that this router must not go on.
    async fn append(&self, mut records: Vec<Record>, mut letters: Vec<Letter>) -> Result<Seq, ActorProcessingErr> {
        let mut first = None;
        loop {
            records.extend(letters.iter().map(Letter::record));
            let batch = records.drain(..).map(|record| (self.partition, record)).collect();
            let appended = self.shared.journal.append(self.partition, self.fence, batch).await;
            let seq = appended.map_err(|error| Failure::new("journal", error.to_string()))?;
            let bounced: Vec<_> = letters
                .drain(..)
                .flat_map(|letter| self.shared.hand_on(letter, seq))
                .collect();
            let seq = *first.get_or_insert(seq);
            if bounced.is_empty() {
                return Ok(seq);
            }
            for (agent, message) in bounced {
                self.bury(
                    &message,
                    agent,
                    "gone",
                    "the agent was stopped, given up or removed",
                    &mut records,
                    &mut letters,
                );
            }
        }
    }

    async fn send(
        &self,
        sender: Address,
        draft: Draft,
        expected: Option<Expected>,
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
        if let Some(expected) = expected {
            self.shared.waiters.expect(&letter.message, expected);
        }
        let receipt = letter.receipt(refused, now);
        let seq = self.append(Vec::new(), vec![letter]).await?;
        Ok(Ok((receipt, seq)))
    }

    /// A turn takes effect: done, sends, state, in one batch.
    async fn record(&self, outcome: Outcome) -> Result<(), ActorProcessingErr> {
        let Some(entry) = self.shared.directory.by_id(outcome.agent) else {
            return Ok(()); // removed meanwhile; its message was given up with it
        };
        let now = Timestamp::now();
        self.shared.turns.ended(outcome.latency_micros, &outcome.end);
        let mut letters = Vec::with_capacity(outcome.sends.len());
        for (draft, ticket) in outcome.sends {
            self.letters_of_send(&entry, draft, ticket, outcome.message.as_ref(), now, &mut letters);
        }
        let mut records = vec![Record::Turn(Turn {
            agent: outcome.agent,
            message: outcome.message.as_ref().map(|message| message.id),
            attempt: outcome.attempt,
            end: outcome.end.clone(),
            writes: outcome.writes,
            at: now,
            latency_micros: outcome.latency_micros,
            guest_micros: outcome.guest_micros,
        })];
        if let Some(message) = &outcome.message {
            match &outcome.end {
                TurnEnd::Error { reason } => letters.extend(self.shared.failure(message, "error", reason, now)),
                TurnEnd::Crash { kind, detail } if outcome.dead => {
                    let detail = format!("{kind}: {detail} (delivered {} times)", outcome.attempt);
                    self.bury(message, outcome.agent, "crashed", &detail, &mut records, &mut letters);
                }
                TurnEnd::Ok | TurnEnd::Crash { .. } => {}
            }
        }
        self.append(records, letters).await?;
        drop(outcome.place);
        Ok(())
    }

    /// What one send of a turn becomes: the message, and a failure for each receiver that does not take it.
    fn letters_of_send(
        &self,
        sender: &Arc<Entry>,
        draft: Draft,
        ticket: Ticket,
        cause: Option<&Arc<Message>>,
        now: Timestamp,
        letters: &mut Vec<Letter>,
    ) {
        let stamp = Stamp {
            sender: Address::Agent(sender.id),
            now,
            cause: cause.map(Arc::as_ref),
        };
        let (letter, refused) = self.shared.prepare(stamp, draft, vec![ticket]);
        for refusal in refused {
            if !refusal.about.performative.may_be_answered() {
                continue; // a failure is never answered with a failure
            }
            let failure = Arc::new(Message::failure(
                &refusal.about,
                refusal.reason,
                &refusal.error.to_string(),
                now,
            ));
            // The place of the answer that will never come is the place of the failure.
            let place = refusal
                .ticket
                .or_else(|| sender.mailbox.take_ticket())
                .map(Place::Ticket);
            letters.push(Letter::to_agent(failure, sender.clone(), place));
        }
        letters.extend(letter);
    }

    async fn give_up(
        &self,
        agent: AgentId,
        reason: &'static str,
        detail: &str,
        mut records: Vec<Record>,
    ) -> Result<Seq, ActorProcessingErr> {
        let mut letters = Vec::new();
        if let Some(entry) = self.shared.directory.by_id(agent) {
            for message in entry.mailbox.close() {
                self.bury(&message, agent, "gone", detail, &mut records, &mut letters);
            }
            let mut standing = entry.standing.write();
            *standing = match reason {
                "failed" => Standing::Failed { why: detail.to_owned() },
                _ => Standing::Stopped,
            };
        }
        self.append(records, letters).await
    }

    /// A delivery is given up: the dead letter, and the failure that tells its sender.
    fn bury(
        &self,
        message: &Message,
        agent: AgentId,
        reason: &str,
        detail: &str,
        records: &mut Vec<Record>,
        letters: &mut Vec<Letter>,
    ) {
        let now = Timestamp::now();
        metrics::counter!("caxton_dead_letters_total", "reason" => reason.to_owned()).increment(1);
        records.push(Record::DeadLetter {
            message: message.id,
            agent,
            reason: format!("{reason}: {detail}"),
            at: now,
        });
        letters.extend(self.shared.failure(message, reason, detail, now));
    }
}
