//! From wasmtime's errors to the kinds of crash that the rest of the server knows.

use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use super::capacity::NoRoom;
use super::limiter::Limiter;
use super::{Crash, CrashKind, caps};

/// Bytes of one frame of a backtrace; C++ and Rust have longer names than anybody reads.
const FRAME_BYTES: usize = 200;

/// What the host itself ends a call for.
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

    pub(super) fn no_room(room: NoRoom) -> Self {
        let NoRoom { limit, used, .. } = room;
        let detail = format!(
            "there is no room for another instance: {used} of {limit}; remove agents, or raise wasm.instances and vm.max_map_count"
        );
        Self::new(CrashKind::NoRoom, detail)
    }

    pub(super) fn no_memory(room: NoRoom) -> Self {
        let NoRoom { limit, used, .. } = room;
        let detail = format!(
            "there is no memory for another instance: all have {used} bytes of {limit}; remove agents, or raise wasm.memory"
        );
        Self::new(CrashKind::NoMemory, detail)
    }

    pub(super) fn deadline(deadline: Duration) -> Self {
        Self::new(CrashKind::Deadline, format!("the call was not done after {deadline:?}"))
    }

    /// What `error` was, in a call with this `deadline`.
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
            // What a component hands to the host is read by wasmtime, which has no type for this error.
            (None, None, None) if error.root_cause().to_string().contains("out of bounds of memory") => {
                (CrashKind::BadPointer, error.root_cause().to_string())
            }
            // The chain holds the frames too; the innermost cause is what went wrong.
            (None, None, None) => (CrashKind::Trap, error.root_cause().to_string()),
        };
        Self {
            kind,
            detail,
            backtrace: backtrace(error),
        }
    }
}

/// The guest's frames, innermost first, names demangled.
fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    // Its text is the one place where wasmtime demangles: a heading, and a line "  0:  0x3c - module!function" a frame.
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
