//! Every kind of event, with the body that it has.
//!
//! An event is what subscribers and the history are told of. The names of the kinds and the members of the bodies are part of
//! the published interface; both are written here and nowhere else.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::fipa::Performative;
use crate::id::{AgentId, AgentName, DeploymentId, Digest, MessageId};
use crate::message::{Address, FailureReason};

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// The kind of an event, as its member `type` names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventKind { $($(#[$doc])* $variant,)+ }

        impl EventKind {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The published name: dotted, such as `agent.deployed`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The kind of a published name.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

event_kinds! {
    /// The router accepted a message and recorded it.
    MessageSent = "message.sent",
    /// A turn of the receiver ended well.
    MessageProcessed = "message.processed",
    /// The receiver's turn ended in an error.
    MessageFailed = "message.failed",
    /// The receiver crashed in its turn; the message is delivered again or becomes a dead letter.
    MessageCrashed = "message.crashed",
    /// Nobody will handle the message.
    DeadLetter = "dead_letter",

    AgentDeployed = "agent.deployed",
    AgentStarted = "agent.started",
    AgentSuspended = "agent.suspended",
    AgentResumed = "agent.resumed",
    /// The agent takes no more messages and handles those that it has.
    AgentDraining = "agent.draining",
    AgentStopped = "agent.stopped",
    /// The agent's supervisor gave it up.
    AgentFailed = "agent.failed",
    AgentRemoved = "agent.removed",

    GroupCreated = "group.created",
    GroupUpdated = "group.updated",
    GroupRemoved = "group.removed",

    SystemAlert = "system.alert",

    // What a supervisor reports of a child or of itself; `supervisors::EventKind` says what each means.
    ChildStarted = "supervisor.child_started",
    ChildExited = "supervisor.child_exited",
    ChildStartFailed = "supervisor.start_failed",
    ChildBackoff = "supervisor.backoff",
    ChildrenRestart = "supervisor.group_restart",
    ChildRestarted = "supervisor.restarted",
    ChildFailed = "supervisor.child_failed",
    ChildTerminated = "supervisor.child_terminated",
    ChildZombie = "supervisor.zombie",
    SupervisorMeltdown = "supervisor.meltdown",
    ChildSuspended = "supervisor.suspended",
    ChildResumed = "supervisor.resumed",
    ChildReplaced = "supervisor.replaced",
    SupervisorAutoShutdown = "supervisor.auto_shutdown",
    /// Supervisors reported faster than the reports could be recorded; some are lost.
    SupervisorLagged = "supervisor.lagged",
}

/// How the names of the kinds begin that supervisors report.
pub const REPORTED_BY_SUPERVISORS: &str = "supervisor.";

impl EventKind {
    /// Whether the event tells of a message on its way or of its turn. A dead letter has a name, and subscriptions, of its own.
    pub const fn is_about_message(self) -> bool {
        matches!(
            self,
            Self::MessageSent | Self::MessageProcessed | Self::MessageFailed | Self::MessageCrashed
        )
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl From<supervisors::EventKind> for EventKind {
    fn from(kind: supervisors::EventKind) -> Self {
        use supervisors::EventKind as Reported;
        match kind {
            Reported::ChildStarted => Self::ChildStarted,
            Reported::ChildExited => Self::ChildExited,
            Reported::StartFailed => Self::ChildStartFailed,
            Reported::Backoff => Self::ChildBackoff,
            Reported::GroupRestart => Self::ChildrenRestart,
            Reported::Restarted => Self::ChildRestarted,
            Reported::ChildFailed => Self::ChildFailed,
            Reported::ChildTerminated => Self::ChildTerminated,
            Reported::Zombie => Self::ChildZombie,
            Reported::Meltdown => Self::SupervisorMeltdown,
            Reported::Suspended => Self::ChildSuspended,
            Reported::Resumed => Self::ChildResumed,
            Reported::Replaced => Self::ChildReplaced,
            Reported::AutoShutdown => Self::SupervisorAutoShutdown,
        }
    }
}

/// The body of an event: its kind, and the members that subscribers get beside `type`, `id`, `seq` and `timestamp`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum EventBody {
    MessageSent(SentMessage),
    MessageProcessed(HandledMessage),
    MessageFailed(HandledMessage),
    MessageCrashed(HandledMessage),
    DeadLetter {
        message_id: MessageId,
        agent_id: AgentId,
        reason: FailureReason,
        /// For people.
        detail: String,
    },
    AgentDeployed {
        agent_id: AgentId,
        name: AgentName,
        version: semver::Version,
        digest: Digest,
        deployment_id: DeploymentId,
    },
    AgentStarted(ChangedAgent),
    AgentSuspended(ChangedAgent),
    AgentResumed(ChangedAgent),
    AgentDraining(ChangedAgent),
    AgentStopped {
        agent_id: AgentId,
        name: AgentName,
    },
    AgentRemoved {
        agent_id: AgentId,
        name: AgentName,
    },
    AgentFailed {
        agent_id: AgentId,
        name: AgentName,
        /// The label of the last exit, such as `trap`.
        reason: &'static str,
        detail: String,
    },
    GroupCreated(ChangedGroup),
    GroupUpdated(ChangedGroup),
    GroupRemoved(ChangedGroup),
    SystemAlert {
        severity: Severity,
        message: String,
        details: DiskDetails,
    },
    Supervisor(SupervisorReport),
    SupervisorLagged {
        /// Reports that are lost.
        dropped: u64,
    },
}

/// Both ends are named twice: `from` and `to` as the event was first published, `sender` and `receiver` as messages have
/// them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SentMessage {
    pub message_id: MessageId,
    pub from: Address,
    pub to: serde_json::Value,
    pub sender: Address,
    pub receiver: serde_json::Value,
    pub performative: Performative,
    pub conversation_id: String,
    pub protocol: Option<String>,
}

/// A turn that a message had.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HandledMessage {
    pub message_id: MessageId,
    pub agent_id: AgentId,
    /// Which delivery it was, from 1.
    pub attempt: u32,
    /// Why the turn has no effects. None: it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the runtime says of a crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An agent that somebody changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedAgent {
    pub agent_id: AgentId,
    pub name: AgentName,
    /// The principal who asked for it.
    pub by: String,
}

/// A supervision group that somebody changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedGroup {
    pub name: AgentName,
    /// The principal who asked for it.
    pub by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Critical,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DiskDetails {
    pub disk_free_bytes: u64,
    pub disk_reserve_bytes: u64,
}

/// What a supervisor reports; a member that the report has no value for is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SupervisorReport {
    #[serde(skip)]
    pub kind: EventKind,
    /// Where in the tree, such as `node/core/journal`.
    pub path: String,
    /// The agent at that path, if one is there.
    pub agent_id: Option<AgentId>,
    pub incarnation: u64,
    /// The label of the exit.
    pub reason: Option<&'static str>,
    pub detail: Option<String>,
    /// Which restart within the period it is, and how many the restart intensity allows.
    pub attempt: Option<u32>,
    pub limit: Option<u32>,
    /// The wait before the next restart.
    pub delay_seconds: Option<f64>,
    /// From the exit to running again.
    pub recovery_seconds: Option<f64>,
}

impl EventBody {
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::MessageSent(_) => EventKind::MessageSent,
            Self::MessageProcessed(_) => EventKind::MessageProcessed,
            Self::MessageFailed(_) => EventKind::MessageFailed,
            Self::MessageCrashed(_) => EventKind::MessageCrashed,
            Self::DeadLetter { .. } => EventKind::DeadLetter,
            Self::AgentDeployed { .. } => EventKind::AgentDeployed,
            Self::AgentStarted(_) => EventKind::AgentStarted,
            Self::AgentSuspended(_) => EventKind::AgentSuspended,
            Self::AgentResumed(_) => EventKind::AgentResumed,
            Self::AgentDraining(_) => EventKind::AgentDraining,
            Self::AgentStopped { .. } => EventKind::AgentStopped,
            Self::AgentRemoved { .. } => EventKind::AgentRemoved,
            Self::AgentFailed { .. } => EventKind::AgentFailed,
            Self::GroupCreated(_) => EventKind::GroupCreated,
            Self::GroupUpdated(_) => EventKind::GroupUpdated,
            Self::GroupRemoved(_) => EventKind::GroupRemoved,
            Self::SystemAlert { .. } => EventKind::SystemAlert,
            Self::Supervisor(report) => report.kind,
            Self::SupervisorLagged { .. } => EventKind::SupervisorLagged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_kinds_own() {
        for &kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(EventKind::parse("agent.danced"), None);
    }

    #[test]
    fn a_supervisors_report_has_the_name_that_supervisors_give_it() {
        use supervisors::EventKind as Reported;
        for kind in [
            Reported::ChildStarted,
            Reported::ChildExited,
            Reported::StartFailed,
            Reported::Backoff,
            Reported::GroupRestart,
            Reported::Restarted,
            Reported::ChildFailed,
            Reported::ChildTerminated,
            Reported::Zombie,
            Reported::Meltdown,
            Reported::Suspended,
            Reported::Resumed,
            Reported::Replaced,
            Reported::AutoShutdown,
        ] {
            assert_eq!(EventKind::from(kind).as_str(), format!("supervisor.{}", kind.name()));
        }
    }
}
