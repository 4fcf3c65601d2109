//! One incarnation of a program, and its turns.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use wasmtime::{PoolConcurrencyLimitError, Store};

use super::capacity::Admission;
use super::engine::{self, Pace, SLACK};
use super::host::{Guest, InHand};
use super::program::{Loaded, Program};
use super::{Budget, Crash, CrashKind, Effects, End, Handover, Host, Limits, Turn, Usage, component, core_abi};
use crate::message::{Message, MessageView};
use crate::timer;

/// A guest with a memory of its own. Its calls never overlap; after a crash it answers none.
pub struct Instance {
    store: Store<Guest>,
    door: Door,
    condition: Condition,
    metered: bool,
    // What the guest runs on: the code, and the clock that interrupts it.
    _program: Arc<Program>,
    // Given back last, when the maps are.
    _admission: Admission,
}

enum Door {
    // Boxed: its table of functions is several times the size of the other's.
    Core(Box<core_abi::Exports>),
    Component(component::Agent),
}

enum Condition {
    Sound,
    /// In a call. Found at the begin of one, the call before was dropped midway and nothing is known of the memory.
    Called,
    Crashed(CrashKind),
}

enum Call<'a> {
    Init,
    /// What it hands over is put in here.
    ExportState(&'a mut Option<Bytes>),
    CodeChange {
        from: &'a semver::Version,
        state: &'a [u8],
    },
    Handle {
        message: &'a Message,
        attempt: u32,
    },
    Timer(u32),
    Shutdown,
}

impl Program {
    /// Makes an instance. No guest code runs but start functions, under the runtime's budget for them.
    pub async fn instantiate(self: &Arc<Self>, host: Host, limits: Limits) -> Result<Instance, Crash> {
        let side = self.engines.side(self.metered);
        let admission = self.engines.capacity.instance(side.pooled).map_err(Crash::no_room)?;
        let budget = self.engines.start;
        let pace = Pace::new(Arc::clone(&self.engines.slow_lane));
        let guest = Guest::new(host, &limits, pace, Arc::clone(&self.engines.memory));
        let mut store = Store::new(&side.engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        engine::interruptible(&mut store);
        let _running = begin(&mut store, None, budget, self.metered);
        let opened = tokio::time::timeout(budget.deadline.saturating_add(SLACK), self.open(&mut store)).await;
        store.data_mut().finish();
        match opened {
            Ok(Ok(door)) => Ok(Instance {
                store,
                door,
                condition: Condition::Sound,
                metered: self.metered,
                _program: Arc::clone(self),
                _admission: admission,
            }),
            // Components with several memories or many tables used the slots up before the maps.
            Ok(Err(error)) if error.is::<PoolConcurrencyLimitError>() => {
                Err(Crash::no_room(self.engines.capacity.no_room()))
            }
            Ok(Err(_)) if store.data().limiter.node_is_full() => Err(Crash::no_memory(self.engines.memory.no_room())),
            Ok(Err(error)) => Err(Crash::classify(&error, &store.data().limiter, budget.deadline)),
            Err(_) => Err(Crash::deadline(budget.deadline)),
        }
    }

    async fn open(&self, store: &mut Store<Guest>) -> wasmtime::Result<Door> {
        match &self.loaded {
            Loaded::Core(module) => {
                let instance = module.instantiate_async(&mut *store).await?;
                let exports = core_abi::Exports::of(instance, store)?;
                Ok(Door::Core(Box::new(exports)))
            }
            Loaded::Component(component) => {
                let agent = component::Agent::open(component, store).await?;
                Ok(Door::Component(agent))
            }
        }
    }
}

impl Instance {
    /// Called once, before the first message.
    pub async fn init(&mut self, budget: Budget) -> Turn {
        self.turn(Call::Init, budget).await
    }

    /// One turn. `attempt` is 1 at the first delivery of `message`.
    pub async fn handle(&mut self, message: &Message, attempt: u32, budget: Budget) -> Turn {
        // A guest with no entry for timers takes their messages like any other.
        let call = match timer::fired(message) {
            Some(id) if self.takes_timers() => Call::Timer(id),
            _ => Call::Handle { message, attempt },
        };
        self.turn(call, budget).await
    }

    pub(super) fn takes_timers(&self) -> bool {
        match &self.door {
            Door::Core(core) => core.takes_timers(),
            Door::Component(component) => component.takes_timers(),
        }
    }

    /// Whether the guest is to be told of its end.
    pub fn takes_shutdown(&self) -> bool {
        match &self.door {
            Door::Core(core) => core.takes_shutdown(),
            Door::Component(component) => component.takes_shutdown(),
        }
    }

    /// Tells the guest that it will not be called again. What it sends then is an effect like any other.
    pub async fn shutdown(&mut self, budget: Budget) -> Turn {
        self.turn(Call::Shutdown, budget).await
    }

    /// Asks the guest for what it hands over to a later version. It goes on as it was: nothing of this turn takes effect.
    pub async fn export_state(&mut self, budget: Budget) -> Handover {
        let mut state = None;
        let mut turn = self.turn(Call::ExportState(&mut state), budget).await;
        turn.effects = Effects::default();
        Handover { turn, state }
    }

    /// Hands over to the guest what an instance of the version `from` exported. Called after [`Self::init`] and before the first
    /// message. A guest that takes nothing over ends in an error.
    pub async fn code_change(&mut self, from: &semver::Version, state: &[u8], budget: Budget) -> Turn {
        self.turn(Call::CodeChange { from, state }, budget).await
    }

    /// Bytes of linear memory now.
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().limiter.memory_bytes()
    }

    async fn turn(&mut self, call: Call<'_>, budget: Budget) -> Turn {
        if let Some(crash) = self.refusal() {
            return Turn {
                end: End::Crash(crash),
                effects: Effects::default(),
                usage: Usage {
                    memory_bytes: self.memory_bytes(),
                    ..Usage::default()
                },
            };
        }
        self.condition = Condition::Called;
        let in_hand = match &call {
            Call::Handle { message, .. } => Some(InHand::from(*message)),
            Call::Init | Call::Timer(_) | Call::Shutdown | Call::ExportState(_) | Call::CodeChange { .. } => None,
        };
        let running = begin(&mut self.store, in_hand, budget, self.metered);
        // To drop a call midway is safe: wasmtime unwinds its stack, and the store is never entered again.
        let called = tokio::time::timeout(budget.deadline.saturating_add(SLACK), self.enter(call)).await;
        let usage = Usage {
            guest_time: running.guest_time(),
            fuel: self.fuel_used(budget),
            memory_bytes: self.memory_bytes(),
        };
        let effects = self.store.data_mut().finish();
        let end = match called {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => End::Crash(Crash::classify(&error, &self.store.data().limiter, budget.deadline)),
            Err(_) => End::Crash(Crash::deadline(budget.deadline)),
        };
        self.condition = match &end {
            End::Ok | End::Error(_) => Condition::Sound,
            End::Crash(crash) => Condition::Crashed(crash.kind),
        };
        let effects = if end == End::Ok { effects } else { Effects::default() };
        Turn { end, effects, usage }
    }

    async fn enter(&mut self, call: Call<'_>) -> wasmtime::Result<End> {
        let Self { store, door, .. } = self;
        match (door, call) {
            (Door::Core(core), Call::Init) => core.init(store).await,
            (Door::Core(core), Call::Handle { message, attempt }) => {
                let view = MessageView {
                    delivery_attempt: Some(attempt),
                    ..MessageView::of(message)
                };
                core.handle(store, &view.to_json()).await
            }
            (Door::Core(core), Call::Timer(id)) => core.timer(store, id).await,
            (Door::Core(core), Call::Shutdown) => core.shutdown(store).await,
            // That door hands nothing over.
            (Door::Core(_), Call::ExportState(_)) => Ok(End::Ok),
            (Door::Core(_), Call::CodeChange { .. }) => Ok(component::cannot_take_over()),
            (Door::Component(component), Call::Init) => component.init(store).await,
            (Door::Component(component), Call::Handle { message, attempt }) => {
                component.handle(store, message, attempt).await
            }
            (Door::Component(component), Call::Timer(id)) => component.timer(store, id).await,
            (Door::Component(component), Call::Shutdown) => component.shutdown(store).await,
            (Door::Component(component), Call::ExportState(out)) => {
                let (end, state) = component.export_state(store).await?;
                *out = state.map(Bytes::from);
                Ok(end)
            }
            (Door::Component(component), Call::CodeChange { from, state }) => {
                component.code_change(store, from, state).await
            }
        }
    }

    fn refusal(&self) -> Option<Crash> {
        match self.condition {
            Condition::Sound => None,
            Condition::Called => Some(Crash::new(
                CrashKind::Trap,
                "an earlier call of this instance was abandoned; it must be replaced",
            )),
            Condition::Crashed(kind) => Some(Crash::new(
                kind,
                "this instance has crashed before; it must be replaced",
            )),
        }
    }

    fn fuel_used(&self, budget: Budget) -> Option<u64> {
        let left = self.store.get_fuel().ok()?;
        Some(fuel(budget).saturating_sub(left))
    }
}

fn fuel(budget: Budget) -> u64 {
    budget.fuel.unwrap_or(u64::MAX)
}

fn begin(store: &mut Store<Guest>, in_hand: Option<InHand>, budget: Budget, metered: bool) -> engine::Running {
    if metered {
        store
            .set_fuel(fuel(budget))
            .expect("a metered program's engine counts fuel");
    }
    engine::first_slice(store);
    let guest = store.data_mut();
    guest.begin(in_hand, budget.sends);
    guest.pace.begin(Instant::now().checked_add(budget.deadline))
}
