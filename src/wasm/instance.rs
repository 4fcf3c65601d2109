//! Instances of programs, and their turns.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use wasmtime::{PoolConcurrencyLimitError, Store};

use super::capacity::MapPermit;
use super::crash::{Crash, CrashKind};
use super::host::{Guest, Host, InHand};
use super::limits::{Budget, Limits};
use super::pace::{FIRST_SLICE, Pace, Running, SLACK};
use super::program::{Loaded, Program};
use super::state_lock::StateLease;
use super::turn::{Effects, End, Handover, Turn, Usage};
use super::{component, core_abi};
use crate::message::{Message, MessageView};
use crate::timer;

/// One incarnation of a program, with memory of its own. Its calls never overlap. After a crash it refuses all calls.
pub struct Instance {
    store: Store<Guest>,
    exports: Exports,
    condition: Condition,
    metered: bool,
    // Keeps the machine code, and the thread that advances the epochs.
    _program: Arc<Program>,
    // The last field: the maps go back to the budget after the store has released them.
    _permit: MapPermit,
}

/// The functions of the guest, by the interface that its module uses.
enum Exports {
    // Boxed, because it is several times the size of the other variant.
    Core(Box<core_abi::Exports>),
    Component(component::Exports),
}

/// Whether an instance can be called.
enum Condition {
    Sound,
    /// A call is running. If the next call finds this, the future of the last one was dropped before its end, and the memory of
    /// the guest may be inconsistent.
    InCall,
    Crashed(CrashKind),
}

/// Which function of the guest a turn calls, and with what.
enum Call<'a> {
    Init,
    /// The exported state is written to this place.
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
    /// Makes an instance. Of the guest only start functions run, within the budget [`RuntimeConfig::start`](super::RuntimeConfig).
    pub async fn instantiate(self: &Arc<Self>, host: Host, limits: Limits) -> Result<Instance, Crash> {
        let linked = self.engines.linked(self.metered);
        let permit = self.engines.maps.instance(linked.pooled).map_err(Crash::no_room)?;
        let budget = self.engines.start;
        let pace = Pace::new(Arc::clone(&self.engines.slow_lane));
        let guest = Guest::new(host, &limits, pace, Arc::clone(&self.engines.memory));
        let mut store = Store::new(&linked.engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        store.epoch_deadline_callback(|context| Ok(context.data().pace.end_of_slice()));
        let _running = begin(&mut store, None, budget, self.metered);
        let opened = tokio::time::timeout(budget.deadline.saturating_add(SLACK), self.open(&mut store)).await;
        store.data_mut().finish();
        store.data_mut().state_lease = None;
        match opened {
            Ok(Ok(exports)) => Ok(Instance {
                store,
                exports,
                condition: Condition::Sound,
                metered: self.metered,
                _program: Arc::clone(self),
                _permit: permit,
            }),
            // Components with several memories or many tables can use up the pool before the budget of maps.
            Ok(Err(error)) if error.is::<PoolConcurrencyLimitError>() => {
                Err(Crash::no_room(self.engines.maps.occupancy()))
            }
            Ok(Err(_)) if store.data().limiter.node_is_full() => Err(Crash::no_memory(self.engines.memory.occupancy())),
            Ok(Err(error)) => Err(Crash::classify(&error, &store.data().limiter, budget.deadline)),
            Err(_) => Err(Crash::deadline(budget.deadline)),
        }
    }

    async fn open(&self, store: &mut Store<Guest>) -> wasmtime::Result<Exports> {
        match &self.loaded {
            Loaded::Core(module) => {
                let module = module.get(store.data().leasing());
                let instance = module.instantiate_async(&mut *store).await?;
                let exports = core_abi::Exports::of(instance, store)?;
                Ok(Exports::Core(Box::new(exports)))
            }
            Loaded::Component(component) => {
                let exports = component::Exports::open(component, store).await?;
                Ok(Exports::Component(exports))
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
        // A guest without a function for timers gets the message of a timer like any other message.
        let call = match timer::fired(message) {
            Some(id) if self.takes_timers() => Call::Timer(id),
            _ => Call::Handle { message, attempt },
        };
        self.turn(call, budget).await
    }

    /// Whether the guest has a function for timers.
    pub(super) fn takes_timers(&self) -> bool {
        match &self.exports {
            Exports::Core(core) => core.takes_timers(),
            Exports::Component(component) => component.takes_timers(),
        }
    }

    /// Whether the guest has a function that is called before it is stopped.
    pub fn takes_shutdown(&self) -> bool {
        match &self.exports {
            Exports::Core(core) => core.takes_shutdown(),
            Exports::Component(component) => component.takes_shutdown(),
        }
    }

    /// Calls that function: the last call of the guest. Its effects are committed like those of any other turn.
    pub async fn shutdown(&mut self, budget: Budget) -> Turn {
        self.turn(Call::Shutdown, budget).await
    }

    /// Asks the guest for the state that it hands over to an instance of a later version. The turn has no effects, and the guest
    /// can go on with its messages afterwards.
    pub async fn export_state(&mut self, budget: Budget) -> Handover {
        let mut state = None;
        let mut turn = self.turn(Call::ExportState(&mut state), budget).await;
        turn.effects = Effects::default();
        Handover { turn, state }
    }

    /// Passes to the guest the state that an instance of the version `from` has exported. Called after [`Self::init`] and before the
    /// first message. If the guest has no function for that, the turn ends in an error.
    pub async fn code_change(&mut self, from: &semver::Version, state: &[u8], budget: Budget) -> Turn {
        self.turn(Call::CodeChange { from, state }, budget).await
    }

    /// The lease of the agent's state and timers, if the last turn has used them. It is to be kept until the effects of that turn
    /// are committed. The next turn releases it otherwise.
    pub fn take_state_lease(&mut self) -> Option<StateLease> {
        self.store.data_mut().state_lease.take()
    }

    /// Bytes of linear memory that the instance has now.
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
        self.condition = Condition::InCall;
        let in_hand = match &call {
            Call::Handle { message, .. } => Some(InHand::from(*message)),
            Call::Init | Call::Timer(_) | Call::Shutdown | Call::ExportState(_) | Call::CodeChange { .. } => None,
        };
        let running = begin(&mut self.store, in_hand, budget, self.metered);
        // A timeout drops the call before its end. That is safe: wasmtime unwinds its stack, and no call enters the store again.
        let called = running
            .within(budget.deadline.saturating_add(SLACK), self.enter(call))
            .await;
        let usage = Usage {
            guest_time: running.guest_time(),
            fuel: self.fuel_used(budget),
            memory_bytes: self.memory_bytes(),
        };
        let effects = self.store.data_mut().finish();
        let end = match called {
            Some(Ok(end)) => end,
            Some(Err(error)) => End::Crash(Crash::classify(&error, &self.store.data().limiter, budget.deadline)),
            None => End::Crash(Crash::deadline(budget.deadline)),
        };
        self.condition = match &end {
            End::Ok | End::Error(_) => Condition::Sound,
            End::Crash(crash) => Condition::Crashed(crash.kind),
        };
        let effects = if end == End::Ok { effects } else { Effects::default() };
        Turn { end, effects, usage }
    }

    /// Calls the function of the guest.
    async fn enter(&mut self, call: Call<'_>) -> wasmtime::Result<End> {
        let Self { store, exports, .. } = self;
        store.data_mut().lease_at_start().await;
        match (exports, call) {
            (Exports::Core(core), Call::Init) => core.init(store).await,
            (Exports::Core(core), Call::Handle { message, attempt }) => {
                let view = MessageView {
                    delivery_attempt: Some(attempt),
                    ..MessageView::of(message)
                };
                core.handle(store, &view.to_json()).await
            }
            (Exports::Core(core), Call::Timer(id)) => core.timer(store, id).await,
            (Exports::Core(core), Call::Shutdown) => core.shutdown(store).await,
            // The core ABI has no functions to hand state over.
            (Exports::Core(_), Call::ExportState(_)) => Ok(End::Ok),
            (Exports::Core(_), Call::CodeChange { .. }) => Ok(component::cannot_take_over()),
            (Exports::Component(component), Call::Init) => component.init(store).await,
            (Exports::Component(component), Call::Handle { message, attempt }) => {
                component.handle(store, message, attempt).await
            }
            (Exports::Component(component), Call::Timer(id)) => component.timer(store, id).await,
            (Exports::Component(component), Call::Shutdown) => component.shutdown(store).await,
            (Exports::Component(component), Call::ExportState(out)) => {
                let (end, state) = component.export_state(store).await?;
                *out = state.map(Bytes::from);
                Ok(end)
            }
            (Exports::Component(component), Call::CodeChange { from, state }) => {
                component.code_change(store, from, state).await
            }
        }
    }

    /// Why this instance cannot be called, if it cannot.
    fn refusal(&self) -> Option<Crash> {
        match self.condition {
            Condition::Sound => None,
            Condition::InCall => Some(Crash::new(
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

/// Begins a turn: resets what the last one used of its budget.
fn begin(store: &mut Store<Guest>, in_hand: Option<InHand>, budget: Budget, metered: bool) -> Running {
    if metered {
        store
            .set_fuel(fuel(budget))
            .expect("a metered program's engine counts fuel");
    }
    store.set_epoch_deadline(FIRST_SLICE);
    let guest = store.data_mut();
    guest.begin(in_hand, budget.sends);
    guest.pace.begin(Instant::now().checked_add(budget.deadline))
}
