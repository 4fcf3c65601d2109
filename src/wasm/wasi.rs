//! A sandboxed WASI preview 1 for core modules: what the runtimes of Go, C and Rust need to start, and nothing that reaches
//! outside the agent.
//!
//! There are no files, no network, no arguments and no environment variables. Standard output and standard error become lines of
//! the agent's log, at the levels `info` and `warn`. Standard input is empty. The clocks work, and a sleep is part of the turn.
//! `random_get` needs no permission, because Go and the hash maps of Rust do not start without it. `proc_exit` is a crash,
//! whatever its code: an agent that has exited could not handle the next message.
//!
//! This is not the crate wasmtime-wasi. That crate has files and sockets, which would have to be closed off again. A guest that
//! sleeps in it would keep its permit of the slow lane. And it has no limits of log lines.

pub(super) mod abi;
mod calls;
mod clocks;
mod poll;

pub(super) use calls::link;
