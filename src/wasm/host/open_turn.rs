//! The turn that is going on: what the guest has asked for so far, and what it may still use.

use super::in_hand::InHand;
use super::refusal::Refusal;
use crate::wasm::caps;
use crate::wasm::turn::Effects;

/// The turn that is going on.
#[derive(Default)]
pub(super) struct OpenTurn {
    pub(super) in_hand: Option<InHand>,
    pub(super) sends_left: u32,
    pub(super) effects: Effects,
    pub(super) send_bytes: usize,
    pub(super) write_bytes: usize,
    /// The size of the state with the writes of this turn. None until the first write: most turns write nothing.
    pub(super) state_size: Option<StateSize>,
    pub(super) random_bytes: usize,
    pub(super) searches: u32,
    /// How many of the timers in `effects` are set and not cancelled.
    pub(super) timers_set: usize,
    /// The id of the timer that was set last.
    pub(super) last_timer: Option<u32>,
}

/// The size of an agent's state.
#[derive(Clone, Copy)]
pub(super) struct StateSize {
    /// Bytes of all keys and values.
    pub(super) bytes: u64,
    pub(super) keys: usize,
}

impl OpenTurn {
    /// Refuses effects of `bytes` more bytes, if the turn may not have so many.
    pub(super) fn room_for(&self, bytes: usize) -> Result<(), Refusal> {
        if self.send_bytes + self.write_bytes + bytes > caps::EFFECT_BYTES {
            return Err(Refusal::OverLimit);
        }
        Ok(())
    }
}
