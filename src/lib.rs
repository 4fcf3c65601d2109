//! Caxton: a server for multi-agent systems.
//!
//! Read the modules from the bottom up: a lower one never names a higher one.

// Beneath all.
pub mod error;
pub mod fipa;
pub mod id;
pub mod message;
pub mod quantity;
pub mod telemetry;
pub mod time;

// The promise, and the guests.
pub mod journal;
pub mod wasm;
