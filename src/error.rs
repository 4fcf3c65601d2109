//! The one error type of all use cases. It knows no protocol: REST and gRPC each map its [`Code`] to a status of theirs, once.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};

use crate::id::{AgentId, AgentName};
use crate::idempotency::{InvalidKey, Key};
use crate::json::InvalidJson;
use crate::message::{FailureReason, InvalidDraft};
use crate::time::Timestamp;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The published error codes. Clients act on them, so a code keeps its name and its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    AgentNotFound,
    MessageNotFound,
    SupervisorNotFound,
    NotFound,
    AgentAlreadyExists,
    Conflict,
    IdempotencyKeyReused,
    InvalidWasm,
    InvalidRequest,
    InvalidState,
    PayloadTooLarge,
    ResourceLimitExceeded,
    MailboxFull,
    DeploymentFailed,
    MessageDeliveryFailed,
    Forbidden,
    Timeout,
    Unavailable,
    Internal,
}

impl Code {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentNotFound => "AGENT_NOT_FOUND",
            Self::MessageNotFound => "MESSAGE_NOT_FOUND",
            Self::SupervisorNotFound => "SUPERVISOR_NOT_FOUND",
            Self::NotFound => "NOT_FOUND",
            Self::AgentAlreadyExists => "AGENT_ALREADY_EXISTS",
            Self::Conflict => "CONFLICT",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::InvalidWasm => "INVALID_WASM",
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::InvalidState => "INVALID_STATE",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::ResourceLimitExceeded => "RESOURCE_LIMIT_EXCEEDED",
            Self::MailboxFull => "MAILBOX_FULL",
            Self::DeploymentFailed => "DEPLOYMENT_FAILED",
            Self::MessageDeliveryFailed => "MESSAGE_DELIVERY_FAILED",
            Self::Forbidden => "FORBIDDEN",
            Self::Timeout => "TIMEOUT",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL_ERROR",
        }
    }
}

/// One finding about a module: the rule that it breaks, what was found, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    pub rule: Cow<'static, str>,
    pub found: String,
    pub expected: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Agent with ID '{0}' not found")]
    AgentNotFound(String),
    #[error("Message '{0}' not found")]
    MessageNotFound(String),
    #[error("nothing in the supervision tree has the path '{0}'")]
    PathNotFound(String),
    #[error("an agent named '{name}' exists already, with the id {existing}; remove it or choose another name")]
    AgentAlreadyExists { name: AgentName, existing: AgentId },
    /// The request contradicts what exists. The text says how, and names the next step.
    #[error("{problem}")]
    Conflict {
        problem: String,
        /// What it is about, for programs: names and keys by their members in the API.
        about: Vec<(&'static str, String)>,
    },
    #[error("the Idempotency-Key '{0}' was used for another request; give each request a key of its own")]
    KeyReused(Key),
    #[error("supervision group '{0}' not found")]
    GroupNotFound(String),
    #[error("invalid WebAssembly module: {}", first(.0))]
    InvalidWasm(Vec<Finding>),
    #[error("`{field}` {problem}")]
    InvalidRequest { field: String, problem: String },
    #[error("`reply_by` is {0}, which is past, so nobody can answer in time; give a later time, or leave it out")]
    Expired(Timestamp),
    #[error("agent {agent} is {state}: {mend}")]
    InvalidState {
        agent: AgentId,
        state: &'static str,
        mend: &'static str,
    },
    #[error("the {what} is larger than {limit} bytes")]
    PayloadTooLarge { what: &'static str, limit: usize },
    #[error("{what} is at its limit of {limit}")]
    LimitExceeded { what: &'static str, limit: u64 },
    /// Too little is left of a resource that all agents share.
    #[error(
        "not enough {resource} are free: {used} of {limit} are in use; remove agents, or raise the limit in the section [wasm] \
         of the configuration"
    )]
    NoRoom {
        resource: &'static str,
        limit: u64,
        used: u64,
    },
    #[error("the mailbox of {agent} is full ({what})")]
    MailboxFull {
        agent: AgentId,
        what: &'static str,
        retry_after: Duration,
    },
    #[error("the agent did not start: {reason}")]
    DeploymentFailed { reason: String, kind: &'static str },
    #[error("the message could not be delivered: {reason}")]
    DeliveryFailed { reason: String },
    #[error("{0}")]
    Forbidden(String),
    #[error("no reply within {} s; the message stays delivered, and a later reply can be read in the history", .waited.as_secs_f64())]
    Timeout {
        waited: Duration,
        message_id: crate::id::MessageId,
        conversation_id: String,
    },
    #[error("the server cannot accept this request now: {reason}")]
    Unavailable { reason: String, retry_after: Duration },
    /// A fault of the server. Callers see no more than this text; the server's own log has the source.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn first(findings: &[Finding]) -> String {
    let more = match findings.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    findings
        .first()
        .map_or_else(String::new, |f| format!("{}; expected {}{more}", f.found, f.expected))
}

impl Error {
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::InvalidRequest {
            field: field.into(),
            problem: problem.into(),
        }
    }

    pub fn conflict<const N: usize>(problem: impl Into<String>, about: [(&'static str, String); N]) -> Self {
        Self::Conflict {
            problem: problem.into(),
            about: about.into(),
        }
    }

    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(error.into())
    }

    pub const fn code(&self) -> Code {
        match self {
            Self::AgentNotFound(_) => Code::AgentNotFound,
            Self::MessageNotFound(_) => Code::MessageNotFound,
            Self::PathNotFound(_) | Self::GroupNotFound(_) => Code::SupervisorNotFound,
            Self::Conflict { .. } => Code::Conflict,
            Self::KeyReused(_) => Code::IdempotencyKeyReused,
            Self::AgentAlreadyExists { .. } => Code::AgentAlreadyExists,
            Self::InvalidWasm(_) => Code::InvalidWasm,
            Self::InvalidRequest { .. } | Self::Expired(_) => Code::InvalidRequest,
            Self::InvalidState { .. } => Code::InvalidState,
            Self::PayloadTooLarge { .. } => Code::PayloadTooLarge,
            Self::LimitExceeded { .. } | Self::NoRoom { .. } => Code::ResourceLimitExceeded,
            Self::MailboxFull { .. } => Code::MailboxFull,
            Self::DeploymentFailed { .. } => Code::DeploymentFailed,
            Self::DeliveryFailed { .. } => Code::MessageDeliveryFailed,
            Self::Forbidden(_) => Code::Forbidden,
            Self::Timeout { .. } => Code::Timeout,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// The values that a program can act on: ids, fields, limits. Never internal text.
    pub fn details(&self) -> Value {
        match self {
            Self::AgentNotFound(agent) => json!({"agent_id": agent, "searched_at": Timestamp::now()}),
            Self::MessageNotFound(id) => json!({"message_id": id}),
            Self::PathNotFound(path) => json!({"path": path}),
            Self::GroupNotFound(name) => json!({"name": name}),
            Self::AgentAlreadyExists { name, existing } => json!({"name": name, "agent_id": existing}),
            Self::InvalidWasm(findings) => json!({"findings": findings}),
            Self::InvalidRequest { field, .. } => json!({"field": field}),
            Self::Expired(_) => json!({"field": "reply_by", "reason": FailureReason::Expired}),
            Self::KeyReused(key) => json!({"field": "Idempotency-Key", "key": key.as_str()}),
            Self::InvalidState { agent, state, .. } => json!({"agent_id": agent, "state": state}),
            Self::PayloadTooLarge { limit, .. } => json!({"limit_bytes": limit}),
            Self::LimitExceeded { what, limit } => json!({"what": what, "limit": limit}),
            Self::NoRoom { resource, limit, used } => json!({"resource": resource, "limit": limit, "used": used}),
            Self::MailboxFull {
                agent,
                what,
                retry_after,
            } => {
                json!({"agent_id": agent, "what": what, "retry_after_seconds": retry_after.as_secs_f64()})
            }
            Self::DeploymentFailed { kind, reason } => json!({"kind": kind, "reason": reason}),
            Self::Timeout {
                message_id,
                conversation_id,
                waited,
            } => {
                json!({"message_id": message_id, "conversation_id": conversation_id, "waited_seconds": waited.as_secs_f64()})
            }
            Self::Unavailable { retry_after, .. } => json!({"retry_after_seconds": retry_after.as_secs_f64()}),
            Self::Conflict { about, .. } => about
                .iter()
                .map(|(member, value)| ((*member).to_owned(), Value::from(value.as_str())))
                .collect(),
            Self::DeliveryFailed { reason } => json!({"reason": reason}),
            Self::Forbidden(_) | Self::Internal(_) => json!({}),
        }
    }

    /// How long a caller should wait before it tries again, where trying again can help.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::MailboxFull { retry_after, .. } | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            Self::AgentNotFound(_)
            | Self::MessageNotFound(_)
            | Self::PathNotFound(_)
            | Self::GroupNotFound(_)
            | Self::Conflict { .. }
            | Self::KeyReused(_)
            | Self::AgentAlreadyExists { .. }
            | Self::InvalidWasm(_)
            | Self::InvalidRequest { .. }
            | Self::Expired(_)
            | Self::InvalidState { .. }
            | Self::PayloadTooLarge { .. }
            | Self::LimitExceeded { .. }
            | Self::NoRoom { .. }
            | Self::DeploymentFailed { .. }
            | Self::DeliveryFailed { .. }
            | Self::Forbidden(_)
            | Self::Timeout { .. }
            | Self::Internal(_) => None,
        }
    }
}

impl From<InvalidDraft> for Error {
    fn from(error: InvalidDraft) -> Self {
        match error {
            InvalidDraft::Parameter { field, problem } => Self::InvalidRequest { field, problem },
            InvalidDraft::TooLarge { what, limit } => Self::PayloadTooLarge { what, limit },
        }
    }
}

impl From<InvalidJson> for Error {
    fn from(InvalidJson { field, problem }: InvalidJson) -> Self {
        Self::InvalidRequest { field, problem }
    }
}

impl From<InvalidKey> for Error {
    fn from(error: InvalidKey) -> Self {
        Self::invalid("Idempotency-Key", error.to_string())
    }
}
