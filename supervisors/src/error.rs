//! Why a tree does not start, and why a supervisor does not carry out a command.

use crate::core::Refused;
use crate::exit::ExitReason;

/// Why a child specification is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Two siblings have this id.
    #[error("two children have the id {0:?}; ids must be unique among siblings")]
    DuplicateId(String),
    /// The child is significant and permanent. A permanent child is always restarted, so its end can never end the supervisor.
    #[error("child {0:?} is permanent and significant; a significant child must be transient or temporary")]
    PermanentSignificant(String),
    /// The child is significant, but its supervisor has no auto-shutdown.
    #[error(
        "child {0:?} is significant, but the auto-shutdown of its supervisor is never; it must be any_significant or \
         all_significant"
    )]
    SignificantWithoutAutoShutdown(String),
    /// The id or name is empty or contains a slash. Both would make the paths in events and snapshots ambiguous.
    #[error("the id {0:?} is empty or contains a slash")]
    Id(String),
}

/// Why a tree did not start. The children that had started were stopped again, in reverse order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A child specification of the tree is invalid. Nothing was started.
    #[error(transparent)]
    Invalid(#[from] SpecError),
    /// A child did not start.
    #[error("{path} did not start: {reason}")]
    Child {
        /// The path of the child. When a supervisor did not start because of one of its children, it is the path of that child.
        path: String,
        /// Why the child did not start.
        reason: ExitReason,
    },
    /// The supervisor was stopped or killed before all its children had started.
    #[error("the supervisor ended before all its children had started: {0}")]
    Interrupted(ExitReason),
}

/// Why a supervisor did not carry out a command, or why the command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartChildError {
    /// A child with this id exists and is down. `restart` starts it.
    #[error("a child with this id is already present but down; restart or delete it")]
    AlreadyPresent,
    /// A child with this id is running, or is about to run.
    #[error("a child with this id is already started")]
    AlreadyStarted,
    /// As many children as `max_children` allows are running or waiting for a restart.
    #[error("the supervisor has as many children as its max_children allows")]
    MaxChildren,
    /// The child did not start, or another command stopped it before it had started.
    #[error("the child did not start: {0}")]
    Failed(ExitReason),
    /// The supervisor has no child with this id.
    #[error("the supervisor has no child with this id")]
    NotFound,
    /// The child specification is invalid.
    #[error(transparent)]
    Invalid(SpecError),
    /// The supervisor is not running: its tree has stopped, or the supervisor is being restarted.
    #[error("the supervisor is not running")]
    Gone,
}

impl From<Refused> for StartChildError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::AlreadyPresent => Self::AlreadyPresent,
            Refused::AlreadyStarted => Self::AlreadyStarted,
            Refused::MaxChildren => Self::MaxChildren,
            Refused::NotFound => Self::NotFound,
            Refused::Gone => Self::Gone,
        }
    }
}
