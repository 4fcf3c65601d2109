//! The use cases. A front decodes a request, calls one method here, and encodes the result; no method here knows a wire
//! format.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sysinfo::System;
use tokio::sync::{Semaphore, broadcast, watch};

use crate::agent::Agent;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::events::{Event, Fanout};
use crate::id::{Partition, Seq};
use crate::journal::local::LocalJournal;
use crate::journal::projections::{MessageQuery, Page, Projections, Stored};
use crate::journal::{Journal, until_durable};
use crate::message::{Address, Draft, Durability};
use crate::operation::Operations;
use crate::principal::{Action, Caller, Subject};
use crate::router::{Expected, InFlight, KeyLock, ReplyTo, RouterMessage, Shared};
use crate::secret::Sealer;

mod agents;
mod backup;
mod deploy;
mod disk;
mod groups;
mod home;
mod inspect;
mod instances;
mod lifecycle;
mod measure;
mod once;
mod replay;
mod replies;
mod restore;
mod retention;
mod secrets;
mod start;
mod stopping;
mod supervise;
#[cfg(test)]
mod tests;
mod tree;
pub mod views;

pub use inspect::{PathFigures, RecoveryMillis, SupervisionFigures, TreeNode};
use once::Coming;
pub use replay::Replayed;
pub use start::{Opened, StartError};
pub use supervise::Verb;
use tree::PartitionHandle;
pub use views::*;

/// A running server, without its listeners.
pub struct Node {
    config: Config,
    data_dir: PathBuf,
    /// A node that keeps nothing has a temporary data folder, which is deleted when this value is dropped.
    _scratch: Option<tempfile::TempDir>,
    journal: Arc<dyn Journal>,
    /// The same journal when it is kept in files. None: the node keeps nothing.
    files: Option<Arc<LocalJournal>>,
    projections: Arc<Projections>,
    sealer: Arc<Sealer>,
    runtime: Arc<crate::wasm::Runtime>,
    directory: Arc<Directory>,
    shared: Arc<Shared>,
    /// The partitions that this node owns.
    partitions: HashMap<Partition, PartitionHandle>,
    fanout: Fanout,
    operations: Operations,
    compilations: Operations,
    /// Permits for the messages of clients that are on their way to the journal, one for each message (`sends`) and one
    /// for each KiB of content (`send_kib`).
    sends: Arc<Semaphore>,
    send_kib: Arc<Semaphore>,
    /// Held while a piece of the journal is read into memory for a subscriber that resumes, so that only one is in
    /// memory at a time.
    replaying: Arc<Mutex<()>>,
    upkeep: backup::Upkeep,
    system: Mutex<System>,
    tree: tokio::sync::OnceCell<supervisors::Tree>,
    /// True once the node is stopping.
    stopping: watch::Sender<bool>,
    /// Notified when a partition's supervisor gives up.
    broken: tokio::sync::Notify,
    full: disk::Full,
    /// Called at each step of a deploy, so that a test can interrupt it there.
    #[cfg(test)]
    deploy_steps: Mutex<Option<deploy::Listener>>,
}

impl Node {
    pub fn limits(&self) -> NodeLimits {
        NodeLimits {
            module_bytes: usize::try_from(self.config.limits.module.bytes()).unwrap_or(usize::MAX),
        }
    }

    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the node takes work; the error says why not.
    pub fn ready(&self) -> Result<()> {
        if !self.tree.initialized() || *self.stopping.borrow() {
            return Err(unavailable("it is starting or stopping"));
        }
        self.has_room()
    }

    /// True once the node is stopping.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Does what may wait for long, unless the node stops meanwhile; `lost` is then the reason of the error.
    async fn unless_stopping<T>(&self, waiting: impl Future<Output = T>, lost: &str) -> Result<T> {
        let mut stopping = self.stopping();
        tokio::select! {
            biased;
            done = waiting => Ok(done),
            _ = stopping.wait_for(|stopping| *stopping) => Err(unavailable(lost)),
        }
    }

    /// Events from now on. A receiver that falls behind loses the oldest events and learns how many it lost.
    pub fn events(&self, caller: &Caller) -> Result<broadcast::Receiver<Arc<Event>>> {
        caller.may(Action::ReadEvents, &Subject::Node)?;
        Ok(self.fanout.subscribe())
    }

    /// The sequence number up to which all records are durable.
    pub fn durable(&self) -> Seq {
        *self.journal.durable().borrow()
    }

    /// Sends a message of a client. The receipt is given when the message is in the receivers' mailboxes and, unless
    /// the draft asks for less, durable.
    pub async fn send(&self, caller: &Caller, draft: Draft) -> Result<Receipt> {
        caller.may(Action::Send, &Subject::Draft(&draft))?;
        let sending = self.once(caller, |key| self.submit(caller, draft, key, None));
        self.with_room(sending).await
    }

    /// Sends a message and waits for the reply that ends the exchange (an `agree` does not end it), or with `first` for
    /// any reply.
    pub async fn send_and_wait(
        &self,
        caller: &Caller,
        mut draft: Draft,
        timeout: Duration,
        first: bool,
    ) -> Result<Reply> {
        caller.may(Action::Send, &Subject::Draft(&draft))?;
        // A message that expects no reply, such as an `inform`, still gets one if it carries a `reply_with` to refer
        // to.
        if draft.reply_with.is_none() {
            draft.reply_with = Some(format!("wait_{}", uuid::Uuid::now_v7().simple()));
        }
        let key = match self.with_room(self.coming(caller)).await? {
            Coming::First(key) => key,
            Coming::Again(receipt) => return self.wait_again(receipt, timeout, first).await,
        };
        let (reply, replied) = ReplyTo::channel();
        let expected = Some(Expected { reply, first });
        let receipt = self.with_room(self.submit(caller, draft, key, expected)).await?;
        let message = self.await_reply(replied, &receipt, timeout).await?;
        Ok(Reply { receipt, message })
    }

    async fn submit(
        &self,
        caller: &Caller,
        draft: Draft,
        key: Option<KeyLock>,
        expected: Option<Expected>,
    ) -> Result<Receipt> {
        let draft = draft.check()?;
        let durability = draft.durability;
        let sender = self.sender(caller, draft.sender.as_deref())?;
        let busy = |_| unavailable("too many messages are on their way to the journal");
        let kib = u32::try_from(draft.content.len() / 1_024 + 1).unwrap_or(u32::MAX);
        let in_flight = InFlight {
            message: self.sends.clone().try_acquire_owned().map_err(busy)?,
            kib: self.send_kib.clone().try_acquire_many_owned(kib).map_err(busy)?,
        };
        let (reply, receipt) = ReplyTo::channel();
        let partition = Partition::of(&sender.to_string(), self.config.partitions);
        self.owner(partition)?.cast(RouterMessage::Send {
            sender,
            draft: Box::new(draft),
            expected,
            key,
            in_flight: Some(in_flight),
            reply,
        });
        let (receipt, placed) = receipt
            .await
            .map_err(|_| unavailable("the router of the sender restarts"))??;
        if durability == Durability::Durable {
            placed.durable().await?;
        }
        Ok(receipt)
    }

    /// The sender of a message: the caller, or the client that the draft names. It is never an agent, because only an
    /// agent's own turns send in its name.
    fn sender(&self, caller: &Caller, claim: Option<&str>) -> Result<Address> {
        let Some(claim) = claim else {
            return Ok(Address::Client(caller.principal().clone()));
        };
        let name = claim.strip_prefix("client:").unwrap_or(claim);
        if name == claim && (claim == "platform" || self.directory.find(claim).is_some() || claim.starts_with("agent_"))
        {
            return Err(Error::Forbidden(format!(
                "`sender` names {claim}, and only that agent can speak as itself; leave it out"
            )));
        }
        Ok(Address::Client(name.parse()?))
    }

    /// A page of the history. It includes everything that was acknowledged before the call, unless the disk is full and
    /// the history lags behind.
    pub async fn messages(&self, caller: &Caller, query: MessageQuery) -> Result<Page> {
        caller.may(Action::Read, &Subject::History(&query))?;
        self.projections.seen_or_stalled(self.durable()).await?;
        self.projections.messages(query).await.map_err(Error::from)
    }

    pub async fn message(&self, caller: &Caller, id: &str) -> Result<Stored> {
        caller.may(Action::Read, &Subject::Message(id))?;
        let missing = || Error::MessageNotFound(id.to_owned());
        let parsed = id.parse().map_err(|_| missing())?;
        self.projections.seen_or_stalled(self.durable()).await?;
        self.projections.message(parsed).await?.ok_or_else(missing)
    }

    /// All figures in the Prometheus text format.
    pub fn prometheus(&self, caller: &Caller) -> Result<String> {
        caller.may(Action::ReadMetrics, &Subject::Node)?;
        self.refresh_gauges();
        Ok(crate::telemetry::prometheus().render())
    }

    /// The address that a text means in a query: an agent's id (also of a removed agent) or name, `client:<name>`,
    /// `platform`, or the name of a client without its prefix, as a client may give it in `sender`. The last needs a message
    /// from or to this client, so that the misspelt name of an agent is an error.
    pub async fn address(&self, caller: &Caller, text: &str) -> Result<Address> {
        caller.may(Action::Read, &Subject::Address(text))?;
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let unknown = match self.find(text) {
            Ok(agent) => return Ok(Address::Agent(agent.id)),
            Err(unknown) => unknown,
        };
        let Ok(client) = text.parse().map(Address::Client) else {
            return Err(unknown);
        };
        self.projections.seen_or_stalled(self.durable()).await?;
        if self.projections.knows(client.clone()).await? {
            Ok(client)
        } else {
            Err(unknown)
        }
    }

    /// The actor at a path of the tree, so that tests can kill it.
    #[cfg(test)]
    pub(crate) fn actor(&self, path: &str) -> Option<ractor::ActorCell> {
        self.tree.get()?.actor(path)
    }

    fn find(&self, key: &str) -> Result<Arc<Agent>> {
        self.directory
            .find(key)
            .ok_or_else(|| Error::AgentNotFound(key.to_owned()))
    }

    /// The owner of a partition, if this node owns it.
    fn owner(&self, partition: Partition) -> Result<&PartitionHandle> {
        let owner = self.partitions.get(&partition);
        owner.ok_or_else(|| unavailable("the partition has no owner at present"))
    }

    /// Waits until everything that was appended before the call is durable.
    async fn until_all_durable(&self) -> Result<()> {
        let appended = self.journal.appended();
        Ok(until_durable(self.journal.durable(), appended).await?)
    }
}

fn unavailable(reason: &str) -> Error {
    Error::Unavailable {
        reason: reason.to_owned(),
        retry_after: Duration::from_secs(1),
    }
}
