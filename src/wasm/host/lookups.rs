//! What a guest may look up: its environment variables and the directory.

use std::collections::BTreeMap;

use super::guest::Guest;
use super::refusal::Refusal;
use crate::wasm::caps;
use crate::wasm::grants::Found;

impl Guest {
    /// The value of one environment variable of the agent.
    pub(in crate::wasm) fn variable(&self, name: &str) -> Result<Option<String>, Refusal> {
        Ok(self.environment()?.get(name).cloned())
    }

    /// The names of the environment variables of the agent, in byte order.
    pub(in crate::wasm) fn variables(&self) -> Result<Vec<String>, Refusal> {
        Ok(self.environment()?.keys().cloned().collect())
    }

    /// The agents that have a capability.
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
