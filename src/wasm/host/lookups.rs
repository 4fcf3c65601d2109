//! What a guest may look up beside its state.

use std::collections::BTreeMap;

use super::{Guest, Refusal};

impl Guest {
    /// The value of one of the agent's own variables.
    pub(in crate::wasm) fn variable(&self, name: &str) -> Result<Option<String>, Refusal> {
        Ok(self.environment()?.get(name).cloned())
    }

    /// The names of the agent's own variables, in byte order.
    pub(in crate::wasm) fn variables(&self) -> Result<Vec<String>, Refusal> {
        Ok(self.environment()?.keys().cloned().collect())
    }

    fn environment(&self) -> Result<&BTreeMap<String, String>, Refusal> {
        self.host.grants.environment().ok_or(Refusal::NotPermitted)
    }
}
