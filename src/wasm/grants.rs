//! The permissions of an agent, as the host looks them up while the guest runs.

use std::collections::BTreeMap;

use crate::id::{AgentId, AgentName};

/// The permissions of one agent. An implementation grants only what it overrides: each default denies.
pub trait Grants: Send + Sync + 'static {
    /// Whether the agent may send to `receiver`, which is as the guest wrote it: an id, a name, `cap:…`, `all:…` or `client:…`.
    /// A reply to the message in hand needs no permission, so the host does not ask about it.
    fn may_message(&self, _receiver: &str) -> bool {
        false
    }

    /// Whether the agent may use its state.
    fn state(&self) -> bool {
        false
    }

    /// Whether the agent may draw random numbers.
    fn random(&self) -> bool {
        false
    }

    /// Whether the agent may set and cancel timers.
    fn timers(&self) -> bool {
        false
    }

    /// The environment variables of the agent. None: the permission `environment` is missing.
    fn environment(&self) -> Option<&BTreeMap<String, String>> {
        None
    }

    /// The directory of agents. None: the permission `directory` is missing.
    fn directory(&self) -> Option<&dyn Search> {
        None
    }
}

/// A directory in which guests find other agents.
pub trait Search {
    /// The running agents that have `capability`, in the order of their names, and at most `most` of them.
    fn find(&self, capability: &str, most: usize) -> Vec<Found>;
}

/// One agent that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: AgentId,
    pub name: AgentName,
    pub capabilities: Vec<String>,
}
