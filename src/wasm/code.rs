//! Machine code that a compiler of ours made, as bytes. The one place of this crate that is unsafe: wasmtime runs what it is
//! given here and cannot tell whether it is well made.
#![allow(
    unsafe_code,
    reason = "wasmtime has no safe way to load what it compiled in another process or an earlier start"
)]

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Machine code of a module or a component. Whoever makes one promises that it is, unchanged, what `precompile_module` or
/// `precompile_component` returned in a process that runs this program.
pub(super) struct Code(Vec<u8>);

impl Code {
    /// What a compilation has just returned, here or through a pipe from a child.
    pub(super) const fn fresh(code: Vec<u8>) -> Self {
        Self(code)
    }

    pub(super) fn module(&self, engine: &Engine) -> wasmtime::Result<Module> {
        // SAFETY: see `Code`. That it was compiled by this version, for this processor and these settings, wasmtime checks.
        unsafe { Module::deserialize(engine, &self.0) }
    }

    pub(super) fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: as above.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
