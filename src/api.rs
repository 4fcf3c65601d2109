//! The edges: REST, WebSocket and gRPC over one [`Node`](crate::node::Node).
//!
//! Purpose: a handler decodes, calls the node, encodes. Owner: the `api` branch of the tree, which owns each server and may
//! restart it without touching a guest. Invariant: no business rule lives here, and every error leaves in the published
//! envelope (REST, WebSocket) or with a `google.rpc.ErrorInfo` (gRPC).

mod agents;
mod connections;
mod credentials;
mod envelope;
pub mod grpc;
pub mod http;
mod idempotency;
mod json;
pub mod limits;
pub mod rest;
mod schema;
mod stopping;
mod supervision;
#[cfg(test)]
mod testing;
mod trace;
mod tree;
pub(crate) mod validation;
mod ws;
