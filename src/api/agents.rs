//! What both edges say of an agent, and ask of one, in the same words.

use std::time::Duration;

use serde::Serialize;

use crate::agent::spec::Resources;
use crate::error::{Error, Result};
use crate::node::{AgentSummary, Lifecycle, StopOptions};

/// What an agent is doing: its lifecycle state, or that it is suspended, which is no state of the lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Unloaded,
    Loaded,
    Running,
    Draining,
    Stopped,
    Failed,
    /// It takes messages and no turns.
    Suspended,
    Removed,
}

impl Status {
    pub(super) const fn of(agent: &AgentSummary) -> Self {
        if agent.suspended {
            Self::Suspended
        } else {
            Self::of_lifecycle(agent.lifecycle)
        }
    }

    pub(super) const fn of_lifecycle(lifecycle: Lifecycle) -> Self {
        match lifecycle {
            Lifecycle::Unloaded => Self::Unloaded,
            Lifecycle::Loaded => Self::Loaded,
            Lifecycle::Running => Self::Running,
            Lifecycle::Draining => Self::Draining,
            Lifecycle::Stopped => Self::Stopped,
            Lifecycle::Failed => Self::Failed,
        }
    }
}

/// The `cpu` of an agent as it was declared. An agent handles one message at a time, so that one core is its ceiling when
/// none is declared.
pub(super) fn cpu(resources: &Resources) -> String {
    resources.cpu.map_or_else(|| "1000m".to_owned(), |cpu| cpu.to_string())
}

/// How to stop an agent, with defaults for what is not said. `field` is the name of `grace` in the request.
pub(super) fn stop_options(field: &str, grace: Option<Duration>, drain: Option<bool>) -> Result<StopOptions> {
    let default = StopOptions::default();
    if grace.is_some_and(|grace| grace > StopOptions::MAX_GRACE) {
        let problem = format!("must be 0 to {} seconds", StopOptions::MAX_GRACE.as_secs());
        return Err(Error::invalid(field, problem));
    }
    Ok(StopOptions {
        grace: grace.unwrap_or(default.grace),
        drain: drain.unwrap_or(default.drain),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_has_defaults_and_limits() {
        let default = stop_options("grace", None, None).unwrap();
        assert_eq!((default.grace, default.drain), (Duration::from_secs(30), true));
        let asked = stop_options("grace", Some(Duration::ZERO), Some(false)).unwrap();
        assert_eq!((asked.grace, asked.drain), (Duration::ZERO, false));
        assert!(stop_options("grace", Some(StopOptions::MAX_GRACE), None).is_ok());
        let long = StopOptions::MAX_GRACE + Duration::from_millis(1);
        let error = stop_options("grace", Some(long), None).unwrap_err();
        assert_eq!(error.details()["field"], "grace");
    }
}
