//! What ractor says of the end of an actor, or of a start that failed, as an exit reason.

use std::error::Error;

use ractor::{ActorProcessingErr, SpawnErr};

use crate::exit::ExitReason;

/// The stop reason a supervisor gives to its children, recognised again in their exit.
pub(crate) const SHUTDOWN: &str = "shutdown";

impl ExitReason {
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
