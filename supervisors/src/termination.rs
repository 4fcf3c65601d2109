//! Exit reasons from what ractor reports: the end of an actor, its failure, or a start that failed.

use std::error::Error;

use ractor::{ActorProcessingErr, SpawnErr};

use crate::exit::ExitReason;

/// The stop reason that a supervisor gives to its children. ractor reports it again when they have ended.
pub(crate) const SHUTDOWN: &str = "shutdown";

impl ExitReason {
    /// The exit reason for the text in ractor's `ActorTerminated`, which is all that distinguishes kills and cancelled tasks.
    pub(crate) fn from_termination(reason: Option<&str>) -> Self {
        match reason {
            Some("killed") => Self::Killed,
            Some("actor_task_cancelled") => Self::Cancelled,
            Some(SHUTDOWN) => Self::Shutdown,
            None | Some(_) => Self::Normal,
        }
    }

    /// The exit reason for the error in ractor's `ActorFailed`.
    pub(crate) fn from_failure(error: &ActorProcessingErr) -> Self {
        Self::from_error(&**error)
    }

    /// The exit reason for a start that returned an error. The result is a `StartFailed` with this path, unless the error is
    /// one already: a supervisor passes on the failed start of the deepest child.
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
    use crate::exit::Failure;

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
