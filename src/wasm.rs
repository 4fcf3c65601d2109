//! WebAssembly guests: how a module is checked, compiled and run. Only this module and its submodules name wasmtime.
//!
//! A [`Program`] is a compiled module. An [`Instance`] is one incarnation of a program and has a wasmtime store of its own.
//! Each call of a guest is a turn. A turn only returns what the guest wants to happen ([`Effects`]); the caller makes it
//! happen. A guest uses one of two interfaces, the component world or the core ABI. Both are behind [`Instance`], and its
//! callers cannot tell which one an agent uses.
//!
//! What always holds here:
//!
//! - A turn that ends in anything but [`End::Ok`] has no effects. An instance that crashed refuses all further calls.
//! - A guest can be interrupted at any time: an epoch ends a guest that spins, a timer ends one that waits in the host. All
//!   turns that outlive their first time slice share one capped part of the processors.
//! - The memory limit of an instance covers all its memories and tables together. What the host keeps for a turn has limits
//!   of its own ([`caps`]).
//! - No bytes make the check of a module panic, and a refusal says what is wrong with them.

mod abi;
mod cache;
mod capacity;
pub mod caps;
mod code;
pub mod compiler;
mod component;
mod core_abi;
mod crash;
mod demand;
mod engine;
mod grants;
mod host;
mod instance;
mod limiter;
mod limits;
mod pace;
mod program;
mod settings;
mod state_lock;
#[cfg(test)]
mod tests;
mod turn;
mod validate;
mod wasi;

pub use cache::CacheFolder;
pub use capacity::Occupancy;
pub use compiler::{CompileLimits, Compiler};
pub use crash::{Crash, CrashKind};
pub use demand::Demand;
pub use engine::RuntimeConfig;
pub use grants::{Found, Grants, Search};
pub use host::{Host, LogRate};
pub use instance::Instance;
pub use limits::{Budget, Limits};
pub use program::{Program, Runtime};
pub use state_lock::{Leasing, StateLease, StateLock};
pub use turn::{Effects, End, Handover, Turn, Usage};
#[doc(hidden)]
pub use validate::findings;
