//! The two engines of wasmtime that run guests, and the thread that advances their epochs.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::{Engine, InstanceAllocationStrategy, Linker};

use super::cache::CacheFolder;
use super::capacity::{self, MapBudget, MemoryBudget};
use super::compiler::Compiler;
use super::host::Guest;
use super::limits::Budget;
use super::pace::TICK;
use super::state_lock::{ByLeasing, Leasing};
use super::{component, core_abi, settings};
use crate::error::Error;

/// The settings of a [`Runtime`](super::Runtime).
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Instances at one time. The default is the number for which the kernel's limit of memory maps (`vm.max_map_count`) has room,
    /// and 10,240 at most. With a limit of 65,530 maps it is 10,171. A program counts as one instance, and a metered instance as one
    /// and a quarter.
    pub instances: usize,
    /// Bytes of the memories and tables of all instances together. When they are used up, no memory grows and no agent starts.
    pub memory: u64,
    /// Whether instances without metering are allocated from a pool. The pool takes two memory maps and `memory_reservation` bytes
    /// of address space for each of `instances` when the runtime is made. If the system refuses them, instances are made on demand.
    pub pooled: bool,
    /// Turns that may run at one time after they outlived their first time slice.
    pub slow_lanes: usize,
    /// Modules that may compile at one time. Further ones wait.
    pub compiles: usize,
    pub compiler: Compiler,
    /// Where compiled modules are kept. None: nowhere, and each start of the server compiles the modules again.
    pub cache: Option<CacheFolder>,
    /// What the start function of a module may use.
    pub start: Budget,
    /// Bytes of address space that are reserved for each memory. The default of 4 GiB is all that a 32-bit pointer can reach. Then
    /// the processor's page protection replaces the bounds checks in compiled code, and guests run 1.4 times as fast as with less.
    /// It costs addresses and no memory: 47 bits have room for 32,000 such memories. Set it lower where the address space is
    /// limited (`ulimit -v`).
    pub memory_reservation: u64,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            instances: capacity::instances(),
            memory: u64::MAX,
            pooled: true,
            slow_lanes: (cores / 2).max(1),
            compiles: if cores > 2 { 2 } else { 1 },
            compiler: Compiler::InProcess,
            cache: None,
            start: Budget {
                fuel: Some(10_000_000_000),
                deadline: Duration::from_secs(5),
                sends: 0,
            },
            memory_reservation: 4 << 30,
        }
    }
}

/// An engine, and what the host offers to the guests of that engine.
pub(super) struct LinkedEngine {
    pub(super) engine: Engine,
    pub(super) core_linker: ByLeasing<Linker<Guest>>,
    pub(super) component_linker: wasmtime::component::Linker<Guest>,
    pub(super) pooled: bool,
}

impl LinkedEngine {
    fn new(config: &RuntimeConfig, metered: bool) -> wasmtime::Result<Self> {
        let mut settings = settings::config(config.memory_reservation, metered);
        // Only the plain engine has a pool. A second one would take its memory maps even if no agent is metered.
        if config.pooled && !metered {
            settings::pooled(&mut settings, config.instances, config.memory_reservation);
            match Engine::new(&settings) {
                Ok(engine) => return Self::of(engine, true),
                Err(error) => tracing::warn!(
                    instances = config.instances,
                    error = format!("{error:#}"),
                    "there are not enough addresses or memory maps for a pool of instances (ulimit -v, vm.max_map_count), so \
                     they are made on demand, which takes longer"
                ),
            }
            settings.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        }
        Self::of(Engine::new(&settings)?, false)
    }

    fn of(engine: Engine, pooled: bool) -> wasmtime::Result<Self> {
        Ok(Self {
            core_linker: ByLeasing {
                at_start: core_abi::linker(&engine, Leasing::AtStart)?,
                at_first_use: core_abi::linker(&engine, Leasing::AtFirstUse)?,
            },
            component_linker: component::linker(&engine)?,
            engine,
            pooled,
        })
    }
}

/// The engines. There are two, because the counting of fuel is compiled into a program: only agents that ask for a limit of fuel
/// pay for it.
pub(super) struct Engines {
    metered: LinkedEngine,
    plain: LinkedEngine,
    pub(super) slow_lane: Arc<Semaphore>,
    pub(super) start: Budget,
    pub(super) memory_reservation: u64,
    pub(super) maps: MapBudget,
    pub(super) memory: Arc<MemoryBudget>,
    // The last field, so that it is dropped last: a guest must be interruptible for as long as an engine exists.
    _ticker: Ticker,
}

impl Engines {
    pub(super) fn new(config: &RuntimeConfig) -> Result<Self, Error> {
        let internal = |error: wasmtime::Error| Error::internal(error.to_string());
        let metered = LinkedEngine::new(config, true).map_err(internal)?;
        let plain = LinkedEngine::new(config, false).map_err(internal)?;
        let maps = MapBudget::new(config.instances, plain.pooled);
        let ticker = Ticker::start(vec![metered.engine.clone(), plain.engine.clone()]).map_err(Error::internal)?;
        Ok(Self {
            metered,
            plain,
            slow_lane: Arc::new(Semaphore::new(config.slow_lanes.max(1))),
            start: config.start,
            memory_reservation: config.memory_reservation,
            maps,
            memory: Arc::new(MemoryBudget::new(config.memory)),
            _ticker: ticker,
        })
    }

    pub(super) const fn linked(&self, metered: bool) -> &LinkedEngine {
        if metered { &self.metered } else { &self.plain }
    }
}

/// Advances the epochs of the engines until it is dropped.
struct Ticker {
    /// Nothing is ever sent. The thread ends when this sender is dropped. None: it was.
    running: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let (running, stopped) = mpsc::channel();
        // A thread and not a task: the epochs must advance when all workers of the async runtime are busy with guests.
        let thread = std::thread::Builder::new()
            .name("caxton-epochs".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    engines.iter().for_each(Engine::increment_epoch);
                }
            })?;
        Ok(Self {
            running: Some(running),
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // If the thread has panicked, there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}
