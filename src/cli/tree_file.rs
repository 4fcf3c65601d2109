//! `caxton serve --tree FILE`: groups and agents that the server makes at its start.
//!
//! ```toml
//! [[supervisor]]
//! name = "checkout"
//! strategy = "rest_for_one"
//!
//! [[agent]]
//! module = "basket.wasm"                  # beside this file
//! config = { name = "basket", supervision = { group = "checkout" } }
//! ```
//!
//! A group or agent that exists as declared is left alone. A group that differs is changed, which restarts nothing. An agent that
//! differs ends the start with an error, because the server does not replace an agent that somebody deployed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::agent::spec::AgentSpec;
use crate::config::{self, ConfigError};
use crate::error::Error;
use crate::group::GroupSpec;
use crate::id::Digest;
use crate::node::Node;
use crate::principal::Caller;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeFile {
    #[serde(default)]
    supervisor: Vec<serde_json::Value>,
    #[serde(default)]
    agent: Vec<AgentEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentEntry {
    /// Relative to the folder of the tree file.
    module: PathBuf,
    config: serde_json::Value,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum TreeError {
    #[error("the tree file: {0}")]
    Unreadable(#[from] ConfigError),
    #[error("the tree file, supervisor {number}: {source}")]
    Group { number: usize, source: Error },
    #[error("the tree file, agent {number}: {source}")]
    Agent { number: usize, source: Error },
    #[error("the tree file, agent {number}: cannot read {file}: {source}")]
    Module {
        number: usize,
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("the tree file, agent {number}: '{name}' is deployed with another {what}; remove it, or change the file")]
    Differs {
        number: usize,
        name: String,
        what: &'static str,
    },
}

/// Makes the groups and agents that a file declares, and stops at the first that cannot be made.
pub(super) async fn apply(node: &Arc<Node>, file: &Path) -> Result<(), TreeError> {
    let tree: TreeFile = config::read(file)?;
    let caller = Caller::platform();
    for (number, value) in (1..).zip(tree.supervisor) {
        let made = make_group(node, &caller, &value).await;
        made.map_err(|source| TreeError::Group { number, source })?;
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    for (number, entry) in (1..).zip(tree.agent) {
        make_agent(node, &caller, folder, number, entry).await?;
    }
    Ok(())
}

async fn make_group(node: &Arc<Node>, caller: &Caller, value: &serde_json::Value) -> Result<(), Error> {
    let spec = GroupSpec::from_json(value.to_string().as_bytes())?;
    match node.group(caller, spec.name.as_str()) {
        Ok(there) if there.spec == spec => Ok(()),
        Ok(there) => node
            .update_group(caller, there.spec.name.as_str(), |_| Ok(spec))
            .await
            .map(|_| ()),
        Err(_) => node.create_group(caller, spec).await.map(|_| ()),
    }
}

async fn make_agent(
    node: &Arc<Node>,
    caller: &Caller,
    folder: &Path,
    number: usize,
    entry: AgentEntry,
) -> Result<(), TreeError> {
    let wrong = |source| TreeError::Agent { number, source };
    let spec = AgentSpec::from_json(entry.config.to_string().as_bytes()).map_err(wrong)?;
    let file = folder.join(entry.module);
    let module = tokio::fs::read(&file).await;
    let module = module.map_err(|source| TreeError::Module { number, file, source })?;
    let Ok(there) = node.agent(caller, spec.name.as_str()).await else {
        return node
            .deploy(caller, module.into(), spec)
            .await
            .map(|_| ())
            .map_err(wrong);
    };
    let what = match (
        there.summary.digest == Digest::of(&module),
        same(&there.summary.spec, &spec),
    ) {
        (true, true) => return Ok(()),
        (false, _) => "module",
        (true, false) => "configuration",
    };
    let name = spec.name.to_string();
    Err(TreeError::Differs { number, name, what })
}

/// Whether two declarations are equal. Their environments are compared apart, because JSON shows no values of variables.
fn same(there: &AgentSpec, declared: &AgentSpec) -> bool {
    there.environment == declared.environment && serde_json::to_value(there).ok() == serde_json::to_value(declared).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_value_of_a_variable_is_a_difference() {
        let spec = |config: &str| AgentSpec::from_json(config.as_bytes()).unwrap();
        let one = spec(r#"{"name":"a","environment":{"TOKEN":"one"}}"#);
        assert!(same(&one, &one));
        assert!(!same(&one, &spec(r#"{"name":"a","environment":{"TOKEN":"two"}}"#)));
        assert!(!same(&one, &spec(r#"{"name":"b","environment":{"TOKEN":"one"}}"#)));
    }
}
