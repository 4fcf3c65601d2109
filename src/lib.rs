//! Caxton: a server for multi-agent systems.
//!
//! The modules are listed from the lowest layer to the highest. A lower one never names a higher one, so read them in this order.

// The vocabulary, which every other module may use.
pub mod descriptors;
pub mod error;
pub mod event;
pub mod fipa;
pub mod id;
pub mod idempotency;
pub mod json;
pub mod message;
pub mod pattern;
pub mod quantity;
pub mod rate;
pub mod secret;
pub mod telemetry;
pub mod time;
pub mod timer;

// The log, and the runtime for guests.
pub mod journal;
pub mod wasm;

// Agents and their mailboxes.
pub mod agent;
pub mod mailbox;

// Who exists, who may message whom, and the routers that record messages.
pub mod directory;
pub mod grants;
pub mod group;
pub mod router;
pub mod simulation;

// Events for subscribers, operations that outlive their request, and who calls.
pub mod events;
pub mod operation;
pub mod principal;

// The use cases, the interfaces to them, and the program.
pub mod api;
pub mod cli;
pub mod config;
pub mod node;
pub mod server;
