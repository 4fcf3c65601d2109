//! Crashes of guests, and how an error of wasmtime becomes one of them.

use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use super::capacity::Occupancy;
use super::caps;
use super::limiter::Limiter;

/// Bytes of one frame in a backtrace. Demangled names of C++ and Rust can be much longer than anybody reads.
const FRAME_BYTES: usize = 200;

/// Why an instance is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    pub kind: CrashKind,
    /// What happened, as a sentence.
    pub detail: String,
    /// The frames of the guest, innermost first, at most [`caps::BACKTRACE_FRAMES`].
    pub backtrace: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashKind {
    /// The guest did what WebAssembly or the contract with its host forbids.
    Trap,
    /// The call burnt all of its fuel.
    OutOfFuel,
    /// The call took longer than its deadline.
    Deadline,
    /// The guest was denied more memory, and trapped.
    OutOfMemory,
    /// The guest passed a pointer or a length that reaches outside its memory.
    BadPointer,
    /// The node has no room for another instance, so none was made. The guest is not at fault.
    NoRoom,
    /// The instances of the node have all the memory that they may have together, so no instance was made.
    NoMemory,
}

impl CrashKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::OutOfFuel => "out_of_fuel",
            Self::Deadline => "deadline",
            Self::OutOfMemory => "out_of_memory",
            Self::BadPointer => "bad_pointer",
            Self::NoRoom => "no_room",
            Self::NoMemory => "no_memory",
        }
    }
}

/// The reasons for which the host itself ends a call, beside those that wasmtime has.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{call}: {length} bytes at {pointer} are outside the guest's memory of {memory} bytes")]
    BadPointer {
        call: &'static str,
        pointer: u32,
        length: u32,
        memory: usize,
    },
    #[error("not-permitted: {0}")]
    NotPermitted(&'static str),
    #[error("over-limit: {0}")]
    OverLimit(&'static str),
    #[error("{0}: the key is not UTF-8")]
    Key(&'static str),
    #[error("the agent exited, with code {0}")]
    Exit(i32),
}

impl Crash {
    pub(super) fn new(kind: CrashKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            backtrace: Vec::new(),
        }
    }

    pub(super) fn no_room(occupancy: Occupancy) -> Self {
        let Occupancy { limit, used, .. } = occupancy;
        let detail = format!(
            "there is no room for another instance: {used} of {limit} are in use; remove agents, or raise wasm.instances and vm.max_map_count"
        );
        Self::new(CrashKind::NoRoom, detail)
    }

    pub(super) fn no_memory(occupancy: Occupancy) -> Self {
        let Occupancy { limit, used, .. } = occupancy;
        let detail = format!(
            "there is no memory for another instance: all agents together use {used} of {limit} bytes; remove agents, or raise wasm.memory"
        );
        Self::new(CrashKind::NoMemory, detail)
    }

    pub(super) fn deadline(deadline: Duration) -> Self {
        Self::new(CrashKind::Deadline, format!("the call was not done after {deadline:?}"))
    }

    /// The crash that `error` means for a call with this `deadline`.
    pub(super) fn classify(error: &wasmtime::Error, limiter: &Limiter, deadline: Duration) -> Self {
        let trap = error.downcast_ref::<Trap>().copied();
        let fault = error.downcast_ref::<Fault>();
        let (kind, detail) = match (trap, fault, limiter.denied()) {
            (Some(Trap::Interrupt), _, _) => {
                return Self {
                    backtrace: backtrace(error),
                    ..Self::deadline(deadline)
                };
            }
            (Some(Trap::OutOfFuel), _, _) => (CrashKind::OutOfFuel, "the call used up its fuel".to_owned()),
            (_, Some(fault @ Fault::BadPointer { .. }), _) => (CrashKind::BadPointer, fault.to_string()),
            (_, Some(fault), _) => (CrashKind::Trap, fault.to_string()),
            (Some(trap @ (Trap::StringOutOfBounds | Trap::ListOutOfBounds)), None, _) => {
                (CrashKind::BadPointer, trap.to_string())
            }
            (Some(trap), None, Some(denied)) => (CrashKind::OutOfMemory, format!("{denied} ({trap})")),
            (None, None, Some(denied)) => (CrashKind::OutOfMemory, denied.to_owned()),
            (Some(trap), None, None) => (CrashKind::Trap, trap.to_string()),
            // Wasmtime reads what a component passes to the host, and has no type for this error. Only its text tells it.
            (None, None, None) if error.root_cause().to_string().contains("out of bounds of memory") => {
                (CrashKind::BadPointer, error.root_cause().to_string())
            }
            // The outer errors of the chain are frames of the backtrace. The innermost one is what went wrong.
            (None, None, None) => (CrashKind::Trap, error.root_cause().to_string()),
        };
        Self {
            kind,
            detail,
            backtrace: backtrace(error),
        }
    }
}

/// The frames of the guest, innermost first, with demangled names.
fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    // Wasmtime demangles names only in this text. It is a heading and then one line for each frame, such as
    // "  0:  0x3c - module!function".
    let text = trace.to_string();
    let frame = |line: &str| {
        let (number, frame) = line.trim_start().split_once(": ")?;
        number.parse::<usize>().ok()?;
        let frame = frame.trim();
        Some(frame[..frame.floor_char_boundary(FRAME_BYTES)].to_owned())
    };
    text.lines()
        .skip(1)
        .filter_map(frame)
        .take(caps::BACKTRACE_FRAMES)
        .collect()
}
