//! Every kind of event, and the body of each kind.
//!
//! An event tells subscribers and the history that something happened. The names of the kinds and the members of the bodies are
//! part of the published interface, and they are defined here and nowhere else.

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
    /// The message was given up: nobody will handle it.
    DeadLetter = "dead_letter",

    AgentDeployed = "agent.deployed",
    AgentStarted = "agent.started",
    AgentSuspended = "agent.suspended",
    AgentResumed = "agent.resumed",
    /// The agent takes no more messages and handles those that it has.
    AgentDraining = "agent.draining",
    AgentStopped = "agent.stopped",
    /// The agent's supervisor restarts it no more.
    AgentFailed = "agent.failed",
    AgentRemoved = "agent.removed",

    GroupCreated = "group.created",
    GroupUpdated = "group.updated",
    GroupRemoved = "group.removed",

    SystemAlert = "system.alert",

    // Reports of a supervisor about a child or about itself. `supervisors::EventKind` explains each.
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

/// The prefix of all kinds that supervisors report.
pub const REPORTED_BY_SUPERVISORS: &str = "supervisor.";

impl EventKind {
    /// Whether the kind is one of `message.*`: a message was sent, or a turn handled it. `dead_letter` is not one of them, and is
    /// subscribed to by its own name.
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
        /// How many reports were lost.
        dropped: u64,
    },
}

/// Sender and receiver are in the body twice: as `from` and `to`, the names that were published first, and as `sender` and
/// `receiver`, the names that messages use.
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

/// A message, and how a turn with it ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HandledMessage {
    pub message_id: MessageId,
    pub agent_id: AgentId,
    /// The version that ran the turn, and which of its instances; both count from 1.
    pub revision: u32,
    pub instance: u32,
    /// The number of the delivery, from 1.
    pub attempt: u32,
    /// Why the turn had no effects. None: it had effects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The runtime's description of a crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An agent, and who changed its status.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedAgent {
    pub agent_id: AgentId,
    pub name: AgentName,
    /// The principal who asked for the change.
    pub by: String,
}

/// A supervision group, and who changed it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedGroup {
    pub name: AgentName,
    /// The principal who asked for the change.
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

/// The report of a supervisor. A member without a value is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SupervisorReport {
    #[serde(skip)]
    pub kind: EventKind,
    /// The path in the supervision tree, such as `node/core/journal`.
    pub path: String,
    /// The agent at that path, if there is one.
    pub agent_id: Option<AgentId>,
    pub incarnation: u64,
    /// The label of the exit reason, such as `trap`.
    pub reason: Option<&'static str>,
    pub detail: Option<String>,
    /// The number of this restart within the period, and how many the restart intensity allows.
    pub attempt: Option<u32>,
    pub limit: Option<u32>,
    /// The wait before the next restart.
    pub delay_seconds: Option<f64>,
    /// The time from the exit until the child ran again.
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
