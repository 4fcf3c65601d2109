//! `[wasm]`: how many guests there may be, and how modules are compiled and kept compiled.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::quantity::{ByteSize, Span};
use crate::wasm::{CacheFolder, CompileLimits, Compiler, RuntimeConfig};

/// A module whose compilation passes a limit is refused with `INVALID_WASM`, which names the limit; other deploys go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guests {
    /// Agents that run at one time, as far as the kernel's limit of memory maps goes: six are needed for each
    /// (`sysctl vm.max_map_count`). Programs count like agents, agents with fuel a quarter more. A deploy beyond is refused with
    /// `RESOURCE_LIMIT_EXCEEDED`. 0: what that limit has room for, and 10,240 at most (10,171 where it is 65,530).
    pub instances: u32,
    /// What the memories and tables of all agents may take together. Beyond it no memory grows, and a deploy is refused with
    /// `RESOURCE_LIMIT_EXCEEDED`. 0: three quarters of the memory of the machine, or of the control group.
    pub memory: ByteSize,
    /// Whether agents live in memory slots that are made at the start: they start, and start again, in a fraction of the time.
    /// Agents with fuel do not. Where the address space is limited (`ulimit -v`) the server says so and goes on without.
    pub pooled: bool,
    /// Modules that compile at one time; further ones wait. 0: two, or one on a machine with two processors or less.
    pub compiles: u16,
    /// How long the compilation of one module may take.
    pub compile_time: Span,
    /// Address space of the process that compiles one module.
    pub compile_memory: ByteSize,
    /// Bytes of compiled modules that are kept in the data folder (`compiled/`). 0: none is, and each start compiles again.
    pub cache: ByteSize,
    /// The program that compiles, in a process for each module: an absolute path of `caxton`, which the command line gives.
    /// None: modules are compiled in this process, and the two limits above do not hold.
    #[serde(skip)]
    pub compiler: Option<PathBuf>,
}

impl Guests {
    pub const DEFAULT_COMPILE_TIME: &str = "120s";
    pub const DEFAULT_COMPILE_MEMORY: &str = "2GiB";
    pub const DEFAULT_CACHE: &str = "1GiB";
    /// With less, the compiler's process would not even start.
    pub const LEAST_COMPILE_MEMORY: u64 = 512 << 20;

    /// So many instances, and all else by default: for a process with several nodes, which share its memory maps.
    pub fn at_most(instances: u32) -> Self {
        Self {
            instances,
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let invalid = |field, problem: String| Err(ConfigError::Invalid { field, problem });
        if self.compile_time.0.is_zero() {
            return invalid("wasm.compile_time", "must be longer than nothing".to_owned());
        }
        if self.compile_memory.bytes() < Self::LEAST_COMPILE_MEMORY {
            let least = Self::LEAST_COMPILE_MEMORY;
            return invalid("wasm.compile_memory", format!("must be at least {least} bytes"));
        }
        Ok(())
    }

    /// The guests' side as this section has it, in a node with this data folder.
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
