//! How far an agent is in its life.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The state of an agent's life, with the data of that state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Deployed; its first instance has not started yet.
    Loaded,
    Running,
    /// It takes messages and no turns.
    Suspended,
    Draining {
        /// When the grace is over.
        until: Timestamp,
    },
    Stopped,
    Failed {
        why: String,
    },
}

impl Standing {
    pub const fn lifecycle(&self) -> Lifecycle {
        match self {
            Self::Loaded => Lifecycle::Loaded,
            Self::Running | Self::Suspended => Lifecycle::Running,
            Self::Draining { .. } => Lifecycle::Draining,
            Self::Stopped => Lifecycle::Stopped,
            Self::Failed { .. } => Lifecycle::Failed,
        }
    }
}

/// The state of an agent's life as the API names it. A suspended agent is `running` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Not present in the system.
    Unloaded,
    /// Its module is loaded; it does not run yet.
    Loaded,
    Running,
    /// It finishes what it has and takes no more.
    Draining,
    Stopped,
    /// Its supervisor gave it up.
    Failed,
}

impl Lifecycle {
    pub const ALL: &[Self] = &[
        Self::Unloaded,
        Self::Loaded,
        Self::Running,
        Self::Draining,
        Self::Stopped,
        Self::Failed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Loaded => "loaded",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}
