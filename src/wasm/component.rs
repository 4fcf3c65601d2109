//! The component world `caxton:agent/agent@1.0.0`: its imports, which [`super::host`] implements, and its exports.

mod exports;
mod imports;
pub(super) mod world;

pub(super) use exports::{ComponentPre, Exports, cannot_take_over};
pub(super) use imports::linker;
