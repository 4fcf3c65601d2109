//! The rules of child specifications and supervisors, as plain data. The decision core reads them, so nothing here names an
//! actor.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::intensity::Intensity;

/// The restart strategy of a supervisor: which children are restarted when one of them has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the child that ended is restarted.
    OneForOne,
    /// All children are stopped in reverse order and started again.
    OneForAll,
    /// The children that started after the one that ended are stopped in reverse order. Then that child and those after it are
    /// started again.
    RestForOne,
}

/// The restart type of a child: whether its supervisor restarts it when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// The child is always restarted.
    Permanent,
    /// The child is restarted unless it ended normally or by shutdown.
    Transient,
    /// The child is never restarted, not even together with its siblings. Its specification is removed when it ends.
    Temporary,
}

/// How a supervisor stops a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// The child is killed at once. Its `post_stop` does not run.
    BrutalKill,
    /// The child is asked to stop, and killed if it is still running after this shutdown timeout.
    Timeout(Duration),
    /// The child is asked to stop and waited for without limit. This is for supervisors, whose children have shutdown timeouts
    /// of their own.
    Infinity,
}

/// Whether a supervisor ends by itself when its significant children have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// The supervisor never ends for that reason.
    #[default]
    Never,
    /// The supervisor ends when any significant child has ended by itself.
    AnySignificant,
    /// The supervisor ends when the last running significant child has ended by itself.
    AllSignificant,
}

/// The part of a child specification that decisions depend on. The rest says how to carry them out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) restart: Restart,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) significant: bool,
    /// The intensity of this child alone, under a dynamic supervisor.
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
