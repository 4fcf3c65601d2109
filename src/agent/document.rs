//! The document that the catalog keeps of each agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Standing;
use super::spec::{AgentSpec, Environment};
use crate::id::{AgentId, AgentName, DeploymentId, Digest, Partition};
use crate::journal::Record;
use crate::secret::{KeyId, Sealed, Sealer, Unopened};
use crate::time::Timestamp;

/// The catalog's document of an agent, stored as JSON. Members may be added, but a member never changes its meaning.
///
/// The declaration's `environment` shows masks instead of values, as everywhere; the values themselves are in `sealed`.
/// They are sealed once, when the agent is deployed, so the document can be written again without the key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    pub id: AgentId,
    pub spec: AgentSpec,
    /// The sealed values of `spec.environment`, by variable name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sealed: BTreeMap<String, Sealed>,
    pub version: semver::Version,
    /// The number of this version among all of the agent, from 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub revision: u32,
    /// How many instances of the version run.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub instances: u32,
    pub digest: Digest,
    pub deployment_id: DeploymentId,
    pub created_at: Timestamp,
    pub deployed_at: Timestamp,
    pub deployed_by: String,
    /// When somebody stopped the agent. A shutdown of the node does not set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// Whether it was stopped together with its group, whose restart then brings it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped_with_group: bool,
    /// When the agent was suspended. Since then it takes messages but no turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Timestamp>,
    /// The name whose hash chooses the agent's partition: the root of its group. None: the agent's own name. It is
    /// fixed when the agent is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<AgentName>,
}

const fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_one(number: &u32) -> bool {
    *number == 1
}

/// Why a document of the catalog cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the catalog's document of an agent cannot be understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Secret(#[from] Unopened),
}

/// Seals the values of an agent's environment. Each sealed value is bound to this agent and to its variable's name.
pub fn seal(id: AgentId, environment: &Environment, sealer: &Sealer) -> BTreeMap<String, Sealed> {
    let owner = id.to_string();
    let values = environment.values().iter();
    values
        .map(|(name, value)| (name.clone(), sealer.seal(value, &owner, name)))
        .collect()
}

impl Document {
    /// Reads a document of the catalog and opens the sealed values of its environment.
    pub fn open(json: &str, sealer: &Sealer) -> Result<Self, Unreadable> {
        let mut document: Self = serde_json::from_str(json)?;
        let owner = document.id.to_string();
        let open = |(name, sealed): (&String, &Sealed)| {
            let value = sealer.open(sealed, &owner, name, || document.described(name))?;
            Ok::<_, Unopened>((name.clone(), value))
        };
        let values = document.sealed.iter().map(open).collect::<Result<_, _>>()?;
        document.spec.environment = Environment::new(values);
        Ok(document)
    }

    /// Names one sealed value for people, with the key that opens it. One is enough, because all values of a document
    /// are sealed with the same key. None: the document has no sealed value.
    pub fn first_sealed(&self) -> Option<(String, KeyId)> {
        let (name, sealed) = self.sealed.first_key_value()?;
        Some((self.described(name), sealed.key()))
    }

    fn described(&self, variable: &str) -> String {
        format!(
            "the value of `{variable}` in the environment of agent '{}'",
            self.spec.name
        )
    }

    /// The partition that the agent belongs to, which never changes.
    pub fn home(&self, partitions: u16) -> Partition {
        Partition::of(self.placement.as_ref().unwrap_or(&self.spec.name).as_str(), partitions)
    }

    /// Sets the document's times to match the state that the agent enters.
    pub fn follow(&mut self, standing: &Standing, now: Timestamp) {
        match standing {
            Standing::Running => {
                (self.stopped_at, self.suspended_at) = (None, None);
                self.stopped_with_group = false;
            }
            Standing::Suspended => {
                self.stopped_at = None;
                self.stopped_with_group = false;
                self.suspended_at.get_or_insert(now);
            }
            Standing::Draining { .. } | Standing::Stopped => {
                self.stopped_at.get_or_insert(now);
            }
            // These states set no time: a failed agent starts again with its node, and a starting agent keeps its
            // earlier times until it runs.
            Standing::Loaded { .. } | Standing::Failed { .. } => {}
        }
    }

    /// The state in which the agent is restored from the journal.
    pub const fn recovered(&self) -> Standing {
        Standing::recovered(self.stopped_at.is_some(), self.suspended_at.is_some())
    }

    /// The record that stores this document in the catalog.
    pub fn record(&self, at: Timestamp) -> Record {
        Record::Agent {
            agent: self.id,
            document: serde_json::to_string(self).expect("a document is serialisable: its keys are strings"),
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(sealer: &Sealer) -> Document {
        let config = br#"{"name": "keeper", "environment": {"TOKEN": "s3cret", "REGION": "eu-1"}}"#;
        let spec = AgentSpec::from_json(config).unwrap();
        let (id, now) = (AgentId::new(), Timestamp::now());
        Document {
            id,
            sealed: seal(id, &spec.environment, sealer),
            spec,
            version: semver::Version::new(1, 0, 0),
            revision: 1,
            instances: 1,
            digest: Digest::of(b""),
            deployment_id: DeploymentId::new(),
            created_at: now,
            deployed_at: now,
            deployed_by: "anonymous".to_owned(),
            stopped_at: None,
            stopped_with_group: false,
            suspended_at: None,
            placement: None,
        }
    }

    fn stored(document: &Document) -> String {
        let Record::Agent { document, .. } = document.record(Timestamp::now()) else {
            panic!("another record")
        };
        document
    }

    #[test]
    fn a_stored_document_has_its_values_sealed_and_opens_with_them() {
        let sealer = Sealer::ephemeral();
        let document = document(&sealer);
        let json = stored(&document);
        for secret in ["s3cret", "eu-1"] {
            assert!(
                !json.contains(secret) && !format!("{document:?}").contains(secret),
                "{json}"
            );
        }
        let opened = Document::open(&json, &sealer).unwrap();
        assert!(opened.spec.environment == document.spec.environment);
        assert_eq!(stored(&opened), json, "it is not sealed again");
    }

    #[test]
    fn values_do_not_open_in_the_place_of_others() {
        let sealer = Sealer::ephemeral();
        let mut exchanged = document(&sealer);
        exchanged
            .sealed
            .insert("REGION".to_owned(), exchanged.sealed["TOKEN"].clone());
        let mut of_another = document(&sealer);
        of_another.id = AgentId::new();
        for document in [exchanged, of_another] {
            let error = Document::open(&stored(&document), &sealer).unwrap_err();
            assert!(matches!(error, Unreadable::Secret(Unopened::Damaged { .. })), "{error}");
            let said = error.to_string();
            assert!(
                said.contains("REGION") && said.contains("keeper") && !said.contains("s3cret"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_wrong_key_is_named_with_the_agent() {
        let json = stored(&document(&Sealer::ephemeral()));
        let other = Sealer::ephemeral();
        let error = Document::open(&json, &other).unwrap_err();
        assert!(
            matches!(error, Unreadable::Secret(Unopened::OtherKey { .. })),
            "{error}"
        );
        let document: Document = serde_json::from_str(&json).unwrap();
        let (name, key) = document.first_sealed().unwrap();
        assert!(name.contains("`REGION`") && key != other.id());
    }
}
