//! Why a child ended, as a type.

use std::error::Error;

use ractor::{ActorProcessingErr, SpawnErr};

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

/// The stop reason a supervisor gives to its children, recognised again in their exit.
pub(crate) const SHUTDOWN: &str = "shutdown";

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

    /// The reason in ractor's `ActorTerminated`, where kills and cancelled tasks are told by these strings alone.
    pub(crate) fn from_termination(reason: Option<&str>) -> Self {
        match reason {
            Some("killed") => Self::Killed,
            Some("actor_task_cancelled") => Self::Cancelled,
            Some(SHUTDOWN) => Self::Shutdown,
            None | Some(_) => Self::Normal,
        }
    }

    /// The reason in ractor's `ActorFailed`.
    pub(crate) fn from_failure(error: &ActorProcessingErr) -> Self {
        Self::from_error(&**error)
    }

    /// The reason of a start that returned an error, wrapped once: a nested failure keeps the path of the deepest child.
    pub(crate) fn from_start_error(path: &str, error: &(dyn Error + 'static)) -> Self {
        let reason = match error.downcast_ref::<SpawnErr>() {
            Some(SpawnErr::StartupFailed(inner)) => Self::from_failure(inner),
            Some(SpawnErr::ActorAlreadyStarted | SpawnErr::ActorAlreadyRegistered(_)) => Self::Error {
                kind: "spawn",
                detail: error.to_string(),
            },
            None => Self::from_error(error),
        };
        if matches!(reason, Self::StartFailed { .. }) {
            return reason;
        }
        Self::StartFailed {
            path: path.to_owned(),
            reason: Box::new(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_kind() {
        let error: ActorProcessingErr = Box::new(Failure::new("trap", "unreachable"));
        let reason = ExitReason::from_failure(&error);
        assert_eq!(reason.label(), "trap");
        assert!(reason.is_abnormal());
    }

    #[test]
    fn a_failure_is_found_below_other_errors() {
        #[derive(Debug, thiserror::Error)]
        #[error("turn failed")]
        struct Turn(#[source] Failure);
        let error: ActorProcessingErr = Box::new(Turn(Failure::new("out_of_fuel", "")));
        assert_eq!(ExitReason::from_failure(&error).label(), "out_of_fuel");
    }

    #[test]
    fn text_is_a_panic_and_a_foreign_error_is_an_error() {
        let text: ActorProcessingErr = "it \"broke\"".into();
        assert_eq!(
            ExitReason::from_failure(&text),
            ExitReason::Panic("it \"broke\"".into())
        );
        let foreign: ActorProcessingErr = Box::new(std::io::Error::other("disk"));
        assert_eq!(ExitReason::from_failure(&foreign).label(), "error");
    }

    #[test]
    fn kills_and_cancelled_tasks_are_abnormal() {
        assert_eq!(ExitReason::from_termination(Some("killed")), ExitReason::Killed);
        assert!(ExitReason::from_termination(Some("actor_task_cancelled")).is_abnormal());
        assert!(!ExitReason::from_termination(Some("shutdown")).is_abnormal());
        assert!(!ExitReason::from_termination(Some("Drained")).is_abnormal());
        assert!(!ExitReason::from_termination(None).is_abnormal());
    }

    #[test]
    fn a_spawn_error_is_typed_and_names_the_child() {
        let error = SpawnErr::StartupFailed(Box::new(Failure::new("trap", "x")));
        let ExitReason::StartFailed { path, reason } = ExitReason::from_start_error("node/a", &error) else {
            panic!("not a failed start");
        };
        assert_eq!(path, "node/a");
        assert_eq!(reason.label(), "trap");
    }
}
