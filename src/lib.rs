//! Caxton: a server for multi-agent systems.
//!
//! Read the modules from the bottom up: a lower one never names a higher one.

// Beneath all.
pub mod error;
pub mod event;
pub mod fipa;
pub mod id;
pub mod idempotency;
pub mod message;
pub mod quantity;
pub mod rate;
pub mod secret;
pub mod telemetry;
pub mod time;
pub mod timer;

// The promise, and the guests.
pub mod journal;
pub mod wasm;

// Agents and their queues.
pub mod agent;
pub mod mailbox;

// Where messages become facts.
pub mod directory;
pub mod grants;
pub mod group;
pub mod router;

// What is told and done.
pub mod events;
pub mod operation;

// The use cases, and how the world reaches them.
pub mod api;
pub mod cli;
pub mod config;
pub mod node;
pub mod server;
