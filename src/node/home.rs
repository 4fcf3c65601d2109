//! The homes of agents and groups: which supervisor has them as children, and at which path of the tree.

use ractor::ActorCell;
use supervisors::{ChildSpec, DynamicHandle, StartChildError, SupervisorHandle};

use super::{Node, unavailable};
use crate::agent::Agent;
use crate::agent::spec::AgentSpec;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::id::{AgentName, Partition};

/// The supervisor that has an agent or a group as its child.
pub(super) enum Home {
    /// The partition's supervisor: the child has a restart intensity of its own, and no siblings.
    Partition(DynamicHandle),
    Group(SupervisorHandle),
}

impl Home {
    pub(super) async fn start_child(&self, spec: ChildSpec) -> Result<ActorCell, StartChildError> {
        match self {
            Self::Partition(handle) => handle.start_child(spec).await,
            Self::Group(handle) => handle.start_child(spec).await,
        }
    }

    pub(super) async fn restart(&self, id: &str) -> Result<ActorCell, StartChildError> {
        match self {
            Self::Partition(handle) => handle.restart(id).await,
            Self::Group(handle) => handle.restart(id).await,
        }
    }

    pub(super) async fn delete(&self, id: &str) -> Result<(), StartChildError> {
        match self {
            Self::Partition(handle) => handle.delete(id).await,
            Self::Group(handle) => handle.delete(id).await,
        }
    }

    /// Ends a child that an operator stopped. A partition keeps the child's entry, so that the tree still shows it. A
    /// group forgets the child, because the group's next restart would bring it back, as in OTP. A child that is gone
    /// already is no error.
    pub(super) async fn retire(&self, id: &str) {
        let _ = match self {
            Self::Partition(handle) => handle.terminate(id).await,
            Self::Group(handle) => handle.delete(id).await,
        };
    }

    pub(super) fn reset(&self, id: &str) -> Result<(), StartChildError> {
        match self {
            Self::Partition(handle) => handle.reset(id),
            Self::Group(handle) => handle.reset_child(id),
        }
    }
}

impl Node {
    /// The placement key of an agent that is about to be deployed: the root of its group, or its own name.
    pub(super) fn placement(&self, spec: &AgentSpec) -> Result<AgentName> {
        let Some(name) = &spec.supervision.group else {
            if spec.supervision.significant {
                let mend = "needs a group whose auto_shutdown looks at it";
                return Err(Error::invalid("config.supervision.significant", mend));
            }
            return Ok(spec.name.clone());
        };
        let group = self.directory.group(name.as_str());
        let group = group.ok_or_else(|| {
            let mend = format!("names '{name}', which is no group; create it first (POST /api/v1/supervisors)");
            Error::invalid("config.supervision.group", mend)
        })?;
        Ok(group.root.clone())
    }

    pub(super) fn home(&self, agent: &Agent) -> Result<Home> {
        self.home_in(agent.group(), agent.partition)
    }

    pub(super) fn home_of_group(&self, group: &Group) -> Result<Home> {
        self.home_in(group.parent(), group.partition)
    }

    fn home_in(&self, group: Option<AgentName>, partition: Partition) -> Result<Home> {
        let Some(name) = group else {
            return Ok(Home::Partition(self.owner(partition)?.agents.clone()));
        };
        let group = self.find_group(name.as_str())?;
        let handle = group.handle.read().clone();
        handle
            .map(Home::Group)
            .ok_or_else(|| unavailable("the supervisor of the group is not there yet"))
    }

    /// The names of the groups from the root down to this one.
    pub(super) fn lineage(&self, group: &Group) -> Vec<AgentName> {
        let mut names = vec![group.name.clone()];
        let mut above = group.parent();
        while let Some(parent) = above.and_then(|name| self.directory.group(name.as_str())) {
            names.push(parent.name.clone());
            above = parent.parent();
        }
        names.reverse();
        names
    }

    pub(super) fn depth(&self, group: &Group) -> usize {
        self.lineage(group).len()
    }

    /// The agent's path in the tree.
    pub(super) fn path_of(&self, agent: &Agent) -> String {
        let group = agent.group().and_then(|name| self.directory.group(name.as_str()));
        match group {
            Some(group) => format!("{}/{}", self.path_of_group(&group), agent.name),
            None => format!("node/core/partitions/{}/agents/{}", agent.partition, agent.name),
        }
    }

    pub(super) fn path_of_group(&self, group: &Group) -> String {
        let names: Vec<_> = self.lineage(group).iter().map(ToString::to_string).collect();
        format!("node/core/partitions/{}/agents/{}", group.partition, names.join("/"))
    }
}
