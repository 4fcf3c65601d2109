//! Machine code that this program has compiled, in memory or in a file. This is the only unsafe code of the crate: wasmtime runs
//! the machine code that it gets here, and cannot check it.
#![allow(
    unsafe_code,
    reason = "wasmtime has no safe way to load what it compiled in another process or an earlier start"
)]

use std::path::PathBuf;

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::cache::CachedCode;

/// The machine code of a module or a component. Its constructors are the promise on which the safety of this module rests: it is,
/// unchanged, what `precompile_module` or `precompile_component` returned in a process that runs this program.
pub(super) struct Code(Location);

enum Location {
    Memory(Vec<u8>),
    File(PathBuf),
}

impl Code {
    /// Code that was compiled just now, in this process or in a child that wrote it to a pipe.
    pub(super) const fn fresh(code: Vec<u8>) -> Self {
        Self(Location::Memory(code))
    }

    /// Code in the cache, which has checked it against its digest or has just written it, in a folder to which only this user can
    /// write. The file is mapped, so that its pages take memory only while they are used.
    pub(super) fn cached(cached: &CachedCode) -> Self {
        Self(Location::File(cached.path.clone()))
    }

    pub(super) fn module(&self, engine: &Engine) -> wasmtime::Result<Module> {
        // SAFETY: the code is what wasmtime compiled, see `Code`. Wasmtime itself checks that it was this version, for this
        // processor and these settings. A file is never changed once it has its final name. Only this user could do so, and
        // whoever has the rights of this user can run any code anyway.
        unsafe {
            match &self.0 {
                Location::Memory(code) => Module::deserialize(engine, code),
                Location::File(path) => Module::deserialize_file(engine, path),
            }
        }
    }

    pub(super) fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: as in `module`.
        unsafe {
            match &self.0 {
                Location::Memory(code) => Component::deserialize(engine, code),
                Location::File(path) => Component::deserialize_file(engine, path),
            }
        }
    }
}
