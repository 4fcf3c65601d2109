//! Why a child ended, as a type.

use std::error::Error;

/// An error with a kind, for actors to fail with.
///
/// ractor passes an actor's error to its supervisor as a box. Returned as `Err(Box::new(Failure { .. }))` from `pre_start`
/// or a handler it arrives there as [`ExitReason::Error`] with the same kind, and the kind becomes the metric label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Failure {
    /// A constant such as `trap` or `out_of_fuel`: it labels metrics, so it must not hold an id.
    pub kind: &'static str,
    /// What happened, for people.
    pub detail: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }
}

/// Why a child ended, or could not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExitReason {
    /// It stopped of its own accord.
    #[error("normal")]
    Normal,
    /// It was asked to stop, by its supervisor or in that supervisor's words.
    #[error("shutdown")]
    Shutdown,
    /// It was killed; its `post_stop` did not run.
    #[error("killed")]
    Killed,
    /// Its task was cancelled, or it was gone without a word.
    #[error("cancelled")]
    Cancelled,
    /// It panicked, or returned an error that was only text: ractor makes the two alike.
    #[error("panic: {0}")]
    Panic(String),
    /// It neither beat nor said that it was busy.
    #[error("heartbeat lost")]
    HeartbeatLost,
    /// Its start took longer than its `start_timeout`.
    #[error("start timed out")]
    StartTimeout,
    /// It could not start. The path is that of the deepest child that failed.
    #[error("start of {path} failed: {reason}")]
    StartFailed {
        /// The child whose start failed.
        path: String,
        /// Why it failed.
        reason: Box<ExitReason>,
    },
    /// It failed with an error of a kind, see [`Failure`].
    #[error("{kind}: {detail}")]
    Error {
        /// A constant, fit for a metric label.
        kind: &'static str,
        /// What happened, for people.
        detail: String,
    },
}

/// The kind of the failure with which a supervisor ends that restarted too often.
pub const MELTDOWN: &str = "meltdown";

impl ExitReason {
    /// A constant name, for metric labels: `normal`, `shutdown`, `killed`, `cancelled`, `panic`, `heartbeat_lost`,
    /// `start_timeout`, `start_failed`, or the kind of an error.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shutdown => "shutdown",
            Self::Killed => "killed",
            Self::Cancelled => "cancelled",
            Self::Panic(_) => "panic",
            Self::HeartbeatLost => "heartbeat_lost",
            Self::StartTimeout => "start_timeout",
            Self::StartFailed { .. } => "start_failed",
            Self::Error { kind, .. } => kind,
        }
    }

    /// Whether a transient child comes back after it: anything but a normal end or a shutdown.
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal | Self::Shutdown)
    }

    /// The reason behind an error that came out of an actor.
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
        // A panic reaches us as an error made of its text. std keeps that type to itself; its Debug form, the quoted
        // text, is what tells it from an error type of somebody's.
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
