//! Agents. An [`Agent`] outlives its instances; a [`Version`] is what they run; an [`Instance`] is a ractor actor
//! around one wasm store that takes messages from the agent's mailbox, one turn at a time.
//!
//! Invariant: agents know no router. A turn ends in an [`Outcome`], and its effects do not exist until the owner of the
//! partition has recorded it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::event::{ChangedAgent, EventBody};
use crate::id::{AgentId, AgentName, Partition};
use crate::journal::{Record, TurnEnd};
use crate::mailbox::{Capacity, Mailbox, ReplySlot, Reservation};
use crate::message::{ClientName, Draft, Message};
use crate::telemetry::Spawns;
use crate::time::Timestamp;
use crate::timer::{TimerChange, Timers};
use crate::wasm::{Budget, Grants, Limits, Program, StateLock};

mod document;
mod instance;
pub mod meter;
pub mod spec;
mod standing;
pub mod turn;
pub mod validation;

pub use document::{Document, Unreadable, seal};
pub use instance::{Instance, InstanceMessage, Start};
use meter::Meter;
use spec::AgentSpec;
pub use standing::{Command, Down, Lifecycle, Refusal, Standing};

/// KiB of outcomes that may wait for one partition's router. When they are used up, turns wait. It is more than the
/// largest turn can take.
pub const OUTCOME_KIB: usize = 64 << 10;

/// An agent: its name, its mailbox, and what its turns have committed. It outlives its versions and their instances.
pub struct Agent {
    pub id: AgentId,
    pub name: AgentName,
    pub partition: Partition,
    pub document: RwLock<Document>,
    pub standing: RwLock<Standing>,
    pub mailbox: Arc<Mailbox>,
    /// The committed state. Only the end of a turn writes it.
    pub state: Arc<RwLock<BTreeMap<String, Bytes>>>,
    /// The committed timers.
    pub timers: Arc<Timers>,
    pub meter: Meter,
    /// Takes the outcomes of turns to the owner of the agent's partition, who records them.
    pub outbox: Arc<dyn Outbox>,
    /// Permits for the KiB of outcomes that may wait for the owner of the partition, shared by all its agents.
    pub outcome_kib: Arc<Semaphore>,
    /// The version that the agent's instances run. None: the agent was stopped before the node started, or its module
    /// cannot be loaded.
    pub version: RwLock<Option<Arc<Version>>>,
    /// The instance that started last, shown to operators.
    pub running: Mutex<Option<Running>>,
    /// Leases the state and the timers to one turn at a time.
    pub state_lock: StateLock,
    /// Held while a turn ends and its outcome is handed over. When a turn has ended, another instance may lease the
    /// next message of the same lane, so without this lock the later outcome could be recorded first.
    pub hand_over: Mutex<()>,
    /// Held while a command starts or ends an instance, so that the end of a stop cannot end an instance that a start
    /// began.
    pub operation: tokio::sync::Mutex<()>,
}

/// A program together with its declaration. It never changes; instances run it.
pub struct Version {
    pub spec: AgentSpec,
    pub program: Arc<Program>,
    pub grants: Arc<dyn Grants>,
}

/// Facts about the running instance.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    pub since: Instant,
    pub incarnation: u64,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version")
            .field("digest", &self.program.digest())
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Creates a loaded agent from its document, without an instance. `partitions` is the number of partitions, one of
    /// which the agent belongs to.
    pub fn new(
        document: Document,
        partitions: u16,
        outbox: Arc<dyn Outbox>,
        outcome_kib: Arc<Semaphore>,
        spawns: Arc<Spawns>,
    ) -> Self {
        let resources = &document.spec.resources;
        let mailbox = Mailbox::new(Capacity {
            messages: resources.mailbox_messages,
            bytes: resources.mailbox_bytes.bytes(),
        });
        Self {
            id: document.id,
            name: document.spec.name.clone(),
            partition: document.home(partitions),
            document: RwLock::new(document),
            standing: RwLock::new(Standing::Loaded { before: None }),
            mailbox,
            state: Arc::default(),
            timers: Arc::default(),
            state_lock: StateLock::default(),
            meter: Meter::new(spawns),
            outbox,
            outcome_kib,
            version: RwLock::new(None),
            running: Mutex::default(),
            hand_over: Mutex::default(),
            operation: tokio::sync::Mutex::default(),
        }
    }

    pub fn version(&self) -> Option<Arc<Version>> {
        self.version.read().clone()
    }

    /// Closes what the next state does not allow, before the change is recorded: admission to the mailbox and, with it,
    /// the state. Returns the messages that will never be handled.
    pub fn shut(&self, next: &Standing) -> Vec<Arc<Message>> {
        match next {
            Standing::Running | Standing::Suspended => return Vec::new(),
            Standing::Loaded { .. } | Standing::Draining { .. } | Standing::Stopped | Standing::Failed { .. } => {}
        }
        *self.standing.write() = next.clone();
        if next.is_down() {
            return self.mailbox.close();
        }
        self.mailbox.drain();
        Vec::new()
    }

    /// Sets the agent's state, and opens, pauses or closes its mailbox as the state requires.
    pub fn enter(&self, standing: Standing) {
        match &standing {
            Standing::Running => {
                self.mailbox.resume();
                self.mailbox.reopen();
            }
            Standing::Suspended => {
                self.mailbox.suspend();
                self.mailbox.reopen();
            }
            Standing::Loaded { .. } | Standing::Draining { .. } | Standing::Stopped | Standing::Failed { .. } => {
                self.mailbox.drain();
            }
        }
        *self.standing.write() = standing;
    }

    /// The supervision group that the agent is a member of.
    pub fn group(&self) -> Option<AgentName> {
        self.document.read().spec.supervision.group.clone()
    }

    /// Makes the record of an event about this agent.
    pub fn event(&self, body: &EventBody, at: Timestamp) -> Record {
        Record::event(Some(self.id), body, at)
    }

    /// The body of an event that says which caller changed this agent.
    pub fn changed_by(&self, principal: &ClientName) -> ChangedAgent {
        ChangedAgent {
            agent_id: self.id,
            name: self.name.clone(),
            by: principal.as_str().to_owned(),
        }
    }
}

impl Version {
    /// What one turn may use, with at most `sends` messages. `init` has a deadline and fuel of its own: no client waits
    /// for it, and engines of interpreted languages need far more of both to start than to reply.
    fn budget(&self, init: bool, sends: u32) -> Budget {
        const INIT_FUEL: u64 = 10_000_000_000;
        let resources = &self.spec.resources;
        let fuel = match resources.cpu {
            Some(crate::quantity::Cpu::Fuel(fuel)) => Some(if init { fuel.max(INIT_FUEL) } else { fuel }),
            Some(crate::quantity::Cpu::Millicores(_)) | None => None,
        };
        let deadline = resources.turn_deadline.0;
        Budget {
            fuel,
            deadline: if init { self.init_deadline() } else { deadline },
            sends: resources.sends_per_turn.min(sends),
        }
    }

    /// How long `init` may take.
    pub fn init_deadline(&self) -> Duration {
        const INIT_DEADLINE: Duration = Duration::from_secs(10);
        self.spec.resources.turn_deadline.0.max(INIT_DEADLINE)
    }

    fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.spec.resources.memory.bytes(),
            state_bytes: self.spec.resources.state_bytes.bytes(),
            state_keys: self.spec.resources.state_keys,
            log_bytes_per_second: self.spec.resources.log_bytes_per_second.bytes(),
            timers: self.spec.resources.timers,
        }
    }
}

/// A share of the KiB that may wait for the owner of a partition. Dropping it gives the share back.
pub type Permit = OwnedSemaphorePermit;

/// Notifies the instance that waits until its turn is recorded.
pub type Recorded = oneshot::Sender<()>;

/// The effects of a turn. They take place when the owner of the partition records them, all together or not at all.
#[derive(Debug)]
pub struct Outcome {
    pub agent: AgentId,
    /// None: the turn was `init` or `shutdown`.
    pub message: Option<Arc<Message>>,
    /// The message's room in the mailbox, given back when the outcome has been recorded. None: the message stays in the
    /// mailbox.
    pub reservation: Option<Reservation>,
    /// The outcome's share of the KiB that may wait for the owner of the partition.
    pub permit: Option<Permit>,
    pub attempt: u32,
    pub end: TurnEnd,
    /// Whether the message becomes a dead letter with this turn, without another try.
    pub dead: bool,
    /// The messages that the turn sends, each with the slot of its reply.
    pub sends: Vec<(Draft, ReplySlot)>,
    pub writes: Vec<(String, Option<Bytes>)>,
    pub timers: Vec<TimerChange>,
    pub latency_micros: u64,
    pub guest_micros: u64,
    /// Notified when the outcome is recorded, and dropped if it never will be.
    pub recorded: Option<Recorded>,
}

/// Takes outcomes to the owner of the partition. It never waits.
pub trait Outbox: Send + Sync + 'static {
    fn commit(&self, outcome: Outcome);

    /// Tells the owner that messages came in behind a closed mailbox of its partition.
    fn sweep(&self);
}
