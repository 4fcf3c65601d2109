//! The contract of the core ABI: the functions that a module may import and must export, the codes that the host returns, and
//! the ranges by which a guest refers to its memory. [`super::core_abi`] implements it, and [`super::validate`] refuses modules
//! that break it.

use wasmparser::ValType::{self, I32, I64};
use wasmtime::{Caller, Extern};

use super::crash::Fault;
use super::host::Guest;

/// The module name under which a guest imports the functions of this contract.
pub(super) const MODULE: &str = "caxton";

/// A function of the contract, with its type.
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) params: &'static [ValType],
    pub(super) results: &'static [ValType],
    /// Whether a module must have this function. Only an export can be required.
    pub(super) required: bool,
}

/// The signature of a function that a module may import.
pub(super) const fn import(name: &'static str, params: &'static [ValType], results: &'static [ValType]) -> Signature {
    Signature {
        name,
        params,
        results,
        required: false,
    }
}

/// What a module may import.
pub(super) const IMPORTS: &[Signature] = &[
    import("send_message", &[I32, I32], &[I32]),
    import("log", &[I32, I32, I32], &[]),
    import("current_timestamp", &[], &[I64]),
    import("random_u32", &[], &[I32]),
    import("store_data", &[I32, I32, I32, I32], &[I32]),
    import("load_data", &[I32, I32, I32, I32], &[I32]),
    import("delete_data", &[I32, I32], &[I32]),
    // Takes microseconds from now. Returns the timer's id, which is at least 1, or `NOT_PERMITTED` or `OVER_LIMIT`.
    import("set_timer", &[I64], &[I32]),
    // Takes a timer's id. Returns `OK`, `ABSENT` or `NOT_PERMITTED`.
    import("cancel_timer", &[I32], &[I32]),
];

/// The export that makes a buffer for one message: its argument is the length in bytes, its result the pointer. The guest owns
/// the buffer.
pub(super) const ALLOC: &str = "caxton_alloc";
/// The export that returns a pointer to a buffer of at least as many bytes as its argument says. The guest keeps the buffer,
/// and the host puts one message after the other into it.
pub(super) const INBOX: &str = "caxton_inbox";

/// What a module exports, in addition to its `memory`.
pub(super) const EXPORTS: &[Signature] = &[
    // A module must have this function or `caxton_inbox`, so that the host can pass messages to it.
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
    // A module without this function gets the message of a timer in `handle_message`.
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

pub(super) const OK: i32 = 0;
/// A message that is malformed. No call can return both this and [`ABSENT`], so they share a number.
pub(super) const MALFORMED: i32 = -1;
/// A key or a timer that does not exist.
pub(super) const ABSENT: i32 = -1;
pub(super) const NOT_PERMITTED: i32 = -2;
pub(super) const OVER_LIMIT: i32 = -3;

/// A range of the guest's memory, as the guest passed it to `call`. WebAssembly's i32 has no sign, so both numbers are read as
/// unsigned.
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

    /// The indices of this range in a memory of `memory` bytes.
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

    /// The bytes of this range in `memory`.
    pub(super) fn of(self, memory: &[u8]) -> Result<&[u8], Fault> {
        Ok(&memory[self.within(memory.len())?])
    }
}

/// The memory of the guest that called, and what the host keeps for that guest. While a start function runs,
/// [`Guest::memory`] is not set yet, so the memory is looked up among the exports.
pub(super) fn view<'a>(caller: &'a mut Caller<'_, Guest>) -> wasmtime::Result<(&'a mut [u8], &'a mut Guest)> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => caller
            .get_export("memory")
            .and_then(Extern::into_memory)
            .ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))?,
    };
    Ok(memory.data_and_store_mut(caller))
}
