//! Machine code that a compiler of ours made, as bytes. The one place of this crate that is unsafe: wasmtime runs what it is
//! given here and cannot tell whether it is well made.
#![allow(
    unsafe_code,
    reason = "wasmtime has no safe way to load what it compiled in another process or an earlier start"
)]

use std::path::PathBuf;

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::cache::Kept;

/// Machine code of a module or a component. Whoever makes one promises that it is, unchanged, what `precompile_module` or
/// `precompile_component` returned in a process that runs this program.
pub(super) struct Code(Place);

enum Place {
    Memory(Vec<u8>),
    File(PathBuf),
}

impl Code {
    /// What a compilation has just returned, here or through a pipe from a child.
    pub(super) const fn fresh(code: Vec<u8>) -> Self {
        Self(Place::Memory(code))
    }

    /// What a cache has checked against its digest, or has just written, in a folder that only this user can write. It is
    /// mapped, so its pages are shared and cost memory only while they are used.
    pub(super) fn kept(kept: &Kept) -> Self {
        Self(Place::File(kept.path.clone()))
    }

    pub(super) fn module(&self, engine: &Engine) -> wasmtime::Result<Module> {
        // SAFETY: see `Code`. That it was compiled by this version, for this processor and these settings, wasmtime checks. A
        // file is never written once it has its name; who could do so has this user's rights, and needs no file for that.
        unsafe {
            match &self.0 {
                Place::Memory(code) => Module::deserialize(engine, code),
                Place::File(path) => Module::deserialize_file(engine, path),
            }
        }
    }

    pub(super) fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: as above.
        unsafe {
            match &self.0 {
                Place::Memory(code) => Component::deserialize(engine, code),
                Place::File(path) => Component::deserialize_file(engine, path),
            }
        }
    }
}
