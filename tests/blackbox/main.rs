//! The black-box suite: the real program in a process of its own, over real HTTP, WebSocket and gRPC.
//!
//! The name of each test is the rule that it shows. No test sleeps to get an order, and no port is fixed: tests wait for an
//! event, or check until a condition holds ([`until`](harness::until)).

mod client;
mod contract;
mod faults;
mod guests;
mod harness;
mod ledger;
mod raw;
mod socket;

mod broken_http;
mod caching;
mod capacity;
mod clock;
mod compiling;
mod conflicts;
mod connections;
mod cors;
mod crash;
mod crash_test;
mod credentials;
mod demo;
mod directory;
mod durability;
mod ending;
mod environment;
mod events;
mod flood;
mod frames;
mod full_disk;
mod group_changes;
mod groups_api;
mod grpc;
mod history;
mod hostile;
mod idempotency;
mod languages;
mod lifecycle;
mod logging;
mod metrics;
mod mistakes;
mod openapi;
mod operations;
mod power;
mod readme;
mod reference;
mod refusals;
mod representation;
mod serving;
mod starting;
mod statuses;
mod stopping;
mod supervision;
mod supervision_api;
mod timers;
mod tree_file;
mod usage;
mod validation;
mod verbs;
mod wasi;
mod written;
