//! The verdict on a module, as JSON.

use serde::Serialize;
use utoipa::ToSchema;

use crate::agent::validation::Validation;
use crate::error::Finding;
use crate::id::Digest;

/// The `config` of a validation without one: an agent with all defaults.
pub(crate) const UNNAMED: &[u8] = br#"{"name": "unnamed"}"#;

/// `kind` is `component`, `core`, or null for an invalid module. `memory_bytes` is the least memory of an instance at its start.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Validation)]
pub(crate) struct ValidationView<'a> {
    valid: bool,
    digest: Digest,
    size_bytes: usize,
    kind: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    version: Option<&'a semver::Version>,
    memory_bytes: u64,
    findings: &'a [Finding],
    warnings: &'a [Finding],
}

impl<'a> ValidationView<'a> {
    pub(crate) fn of(validation: &'a Validation) -> Self {
        let accepted = validation.accepted.as_ref();
        Self {
            valid: accepted.is_some(),
            digest: validation.digest,
            size_bytes: validation.size,
            kind: accepted.map(|accepted| if accepted.component { "component" } else { "core" }),
            version: accepted.and_then(|accepted| accepted.version.as_ref()),
            memory_bytes: validation.demand.memory_bytes,
            findings: &validation.findings,
            warnings: &validation.warnings,
        }
    }
}
