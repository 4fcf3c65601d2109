//! The verdict on a module, for one declaration of an agent, before any of its code runs. It is a pure function, so a
//! deploy and a validation without a deploy give the same verdict.

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
    /// What the module is, if it can be deployed. None: it has findings.
    pub accepted: Option<Accepted>,
    pub demand: Demand,
    /// All reasons why the module is refused.
    pub findings: Vec<Finding>,
    /// Permissions that the module asks for and will be denied when it runs.
    pub warnings: Vec<Finding>,
}

/// The facts about a module that can be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub component: bool,
    /// The version that the module declares.
    pub version: Option<semver::Version>,
}

impl Validation {
    /// Judges a module from the result of its compilation, `compiled`. An error means that the module could not be
    /// judged, and says nothing about the module.
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
