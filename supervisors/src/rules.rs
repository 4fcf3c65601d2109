//! The rules of a child specification and of a supervisor: plain data that the decisions read, without actors.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::intensity::Intensity;

/// What the exit of one child means to its siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Nothing: it alone is restarted.
    OneForOne,
    /// All are stopped in reverse order and started again.
    OneForAll,
    /// Those started after it are stopped in reverse order and started again with it.
    RestForOne,
}

/// Whether a child comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always.
    Permanent,
    /// Unless it ended normally or by shutdown.
    Transient,
    /// Never, not even with its siblings; its spec goes with it.
    Temporary,
}

/// How a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// Killed at once; its `post_stop` does not run.
    BrutalKill,
    /// Asked to stop, and killed when it has not by then.
    Timeout(Duration),
    /// Asked to stop, and waited for. For supervisors, whose children have limits of their own.
    Infinity,
}

/// Whether a supervisor ends when its significant children have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// It does not.
    #[default]
    Never,
    /// When one of them ended by itself.
    AnySignificant,
    /// When the last of them ended by itself.
    AllSignificant,
}

/// The part of a spec that decides; the rest only acts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) restart: Restart,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) significant: bool,
    pub(crate) intensity: Option<Intensity>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            restart: Restart::Permanent,
            backoff: None,
            significant: false,
            intensity: None,
        }
    }
}
