//! The data of a wasmtime store: all that the host knows of one instance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::RwLock;
use rand::RngCore;
use wasmtime::Memory;

use super::in_hand::InHand;
use super::log::{Log, LogRate};
use super::open_turn::OpenTurn;
use super::refusal::Refusal;
use crate::id::{AgentId, AgentName, InstanceId};
use crate::timer::Timers;
use crate::wasm::capacity::MemoryBudget;
use crate::wasm::caps;
use crate::wasm::grants::Grants;
use crate::wasm::limiter::Limiter;
use crate::wasm::limits::Limits;
use crate::wasm::pace::Pace;
use crate::wasm::state_lock::{Leasing, StateLease, StateLock};
use crate::wasm::turn::Effects;

/// What the server gives an instance for as long as it lives.
#[derive(Clone)]
pub struct Host {
    pub agent: AgentId,
    pub name: AgentName,
    /// Which of the agent's instances it is.
    pub instance: InstanceId,
    /// The committed state of the agent. The instance only reads it.
    pub state: Arc<RwLock<BTreeMap<String, Bytes>>>,
    /// The committed timers of the agent. The instance only reads them.
    pub timers: Arc<Timers>,
    /// Shared by all instances of the agent.
    pub state_lock: StateLock,
    pub leasing: Leasing,
    /// Shared by all instances of the agent.
    pub log_rate: LogRate,
    pub grants: Arc<dyn Grants>,
}

/// The data of a store: what the instance got when it was made, what it has used, and the turn that is going on.
pub(in crate::wasm) struct Guest {
    pub(super) host: Host,
    pub(super) state_limit: u64,
    pub(super) key_limit: usize,
    pub(super) timer_limit: usize,
    /// When the instance was made, on the monotonic clock.
    born: Instant,
    pub(in crate::wasm) limiter: Limiter,
    pub(in crate::wasm) pace: Pace,
    /// The memory to which the pointers of the core ABI refer. None for a component, and while a start function runs.
    pub(in crate::wasm) memory: Option<Memory>,
    pub(in crate::wasm) log: Log,
    pub(super) turn: OpenTurn,
    /// The lease of the state, from the turn's start or its first use until it is taken or the next turn begins.
    pub(in crate::wasm) state_lease: Option<StateLease>,
}

impl Guest {
    pub(in crate::wasm) fn new(host: Host, limits: &Limits, pace: Pace, memory: Arc<MemoryBudget>) -> Self {
        Self {
            log: Log::new(host.agent, host.name.clone(), host.log_rate.clone()),
            host,
            state_limit: limits.state_bytes,
            key_limit: usize::try_from(limits.state_keys).unwrap_or(usize::MAX),
            timer_limit: usize::try_from(limits.timers).unwrap_or(usize::MAX),
            born: Instant::now(),
            limiter: Limiter::new(limits.memory_bytes, memory),
            pace,
            memory: None,
            turn: OpenTurn::default(),
            state_lease: None,
        }
    }

    /// Begins a turn with the message `in_hand`, which may send `sends` messages.
    pub(in crate::wasm) fn begin(&mut self, in_hand: Option<InHand>, sends: u32) {
        self.limiter.forget();
        self.log.begin_turn();
        self.state_lease = None;
        self.turn = OpenTurn {
            in_hand,
            sends_left: sends,
            ..OpenTurn::default()
        };
    }

    /// Ends the turn, and returns what the guest wants to happen.
    pub(in crate::wasm) fn finish(&mut self) -> Effects {
        self.log.flush();
        std::mem::take(&mut self.turn).effects
    }

    /// When the instance was made. Guests read their monotonic clock from then on.
    pub(in crate::wasm) fn born(&self) -> Instant {
        self.born
    }

    /// Fills `bytes` with random numbers that are good enough for secrets.
    pub(in crate::wasm) fn random(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        if !self.host.grants.random() {
            return Err(Refusal::NotPermitted);
        }
        self.draw(bytes)
    }

    /// The same without a permission, for the runtimes of languages, which cannot start without random numbers.
    pub(in crate::wasm) fn draw(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        if bytes.len() > caps::RANDOM_TURN_BYTES - self.turn.random_bytes {
            return Err(Refusal::OverLimit);
        }
        self.turn.random_bytes += bytes.len();
        rand::rng().fill_bytes(bytes);
        Ok(())
    }
}
