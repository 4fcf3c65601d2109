//! The core ABI, for handwritten WAT, for Go, and for each language without tools for components. Its contract is
//! [`super::abi`]. Here are the functions that a guest imports, and the calls of the functions that it exports.

use std::time::Duration;

use wasmtime::{Caller, Engine, Linker, Memory, Store, TypedFunc};

use super::abi::{ABSENT, ALLOC, INBOX, MALFORMED, MODULE, NOT_PERMITTED, OK, OVER_LIMIT, Range, view};
use super::crash::Fault;
use super::host::{Guest, Level, Refusal};
use super::state_lock::Leasing;
use super::turn::End;
use super::{caps, wasi};
use crate::message::Draft;
use crate::time::Timestamp;

/// The smallest buffer that the host asks of `caxton_inbox`, in bytes. Messages of common sizes fit in it, so that the host
/// calls the function only once.
const INBOX_BYTES: usize = 16 << 10;

/// What a module can import. With [`Leasing::AtFirstUse`] the functions of the state and the timers can wait, which makes each call
/// of them dearer.
pub(super) fn linker(engine: &Engine, leasing: Leasing) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(MODULE, "send_message", send_message)?;
    linker.func_wrap(MODULE, "log", log)?;
    linker.func_wrap(MODULE, "current_timestamp", || Timestamp::now().micros())?;
    linker.func_wrap(MODULE, "random_u32", random_u32)?;
    match leasing {
        Leasing::AtStart => {
            linker.func_wrap(MODULE, "store_data", store_data)?;
            linker.func_wrap(MODULE, "load_data", load_data)?;
            linker.func_wrap(MODULE, "delete_data", delete_data)?;
            linker.func_wrap(MODULE, "set_timer", set_timer)?;
            linker.func_wrap(MODULE, "cancel_timer", cancel_timer)?;
        }
        Leasing::AtFirstUse => leasing_functions(&mut linker)?,
    }
    wasi::link(&mut linker, engine)?;
    Ok(linker)
}

/// The functions that wait for the lease.
fn leasing_functions(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "store_data", |mut caller, (kp, kl, dp, dl)| {
        Box::new(async move {
            caller.data_mut().lease_state().await;
            store_data(caller, kp, kl, dp, dl)
        })
    })?;
    linker.func_wrap_async(MODULE, "load_data", |mut caller, (kp, kl, bp, bl)| {
        Box::new(async move {
            caller.data_mut().lease_state().await;
            load_data(caller, kp, kl, bp, bl)
        })
    })?;
    linker.func_wrap_async(MODULE, "delete_data", |mut caller, (kp, kl)| {
        Box::new(async move {
            caller.data_mut().lease_state().await;
            delete_data(caller, kp, kl)
        })
    })?;
    linker.func_wrap_async(MODULE, "set_timer", |mut caller, (after,)| {
        Box::new(async move {
            caller.data_mut().lease_timers().await;
            set_timer(caller, after)
        })
    })?;
    linker.func_wrap_async(MODULE, "cancel_timer", |mut caller, (id,)| {
        Box::new(async move {
            caller.data_mut().lease_timers().await;
            cancel_timer(caller, id)
        })
    })?;
    Ok(())
}

/// The code that tells the guest what has become of its call.
fn code(done: &Result<(), Refusal>) -> i32 {
    match done {
        Ok(()) => OK,
        Err(Refusal::Malformed(_)) => MALFORMED,
        Err(Refusal::NotPermitted) => NOT_PERMITTED,
        Err(Refusal::OverLimit) => OVER_LIMIT,
    }
}

fn send_message(mut caller: Caller<'_, Guest>, pointer: i32, length: i32) -> wasmtime::Result<i32> {
    let (memory, guest) = view(&mut caller)?;
    let json = Range::new("send_message", pointer, length).of(memory)?;
    if json.len() > caps::DRAFT_BYTES {
        return Ok(OVER_LIMIT);
    }
    let sent = Draft::from_json(json)
        .map_err(Refusal::from)
        .and_then(|draft| guest.send(draft));
    if let Err(Refusal::Malformed(why)) = &sent {
        // The code alone does not tell the author of the guest what is malformed.
        guest
            .log
            .line(Level::Warn, format!("send_message: malformed: {why}").as_bytes());
    }
    Ok(code(&sent))
}

fn log(mut caller: Caller<'_, Guest>, level: i32, pointer: i32, length: i32) -> wasmtime::Result<()> {
    let (memory, guest) = view(&mut caller)?;
    let line = Range::new("log", pointer, length).of(memory)?;
    let level = match level {
        0 => Level::Trace,
        1 => Level::Debug,
        2 => Level::Info,
        3 => Level::Warn,
        _ => Level::Error,
    };
    guest.log.line(level, line);
    Ok(())
}

/// Any i32 can be a random number, so no value is left over as an error code. Therefore the guest crashes here when it lacks the
/// permission or has drawn all random bytes of its turn.
fn random_u32(mut caller: Caller<'_, Guest>) -> wasmtime::Result<i32> {
    let mut bytes = [0; 4];
    caller.data_mut().random(&mut bytes).map_err(|refusal| match refusal {
        Refusal::OverLimit => Fault::OverLimit("random"),
        Refusal::NotPermitted | Refusal::Malformed(_) => Fault::NotPermitted("random"),
    })?;
    Ok(i32::from_le_bytes(bytes))
}

fn store_data(mut caller: Caller<'_, Guest>, kp: i32, kl: i32, dp: i32, dl: i32) -> wasmtime::Result<i32> {
    let (memory, guest) = view(&mut caller)?;
    let key = Range::new("store_data", kp, kl).of(memory)?;
    let value = Range::new("store_data", dp, dl).of(memory)?;
    let key = std::str::from_utf8(key).map_err(|_| Fault::Key("store_data"))?;
    Ok(code(&guest.set(key, value)))
}

fn load_data(mut caller: Caller<'_, Guest>, kp: i32, kl: i32, bp: i32, bl: i32) -> wasmtime::Result<i32> {
    let (memory, guest) = view(&mut caller)?;
    let key = Range::new("load_data", kp, kl).of(memory)?;
    let buffer = Range::new("load_data", bp, bl).within(memory.len())?;
    let key = std::str::from_utf8(key).map_err(|_| Fault::Key("load_data"))?;
    match guest.get(key) {
        Ok(Some(value)) => {
            let count = value.len().min(buffer.len());
            memory[buffer.start..buffer.start + count].copy_from_slice(&value[..count]);
            Ok(i32::try_from(value.len()).unwrap_or(i32::MAX))
        }
        Ok(None) => Ok(ABSENT),
        Err(refusal) => Ok(code(&Err(refusal))),
    }
}

fn delete_data(mut caller: Caller<'_, Guest>, kp: i32, kl: i32) -> wasmtime::Result<i32> {
    let (memory, guest) = view(&mut caller)?;
    let key = Range::new("delete_data", kp, kl).of(memory)?;
    let key = std::str::from_utf8(key).map_err(|_| Fault::Key("delete_data"))?;
    Ok(match guest.delete(key) {
        Ok(true) => OK,
        Ok(false) => ABSENT,
        Err(refusal) => code(&Err(refusal)),
    })
}

/// Returns the timer's id, which is positive, or an error code, which is negative.
fn set_timer(mut caller: Caller<'_, Guest>, after_micros: i64) -> i32 {
    // A negative time is refused in the same way as one that is too long.
    let after = u64::try_from(after_micros).map_or(Duration::MAX, Duration::from_micros);
    match caller.data_mut().set_timer(after) {
        Ok(id) => id.cast_signed(),
        Err(refusal) => code(&Err(refusal)),
    }
}

fn cancel_timer(mut caller: Caller<'_, Guest>, id: i32) -> i32 {
    match caller.data_mut().cancel_timer(id.cast_unsigned()) {
        Ok(true) => OK,
        Ok(false) => ABSENT,
        Err(refusal) => code(&Err(refusal)),
    }
}

/// The exported functions of one instance, and its memory.
pub(super) struct Exports {
    memory: Memory,
    buffer: MessageBuffer,
    handle: TypedFunc<(i32, i32), i32>,
    init: Option<TypedFunc<(), i32>>,
    timer: Option<TypedFunc<i32, i32>>,
    shutdown: Option<TypedFunc<(), ()>>,
    initialize: Option<TypedFunc<(), ()>>,
}

/// How the host gets a buffer in the guest's memory for a message.
enum MessageBuffer {
    /// The guest makes a buffer for each message and owns it from then on: `caxton_alloc`.
    Alloc(TypedFunc<i32, i32>),
    /// The guest keeps one buffer for all messages: `caxton_inbox`.
    Inbox(Inbox),
}

/// The buffer that the guest keeps for messages. The host asks for a larger one only when a message does not fit.
struct Inbox {
    func: TypedFunc<i32, i32>,
    pointer: i32,
    capacity: usize,
}

impl Exports {
    /// Looks up the exports of `instance`. A required one is always there, because validation refuses modules without it.
    pub(super) fn of(instance: wasmtime::Instance, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        let memory = instance
            .get_memory(&mut *store, "memory")
            .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?;
        store.data_mut().memory = Some(memory);
        let buffer = match instance.get_typed_func(&mut *store, INBOX) {
            Ok(func) => MessageBuffer::Inbox(Inbox {
                func,
                pointer: 0,
                capacity: 0,
            }),
            Err(_) => MessageBuffer::Alloc(instance.get_typed_func(&mut *store, ALLOC)?),
        };
        Ok(Self {
            memory,
            buffer,
            handle: instance.get_typed_func(&mut *store, "handle_message")?,
            init: instance.get_typed_func(&mut *store, "agent_init").ok(),
            timer: instance.get_typed_func(&mut *store, "handle_timer").ok(),
            shutdown: instance.get_typed_func(&mut *store, "agent_shutdown").ok(),
            initialize: instance.get_typed_func(&mut *store, "_initialize").ok(),
        })
    }

    pub(super) async fn init(&self, store: &mut Store<Guest>) -> wasmtime::Result<End> {
        if let Some(initialize) = &self.initialize {
            initialize.call_async(&mut *store, ()).await?;
        }
        match &self.init {
            Some(init) => Ok(ended(init.call_async(&mut *store, ()).await?)),
            None => Ok(End::Ok),
        }
    }

    pub(super) async fn handle(&mut self, store: &mut Store<Guest>, json: &[u8]) -> wasmtime::Result<End> {
        let length = i32::try_from(json.len()).map_err(|_| wasmtime::Error::msg("the message is longer than 2 GiB"))?;
        let (call, pointer) = match &mut self.buffer {
            MessageBuffer::Inbox(inbox) => {
                if json.len() > inbox.capacity {
                    let capacity = json.len().next_power_of_two().max(INBOX_BYTES);
                    inbox.pointer = inbox
                        .func
                        .call_async(&mut *store, i32::try_from(capacity).unwrap_or(length))
                        .await?;
                    inbox.capacity = capacity;
                }
                (INBOX, inbox.pointer)
            }
            MessageBuffer::Alloc(alloc) => (ALLOC, alloc.call_async(&mut *store, length).await?),
        };
        let memory = self.memory.data_mut(&mut *store);
        let range = Range::new(call, pointer, length).within(memory.len())?;
        memory[range].copy_from_slice(json);
        Ok(ended(self.handle.call_async(&mut *store, (pointer, length)).await?))
    }

    pub(super) const fn takes_timers(&self) -> bool {
        self.timer.is_some()
    }

    pub(super) async fn timer(&self, store: &mut Store<Guest>, id: u32) -> wasmtime::Result<End> {
        match &self.timer {
            Some(timer) => Ok(ended(timer.call_async(&mut *store, id.cast_signed()).await?)),
            None => Ok(End::Ok),
        }
    }

    pub(super) const fn takes_shutdown(&self) -> bool {
        self.shutdown.is_some()
    }

    pub(super) async fn shutdown(&self, store: &mut Store<Guest>) -> wasmtime::Result<End> {
        if let Some(shutdown) = &self.shutdown {
            shutdown.call_async(&mut *store, ()).await?;
        }
        Ok(End::Ok)
    }
}

fn ended(returned: i32) -> End {
    if returned == OK {
        End::Ok
    } else {
        End::Error(format!("the agent returned {returned}"))
    }
}
