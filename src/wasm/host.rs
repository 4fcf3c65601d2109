//! The host: what a guest may ask for in a turn, and what is kept of that until the turn has ended. The core ABI and the
//! component world only translate the calls of their guests to this.

mod guest;
mod in_hand;
mod log;
mod lookups;
mod open_turn;
mod refusal;
mod sending;
mod state;
mod state_lease;
mod timers;

pub(super) use guest::Guest;
pub use guest::Host;
pub(super) use in_hand::InHand;
pub(super) use log::Level;
pub use log::LogRate;
pub(super) use refusal::Refusal;
