//! The two engines, the clock that interrupts guests, and the slow lane for those that are interrupted.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, Linker, Store, UpdateDeadline};

use super::cache::CacheFolder;
use super::capacity::{self, Capacity, Memory};
use super::compiler::Compiler;
use super::host::Guest;
use super::{Budget, caps, component, core_abi};
use crate::error::Error;

/// How often the epoch advances. A guest sees it at its next loop or call.
const TICK: Duration = Duration::from_millis(5);
/// Epochs until a turn is first interrupted. The first may end at once, so one would cut short a turn of any length.
const FIRST_SLICE: u64 = 2;
/// Epochs of each slice in the slow lane.
const SLICE: u64 = 2;
/// A turn that waits longer than this for all that is ready has others beside it. Then a place in the slow lane rests for so many
/// ticks after each slice of two at the most: of a lane's processor others have three quarters and more, and of an idle one
/// nothing is left unused.
const BUSY: Duration = Duration::from_micros(200);
const RESTS: u32 = 6;
/// How long after its deadline a call is dropped from outside. The trap at the end of a slice has the better story to
/// tell (a backtrace), so it gets the chance.
pub(super) const SLACK: Duration = Duration::from_millis(20);

/// A stack of every call, guest and host frames together.
const STACK: usize = 256 << 10;
/// The guest's part of it; the rest is for host calls, of which parsing a draft is the deepest. A guest that needs more
/// traps; a host call that needed more would kill the process.
const GUEST_STACK: usize = 160 << 10;

#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Instances at one time. The default is what the kernel's limit of memory maps allows (`vm.max_map_count`), and 10,240 at
    /// most: 10,171 where that is 65,530. Programs count like instances, metered instances a quarter more.
    pub instances: usize,
    /// Bytes that the memories and tables of all instances may take together. Beyond it no memory grows and no agent starts.
    pub memory: u64,
    /// Whether instances that are not metered live in slots which are made at the start. That takes two maps and
    /// `memory_reservation` of address space for each of `instances`, at once. Where that is not to be had they are made on demand.
    pub pooled: bool,
    /// Turns that outlived their first slice and may run at one time.
    pub slow_lanes: usize,
    /// Modules that compile at one time.
    pub compiles: usize,
    pub compiler: Compiler,
    /// None: nothing is kept, and each start compiles what it needs.
    pub cache: Option<CacheFolder>,
    /// What a module's start function may use.
    pub start: Budget,
    /// Address space of each memory. The default of 4 GiB is what a 32-bit memory can reach, so that bounds checks fall to
    /// the processor: guests run 1.4 times as fast as with less. It costs no memory, only addresses (32,000 memories in
    /// 47 bits); set it lower where the address space is limited (`ulimit -v`).
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

/// One engine and what is linked to it.
pub(super) struct Side {
    pub(super) engine: Engine,
    pub(super) core: Linker<Guest>,
    pub(super) component: wasmtime::component::Linker<Guest>,
    pub(super) pooled: bool,
}

impl Side {
    fn new(config: &RuntimeConfig, metered: bool) -> wasmtime::Result<Self> {
        let mut settings = settings(config.memory_reservation, metered);
        // A second pool would take its maps whether there is a metered agent or not.
        if config.pooled && !metered {
            capacity::pooled(&mut settings, config.instances, config.memory_reservation);
            match Engine::new(&settings) {
                Ok(engine) => return Self::of(engine, true),
                Err(error) => tracing::warn!(
                    instances = config.instances,
                    error = format!("{error:#}"),
                    "there is no address space or memory maps for a pool of instances (ulimit -v, vm.max_map_count): they are \
                     made on demand, which takes longer"
                ),
            }
            settings.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        }
        Self::of(Engine::new(&settings)?, false)
    }

    fn of(engine: Engine, pooled: bool) -> wasmtime::Result<Self> {
        Ok(Self {
            core: core_abi::linker(&engine)?,
            component: component::linker(&engine)?,
            engine,
            pooled,
        })
    }
}

/// Fuel is compiled into a program, so there are two engines: only agents that asked for metering pay for it.
pub(super) struct Engines {
    metered: Side,
    plain: Side,
    pub(super) slow_lane: Arc<Semaphore>,
    pub(super) start: Budget,
    pub(super) memory_reservation: u64,
    pub(super) capacity: Capacity,
    pub(super) memory: Arc<Memory>,
    // Last: guests are interruptible for as long as there is an engine.
    _ticker: Ticker,
}

impl Engines {
    pub(super) fn new(config: &RuntimeConfig) -> Result<Self, Error> {
        let internal = |error: wasmtime::Error| Error::internal(error.to_string());
        let metered = Side::new(config, true).map_err(internal)?;
        let plain = Side::new(config, false).map_err(internal)?;
        let capacity = Capacity::new(config.instances, plain.pooled);
        let ticker = Ticker::start(vec![metered.engine.clone(), plain.engine.clone()]).map_err(Error::internal)?;
        Ok(Self {
            metered,
            plain,
            slow_lane: Arc::new(Semaphore::new(config.slow_lanes.max(1))),
            start: config.start,
            memory_reservation: config.memory_reservation,
            capacity,
            memory: Arc::new(Memory::new(config.memory)),
            _ticker: ticker,
        })
    }

    pub(super) const fn side(&self, metered: bool) -> &Side {
        if metered { &self.metered } else { &self.plain }
    }
}

/// What is refused here is refused by [`super::validate`] first, with a finding: keep the two alike, but for
/// further memories.
pub(super) fn settings(memory_reservation: u64, metered: bool) -> Config {
    let mut settings = Config::new();
    settings
        .consume_fuel(metered)
        .epoch_interruption(true)
        .async_stack_size(STACK)
        .max_wasm_stack(GUEST_STACK)
        .memory_init_cow(true)
        .memory_reservation(memory_reservation)
        .wasm_backtrace_max_frames(NonZeroUsize::new(caps::BACKTRACE_FRAMES))
        // Nothing here calls a guest concurrently with itself.
        .concurrency_support(false)
        // What the components inside a component say to each other goes through modules of the engine's own, which import the
        // memories of both. Those that guests bring have one memory each: `validate` sees to it.
        .wasm_multi_memory(true)
        .wasm_memory64(false)
        // No collector: what a guest allocates is its linear memory.
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .gc_support(false);
    settings
}

/// Advances the epoch of every engine until it is dropped.
struct Ticker {
    /// None once stopped. Nothing is ever sent: the thread ends when this end is gone.
    running: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let (running, stopped) = mpsc::channel();
        // A thread and not a task: it must tick when every worker of the async runtime is in a guest.
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
            // It can only have panicked with nothing left to tick.
            let _ = thread.join();
        }
    }
}

/// How one turn moves through its slices.
pub(super) struct Pace {
    slow_lane: Arc<Semaphore>,
    /// None: further away than a clock can say.
    deadline: Option<Instant>,
    slices: Arc<Mutex<Slices>>,
}

/// The part of a [`Pace`] that the future between two slices writes; it may not borrow the store.
#[derive(Default)]
struct Slices {
    permit: Option<OwnedSemaphorePermit>,
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Slices {
    fn stop_waiting(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }
}

impl Pace {
    pub(super) fn new(slow_lane: Arc<Semaphore>) -> Self {
        Self {
            slow_lane,
            deadline: None,
            slices: Arc::default(),
        }
    }

    pub(super) fn begin(&mut self, deadline: Option<Instant>) -> Running {
        self.deadline = deadline;
        *self.slices.lock() = Slices::default();
        Running {
            since: Instant::now(),
            slices: Arc::clone(&self.slices),
        }
    }

    /// At the end of a slice: the end of the turn, or a wait for the next slice behind all others that wait.
    fn next(&self) -> UpdateDeadline {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return UpdateDeadline::Interrupt;
        }
        {
            let mut slices = self.slices.lock();
            slices.permit = None;
            slices.waiting_since = Some(now);
        }
        let (lane, slices) = (Arc::clone(&self.slow_lane), Arc::clone(&self.slices));
        let wait = async move {
            let permit = lane.acquire_owned().await;
            // Whatever else is ready goes first, and how long that takes tells whether anybody wants the processors.
            let asked = Instant::now();
            tokio::task::yield_now().await;
            if asked.elapsed() > BUSY {
                // With its place in the lane, so that all slow turns together rest.
                tokio::time::sleep(TICK * RESTS).await;
            }
            let mut slices = slices.lock();
            slices.permit = permit.ok(); // never closed
            slices.stop_waiting();
        };
        UpdateDeadline::YieldCustom(SLICE, Box::pin(wait))
    }

    /// A wait of the guest in the host. Its place in the slow lane is free meanwhile, and it takes one again before it goes on.
    pub(super) fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send + 'static {
        let had_place = {
            let mut slices = self.slices.lock();
            slices.waiting_since = Some(Instant::now());
            slices.permit.take().is_some()
        };
        let (lane, slices) = (Arc::clone(&self.slow_lane), Arc::clone(&self.slices));
        async move {
            tokio::time::sleep(time).await;
            let permit = if had_place {
                lane.acquire_owned().await.ok() // never closed
            } else {
                None
            };
            let mut slices = slices.lock();
            slices.permit = permit;
            slices.stop_waiting();
        }
    }
}

/// A turn on the way. Dropped at its end, however it ends, so that no permit outlives its turn.
pub(super) struct Running {
    since: Instant,
    slices: Arc<Mutex<Slices>>,
}

impl Running {
    /// Time since the begin, without the waits.
    pub(super) fn guest_time(&self) -> Duration {
        let elapsed = self.since.elapsed();
        let mut slices = self.slices.lock();
        slices.stop_waiting();
        elapsed.saturating_sub(slices.waited)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.slices.lock().permit = None;
    }
}

/// Lets the epoch interrupt `store`.
pub(super) fn interruptible(store: &mut Store<Guest>) {
    store.epoch_deadline_callback(|context| Ok(context.data().pace.next()));
}

/// Gives the turn in `store` its first slice.
pub(super) fn first_slice(store: &mut Store<Guest>) {
    store.set_epoch_deadline(FIRST_SLICE);
}
