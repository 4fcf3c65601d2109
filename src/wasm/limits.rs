//! The limits of one guest: for as long as it lives, and for one call.

use std::time::Duration;

/// What one guest may use for as long as it lives.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all memories and tables of the instance together.
    pub memory_bytes: u64,
    /// Bytes of all keys and values of the agent's state together.
    pub state_bytes: u64,
    /// Number of keys in the agent's state.
    pub state_keys: u32,
    /// Timers that may be set at one time.
    pub timers: u32,
}

/// What one call of a guest may use.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Fuel that the call may burn. None: no limit. A program that was compiled without metering ignores it.
    pub fuel: Option<u64>,
    /// Wall-clock time of the turn. The time in which it waits for a processor counts.
    pub deadline: Duration,
    /// Messages that the turn may send. A message to many receivers counts once. The guest gets `over-limit` for further ones.
    pub sends: u32,
}
