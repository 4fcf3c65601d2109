//! Where agents and groups belong: in which partition, and under which supervisor.

use super::{Node, unavailable};
use crate::agent::Agent;
use crate::agent::spec::AgentSpec;
use crate::error::{Error, Result};
use crate::group::{Group, Home, removed_meanwhile};
use crate::id::{AgentName, Partition};

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
        let group = self.directory.group(name.as_str());
        let group = group.ok_or_else(|| removed_meanwhile(&name))?;
        let handles = group.handles.read().clone();
        handles
            .map(|handles| Home::Group(handles.own))
            .ok_or_else(|| unavailable("the supervisor of the group is not there yet"))
    }
}
