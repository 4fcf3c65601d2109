//! What a guest may look up beside its state.

use std::collections::BTreeMap;

use super::{Guest, Refusal};
use crate::wasm::{Found, caps};

impl Guest {
    /// The value of one of the agent's own variables.
    pub(in crate::wasm) fn variable(&self, name: &str) -> Result<Option<String>, Refusal> {
        Ok(self.environment()?.get(name).cloned())
    }

    /// The names of the agent's own variables, in byte order.
    pub(in crate::wasm) fn variables(&self) -> Result<Vec<String>, Refusal> {
        Ok(self.environment()?.keys().cloned().collect())
    }

    /// Who has a capability.
    pub(in crate::wasm) fn find(&mut self, capability: &str) -> Result<Vec<Found>, Refusal> {
        let directory = self.host.grants.directory().ok_or(Refusal::NotPermitted)?;
        if self.turn.searches >= caps::SEARCHES {
            return Err(Refusal::OverLimit);
        }
        self.turn.searches += 1;
        Ok(directory.find(capability, caps::FOUND))
    }

    fn environment(&self) -> Result<&BTreeMap<String, String>, Refusal> {
        self.host.grants.environment().ok_or(Refusal::NotPermitted)
    }
}
