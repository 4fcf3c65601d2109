//! The directory: agents by id, name and capability, and groups by name.
//!
//! The node owns it, the owners of partitions write it, and everybody reads it. Who wants an agent looks it up here each time and
//! keeps no pointer to it, because a restart of its partition replaces the entry.

mod paths;

use std::sync::Arc;

use dashmap::DashMap;

use crate::agent::{Agent, Standing};
use crate::group::Group;
use crate::id::{AgentId, AgentName, Partition};
use crate::message::{Address, ClientName};
use crate::wasm::{Found, Search};

pub use paths::Place;

impl Search for Directory {
    fn find(&self, capability: &str, most: usize) -> Vec<Found> {
        let mut able = self.able(capability);
        able.sort_unstable_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        let found = |agent: &Arc<Agent>| Found {
            id: agent.id,
            name: agent.name.clone(),
            capabilities: agent.document.read().spec.capabilities.clone(),
        };
        able.iter().take(most).map(found).collect()
    }
}

/// Who has a name. Agents and groups share one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameHolder {
    Agent(AgentId),
    Group,
}

/// A receiver that exists.
#[derive(Clone, Debug)]
pub enum Target {
    Agent(Arc<Agent>),
    Client(ClientName),
}

impl Target {
    pub fn address(&self) -> Address {
        match self {
            Self::Agent(agent) => Address::Agent(agent.id),
            Self::Client(name) => Address::Client(name.clone()),
        }
    }
}

#[derive(Debug, Default)]
pub struct Directory {
    agents: DashMap<AgentId, Arc<Agent>>,
    groups: DashMap<AgentName, Arc<Group>>,
    names: DashMap<AgentName, NameHolder>,
}

impl Directory {
    /// Reserves a name for an agent or group that is about to be made. The error is who has the name.
    pub fn reserve(&self, name: &AgentName, holder: NameHolder) -> Result<(), NameHolder> {
        match self.names.entry(name.clone()) {
            dashmap::Entry::Occupied(taken) => Err(*taken.get()),
            dashmap::Entry::Vacant(free) => {
                free.insert(holder);
                Ok(())
            }
        }
    }

    /// Frees a reserved name.
    pub fn release(&self, name: &AgentName, holder: NameHolder) {
        self.names.remove_if(name, |_, has| *has == holder);
    }

    /// Enters an agent, and replaces an entry with the same id.
    pub fn put(&self, agent: Arc<Agent>) {
        self.names.insert(agent.name.clone(), NameHolder::Agent(agent.id));
        self.agents.insert(agent.id, agent);
    }

    pub fn remove(&self, agent: &Agent) {
        self.agents.remove(&agent.id);
        self.release(&agent.name, NameHolder::Agent(agent.id));
    }

    /// Enters a group, or returns the one that has the name already.
    pub fn put_group(&self, group: Group) -> Arc<Group> {
        self.names.insert(group.name.clone(), NameHolder::Group);
        self.groups
            .entry(group.name.clone())
            .or_insert_with(|| Arc::new(group))
            .clone()
    }

    pub fn remove_group(&self, name: &AgentName) {
        self.groups.remove(name);
        self.release(name, NameHolder::Group);
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

    pub fn by_id(&self, id: AgentId) -> Option<Arc<Agent>> {
        self.agents.get(&id).map(|agent| agent.clone())
    }

    /// The agent with this id or name.
    pub fn find(&self, key: &str) -> Option<Arc<Agent>> {
        let id = match AgentId::read(key) {
            Some(id) => id,
            None => match *self.names.get(&key.parse::<AgentName>().ok()?)? {
                NameHolder::Agent(id) => id,
                NameHolder::Group => return None,
            },
        };
        self.by_id(id)
    }

    /// All agents, oldest first.
    pub fn all(&self) -> Vec<Arc<Agent>> {
        let mut all: Vec<_> = self.agents.iter().map(|agent| agent.value().clone()).collect();
        all.sort_unstable_by_key(|agent| agent.id);
        all
    }

    pub fn of_partition(&self, partition: Partition) -> Vec<Arc<Agent>> {
        let mut all = self.all();
        all.retain(|agent| agent.partition == partition);
        all
    }

    pub fn len(&self) -> usize {
        self.agents.len()
    }

    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// Resolves a receiver as its sender wrote it: an id, a name, `cap:<capability>` (the running agent with that capability whose
    /// mailbox holds least), `all:<capability>` (all of them), `client:<name>`. Empty if there is nobody.
    pub fn resolve(&self, receiver: &str) -> Vec<Target> {
        if let Some(name) = receiver.strip_prefix("client:") {
            return name.parse().map(Target::Client).into_iter().collect();
        }
        if let Some(capability) = receiver.strip_prefix("cap:") {
            let able = self.able(capability);
            return able
                .into_iter()
                .min_by_key(|agent| agent.mailbox.depth())
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
    fn able(&self, capability: &str) -> Vec<Arc<Agent>> {
        // The list is copied out of the map first, so that no lock of an agent is taken under a lock of the map.
        let mut able: Vec<_> = self.agents.iter().map(|agent| agent.value().clone()).collect();
        able.retain(|agent| {
            *agent.standing.read() == Standing::Running
                && agent
                    .document
                    .read()
                    .spec
                    .capabilities
                    .iter()
                    .any(|has| has == capability)
        });
        able.sort_unstable_by_key(|agent| agent.id);
        able
    }
}
