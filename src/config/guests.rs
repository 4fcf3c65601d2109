//! `[wasm]`: how many guests there may be, and how modules are compiled and cached.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::quantity::{ByteSize, Span};
use crate::wasm::{CacheFolder, CompileLimits, Compiler, RuntimeConfig};

/// If a compilation exceeds a limit, the module is refused with `INVALID_WASM`, and the error names the limit. Other deploys are
/// not affected.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guests {
    /// How many agents may run at one time. One more deploy is refused with `RESOURCE_LIMIT_EXCEEDED`. The bound exists because
    /// the kernel limits memory maps (`sysctl vm.max_map_count`) and each agent needs six. A program counts as one agent, and an
    /// agent with fuel as one and a quarter. 0: as many as the kernel's limit allows (10,171 where it is 65,530), and 10,240 at
    /// most.
    pub instances: u32,
    /// How much the memories and tables of all agents may take together. At this limit no memory grows, and a deploy is refused
    /// with `RESOURCE_LIMIT_EXCEEDED`. 0: three quarters of the memory of the machine, or of the control group.
    pub memory: ByteSize,
    /// Whether agents live in memory slots that are made when the server starts. In a slot, an agent starts and restarts in a
    /// fraction of the time. Agents with fuel do not use the slots. Where the address space is too small for them (`ulimit -v`),
    /// the server logs that and works without them.
    pub pooled: bool,
    /// How many modules are compiled at one time; further ones wait. 0: two, or one on a machine with at most two processors.
    pub compiles: u16,
    /// How long the compilation of one module may take.
    pub compile_time: Span,
    /// The address space of the process that compiles one module.
    pub compile_memory: ByteSize,
    /// How many bytes of compiled modules the data folder keeps (`compiled/`). 0: none, so each start compiles again.
    pub cache: ByteSize,
    /// The absolute path of the program that compiles, in one process for each module: the command line names `caxton` itself.
    /// None: modules are compiled in this process, without the limits on time and memory.
    #[serde(skip)]
    pub compiler: Option<PathBuf>,
}

impl Guests {
    pub const DEFAULT_COMPILE_TIME: &str = "120s";
    pub const DEFAULT_COMPILE_MEMORY: &str = "2GiB";
    pub const DEFAULT_CACHE: &str = "1GiB";
    /// The process that compiles does not start with less.
    pub const LEAST_COMPILE_MEMORY: u64 = 512 << 20;

    /// Defaults, but with a limit on instances: for a process with several nodes, which share its memory maps.
    pub fn at_most(instances: u32) -> Self {
        Self {
            instances,
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let invalid = |field, problem: String| Err(ConfigError::Invalid { field, problem });
        if self.compile_time.0.is_zero() {
            return invalid("wasm.compile_time", "is 0, and must be longer".to_owned());
        }
        let (memory, least) = (&self.compile_memory, Self::LEAST_COMPILE_MEMORY);
        if memory.bytes() < least {
            return invalid(
                "wasm.compile_memory",
                format!("is {memory}, and must be at least {least} bytes"),
            );
        }
        Ok(())
    }

    /// The configuration of the guests' runtime that this section describes, for a node with this data folder.
    pub fn runtime(&self, data_dir: &Path) -> RuntimeConfig {
        let cache = CacheFolder {
            dir: data_dir.join("compiled"),
            bytes: self.cache.bytes(),
        };
        let default = RuntimeConfig::default();
        RuntimeConfig {
            memory: match self.memory.bytes() {
                0 => default.memory,
                bytes => bytes,
            },
            instances: match self.instances {
                0 => default.instances,
                instances => usize::try_from(instances).unwrap_or(usize::MAX),
            },
            pooled: self.pooled,
            compiles: match self.compiles {
                0 => default.compiles,
                compiles => compiles.into(),
            },
            compiler: self
                .compiler
                .as_ref()
                .map_or(Compiler::InProcess, |program| Compiler::Child {
                    program: program.clone(),
                    limits: CompileLimits {
                        time: self.compile_time.0,
                        memory: self.compile_memory.bytes(),
                    },
                }),
            cache: (cache.bytes > 0).then_some(cache),
            ..default
        }
    }
}

impl Default for Guests {
    fn default() -> Self {
        const WELL_FORMED: &str = "a default is well-formed";
        Self {
            instances: 0,
            memory: ByteSize::parse("0").expect(WELL_FORMED),
            pooled: true,
            compiles: 0,
            compile_time: Span::parse(Self::DEFAULT_COMPILE_TIME).expect(WELL_FORMED),
            compile_memory: ByteSize::parse(Self::DEFAULT_COMPILE_MEMORY).expect(WELL_FORMED),
            cache: ByteSize::parse(Self::DEFAULT_CACHE).expect(WELL_FORMED),
            compiler: None,
        }
    }
}
