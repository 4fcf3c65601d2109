//! The router of a partition: the only code that records messages and their outcomes.
//!
//! Purpose: the router stamps what agents and clients send, finds and admits the receivers, records a turn's outcome
//! with all its sends in one batch, and hands the messages on. It owns its partition by the fence that it claims when
//! it starts; a router that was replaced can no longer record anything.
//!
//! [`Core`] decides and the actor carries out: `decide(input, now)` gives the batches to append, and `placed(batch, seq)` does
//! what follows once a batch has its position in the log. Neither waits, reads a clock or knows an actor, so the simulation
//! drives the same decisions under a clock of its own.
//!
//! Invariants: a batch is appended before any of its messages is handed on; a message to a client waits until its batch
//! is durable; all messages of one sender pass through one router, so their order is kept without locks.

use std::pin::Pin;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, MessagingErr};
use serde::{Deserialize, Serialize};
use supervisors::Failure;
use tokio::task::JoinHandle;

use crate::agent::Outcome;
use crate::directory::Directory;
use crate::error::Result;
use crate::id::{AgentId, Fence, MessageId, Partition, Seq};
use crate::journal::{Journal, JournalError, Placed};
use crate::message::{Address, Draft, FailureReason, Message, Status};
use crate::telemetry::{Recoveries, Spawns, Turns};
use crate::time::{Moment, Timestamp};
use crate::timer::Timer;

mod agenda;
mod burial;
mod catalog;
mod core;
mod dispatch;
mod key_locks;
mod reply;
mod timers;
mod waiters;

pub use burial::Stranded;
pub use catalog::{Change, Changed, GroupChange};
pub use core::{Batch, Core};
pub use key_locks::{Answer, KeyLock, KeyLocks};
pub use reply::{Awaited, InFlight, ReplyTo};
pub use waiters::{Expected, Waiters};

/// Whether one receiver took a message when it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverOutcome {
    pub receiver: String,
    /// None: the receiver took the message. Otherwise the failure reason, and a detail for people.
    pub refused: Option<(FailureReason, String)>,
    /// The receiver is a client that does not wait for the message.
    #[serde(default)]
    pub unread: bool,
}

impl ReceiverOutcome {
    pub fn status(&self) -> Status {
        match &self.refused {
            Some((FailureReason::Expired, _)) => Status::Expired,
            Some(_) => Status::Failed,
            None if self.unread => Status::Queued,
            None => Status::Delivered,
        }
    }
}

/// The message is durably journaled and in the mailbox of each receiver that did not refuse.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Receipt {
    pub message_id: MessageId,
    pub conversation_id: String,
    pub delivered_at: Timestamp,
    pub receivers: Vec<ReceiverOutcome>,
}

impl Receipt {
    /// Where the message is: in a mailbox, or else in the inboxes of clients.
    pub fn status(&self) -> Status {
        let taken = self.receivers.iter().filter(|outcome| outcome.refused.is_none());
        let statuses = taken.map(ReceiverOutcome::status);
        statuses.reduce(Status::and).unwrap_or(Status::Delivered)
    }
}

/// What all routers share. Nothing in it belongs to one partition.
pub struct Shared {
    pub journal: Arc<dyn Journal>,
    /// How many partitions agents and clients are divided into.
    pub partitions: u16,
    pub directory: Arc<Directory>,
    pub waiters: Waiters,
    pub key_locks: Arc<KeyLocks>,
    pub stranded: Stranded,
    pub turns: Turns,
    pub spawns: Arc<Spawns>,
    pub recoveries: Arc<Recoveries>,
}

/// Messages whose agent will never handle them: it is stopped, cannot be loaded, or is gone.
pub type Orphans = Vec<(AgentId, Arc<Message>)>;

/// What a router restores when it starts.
#[derive(Default)]
pub struct Restored {
    pub orphans: Orphans,
    /// Live timers of the partition's agents, on the steady clock.
    pub timers: Vec<(AgentId, Timer)>,
    /// The last record that the restoration has read.
    pub upto: Seq,
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

/// The inputs of a router: plain values, on which it decides.
pub enum RouterMessage {
    /// A client sends a message.
    Send {
        sender: Address,
        draft: Box<Draft>,
        /// The caller that waits for the reply, if any. It is registered before any reply can arrive.
        expected: Option<Expected>,
        /// The key lock, if the request has an idempotency key: the answer is recorded in one batch with the message.
        key: Option<KeyLock>,
        /// The message's share of the limit on messages on their way to the journal, given back when the message has
        /// its position in the log.
        in_flight: Option<InFlight>,
        reply: ReplyTo<Result<(Receipt, Placed)>>,
    },
    /// An agent's turn ended.
    Commit(Box<Outcome>),
    /// A change of this partition's agents or groups. The router decides it after everything that was recorded before,
    /// so that two concurrent changes cannot undo each other.
    Change {
        change: Box<Change>,
        reply: Option<ReplyTo<Result<Changed>>>,
    },
    /// A timer may be due; the router checks.
    Alarm,
    /// Messages may have come in behind closed mailboxes of the partition; the router gives them up.
    Sweep,
}

pub struct Owner {
    core: Core,
    fence: Fence,
    alarm: Option<Alarm>,
}

/// The scheduled next check of the timers. Dropping it cancels the check.
struct Alarm {
    /// On the steady clock.
    at: Timestamp,
    task: JoinHandle<Result<(), MessagingErr<RouterMessage>>>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Actor for Router {
    type Msg = RouterMessage;
    type State = Owner;
    type Arguments = Start;

    async fn pre_start(&self, myself: ActorRef<RouterMessage>, start: Start) -> Result<Owner, ActorProcessingErr> {
        // The claim comes first: from here on an earlier owner cannot record anything that the restoration would miss.
        let fence = start.shared.journal.claim(start.partition).await?;
        let Restored { orphans, timers, upto } = start.restore.restore(start.partition).await?;
        let mut owner = Owner {
            core: Core::new(start.partition, start.shared, timers, upto),
            fence,
            alarm: None,
        };
        let burial = owner.core.bury(
            orphans,
            "the agent is stopped, cannot be loaded, or is gone",
            Moment::now(),
        );
        owner.carry_out(burial).await?;
        owner.arm(&myself);
        Ok(owner)
    }

    async fn handle(
        &self,
        myself: ActorRef<RouterMessage>,
        message: RouterMessage,
        owner: &mut Owner,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(message, RouterMessage::Alarm) {
            owner.alarm = None;
        }
        let batches = owner.core.decide(message, Moment::now());
        owner.carry_out(batches).await?;
        owner.arm(&myself);
        Ok(())
    }
}

fn failure(error: &JournalError) -> Failure {
    Failure::new("journal", error.to_string())
}

impl Owner {
    /// Appends batches in order, and does what follows from each one before it appends the next. After an error this
    /// router must stop.
    async fn carry_out(&mut self, batches: Vec<Batch>) -> Result<(), ActorProcessingErr> {
        for mut batch in batches {
            match self.append(&mut batch).await {
                Ok(placed) => self.core.placed(batch, &placed, Moment::now()),
                Err(JournalError::TooLarge(bytes)) if batch.is_turn() => {
                    let (mut refusal, detail) = self.core.refuse(batch, bytes, Moment::now());
                    let placed = self.append(&mut refusal).await.map_err(|error| failure(&error))?;
                    self.core.placed(refusal, &placed, Moment::now());
                    // The error restarts the partition, which drops the agents' state that ran ahead of the journal.
                    return Err(Box::new(Failure::new("over_limit", detail)));
                }
                Err(error) => return Err(Box::new(failure(&error))),
            }
        }
        Ok(())
    }

    async fn append(&self, batch: &mut Batch) -> Result<Placed, JournalError> {
        let records = self.core.take_records(batch);
        let journal = &self.core.shared().journal;
        journal
            .append(self.core.partition(), self.fence, records)
            .placed()
            .await
    }

    /// Schedules [`RouterMessage::Alarm`] for the time when the next timer is due.
    fn arm(&mut self, myself: &ActorRef<RouterMessage>) {
        let Some(next) = self.core.next_timer() else {
            return;
        };
        if self.alarm.as_ref().is_some_and(|alarm| alarm.at <= next) {
            return; // the scheduled check is early enough, and schedules the next one
        }
        let wait = next.since(Timestamp::steady());
        self.alarm = Some(Alarm {
            at: next,
            task: myself.send_after(wait, || RouterMessage::Alarm),
        });
    }
}
