//! Compiled programs: made once for all agents that run the same bytes, and gone with the last of them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use wasmtime::component::Component;
use wasmtime::{InstancePre, Module};

use super::component::AgentPre;
use super::engine::{Engines, RuntimeConfig, Side};
use super::host::Guest;
use super::validate::{self, Kind, finding};
use crate::error::{Error, Finding};
use crate::id::Digest;

/// From this size on, a digest is taken off the async threads.
const LARGE: usize = 256 << 10;

type Key = (Digest, bool);
/// Locked while its program compiles, so that whoever else wants the same waits for it.
type Slot = Arc<tokio::sync::Mutex<Weak<Program>>>;

/// The engines, and the programs that are compiled for them.
pub struct Runtime {
    engines: Arc<Engines>,
    compiles: Arc<Semaphore>,
    programs: Mutex<HashMap<Key, Slot>>,
}

/// A module or component, checked, compiled and linked.
pub struct Program {
    digest: Digest,
    version: Option<semver::Version>,
    size: usize,
    pub(super) metered: bool,
    pub(super) loaded: Loaded,
    pub(super) engines: Arc<Engines>,
}

pub(super) enum Loaded {
    Core(InstancePre<Guest>),
    Component(AgentPre),
}

impl Runtime {
    pub fn new(config: &RuntimeConfig) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            engines: Arc::new(Engines::new(config)?),
            compiles: Arc::new(Semaphore::new(config.compiles.max(1))),
            programs: Mutex::default(),
        }))
    }

    /// Makes what wasmtime needs on each thread that runs guests, ahead of the first call: under memory pressure it is
    /// better to fail at the start than to panic then. For `on_thread_start` of the async runtime.
    pub fn prepare_thread() {
        wasmtime::Engine::tls_eager_initialize();
    }

    /// Checks and compiles `module`, unless that was done and its program is in use. The error is `InvalidWasm` with all
    /// that is wrong with it.
    pub async fn compile(&self, module: Bytes, metered: bool) -> Result<Arc<Program>, Error> {
        let digest = if module.len() < LARGE {
            Digest::of(&module)
        } else {
            let module = module.clone();
            tokio::task::spawn_blocking(move || Digest::of(&module))
                .await
                .map_err(Error::internal)?
        };
        let slot = self.slot((digest, metered));
        let mut held = slot.lock().await;
        if let Some(program) = held.upgrade() {
            return Ok(program);
        }
        let permit = Arc::clone(&self.compiles)
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        let engines = Arc::clone(&self.engines);
        let compiled = tokio::task::spawn_blocking(move || {
            // Held here, because a compilation goes on when whoever waited for it has gone.
            let _permit = permit;
            Program::compile(engines, digest, &module, metered)
        });
        let program = match compiled.await {
            Ok(program) => Arc::new(program.map_err(Error::InvalidWasm)?),
            // The parser or the compiler met what it did not expect. To the caller, that is a bad module.
            Err(_) => return Err(Error::InvalidWasm(vec![refused("the compiler failed on it")])),
        };
        *held = Arc::downgrade(&program);
        Ok(program)
    }

    /// The program of these bytes, if it is compiled and in use.
    pub fn compiled(&self, digest: Digest, metered: bool) -> Option<Arc<Program>> {
        let slot = self.programs.lock().get(&(digest, metered)).cloned()?;
        slot.try_lock().ok()?.upgrade()
    }

    fn slot(&self, key: Key) -> Slot {
        let mut programs = self.programs.lock();
        // Nothing tells this cache that a program has gone, so it looks when it is asked anyway.
        programs.retain(|other, slot| {
            let in_use = |slot: &Slot| slot.try_lock().map_or(true, |program| program.strong_count() > 0);
            *other == key || Arc::strong_count(slot) > 1 || in_use(slot)
        });
        Arc::clone(programs.entry(key).or_default())
    }
}

impl Program {
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What the module says of itself in its custom section `version`, if that is a semantic version.
    pub const fn version(&self) -> Option<&semver::Version> {
        self.version.as_ref()
    }

    /// Bytes of the module as it was given.
    pub const fn size(&self) -> usize {
        self.size
    }

    pub const fn is_metered(&self) -> bool {
        self.metered
    }

    pub const fn is_component(&self) -> bool {
        matches!(self.loaded, Loaded::Component(_))
    }

    fn compile(engines: Arc<Engines>, digest: Digest, module: &[u8], metered: bool) -> Result<Self, Vec<Finding>> {
        let inspected = validate::inspect(module)?;
        let side = engines.side(metered);
        let loaded = match inspected.kind {
            Kind::Core => Module::from_binary(&side.engine, module)
                .and_then(|module| side.core.instantiate_pre(&module))
                .map(Loaded::Core)
                .map_err(|error| vec![refused(&format!("{error:#}"))])?,
            Kind::Component => component(side, module)?,
            Kind::Embedded => {
                let encoded = componentise(module)?;
                validate::inspect(&encoded)?;
                component(side, &encoded)?
            }
        };
        Ok(Self {
            digest,
            version: inspected.version,
            size: module.len(),
            metered,
            loaded,
            engines,
        })
    }
}

fn component(side: &Side, bytes: &[u8]) -> Result<Loaded, Vec<Finding>> {
    Component::from_binary(&side.engine, bytes)
        .and_then(|component| AgentPre::new(side.component.instantiate_pre(&component)?))
        .map(Loaded::Component)
        .map_err(|error| {
            vec![finding(
                "component-type",
                format!("{error:#}"),
                "the world caxton:agent/agent@1.0.0",
            )]
        })
}

/// Makes a component of a core module that has its interfaces in a section, as wit-bindgen's have.
fn componentise(module: &[u8]) -> Result<Vec<u8>, Vec<Finding>> {
    wit_component::ComponentEncoder::default()
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| {
            vec![finding(
                "component-type",
                format!("{error:#}"),
                "a module that wit-component can make a component of",
            )]
        })
}

fn refused(why: &str) -> Finding {
    finding("compile", why, "a module that wasmtime can compile and link")
}
