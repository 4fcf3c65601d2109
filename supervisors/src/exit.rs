//! Why a child ended or did not start.

use std::error::Error;

/// An error of a named kind, for an actor to fail with.
///
/// ractor passes the error of an actor to its supervisor as a box. When `pre_start` or a handler returns
/// `Err(Box::new(Failure { .. }))`, the exit reason is an [`ExitReason::Error`] of the same kind, and the kind is the `reason`
/// label of the metrics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Failure {
    /// A constant such as `trap` or `out_of_fuel`. It becomes a metric label, so it must not contain an id.
    pub kind: &'static str,
    /// What happened, for people.
    pub detail: String,
}

impl Failure {
    /// Makes a failure of this kind.
    pub fn new(kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }
}

/// Why a child ended or did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExitReason {
    /// The child stopped of its own accord.
    #[error("normal")]
    Normal,
    /// The child was asked to stop, either by its supervisor or by somebody who gave the same stop reason, `shutdown`.
    #[error("shutdown")]
    Shutdown,
    /// The child is a supervisor, and its [`AutoShutdown`](crate::AutoShutdown) has ended it. This counts as a shutdown.
    #[error("auto-shutdown: {path} ended: {reason}")]
    AutoShutdown {
        /// The path of the significant child whose end was the last cause.
        path: String,
        /// Why that child ended.
        reason: Box<ExitReason>,
    },
    /// The child was killed. Its `post_stop` did not run.
    #[error("killed")]
    Killed,
    /// The task of the child was cancelled, or the child ended without an event.
    #[error("cancelled")]
    Cancelled,
    /// The child panicked, or returned an error that was only text. ractor does not distinguish the two.
    #[error("panic: {0}")]
    Panic(String),
    /// The child showed no sign of life in the time that its [`Heartbeat`](crate::Heartbeat) allows.
    #[error("heartbeat lost")]
    HeartbeatLost,
    /// The start of the child took longer than its `start_timeout`.
    #[error("start timed out")]
    StartTimeout,
    /// The child did not start. When the child is a supervisor, the path is that of the deepest child that did not start.
    #[error("start of {path} failed: {reason}")]
    StartFailed {
        /// The path of the child that did not start.
        path: String,
        /// Why that child did not start.
        reason: Box<ExitReason>,
    },
    /// The child failed with an error.
    #[error("{kind}: {detail}")]
    Error {
        /// The kind of the [`Failure`], `spawn` when ractor refused to spawn the actor, or `error` for any other error. It is a
        /// constant and serves as a metric label.
        kind: &'static str,
        /// What happened, for people.
        detail: String,
    },
}

/// The kind of the failure with which a supervisor ends that has exceeded its restart intensity.
pub const MELTDOWN: &str = "meltdown";

/// The label in restart counts for restarts by a group restart: not the child itself has ended, but a sibling.
pub const SIBLING: &str = "sibling";

/// The label in restart counts for restarts with the supervisor: not the child itself has ended, but its supervisor was restarted
/// after an exit, with all its children.
pub const SUPERVISOR: &str = "supervisor";

impl ExitReason {
    /// A constant name for metric labels: `normal`, `shutdown`, `auto_shutdown`, `killed`, `cancelled`, `panic`, `heartbeat_lost`,
    /// `start_timeout`, `start_failed`, or the kind of the error.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shutdown => "shutdown",
            Self::AutoShutdown { .. } => "auto_shutdown",
            Self::Killed => "killed",
            Self::Cancelled => "cancelled",
            Self::Panic(_) => "panic",
            Self::HeartbeatLost => "heartbeat_lost",
            Self::StartTimeout => "start_timeout",
            Self::StartFailed { .. } => "start_failed",
            Self::Error { kind, .. } => kind,
        }
    }

    /// Whether a transient child is restarted for this reason. Every reason but a normal exit, a shutdown and an auto-shutdown is
    /// abnormal.
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal | Self::Shutdown | Self::AutoShutdown { .. })
    }

    /// The exit reason for an error that an actor returned. A [`Failure`] or an exit reason among its sources decides.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(current) = cause {
            if let Some(failure) = current.downcast_ref::<Failure>() {
                return Self::Error {
                    kind: failure.kind,
                    detail: failure.detail.clone(),
                };
            }
            if let Some(reason) = current.downcast_ref::<Self>() {
                return reason.clone();
            }
            cause = current.source();
        }
        let text = error.to_string();
        // ractor turns a panic into an error that is made of its text, by a type that std keeps private. What distinguishes
        // that type from other errors is its Debug form: the text in quotes.
        if format!("{error:?}") == format!("{text:?}") {
            Self::Panic(text)
        } else {
            Self::Error {
                kind: "error",
                detail: text,
            }
        }
    }
}
