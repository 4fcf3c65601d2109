//! What the catalog keeps of an agent.

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use super::Standing;
use super::spec::AgentSpec;
use crate::id::{AgentId, AgentName, DeploymentId, Digest, Partition};
use crate::journal::{Record, Sealed};
use crate::time::Timestamp;

/// The catalog's document of an agent. Stored as JSON; members may be added and never change their meaning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    pub id: AgentId,
    #[serde(serialize_with = "whole")]
    pub spec: AgentSpec,
    pub version: semver::Version,
    pub digest: Digest,
    pub deployment_id: DeploymentId,
    pub created_at: Timestamp,
    pub deployed_at: Timestamp,
    pub deployed_by: String,
    /// When somebody stopped it. A shutdown of the node is no stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// Since when it takes no turns, though it takes messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Timestamp>,
    /// The key whose hash is the agent's partition: its group's root. None: its own name. Frozen at creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<AgentName>,
}

/// Writes a declaration with the values of its environment variables, which are masked everywhere else. They are in the log and
/// in its backups.
fn whole<S: Serializer>(spec: &AgentSpec, serializer: S) -> Result<S::Ok, S::Error> {
    let mut json = serde_json::to_value(spec).map_err(S::Error::custom)?;
    json["environment"] = serde_json::json!(spec.environment.values());
    json.serialize(serializer)
}

impl Document {
    /// The partition that the agent lives in, for ever.
    pub fn home(&self, partitions: u16) -> Partition {
        Partition::of(self.placement.as_ref().unwrap_or(&self.spec.name).as_str(), partitions)
    }

    /// Sets the times as the state says that the agent goes on to.
    pub fn follow(&mut self, standing: &Standing, now: Timestamp) {
        match standing {
            Standing::Running => (self.stopped_at, self.suspended_at) = (None, None),
            Standing::Suspended => {
                self.stopped_at = None;
                self.suspended_at.get_or_insert(now);
            }
            Standing::Draining { .. } | Standing::Stopped => {
                self.stopped_at.get_or_insert(now);
            }
            // A failed agent starts again with its node, and one that starts is what it was until it runs.
            Standing::Loaded { .. } | Standing::Failed { .. } => {}
        }
    }

    /// The state of the agent when it comes back from the journal.
    pub const fn recovered(&self) -> Standing {
        Standing::recovered(self.stopped_at.is_some(), self.suspended_at.is_some())
    }

    /// The record that makes this document the catalog's.
    pub fn record(&self, at: Timestamp) -> Record {
        Record::Agent {
            agent: self.id,
            document: Sealed(serde_json::to_string(self).expect("a document is serialisable: its keys are strings")),
            at,
        }
    }
}
