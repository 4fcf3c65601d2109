//! Why a tree does not start, and why a command on a supervisor is not carried out.

use crate::core::Refused;
use crate::exit::ExitReason;

/// A declaration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Two siblings have one id.
    #[error("{0} is declared twice")]
    DuplicateId(String),
    /// A permanent child never ends by itself, so it cannot be significant.
    #[error("{0} is permanent and cannot be significant")]
    PermanentSignificant(String),
    /// The supervisor does not end with its children.
    #[error("{0} is significant and its supervisor has no auto-shutdown")]
    SignificantWithoutAutoShutdown(String),
    /// It would break the paths that name children in events and snapshots.
    #[error("{0:?} is empty or holds a slash")]
    Id(String),
}

/// Why a tree did not start. Whatever had started was stopped again, in reverse order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The tree was declared wrongly; nothing was started.
    #[error(transparent)]
    Invalid(#[from] SpecError),
    /// A child did not start.
    #[error("{path} did not start: {reason}")]
    Child {
        /// The child: the deepest one, when a supervisor did not start because of it.
        path: String,
        /// Why.
        reason: ExitReason,
    },
    /// The supervisor itself was stopped or killed meanwhile.
    #[error("the supervisor ended while it started: {0}")]
    Interrupted(ExitReason),
}

/// Why a command on a supervisor was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartChildError {
    /// The child's spec is there, and it is down: `restart` brings it back.
    #[error("the child is already present")]
    AlreadyPresent,
    /// The child runs, or is about to.
    #[error("the child is already started")]
    AlreadyStarted,
    /// As many children as allowed run or wait for a restart.
    #[error("too many children")]
    MaxChildren,
    /// It did not start; or it was stopped by another command before it had.
    #[error("the child did not start: {0}")]
    Failed(ExitReason),
    /// There is no such child.
    #[error("there is no such child")]
    NotFound,
    /// The spec cannot be.
    #[error(transparent)]
    Invalid(SpecError),
    /// The supervisor is not there: its tree has stopped, or it is being restarted.
    #[error("the supervisor is gone")]
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
