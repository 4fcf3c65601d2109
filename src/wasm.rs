//! The guest's side of a turn. Only this module and those below it name wasmtime.
//!
//! A [`Program`] is compiled once; an [`Instance`] is one incarnation of it, a store of its own. A call of the guest is a
//! turn: it returns what the guest wants to happen ([`Effects`]) and never makes it happen. Two doors, the component world
//! and the core ABI, stand behind one type; nothing above can tell which one an agent uses.
//!
//! What always holds here:
//!
//! - A turn that ends in anything but [`End::Ok`] has no effects, and an instance that crashed answers no further call.
//! - A guest is interruptible at any time: epochs end one that spins, a timer one that waits in the host. A turn that
//!   outlives its first slice shares one capped part of the processors with all others that did.
//! - Memory is capped over all memories and tables of an instance; what the host keeps for a turn has caps of its own.
//! - No bytes that are offered as a module panic; what is wrong with them is told in full.

mod cache;
mod capacity;
mod code;
pub mod compiler;
mod component;
mod core_abi;
mod crash;
mod demand;
mod engine;
mod host;
mod instance;
mod limiter;
mod program;
#[cfg(test)]
mod tests;
mod validate;
mod wasi;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::error::Finding;
use crate::id::{AgentId, AgentName};
use crate::message::Draft;
use crate::timer::{TimerChange, Timers};

pub use cache::CacheFolder;
pub use capacity::NoRoom;
pub use compiler::{CompileLimits, Compiler};
pub use demand::Demand;
pub use engine::RuntimeConfig;
pub use instance::Instance;
pub use program::{Program, Runtime};

/// Why `module` is refused before it would be compiled; nothing if it is not. For the fuzzer.
#[doc(hidden)]
pub fn findings(module: &[u8]) -> Vec<Finding> {
    validate::inspect(module).err().unwrap_or_default()
}

/// Caps on what one call may cost the host, beside the limits that each agent has of its own.
pub mod caps {
    /// Bytes of one draft in JSON, before it is parsed: the largest content in base64, and room for the rest.
    pub const DRAFT_BYTES: usize = 6 << 20;
    /// Bytes of all that a turn sends and writes.
    pub const EFFECT_BYTES: usize = 16 << 20;
    /// How deep the value of an extension parameter (`x_…`) in a guest's draft nests. It is read on the guest's stack, which is
    /// small. Content is not: it stays unread, and nests as it likes.
    pub const EXTENSION_DEPTH: usize = 16;
    /// Bytes of a key of an agent's state.
    pub const KEY_BYTES: usize = 1_024;
    /// Bytes of one log line; what is longer is cut.
    pub const LOG_LINE_BYTES: usize = 4_096;
    /// Bytes of log lines in one turn; what follows is dropped, and a last line says so.
    pub const LOG_TURN_BYTES: usize = 64 << 10;
    /// Random bytes in one turn.
    pub const RANDOM_TURN_BYTES: usize = 1 << 20;
    /// Bytes of the reason that a guest gives with an error.
    pub const REASON_BYTES: usize = 4_096;
    /// Searches of the directory in one turn.
    pub const SEARCHES: u32 = 64;
    /// Agents that one search finds; those whose names come later are left out.
    pub const FOUND: usize = 256;
    /// Frames of a crash's backtrace.
    pub const BACKTRACE_FRAMES: usize = 32;
    /// Bytes that an instance hands over to its successor. Less than what a component may hand to the host in one call.
    pub const HANDOVER_BYTES: usize = 8 << 20;
    /// Bytes that a component may hand to the host in one call.
    pub const HOST_CALL_BYTES: usize = 16 << 20;
}

/// What one guest may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Over all memories and tables of the instance.
    pub memory_bytes: u64,
    /// Keys and values of the agent's state together.
    pub state_bytes: u64,
    /// Keys of the agent's state.
    pub state_keys: u32,
    /// Bytes of log lines a second, a second's worth at once after a rest.
    pub log_bytes_per_second: u64,
    /// Timers that live at a time.
    pub timers: u32,
}

/// What one call of a guest may use.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// None: not metered (and the program was compiled without metering). A program that was compiled without metering
    /// ignores it.
    pub fuel: Option<u64>,
    /// Wall-clock time of the turn, its waits for a processor included.
    pub deadline: Duration,
    /// Messages that the turn may send; the call beyond it gets `over-limit`. A message to many receivers is one.
    pub sends: u32,
}

/// Who the agent may message, and what else it was granted. Deny by default: what an implementation leaves out is not granted.
pub trait Grants: Send + Sync + 'static {
    /// `receiver` as the guest wrote it: an id, a name, `cap:…`, `all:…`, `client:…`. Answers to the sender of the message in
    /// hand are always allowed and are not asked here.
    fn may_message(&self, _receiver: &str) -> bool {
        false
    }

    fn state(&self) -> bool {
        false
    }

    fn random(&self) -> bool {
        false
    }

    fn timers(&self) -> bool {
        false
    }

    /// The agent's own variables. None: it was not granted them.
    fn environment(&self) -> Option<&BTreeMap<String, String>> {
        None
    }

    /// None: it was not granted.
    fn directory(&self) -> Option<&dyn Search> {
        None
    }
}

/// Finds agents for a guest.
pub trait Search {
    /// The running agents that have `capability`, by name; the first `most`.
    fn find(&self, capability: &str, most: usize) -> Vec<Found>;
}

/// An agent that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: AgentId,
    pub name: AgentName,
    pub capabilities: Vec<String>,
}

/// What the host lends an instance for its life.
#[derive(Clone)]
pub struct Host {
    pub agent: AgentId,
    pub name: AgentName,
    /// Committed state. The instance reads it and never writes it.
    pub state: Arc<RwLock<BTreeMap<String, Bytes>>>,
    /// Committed timers. The instance reads them and never writes them.
    pub timers: Arc<Timers>,
    pub grants: Arc<dyn Grants>,
}

/// What a guest wants to happen.
#[derive(Debug, Default)]
pub struct Effects {
    pub sends: Vec<Draft>,
    /// None deletes.
    pub writes: BTreeMap<String, Option<Bytes>>,
    /// By the timer's id.
    pub timers: BTreeMap<u32, TimerChange>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty() && self.writes.is_empty() && self.timers.is_empty()
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time in the guest, without the time in which it waited for a processor between its slices.
    pub guest_time: Duration,
    /// None for a program that is not metered.
    pub fuel: Option<u64>,
    /// Bytes of linear memory now.
    pub memory_bytes: u64,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Ok,
    /// The guest said no, with its reason.
    Error(String),
    /// The instance is broken and must be thrown away.
    Crash(Crash),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    pub kind: CrashKind,
    pub detail: String,
    /// Guest frames, innermost first, at most [`caps::BACKTRACE_FRAMES`].
    pub backtrace: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashKind {
    /// The guest did what WebAssembly or the contract forbids.
    Trap,
    OutOfFuel,
    Deadline,
    /// The guest asked for more memory than it has, and trapped.
    OutOfMemory,
    /// A pointer or length outside the guest's memory.
    BadPointer,
    /// There is no room for another instance. The guest is not at fault; it was not made.
    NoRoom,
    /// All instances together have all the memory that there is for them, so that it was not made.
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

/// What an instance hands over to its successor.
#[derive(Debug)]
pub struct Handover {
    /// Of no effects, whatever the guest did.
    pub turn: Turn,
    /// At most [`caps::HANDOVER_BYTES`]. None: the guest hands nothing over, or the turn did not end well.
    pub state: Option<Bytes>,
}

/// A finished call.
#[derive(Debug)]
pub struct Turn {
    pub end: End,
    /// Empty unless the end is Ok.
    pub effects: Effects,
    pub usage: Usage,
}
