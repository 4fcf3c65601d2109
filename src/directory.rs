//! Who is here: agents by id, name and capability.
//!
//! Owned by the node and written by the owners of partitions; everybody reads it. Agents are addressed through it and never
//! pointed at, so that a restart can put another slot in the place of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dashmap::DashMap;
use parking_lot::RwLock;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::agent::Slot;
use crate::agent::meter::Meter;
use crate::agent::spec::AgentSpec;
use crate::group::Group;
use crate::id::{AgentId, AgentName, DeploymentId, Digest, Partition};
use crate::mailbox::Mailbox;
use crate::message::{Address, ClientName};
use crate::time::Timestamp;
use crate::timer::Timers;
use crate::wasm::{Found, Search};

/// What the catalog keeps of an agent. Stored as JSON; members may be added and never change their meaning.
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

/// A declaration with the values of its variables, which it shows nowhere else. They are in the log and in its backups.
fn whole<S: Serializer>(spec: &AgentSpec, serializer: S) -> Result<S::Ok, S::Error> {
    let mut json = serde_json::to_value(spec).map_err(S::Error::custom)?;
    json["environment"] = serde_json::json!(spec.environment.values());
    json.serialize(serializer)
}

impl Search for Directory {
    fn find(&self, capability: &str, most: usize) -> Vec<Found> {
        let mut able = self.able(capability);
        able.sort_unstable_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        let found = |entry: &Arc<Entry>| Found {
            id: entry.id,
            name: entry.name.clone(),
            capabilities: entry.document.read().spec.capabilities.clone(),
        };
        able.iter().take(most).map(found).collect()
    }
}

impl Document {
    /// The partition that the agent lives in, for ever.
    pub fn home(&self, partitions: u16) -> Partition {
        Partition::of(self.placement.as_ref().unwrap_or(&self.spec.name).as_str(), partitions)
    }
}

/// Where an agent stands, with the data that the place has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Deployed; its first instance has not started yet.
    Loaded,
    Running,
    /// It takes messages and no turns.
    Suspended,
    Draining {
        /// When the grace is over.
        until: Timestamp,
    },
    Stopped,
    Failed {
        why: String,
    },
}

/// An agent as the directory has it.
pub struct Entry {
    pub id: AgentId,
    pub name: AgentName,
    pub partition: Partition,
    pub document: RwLock<Document>,
    pub standing: RwLock<Standing>,
    pub mailbox: Arc<Mailbox>,
    /// Committed state, whether an instance runs or not.
    pub state: Arc<RwLock<BTreeMap<String, Bytes>>>,
    /// Committed timers, whether an instance runs or not.
    pub timers: Arc<Timers>,
    pub meter: Arc<Meter>,
    /// None: the agent is stopped since before the node started, or its module cannot be loaded.
    pub slot: RwLock<Option<Arc<Slot>>>,
    /// Held while an instance is started or ended by command, so that the end of a stop does not end what a start began.
    pub operation: tokio::sync::Mutex<()>,
}

impl Entry {
    pub fn slot(&self) -> Option<Arc<Slot>> {
        self.slot.read().clone()
    }

    pub fn group(&self) -> Option<AgentName> {
        self.document.read().spec.supervision.group.clone()
    }
}

/// Who has a name. Agents and groups share one space of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Agent(AgentId),
    Group,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A receiver that exists.
#[derive(Clone, Debug)]
pub enum Target {
    Agent(Arc<Entry>),
    Client(ClientName),
}

impl Target {
    pub fn address(&self) -> Address {
        match self {
            Self::Agent(entry) => Address::Agent(entry.id),
            Self::Client(name) => Address::Client(name.clone()),
        }
    }
}

#[derive(Debug, Default)]
pub struct Directory {
    agents: DashMap<AgentId, Arc<Entry>>,
    groups: DashMap<AgentName, Arc<Group>>,
    names: DashMap<AgentName, Owner>,
}

impl Directory {
    /// Claims a name for what is about to be made. The error is who has it.
    pub fn claim(&self, name: &AgentName, owner: Owner) -> Result<(), Owner> {
        match self.names.entry(name.clone()) {
            dashmap::Entry::Occupied(taken) => Err(*taken.get()),
            dashmap::Entry::Vacant(free) => {
                free.insert(owner);
                Ok(())
            }
        }
    }

    /// Gives a claimed name back.
    pub fn release(&self, name: &AgentName, owner: Owner) {
        self.names.remove_if(name, |_, has| *has == owner);
    }

    /// Enters an agent, in the place of what stood under its id.
    pub fn put(&self, entry: Arc<Entry>) {
        self.names.insert(entry.name.clone(), Owner::Agent(entry.id));
        self.agents.insert(entry.id, entry);
    }

    pub fn remove(&self, entry: &Entry) {
        self.agents.remove(&entry.id);
        self.release(&entry.name, Owner::Agent(entry.id));
    }

    /// Enters a group, or gives back the one that is there already.
    pub fn put_group(&self, group: Group) -> Arc<Group> {
        self.names.insert(group.name.clone(), Owner::Group);
        self.groups
            .entry(group.name.clone())
            .or_insert_with(|| Arc::new(group))
            .clone()
    }

    pub fn remove_group(&self, name: &AgentName) {
        self.groups.remove(name);
        self.release(name, Owner::Group);
    }

    pub fn group(&self, name: &str) -> Option<Arc<Group>> {
        self.groups
            .get(&name.parse::<AgentName>().ok()?)
            .map(|group| group.clone())
    }

    /// All groups, oldest first.
    pub fn groups(&self) -> Vec<Arc<Group>> {
        let mut all: Vec<_> = self.groups.iter().map(|group| group.value().clone()).collect();
        all.sort_by_cached_key(|group| (group.document.read().created_at, group.name.clone()));
        all
    }

    pub fn by_id(&self, id: AgentId) -> Option<Arc<Entry>> {
        self.agents.get(&id).map(|entry| entry.clone())
    }

    /// The agent of an id or a name, as paths and receivers have them.
    pub fn find(&self, key: &str) -> Option<Arc<Entry>> {
        let id = match key.parse::<AgentId>() {
            Ok(id) => id,
            Err(_) => match *self.names.get(&key.parse::<AgentName>().ok()?)? {
                Owner::Agent(id) => id,
                Owner::Group => return None,
            },
        };
        self.by_id(id)
    }

    /// All agents, oldest first.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> = self.agents.iter().map(|entry| entry.value().clone()).collect();
        all.sort_unstable_by_key(|entry| entry.id);
        all
    }

    pub fn of_partition(&self, partition: Partition) -> Vec<Arc<Entry>> {
        let mut all = self.all();
        all.retain(|entry| entry.partition == partition);
        all
    }

    pub fn len(&self) -> usize {
        self.agents.len()
    }

    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// Who is meant by a receiver as its sender wrote it: an id, a name, `cap:<capability>` (the least loaded one that has
    /// it), `all:<capability>`, `client:<name>`. Empty: nobody.
    pub fn resolve(&self, receiver: &str) -> Vec<Target> {
        if let Some(name) = receiver.strip_prefix("client:") {
            return name.parse().map(Target::Client).into_iter().collect();
        }
        if let Some(capability) = receiver.strip_prefix("cap:") {
            let able = self.able(capability);
            return able
                .into_iter()
                .min_by_key(|entry| entry.mailbox.depth())
                .map(Target::Agent)
                .into_iter()
                .collect();
        }
        if let Some(capability) = receiver.strip_prefix("all:") {
            return self.able(capability).into_iter().map(Target::Agent).collect();
        }
        self.find(receiver).map(Target::Agent).into_iter().collect()
    }

    /// Running agents that have a capability, oldest first.
    fn able(&self, capability: &str) -> Vec<Arc<Entry>> {
        // Out of the map first: no lock of an entry is taken under one of the map.
        let mut able: Vec<_> = self.agents.iter().map(|entry| entry.value().clone()).collect();
        able.retain(|entry| {
            *entry.standing.read() == Standing::Running
                && entry
                    .document
                    .read()
                    .spec
                    .capabilities
                    .iter()
                    .any(|has| has == capability)
        });
        able.sort_unstable_by_key(|entry| entry.id);
        able
    }
}
