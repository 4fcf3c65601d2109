//! What can be said of a module before any of it runs, for one declaration of an agent. Pure: the same for a deploy and for who
//! only asks.

use std::sync::Arc;

use super::spec::{AgentSpec, Permissions};
use crate::error::{Error, Finding, Result};
use crate::id::Digest;
use crate::wasm::{Demand, Program};

/// The verdict on a module.
#[derive(Clone, Debug)]
pub struct Validation {
    pub digest: Digest,
    /// Bytes of the module.
    pub size: usize,
    /// None: it has findings.
    pub accepted: Option<Accepted>,
    pub demand: Demand,
    /// Why it is refused, all of it.
    pub findings: Vec<Finding>,
    /// What it will be denied when it runs.
    pub warnings: Vec<Finding>,
}

/// What a module is that can be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub component: bool,
    /// What it says of itself.
    pub version: Option<semver::Version>,
}

impl Validation {
    /// Judges a module whose compilation came to `compiled`. An error is not about the module.
    pub fn of(module: &[u8], spec: &AgentSpec, compiled: Result<Arc<Program>>) -> Result<Self> {
        let demand = Demand::of(module);
        let limit = &spec.resources.memory;
        let too_much = (demand.memory_bytes > limit.bytes()).then(|| Finding {
            rule: "memory-limit".into(),
            found: format!("its memories and tables begin with {} bytes", demand.memory_bytes),
            expected: format!("at most resources.memory, {limit}"),
        });
        let mut findings: Vec<_> = too_much.into_iter().collect();
        let (digest, accepted) = match compiled {
            Ok(program) => {
                let accepted = Accepted {
                    component: program.is_component(),
                    version: program.version().cloned(),
                };
                (program.digest(), Some(accepted))
            }
            Err(Error::InvalidWasm(more)) => {
                findings.extend(more);
                (Digest::of(module), None)
            }
            Err(other) => return Err(other),
        };
        Ok(Self {
            digest,
            size: module.len(),
            accepted: accepted.filter(|_| findings.is_empty()),
            warnings: warnings(&demand, &spec.permissions),
            findings,
            demand,
        })
    }
}

fn warnings(demand: &Demand, permissions: &Permissions) -> Vec<Finding> {
    let denied = demand.permissions.iter().filter(|(name, _)| !permissions.grants(name));
    let warning = |(permission, import): (&&str, &String)| Finding {
        rule: "not-granted".into(),
        found: format!("import `{import}`, which will say not-permitted"),
        expected: format!("permissions.{permission}: true, if the agent is to use it"),
    };
    denied.map(warning).collect()
}
