//! Where agents and groups are in the supervision tree, and what is at a path of it.
//!
//! The path of a partition's agent or group is `node/core/partitions/<partition>/agents/<name>`; a member of a group is one part
//! below the group. A path is looked up whole: only the exact path of an agent, an instance or a group finds it.

use std::sync::Arc;

use super::Directory;
use crate::agent::{Agent, ChildId};
use crate::group::Group;
use crate::id::{AgentName, Partition};

/// What a path of the tree is the path of.
#[derive(Clone, Debug)]
pub enum Place {
    /// An agent. If it has one instance, that instance is the child with this path. Several instances have paths of their own,
    /// and this is the path of all of them together.
    Agent(Arc<Agent>),
    /// One of several instances of an agent. Whether it is there now, [`Agent::instance`] tells.
    Instance(Arc<Agent>, ChildId),
    Group(Arc<Group>),
}

impl Directory {
    /// The agent or group with this name, or the agent with this id.
    pub fn named(&self, key: &str) -> Option<Place> {
        let agent = self.find(key).map(Place::Agent);
        agent.or_else(|| self.group(key).map(Place::Group))
    }

    /// What is at this path of the tree. None: no agent, instance or group has exactly this path.
    pub fn at(&self, path: &str) -> Option<Place> {
        let (home, last) = path.rsplit_once('/')?;
        let child = ChildId::parse(last)?;
        match self.named(child.agent().as_str())? {
            Place::Agent(agent) if self.home_of(&agent) == home => Some(match child {
                ChildId::Only(_) => Place::Agent(agent),
                ChildId::OneOf { .. } => Place::Instance(agent, child),
            }),
            Place::Group(group) if self.path_of_group(&group) == path => Some(Place::Group(group)),
            Place::Agent(_) | Place::Instance(..) | Place::Group(_) => None,
        }
    }

    /// The path of the supervisor that has the instances of an agent as its children.
    pub fn home_of(&self, agent: &Agent) -> String {
        let group = agent.group().and_then(|name| self.group(name.as_str()));
        group.map_or_else(|| agents_of(agent.partition), |group| self.path_of_group(&group))
    }

    /// The path of an agent.
    pub fn path_of(&self, agent: &Agent) -> String {
        format!("{}/{}", self.home_of(agent), agent.name)
    }

    /// The path of the supervisor that has a group as its child.
    pub fn home_of_group(&self, group: &Group) -> String {
        let mut home = agents_of(group.partition);
        let lineage = self.lineage(group);
        for name in &lineage[..lineage.len() - 1] {
            home.push('/');
            home.push_str(name.as_str());
        }
        home
    }

    /// The path of a group.
    pub fn path_of_group(&self, group: &Group) -> String {
        format!("{}/{}", self.home_of_group(group), group.name)
    }

    /// The names of the groups from the root down to this one.
    pub fn lineage(&self, group: &Group) -> Vec<AgentName> {
        let mut names = vec![group.name.clone()];
        let mut above = group.parent();
        while let Some(parent) = above.and_then(|name| self.group(name.as_str())) {
            names.push(parent.name.clone());
            above = parent.parent();
        }
        names.reverse();
        names
    }
}

/// The path of the supervisor of a partition's agents.
fn agents_of(partition: Partition) -> String {
    format!("node/core/partitions/{partition}/agents")
}
