//! The core ABI: for hand-written WAT, Go, and whatever has no component tools. Its list of calls is the contract
//! ([`IMPORTS`], [`EXPORTS`]); [`super::validate`] refuses a module by the same list.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;
use wasmparser::ValType::{self, I32, I64};
use wasmtime::{Caller, Engine, Extern, Linker, Memory, Store, TypedFunc};

use super::crash::Fault;
use super::host::{Guest, Level, Refusal, nesting, shallow};
use super::{End, caps, wasi};
use crate::message::Draft;
use crate::time::Timestamp;

/// The module that imports name.
pub(super) const MODULE: &str = "caxton";

pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) params: &'static [ValType],
    pub(super) results: &'static [ValType],
    /// Of an export. No import has to be used.
    pub(super) required: bool,
}

pub(super) const fn import(name: &'static str, params: &'static [ValType], results: &'static [ValType]) -> Signature {
    Signature {
        name,
        params,
        results,
        required: false,
    }
}

pub(super) const IMPORTS: &[Signature] = &[
    import("send_message", &[I32, I32], &[I32]),
    import("log", &[I32, I32, I32], &[]),
    import("current_timestamp", &[], &[I64]),
    import("random_u32", &[], &[I32]),
    import("store_data", &[I32, I32, I32, I32], &[I32]),
    import("load_data", &[I32, I32, I32, I32], &[I32]),
    import("delete_data", &[I32, I32], &[I32]),
    // Microseconds from now -> the timer's id, at least 1; -2, -3.
    import("set_timer", &[I64], &[I32]),
    // 0; -1 unknown, -2.
    import("cancel_timer", &[I32], &[I32]),
];

/// The import that is linked under this name, of this door's own module or of WASI's.
pub(super) fn offered(module: &str, name: &str) -> Option<&'static Signature> {
    match module {
        MODULE => IMPORTS.iter().find(|offered| offered.name == name),
        wasi::MODULE => wasi::imports().find(|offered| offered.name == name),
        _ => None,
    }
}

pub(super) const ALLOC: &str = "caxton_alloc";
pub(super) const INBOX: &str = "caxton_inbox";

/// Beside these, `memory`.
pub(super) const EXPORTS: &[Signature] = &[
    // How the host finds a place for a message: one of this and `caxton_inbox` has to be there.
    Signature {
        name: ALLOC,
        params: &[I32],
        results: &[I32],
        required: false,
    },
    Signature {
        name: "handle_message",
        params: &[I32, I32],
        results: &[I32],
        required: true,
    },
    Signature {
        name: "agent_init",
        params: &[],
        results: &[I32],
        required: false,
    },
    Signature {
        name: "agent_shutdown",
        params: &[],
        results: &[],
        required: false,
    },
    // Without it a timer's message comes to `handle_message`.
    Signature {
        name: "handle_timer",
        params: &[I32],
        results: &[I32],
        required: false,
    },
    Signature {
        name: INBOX,
        params: &[I32],
        results: &[I32],
        required: false,
    },
    Signature {
        name: "_initialize",
        params: &[],
        results: &[],
        required: false,
    },
];

const OK: i32 = 0;
/// Malformed, or absent.
const MALFORMED: i32 = -1;
const ABSENT: i32 = -1;
const NOT_PERMITTED: i32 = -2;
const OVER_LIMIT: i32 = -3;

/// The least that is asked of `caxton_inbox`, so that messages of common sizes need no second call.
const INBOX_BYTES: usize = 16 << 10;

type Call<'a> = Caller<'a, Guest>;

pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(MODULE, "send_message", send_message)?;
    linker.func_wrap(MODULE, "log", log)?;
    linker.func_wrap(MODULE, "current_timestamp", || Timestamp::now().micros())?;
    linker.func_wrap(MODULE, "random_u32", random_u32)?;
    linker.func_wrap(MODULE, "store_data", store_data)?;
    linker.func_wrap(MODULE, "load_data", load_data)?;
    linker.func_wrap(MODULE, "delete_data", delete_data)?;
    linker.func_wrap(MODULE, "set_timer", set_timer)?;
    linker.func_wrap(MODULE, "cancel_timer", cancel_timer)?;
    wasi::link(&mut linker, engine)?;
    Ok(linker)
}

/// A pointer and a length as a guest gave them: i32, meant as unsigned.
#[derive(Clone, Copy)]
pub(super) struct Range {
    call: &'static str,
    pointer: u32,
    length: u32,
}

impl Range {
    pub(super) const fn new(call: &'static str, pointer: i32, length: i32) -> Self {
        Self {
            call,
            pointer: pointer.cast_unsigned(),
            length: length.cast_unsigned(),
        }
    }

    pub(super) fn within(self, memory: usize) -> Result<std::ops::Range<usize>, Fault> {
        let bad = Fault::BadPointer {
            call: self.call,
            pointer: self.pointer,
            length: self.length,
            memory,
        };
        let start = usize::try_from(self.pointer).ok();
        let end = start
            .zip(usize::try_from(self.length).ok())
            .and_then(|(start, length)| start.checked_add(length));
        match (start, end) {
            (Some(start), Some(end)) if end <= memory => Ok(start..end),
            _ => Err(bad),
        }
    }

    pub(super) fn of(self, memory: &[u8]) -> Result<&[u8], Fault> {
        Ok(&memory[self.within(memory.len())?])
    }
}

/// The guest's memory and data. While a start function runs, nothing has stored the memory yet.
pub(super) fn view<'a>(caller: &'a mut Call<'_>) -> wasmtime::Result<(&'a mut [u8], &'a mut Guest)> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => caller
            .get_export("memory")
            .and_then(Extern::into_memory)
            .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?,
    };
    Ok(memory.data_and_store_mut(caller))
}

fn code(done: &Result<(), Refusal>) -> i32 {
    match done {
        Ok(()) => OK,
        Err(Refusal::Malformed(_)) => MALFORMED,
        Err(Refusal::NotPermitted) => NOT_PERMITTED,
        Err(Refusal::OverLimit) => OVER_LIMIT,
    }
}

fn send_message(mut caller: Call<'_>, pointer: i32, length: i32) -> wasmtime::Result<i32> {
    let (memory, guest) = view(&mut caller)?;
    let json = Range::new("send_message", pointer, length).of(memory)?;
    if json.len() > caps::DRAFT_BYTES {
        return Ok(OVER_LIMIT);
    }
    let sent = draft(json).and_then(|draft| guest.send(draft));
    if let Err(Refusal::Malformed(why)) = &sent {
        // The code alone says too little to whoever writes the guest.
        guest.log(Level::Warn, format!("send_message: malformed: {why}").as_bytes());
    }
    Ok(code(&sent))
}

fn draft(json: &[u8]) -> Result<Draft, Refusal> {
    // Most drafts nest little, and need no look at their parts.
    if nesting(json) > caps::EXTENSION_DEPTH {
        let members: BTreeMap<String, &RawValue> = serde_json::from_slice(json).unwrap_or_default();
        for (name, value) in members.iter().filter(|(name, _)| name.starts_with("x_")) {
            shallow(name, value.get().as_bytes())?;
        }
    }
    Draft::from_json(json).map_err(|invalid| Refusal::Malformed(invalid.to_string()))
}

fn log(mut caller: Call<'_>, level: i32, pointer: i32, length: i32) -> wasmtime::Result<()> {
    let (memory, guest) = view(&mut caller)?;
    let line = Range::new("log", pointer, length).of(memory)?;
    let level = match level {
        0 => Level::Trace,
        1 => Level::Debug,
        2 => Level::Info,
        3 => Level::Warn,
        _ => Level::Error,
    };
    guest.log(level, line);
    Ok(())
}

/// Any number is a random number, so there is none left to say no with: a guest without the grant, or that wants more than a turn
/// may have, crashes here.
fn random_u32(mut caller: Call<'_>) -> wasmtime::Result<i32> {
    let mut bytes = [0; 4];
    caller.data_mut().random(&mut bytes).map_err(|refusal| match refusal {
        Refusal::OverLimit => Fault::OverLimit("random"),
        Refusal::NotPermitted | Refusal::Malformed(_) => Fault::NotPermitted("random"),
    })?;
    Ok(i32::from_le_bytes(bytes))
}

fn store_data(mut caller: Call<'_>, kp: i32, kl: i32, dp: i32, dl: i32) -> wasmtime::Result<i32> {
    let (memory, guest) = view(&mut caller)?;
    let key = Range::new("store_data", kp, kl).of(memory)?;
    let value = Range::new("store_data", dp, dl).of(memory)?;
    let key = std::str::from_utf8(key).map_err(|_| Fault::Key("store_data"))?;
    Ok(code(&guest.set(key, value)))
}

fn load_data(mut caller: Call<'_>, kp: i32, kl: i32, bp: i32, bl: i32) -> wasmtime::Result<i32> {
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

fn delete_data(mut caller: Call<'_>, kp: i32, kl: i32) -> wasmtime::Result<i32> {
    let (memory, guest) = view(&mut caller)?;
    let key = Range::new("delete_data", kp, kl).of(memory)?;
    let key = std::str::from_utf8(key).map_err(|_| Fault::Key("delete_data"))?;
    Ok(match guest.delete(key) {
        Ok(true) => OK,
        Ok(false) => ABSENT,
        Err(refusal) => code(&Err(refusal)),
    })
}

/// Answers with the timer's id, which is positive.
fn set_timer(mut caller: Call<'_>, after_micros: i64) -> i32 {
    // A time before now is as absurd as one after the longest.
    let after = u64::try_from(after_micros).map_or(Duration::MAX, Duration::from_micros);
    match caller.data_mut().set_timer(after) {
        Ok(id) => id.cast_signed(),
        Err(refusal) => code(&Err(refusal)),
    }
}

fn cancel_timer(mut caller: Call<'_>, id: i32) -> i32 {
    match caller.data_mut().cancel_timer(id.cast_unsigned()) {
        Ok(true) => OK,
        Ok(false) => ABSENT,
        Err(refusal) => code(&Err(refusal)),
    }
}

/// The exports of one instance.
pub(super) struct Exports {
    memory: Memory,
    place: Place,
    handle: TypedFunc<(i32, i32), i32>,
    init: Option<TypedFunc<(), i32>>,
    timer: Option<TypedFunc<i32, i32>>,
    shutdown: Option<TypedFunc<(), ()>>,
    initialize: Option<TypedFunc<(), ()>>,
}

/// Where a message is put.
enum Place {
    /// In a buffer that the guest makes for it, and owns from then on.
    Alloc(TypedFunc<i32, i32>),
    Inbox(Inbox),
}

/// A buffer that the guest keeps for messages. It is asked for again only when a message does not fit.
struct Inbox {
    func: TypedFunc<i32, i32>,
    pointer: i32,
    capacity: usize,
}

impl Exports {
    /// Validation has seen to it that what is required is there.
    pub(super) fn of(instance: wasmtime::Instance, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        let memory = instance
            .get_memory(&mut *store, "memory")
            .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?;
        store.data_mut().memory = Some(memory);
        let place = match instance.get_typed_func(&mut *store, INBOX) {
            Ok(func) => Place::Inbox(Inbox {
                func,
                pointer: 0,
                capacity: 0,
            }),
            Err(_) => Place::Alloc(instance.get_typed_func(&mut *store, ALLOC)?),
        };
        Ok(Self {
            memory,
            place,
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
        let (call, pointer) = match &mut self.place {
            Place::Inbox(inbox) => {
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
            Place::Alloc(alloc) => (ALLOC, alloc.call_async(&mut *store, length).await?),
        };
        let memory = self.memory.data_mut(&mut *store);
        let place = Range::new(call, pointer, length).within(memory.len())?;
        memory[place].copy_from_slice(json);
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
