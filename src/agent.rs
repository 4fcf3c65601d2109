//! Agents. A [`Slot`] is what an agent is between and across its instances; an instance is a ractor actor around one wasm
//! store that takes messages from the slot's mailbox, one turn at a time.
//!
//! Invariant: agents know no router. A turn ends in an [`Outcome`], and what it asks for has not happened until the owner of
//! the partition has recorded it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::id::{AgentId, AgentName, Partition};
use crate::journal::TurnEnd;
use crate::mailbox::{Mailbox, Place, Ticket};
use crate::message::{Draft, Message};
use crate::timer::{TimerChange, Timers};
use crate::wasm::{Budget, Grants, Limits, Program};

mod instance;
pub mod meter;
pub mod spec;
pub mod validation;

pub use instance::{Instance, InstanceMessage, Start};
use meter::Meter;
use spec::AgentSpec;

/// KiB of outcomes that may wait for one partition's router; turns wait when they are used up. More than one turn's most.
pub const OUTCOME_KIB: usize = 64 << 10;

/// Everything of an agent that outlives an instance.
pub struct Slot {
    pub id: AgentId,
    pub name: AgentName,
    pub partition: Partition,
    pub spec: AgentSpec,
    pub mailbox: Arc<Mailbox>,
    /// Committed state. Only the turn that ended writes it.
    pub state: Arc<RwLock<BTreeMap<String, Bytes>>>,
    /// Committed timers.
    pub timers: Arc<Timers>,
    pub program: Arc<Program>,
    pub grants: Arc<dyn Grants>,
    pub meter: Arc<Meter>,
    pub outbox: Arc<dyn Outbox>,
    /// KiB of outcomes that may wait for the owner of the partition, all its agents together.
    pub outcome_kib: Arc<Semaphore>,
    /// The last instance to have started, for the operator's eyes.
    pub running: Mutex<Option<Running>>,
}

/// An instance that runs.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    pub since: Instant,
    pub incarnation: u64,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Slot {
    /// What one turn may use. Init is no turn that a client waits for: it has time and fuel of its own, because engines of
    /// interpreted languages need far more of both to start than to answer.
    fn budget(&self, init: bool) -> Budget {
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
            sends: resources.sends_per_turn.min(self.mailbox.tickets_left()),
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

/// What a turn asks for. It takes effect when its owner records it, whole, or never.
#[derive(Debug)]
pub struct Outcome {
    pub agent: AgentId,
    /// None: the turn was `init` or `shutdown`.
    pub message: Option<Arc<Message>>,
    /// The message's place in the mailbox, given back when the outcome has been recorded. None: the message keeps it.
    pub place: Option<Place>,
    /// Its share of what may wait for the owner of the partition.
    pub permit: Option<OwnedSemaphorePermit>,
    pub attempt: u32,
    pub end: TurnEnd,
    /// The message was given up with this turn: no more tries.
    pub dead: bool,
    /// Each with the place of its answer.
    pub sends: Vec<(Draft, Ticket)>,
    pub writes: Vec<(String, Option<Bytes>)>,
    pub timers: Vec<TimerChange>,
    pub latency_micros: u64,
    pub guest_micros: u64,
    /// Told when it is recorded; dropped when it will not be.
    pub recorded: Option<oneshot::Sender<()>>,
}

/// Where outcomes go. Never waits.
pub trait Outbox: Send + Sync + 'static {
    fn record(&self, outcome: Outcome);
}
