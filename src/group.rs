//! Supervision groups: OTP supervisors of agents, which users declare and nest.

mod home;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use supervisors::{AutoShutdown, Intensity, Restart, StartChildError, Strategy, SupervisorHandle};
use utoipa::ToSchema;

pub use home::Home;

use crate::agent::spec::Backoff;
use crate::error::{Error, Result};
use crate::id::{AgentName, Partition};
use crate::json;
use crate::quantity::Span;
use crate::time::Timestamp;

/// Limits on groups.
pub mod limits {
    /// How many groups may be above a group.
    pub const DEPTH: usize = 16;
    /// How many groups a node may have.
    pub const GROUPS: usize = 1_000;
}

/// The declaration of a group. Unknown keys are refused by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Agents and groups share one space of names.
    pub name: AgentName,
    /// None: the group is a root, and its name decides the partition of everything below it. Fixed at creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<AgentName>,
    #[serde(default = "one_for_one")]
    #[schema(value_type = String, pattern = "^(one_for_one|one_for_all|rest_for_one)$")]
    pub strategy: Strategy,
    /// Restart intensity: how many restarts the whole group may make within `period`. At one more the group gives up, and its
    /// parent decides what happens.
    #[serde(default = "intensity")]
    pub intensity: u32,
    #[serde(default = "period")]
    pub period: Span,
    /// The wait before a restart of the group itself. Its first restart does not wait.
    #[serde(default)]
    pub backoff: Backoff,
    #[serde(default = "never")]
    #[schema(value_type = String, pattern = "^(never|any_significant|all_significant)$")]
    pub auto_shutdown: AutoShutdown,
}

const fn one_for_one() -> Strategy {
    Strategy::OneForOne
}

const fn intensity() -> u32 {
    10
}

const fn period() -> Span {
    Span(std::time::Duration::from_secs(60))
}

const fn never() -> AutoShutdown {
    AutoShutdown::Never
}

impl GroupSpec {
    /// Reads a declaration. A null member counts as absent; an error names the key.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        Ok(json::read(json, json::BODY)?)
    }

    /// Checks the rules that the types cannot express.
    pub fn check(&self) -> Result<()> {
        let seconds = self.period.0.as_secs_f64();
        if !(0.001..=86_400.0).contains(&seconds) {
            return Err(Error::invalid(
                "period",
                format!("is {}, and must be 1 ms to 24 h", self.period),
            ));
        }
        if self.intensity > 10_000 {
            return Err(Error::invalid(
                "intensity",
                format!("is {}, and must be at most 10000", self.intensity),
            ));
        }
        if self.parent.as_ref() == Some(&self.name) {
            return Err(Error::invalid(
                "parent",
                "is the group itself; name another group, or leave `parent` out for a root",
            ));
        }
        self.backoff.check().map_err(|mend| Error::invalid("backoff", mend))
    }

    pub const fn budget(&self) -> Intensity {
        Intensity::new(self.intensity, self.period.0)
    }

    /// When the supervisor above restarts the group. A group that ends because its significant agents ended has done its work,
    /// so it is not restarted.
    pub const fn restart(&self) -> Restart {
        match self.auto_shutdown {
            AutoShutdown::Never => Restart::Permanent,
            AutoShutdown::AnySignificant | AutoShutdown::AllSignificant => Restart::Transient,
        }
    }
}

/// A group in the catalog. It is stored as JSON: members may be added, and never change their meaning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupDocument {
    pub spec: GroupSpec,
    /// The group at the top. Its name is the placement key of everything below it.
    pub root: AgentName,
    pub created_at: Timestamp,
}

/// The collection of group documents in the catalog.
pub const COLLECTION: &str = "groups";

/// A group in the directory.
pub struct Group {
    pub name: AgentName,
    pub root: AgentName,
    pub partition: Partition,
    pub document: RwLock<GroupDocument>,
    /// Its place among the supervisors. None until its parent has started it.
    pub handles: RwLock<Option<Handles>>,
    /// Held while the group is changed, and while a significant agent is deployed into it, which its `auto_shutdown` must allow.
    pub operation: tokio::sync::Mutex<()>,
}

/// The supervisor that a group is, and the one that has it as a child.
#[derive(Clone)]
pub struct Handles {
    pub own: SupervisorHandle,
    pub home: Home,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Group {
    pub fn new(document: GroupDocument, partitions: u16) -> Self {
        Self {
            name: document.spec.name.clone(),
            root: document.root.clone(),
            partition: Partition::of(document.root.as_str(), partitions),
            document: RwLock::new(document),
            handles: RwLock::default(),
            operation: tokio::sync::Mutex::default(),
        }
    }

    pub fn parent(&self) -> Option<AgentName> {
        self.document.read().spec.parent.clone()
    }

    /// Puts a declaration in force that is recorded. Nothing is restarted: it applies from the next exit on.
    pub fn apply(&self, spec: GroupSpec) {
        if let Some(handles) = &*self.handles.read() {
            let own = handles
                .own
                .reconfigure(spec.strategy, spec.budget(), spec.auto_shutdown)
                .map_err(StartChildError::Invalid);
            let above = handles
                .home
                .reconfigure(self.name.as_str(), spec.restart(), (&spec.backoff).into());
            for error in [own.err(), above.err()].into_iter().flatten() {
                // A supervisor that is down has no such child, and starts the group by its new declaration.
                if error != StartChildError::NotFound {
                    tracing::error!(group = %self.name, %error, "a change of a group is recorded and not in force");
                }
            }
        }
        self.document.write().spec = spec;
    }
}

/// The error of a change that needs a group which was removed while the change went on.
pub fn removed_meanwhile(group: &AgentName) -> Error {
    Error::conflict(
        format!("the supervision group '{group}' was removed meanwhile; create it again, or name another"),
        [("name", group.to_string())],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_has_defaults_and_refuses_what_it_does_not_know() {
        let spec = GroupSpec::from_json(br#"{"name":"checkout","strategy":"rest_for_one","parent":null}"#).unwrap();
        spec.check().unwrap();
        assert_eq!(
            (spec.strategy, spec.intensity, spec.parent),
            (Strategy::RestForOne, 10, None)
        );
        let problem = |json: &str| {
            GroupSpec::from_json(json.as_bytes())
                .and_then(|spec| spec.check())
                .unwrap_err()
                .to_string()
        };
        assert!(problem(r#"{"name":"a","colour":1}"#).contains("colour"));
        assert!(problem(r#"{"name":"a","strategy":"all_for_one"}"#).contains("strategy"));
        assert!(problem(r#"{"name":"a","parent":"a"}"#).contains("parent"));
        assert!(problem(r#"{"name":"a","backoff":{"factor":0}}"#).contains("backoff"));
        assert!(problem(r#"{"name":"a","period":0}"#).contains("period"));
    }
}
