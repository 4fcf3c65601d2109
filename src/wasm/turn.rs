//! The result of a turn: how it ended, what the guest wants to happen, and what it used.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::crash::Crash;
use crate::message::Draft;
use crate::timer::TimerChange;

/// What a guest wants to happen. The caller commits all of it or nothing.
#[derive(Debug, Default)]
pub struct Effects {
    /// The messages to send, in the order in which the guest sent them.
    pub sends: Vec<Draft>,
    /// The changed keys of the agent's state. None deletes the key.
    pub writes: BTreeMap<String, Option<Bytes>>,
    /// The timers that were set or cancelled, by their ids.
    pub timers: BTreeMap<u32, TimerChange>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty() && self.writes.is_empty() && self.timers.is_empty()
    }
}

/// What a call of a guest has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time in which the guest ran, without its waits for a processor between time slices and its sleeps.
    pub guest_time: Duration,
    /// Fuel that was burnt. None for a program that was compiled without metering.
    pub fuel: Option<u64>,
    /// Bytes of linear memory at the end of the call.
    pub memory_bytes: u64,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Ok,
    /// The guest failed the turn, with this reason.
    Error(String),
    /// The instance is broken and must be replaced.
    Crash(Crash),
}

/// What an instance hands over to an instance of a later version.
#[derive(Debug)]
pub struct Handover {
    /// The turn in which the guest exported its state. Its effects are empty, whatever the guest did.
    pub turn: Turn,
    /// At most [`super::caps::HANDOVER_BYTES`]. None: the guest hands nothing over, or the turn ended in an error or a crash.
    pub state: Option<Bytes>,
}

/// A finished call.
#[derive(Debug)]
pub struct Turn {
    pub end: End,
    /// Empty unless `end` is [`End::Ok`].
    pub effects: Effects,
    pub usage: Usage,
}
