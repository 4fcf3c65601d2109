//! Grants: whom an agent may message, and what else its permissions allow.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use globset::GlobMatcher;

use crate::agent::spec::{AgentSpec, Environment, Permissions};
use crate::directory::Directory;
use crate::wasm::{Found, Grants, Search};

/// The grants of one declaration. Names of receivers are resolved in the directory.
struct Granted {
    directory: Weak<Directory>,
    /// The patterns of `permissions.message`, each with its compiled form.
    message: Vec<(String, GlobMatcher)>,
    permissions: Permissions,
    environment: Environment,
}

/// The grants of a declaration.
pub fn of(spec: &AgentSpec, directory: &Arc<Directory>) -> Arc<dyn Grants> {
    Arc::new(Granted {
        directory: Arc::downgrade(directory),
        // Declarations are checked earlier. If a pattern cannot be compiled all the same, nothing is granted.
        message: spec.permissions.matchers().unwrap_or_default(),
        permissions: spec.permissions.clone(),
        environment: spec.environment.clone(),
    })
}

impl Granted {
    fn pattern_of(&self, prefix: &str, text: &str) -> bool {
        self.message
            .iter()
            .any(|(pattern, glob)| pattern.starts_with(prefix) && glob.is_match(text))
    }
}

impl Grants for Granted {
    fn may_message(&self, receiver: &str) -> bool {
        if self.message.iter().any(|(pattern, _)| pattern == "*") {
            return true;
        }
        // A glob matches names only. Otherwise `agent_*` would match every id, and a glob for agents would match capabilities
        // and clients.
        if receiver.starts_with("client:") {
            return self.pattern_of("client:", receiver);
        }
        if let Some(capability) = receiver.strip_prefix("cap:").or_else(|| receiver.strip_prefix("all:")) {
            return self.pattern_of("cap:", &format!("cap:{capability}"));
        }
        let known = self.directory.upgrade().and_then(|directory| directory.find(receiver));
        known.is_some_and(|agent| {
            let id = agent.id.to_string();
            let named = |(pattern, glob): &(String, GlobMatcher)| *pattern == id || glob.is_match(agent.name.as_str());
            self.message.iter().any(named)
        })
    }

    fn state(&self) -> bool {
        self.permissions.state
    }

    fn random(&self) -> bool {
        self.permissions.random
    }

    fn timers(&self) -> bool {
        self.permissions.timers
    }

    fn environment(&self) -> Option<&BTreeMap<String, String>> {
        self.permissions.environment.then(|| self.environment.values())
    }

    fn directory(&self) -> Option<&dyn Search> {
        self.permissions.directory.then_some(self as &dyn Search)
    }
}

impl Search for Granted {
    fn find(&self, capability: &str, most: usize) -> Vec<Found> {
        let directory = self.directory.upgrade();
        directory.map_or_else(Vec::new, |directory| Search::find(&*directory, capability, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_over_names_and_reach_nothing_else() {
        let granted = |patterns: &[&str], receiver: &str| {
            let permissions = Permissions {
                message: patterns.iter().map(ToString::to_string).collect(),
                ..Permissions::default()
            };
            Granted {
                directory: Weak::new(),
                message: permissions.matchers().unwrap(),
                permissions,
                environment: Environment::default(),
            }
            .may_message(receiver)
        };
        assert!(granted(&["*"], "client:chief") && granted(&["*"], "cap:vault"));
        assert!(!granted(&["c*"], "client:chief") && !granted(&["c*"], "cap:vault"));
        assert!(granted(&["cap:v*"], "cap:vault") && granted(&["cap:v*"], "all:vault"));
        assert!(granted(&["client:*"], "client:chief") && !granted(&["client:*"], "cap:vault"));
        assert!(!granted(&["a*"], &crate::id::AgentId::new().to_string()));
    }
}
