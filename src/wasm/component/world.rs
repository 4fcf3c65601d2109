//! The world `caxton:agent/agent@1.0.0`: the names of its interfaces, and its types, which are generated from `proto/wit`.

use crate::fipa::Performative;

use wit::caxton::agent::types;

/// The prefix of the names of all interfaces.
pub(in crate::wasm) const PACKAGE: &str = "caxton:agent/";
/// The interfaces that a component may import.
pub(in crate::wasm) const INTERFACES: &[&str] = &[
    "types",
    "messaging",
    "log",
    "clock",
    "random",
    "state",
    "timer",
    "environment",
    "directory",
];
/// The version of the package, with which the names of all interfaces end.
pub(in crate::wasm) const VERSION: &str = "1.0.0";
/// The interface that an agent must export.
pub(in crate::wasm) const HANDLER: &str = "caxton:agent/handler@1.0.0";
/// The interface that an agent may export to get timers and the notice of its end.
pub(super) const LIFECYCLE: &str = "caxton:agent/lifecycle@1.0.0";
/// The interface that an agent may export to hand state over to a later version.
pub(super) const UPGRADE: &str = "caxton:agent/upgrade@1.0.0";

#[allow(
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub(super) mod wit {
    // The functions for state and timers wait for the lease of the state. All others never wait, so they are plain functions.
    // Exports are async, so that a guest can be interrupted.
    wasmtime::component::bindgen!({
        path: "proto/wit",
        world: "agent",
        imports: {
            "caxton:agent/state": async,
            "caxton:agent/timer": async,
        },
        exports: { default: async },
    });
}

// The communicative acts have the same names in the world and in `fipa`.
macro_rules! same_acts {
    ($($act:ident,)+) => {
        pub(super) const fn to_fipa(act: types::Performative) -> Performative {
            match act { $(types::Performative::$act => Performative::$act,)+ }
        }

        pub(super) const fn from_fipa(act: Performative) -> types::Performative {
            match act { $(Performative::$act => types::Performative::$act,)+ }
        }
    };
}

same_acts! {
    AcceptProposal, Agree, Cancel, Cfp, Confirm, Disconfirm, Failure, Inform, InformIf, InformRef, NotUnderstood,
    Propagate, Propose, Proxy, QueryIf, QueryRef, Refuse, RejectProposal, Request, RequestWhen, RequestWhenever, Subscribe,
}
