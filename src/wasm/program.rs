//! Compiled programs: made once for all agents that run the same bytes, and gone with the last of them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::InstancePre;

use super::cache::{Cache, Key};
use super::capacity::{Admission, NoRoom};
use super::code::Code;
use super::compiler::{self, Compiler, Source};
use super::component::AgentPre;
use super::engine::{Engines, RuntimeConfig, Side};
use super::host::Guest;
use super::validate::{self, Kind, finding};
use crate::error::{Error, Finding};
use crate::id::Digest;

/// From this size on, a digest is taken off the async threads.
const LARGE: usize = 256 << 10;

type ProgramKey = (Digest, bool);
/// Locked while its program compiles, so that whoever else wants the same waits for it.
type Slot = Arc<tokio::sync::Mutex<Weak<Program>>>;

/// The engines, and the programs that are compiled for them.
pub struct Runtime {
    engines: Arc<Engines>,
    compiler: Compiler,
    cache: Option<Arc<Cache>>,
    compiles: Arc<Semaphore>,
    programs: Mutex<HashMap<ProgramKey, Slot>>,
}

/// A module or component, checked, compiled and linked.
pub struct Program {
    digest: Digest,
    version: Option<semver::Version>,
    size: usize,
    pub(super) metered: bool,
    pub(super) loaded: Loaded,
    pub(super) engines: Arc<Engines>,
    _lease: Lease,
    _admission: Admission,
}

/// Keeps the code of a program on the disk while it is in use.
type Lease = Option<Arc<()>>;

pub(super) enum Loaded {
    Core(InstancePre<Guest>),
    Component(AgentPre),
}

impl Runtime {
    pub fn new(config: &RuntimeConfig) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            engines: Arc::new(Engines::new(config)?),
            compiler: config.compiler.clone(),
            cache: config.cache.as_ref().map(Cache::open).transpose()?.map(Arc::new),
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
        let program = Arc::new(self.make(digest, module, metered).await?);
        *held = Arc::downgrade(&program);
        Ok(program)
    }

    async fn make(&self, digest: Digest, module: Bytes, metered: bool) -> Result<Program, Error> {
        let compiles = Arc::clone(&self.compiles);
        // Held by each step that blocks, because it goes on when whoever waited for it has gone.
        let permit = Arc::new(compiles.acquire_owned().await.map_err(Error::internal)?);
        let admission = self.engines.capacity.program()?;
        let size = module.len();
        let (source, version) = blocking(&permit, move || prepare(module)).await?;
        let component = source.component;
        let key = Key::of(digest, &self.engines.side(metered).engine);
        let engines = Arc::clone(&self.engines);
        let link = move |code: &Code| Loaded::link(code, component, engines.side(metered));
        let (loaded, lease) = if let Some(loaded) = self.load(&permit, key, link.clone()).await? {
            loaded
        } else {
            let code = self.code(&permit, source, metered).await?;
            let cache = self.cache.clone();
            blocking(&permit, move || keep_and_link(cache.as_deref(), key, code, &link)).await?
        };
        Ok(Program {
            digest,
            version,
            size,
            metered,
            loaded,
            engines: Arc::clone(&self.engines),
            _lease: lease,
            _admission: admission,
        })
    }

    /// From the cache, if it is there.
    async fn load(
        &self,
        permit: &Arc<OwnedSemaphorePermit>,
        key: Key,
        link: impl Fn(&Code) -> Result<Loaded, Vec<Finding>> + Send + 'static,
    ) -> Result<Option<(Loaded, Lease)>, Error> {
        let Some(cache) = self.cache.clone() else {
            return Ok(None);
        };
        let load = move || {
            let kept = cache.get(key)?;
            match link(&Code::kept(&kept)) {
                Ok(loaded) => Some((loaded, Some(kept.lease))),
                Err(findings) => {
                    tracing::warn!(file = %kept.path.display(), ?findings, "a compiled module cannot be used and is compiled again");
                    cache.remove(key);
                    None
                }
            }
        };
        let loaded = blocking(permit, move || Ok(load())).await?;
        if loaded.is_some() {
            metrics::counter!("caxton_modules_loaded_total").increment(1);
        }
        Ok(loaded)
    }

    async fn code(&self, permit: &Arc<OwnedSemaphorePermit>, source: Source, metered: bool) -> Result<Vec<u8>, Error> {
        let engines = Arc::clone(&self.engines);
        let code = match &self.compiler {
            Compiler::InProcess => {
                let compile = move || compiler::compile(&engines.side(metered).engine, &source);
                blocking(permit, move || compile().map_err(|finding| vec![finding])).await?
            }
            Compiler::Child { program, limits } => {
                compiler::compile_in_child(program, *limits, engines.memory_reservation, metered, &source).await?
            }
        };
        metrics::counter!("caxton_modules_compiled_total").increment(1);
        Ok(code)
    }

    /// How much room for instances there is.
    pub fn room(&self) -> NoRoom {
        self.engines.capacity.no_room()
    }

    /// How much memory for instances there is.
    pub fn memory(&self) -> NoRoom {
        self.engines.memory.no_room()
    }

    /// The program of these bytes, if it is compiled and in use.
    pub fn compiled(&self, digest: Digest, metered: bool) -> Option<Arc<Program>> {
        let slot = self.programs.lock().get(&(digest, metered)).cloned()?;
        slot.try_lock().ok()?.upgrade()
    }

    fn slot(&self, key: ProgramKey) -> Slot {
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
}

impl Loaded {
    fn link(code: &Code, component: bool, side: &Side) -> Result<Self, Vec<Finding>> {
        if component {
            let component = code.component(&side.engine).map_err(|error| unusable(&error))?;
            let linked = side.component.instantiate_pre(&component).and_then(AgentPre::new);
            return linked.map(Self::Component).map_err(|error| {
                vec![finding(
                    "component-type",
                    format!("{error:#}"),
                    "the world caxton:agent/agent@1.0.0",
                )]
            });
        }
        let module = code.module(&side.engine).map_err(|error| unusable(&error))?;
        side.core
            .instantiate_pre(&module)
            .map(Self::Core)
            .map_err(|error| unusable(&error))
    }
}

/// Links code that was just compiled, from the cache if that takes it.
fn keep_and_link(
    cache: Option<&Cache>,
    key: Key,
    code: Vec<u8>,
    link: &impl Fn(&Code) -> Result<Loaded, Vec<Finding>>,
) -> Result<(Loaded, Lease), Vec<Finding>> {
    let kept = match cache.map(|cache| (cache, cache.put(key, &code))) {
        Some((cache, Ok(Some(kept)))) => Some((cache, kept)),
        Some((_, Ok(None))) => {
            tracing::info!(
                bytes = code.len(),
                "a compiled module finds no room in wasm.cache and is not kept"
            );
            None
        }
        Some((_, Err(error))) => {
            tracing::warn!(%error, "a compiled module is not kept");
            None
        }
        None => None,
    };
    let Some((cache, kept)) = kept else {
        return link(&Code::fresh(code)).map(|loaded| (loaded, None));
    };
    let linked = link(&Code::kept(&kept));
    if linked.is_err() {
        cache.remove(key);
    }
    linked.map(|loaded| (loaded, Some(kept.lease)))
}

fn unusable(error: &wasmtime::Error) -> Vec<Finding> {
    vec![compiler::refused(&format!("{error:#}"))]
}

/// Does a part of a compilation off the async threads.
async fn blocking<T: Send + 'static>(
    permit: &Arc<OwnedSemaphorePermit>,
    work: impl FnOnce() -> Result<T, Vec<Finding>> + Send + 'static,
) -> Result<T, Error> {
    let permit = Arc::clone(permit);
    let worked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    match worked.await {
        Ok(worked) => worked.map_err(Error::InvalidWasm),
        // The parser or the compiler met what it did not expect. To the caller, that is a bad module.
        Err(_) => Err(Error::InvalidWasm(vec![compiler::refused("the compiler failed on it")])),
    }
}

/// What the compiler is given, and the version that the module says it has.
fn prepare(module: Bytes) -> Result<(Source, Option<semver::Version>), Vec<Finding>> {
    let inspected = validate::inspect(&module)?;
    let (bytes, component) = match inspected.kind {
        Kind::Core => (module, false),
        Kind::Component => (module, true),
        Kind::Embedded => {
            let encoded = componentise(&module)?;
            validate::inspect(&encoded)?;
            (encoded.into(), true)
        }
    };
    Ok((Source { bytes, component }, inspected.version))
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
