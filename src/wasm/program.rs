//! Compiles modules to programs. All agents that run the same bytes share one program, which is dropped with the last of them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::InstancePre;

use super::cache::{Cache, Key, Pin};
use super::capacity::{MapPermit, Occupancy};
use super::code::Code;
use super::compiler::{self, Compiler, Source};
use super::component::ComponentPre;
use super::engine::{Engines, LinkedEngine, RuntimeConfig};
use super::host::Guest;
use super::state_lock::ByLeasing;
use super::validate::{self, Kind, finding};
use crate::error::{Error, Finding};
use crate::id::Digest;

/// Bytes from which on the digest of a module is computed on a thread for blocking work.
const LARGE: usize = 256 << 10;

/// The digest of a module, and whether its program is metered.
type ProgramKey = (Digest, bool);
/// A program, or the lock on which all wait who want it while the first of them compiles it (single flight).
type Flight = Arc<tokio::sync::Mutex<Weak<Program>>>;

/// The engines, and the programs that are compiled for them.
pub struct Runtime {
    engines: Arc<Engines>,
    compiler: Compiler,
    cache: Option<Arc<Cache>>,
    compiles: Arc<Semaphore>,
    programs: Mutex<HashMap<ProgramKey, Flight>>,
}

/// A module or component that was checked, compiled and linked.
pub struct Program {
    digest: Digest,
    version: Option<semver::Version>,
    size: usize,
    /// Whether it counts fuel. That is decided when it is compiled.
    pub(super) metered: bool,
    pub(super) loaded: Loaded,
    pub(super) engines: Arc<Engines>,
    /// Keeps the code in the cache. None: the code is not in the cache.
    _pin: Option<Pin>,
    _permit: MapPermit,
}

/// A program that is ready to be instantiated.
pub(super) enum Loaded {
    Core(ByLeasing<InstancePre<Guest>>),
    Component(ComponentPre),
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

    /// Allocates what wasmtime needs on each thread that runs guests. Without this, wasmtime allocates it in the first call of a
    /// guest and panics if there is no memory. Call it in `on_thread_start` of the async runtime, to fail at the start instead.
    pub fn prepare_thread() {
        wasmtime::Engine::tls_eager_initialize();
    }

    /// The program of `module`: the one in use, or else a new one. A module that cannot be compiled gives `Error::InvalidWasm` with
    /// the findings.
    pub async fn compile(&self, module: Bytes, metered: bool) -> Result<Arc<Program>, Error> {
        let digest = if module.len() < LARGE {
            Digest::of(&module)
        } else {
            let module = module.clone();
            tokio::task::spawn_blocking(move || Digest::of(&module))
                .await
                .map_err(Error::internal)?
        };
        let flight = self.flight((digest, metered));
        let mut held = flight.lock().await;
        if let Some(program) = held.upgrade() {
            return Ok(program);
        }
        let program = Arc::new(self.make(digest, module, metered).await?);
        *held = Arc::downgrade(&program);
        Ok(program)
    }

    async fn make(&self, digest: Digest, module: Bytes, metered: bool) -> Result<Program, Error> {
        let compiles = Arc::clone(&self.compiles);
        // Each blocking step shares the permit, because it runs to its end even if this future is dropped.
        let permit = Arc::new(compiles.acquire_owned().await.map_err(Error::internal)?);
        let maps = self.engines.maps.program()?;
        let size = module.len();
        let (source, version) = blocking(&permit, move || prepare(module).map_err(Error::InvalidWasm)).await?;
        let component = source.component;
        let key = Key::of(digest, &self.engines.linked(metered).engine);
        let engines = Arc::clone(&self.engines);
        let link = move |code: &Code| Loaded::link(code, component, engines.linked(metered));
        let (loaded, pin) = if let Some(loaded) = self.load(&permit, key, link.clone()).await? {
            loaded
        } else {
            let code = self.code(&permit, source, metered).await?;
            let cache = self.cache.clone();
            blocking(&permit, move || cache_and_link(cache.as_deref(), key, code, &link)).await?
        };
        Ok(Program {
            digest,
            version,
            size,
            metered,
            loaded,
            engines: Arc::clone(&self.engines),
            _pin: pin,
            _permit: maps,
        })
    }

    /// The program from the cache, if its code is there.
    async fn load(
        &self,
        permit: &Arc<OwnedSemaphorePermit>,
        key: Key,
        link: impl Fn(&Code) -> Result<Loaded, Error> + Send + 'static,
    ) -> Result<Option<(Loaded, Option<Pin>)>, Error> {
        let Some(cache) = self.cache.clone() else {
            return Ok(None);
        };
        let load = move || {
            let Some(cached) = cache.get(key) else {
                return Ok(None);
            };
            match link(&Code::cached(&cached)) {
                Ok(loaded) => Ok(Some((loaded, Some(cached.pin)))),
                Err(passing @ Error::Unavailable { .. }) => Err(passing),
                Err(error) => {
                    tracing::warn!(file = %cached.path.display(), %error, "a compiled module cannot be used and is compiled again");
                    cache.remove(key);
                    Ok(None)
                }
            }
        };
        let loaded = blocking(permit, load).await?;
        if loaded.is_some() {
            metrics::counter!("caxton_modules_loaded_total").increment(1);
        }
        Ok(loaded)
    }

    /// Compiles `source` to machine code.
    async fn code(&self, permit: &Arc<OwnedSemaphorePermit>, source: Source, metered: bool) -> Result<Vec<u8>, Error> {
        let engines = Arc::clone(&self.engines);
        let code = match &self.compiler {
            Compiler::InProcess => {
                let compile = move || compiler::compile(&engines.linked(metered).engine, &source);
                blocking(permit, move || {
                    compile().map_err(|finding| Error::InvalidWasm(vec![finding]))
                })
                .await?
            }
            Compiler::Child { program, limits } => {
                compiler::compile_in_child(program, *limits, engines.memory_reservation, metered, &source).await?
            }
        };
        metrics::counter!("caxton_modules_compiled_total").increment(1);
        Ok(code)
    }

    /// How much of the room for instances is in use.
    pub fn room(&self) -> Occupancy {
        self.engines.maps.occupancy()
    }

    /// How much of the memory for instances is in use.
    pub fn memory(&self) -> Occupancy {
        self.engines.memory.occupancy()
    }

    /// The program of the module with this digest, if it is compiled and in use.
    pub fn compiled(&self, digest: Digest, metered: bool) -> Option<Arc<Program>> {
        let flight = self.programs.lock().get(&(digest, metered)).cloned()?;
        flight.try_lock().ok()?.upgrade()
    }

    fn flight(&self, key: ProgramKey) -> Flight {
        let mut programs = self.programs.lock();
        // Entries of programs that were dropped are removed here, since nothing signals the drop.
        programs.retain(|other, flight| {
            let in_use = |flight: &Flight| flight.try_lock().map_or(true, |program| program.strong_count() > 0);
            *other == key || Arc::strong_count(flight) > 1 || in_use(flight)
        });
        Arc::clone(programs.entry(key).or_default())
    }
}

impl Program {
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The version in the module's custom section `version`, if that is a semantic version.
    pub const fn version(&self) -> Option<&semver::Version> {
        self.version.as_ref()
    }

    /// Bytes of the module as it was uploaded.
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
    /// `Error::InvalidWasm` if the code does not fit the server, `Error::Unavailable` if the machine has no room to load it now.
    fn link(code: &Code, component: bool, linked: &LinkedEngine) -> Result<Self, Error> {
        if component {
            let component = code.component(&linked.engine).map_err(|error| unusable(&error))?;
            let instance = linked
                .component_linker
                .instantiate_pre(&component)
                .and_then(ComponentPre::new);
            return instance.map(Self::Component).map_err(|error| {
                Error::InvalidWasm(vec![finding(
                    "component-type",
                    format!("{error:#}"),
                    "the world caxton:agent/agent@1.0.0",
                )])
            });
        }
        let module = code.module(&linked.engine).map_err(|error| unusable(&error))?;
        linked
            .core_linker
            .try_map(|linker| linker.instantiate_pre(&module))
            .map(Self::Core)
            .map_err(|error| unusable(&error))
    }
}

/// Adds code that was just compiled to the cache and links it, from its file there if the cache had room.
fn cache_and_link(
    cache: Option<&Cache>,
    key: Key,
    code: Vec<u8>,
    link: &impl Fn(&Code) -> Result<Loaded, Error>,
) -> Result<(Loaded, Option<Pin>), Error> {
    let cached = match cache.map(|cache| (cache, cache.put(key, &code))) {
        Some((cache, Ok(Some(cached)))) => Some((cache, cached)),
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
    let Some((cache, cached)) = cached else {
        return link(&Code::fresh(code)).map(|loaded| (loaded, None));
    };
    let linked = link(&Code::cached(&cached));
    if let Err(Error::InvalidWasm(_)) = &linked {
        cache.remove(key);
    }
    linked.map(|loaded| (loaded, Some(cached.pin)))
}

/// Tells the cause alone: around it, wasmtime says in which file of the server the code is.
fn unusable(error: &wasmtime::Error) -> Error {
    let cause = error.root_cause();
    let code = cause.downcast_ref::<std::io::Error>().and_then(Errno::from_io_error);
    let code = code.or_else(|| cause.downcast_ref().copied());
    if let Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) = code {
        return Error::Unavailable {
            reason: "the machine has no descriptor or no memory left to load the module".to_owned(),
            retry_after: Duration::from_secs(1),
        };
    }
    Error::InvalidWasm(vec![compiler::refused(&cause.to_string())])
}

/// Runs a step of a compilation on a thread for blocking work. A step that panics means that the module is bad.
async fn blocking<T: Send + 'static>(
    permit: &Arc<OwnedSemaphorePermit>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let permit = Arc::clone(permit);
    let worked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    match worked.await {
        Ok(worked) => worked,
        Err(_) => Err(Error::InvalidWasm(vec![compiler::refused(
            "the compiler crashed on this module",
        )])),
    }
}

/// Checks `module`. Returns what is to be compiled, and the version that the module names.
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

/// Makes a component of a core module whose component type is embedded in a custom section, as wit-bindgen makes them.
fn componentise(module: &[u8]) -> Result<Vec<u8>, Vec<Finding>> {
    wit_component::ComponentEncoder::default()
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| {
            vec![finding(
                "component-type",
                format!("{error:#}"),
                "a core module that fits the component type embedded in it",
            )]
        })
}
