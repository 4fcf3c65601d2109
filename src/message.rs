//! FIPA messages (SC00061): what an agent or a client drafts, and what the host makes of it.
//!
//! A [`Draft`] is believed in nothing: its receivers are texts, its sender is absent or a claim. A [`Message`] has been
//! stamped by the host. Content stays unparsed from the edge to the guest.

mod failure;
mod json;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

pub use failure::FailureReason;
pub use json::{Draft, MessageView, Texts};

use crate::fipa::Performative;
use crate::id::{AgentId, MessageId};
use crate::time::Timestamp;

/// Limits on one message, checked at the door.
pub mod limits {
    /// Bytes of content.
    pub const CONTENT_BYTES: usize = 4 << 20;
    /// Receivers of one message.
    pub const RECEIVERS: usize = 1_024;
    /// Bytes of each text parameter.
    pub const TEXT_BYTES: usize = 1_024;
    /// Bytes of a receiver as it is written.
    pub const RECEIVER_BYTES: usize = 256;
    /// Extension parameters (`x_…`) of one message.
    pub const EXTENSIONS: usize = 32;
    /// Bytes of all extension parameters, names and values in JSON.
    pub const EXTENSION_BYTES: usize = 64 << 10;
    /// Times a message may cause another before the host takes it for a loop.
    pub const HOPS: u32 = 10_000;
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// What was acknowledged outlives the process.
    #[default]
    Durable,
    /// It is in its place in memory. Of a message: it is on its way to the disk like any other, and the acknowledgement does
    /// not wait for that.
    Memory,
}

impl Durability {
    /// Reads `durable` or `memory`.
    pub fn parse(text: &str) -> Result<Self, InvalidDraft> {
        match text {
            "durable" => Ok(Self::Durable),
            "memory" => Ok(Self::Memory),
            _ => Err(InvalidDraft::new("durability", "must be durable or memory")),
        }
    }
}

/// The name of a caller of the API: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientName(String);

impl ClientName {
    /// The caller that shows no token.
    pub fn anonymous() -> Self {
        Self("anonymous".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientName {
    type Err = InvalidDraft;

    fn from_str(text: &str) -> Result<Self, InvalidDraft> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidDraft::new(
                "sender",
                "is no client name: 1 to 128 visible ASCII characters",
            ))
        }
    }
}

/// Who sends or receives, as the host knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    Agent(AgentId),
    /// A caller of the API, whose replies wait for it.
    Client(ClientName),
    /// The host itself, which tells of failures. FIPA's agent management system (SC00023).
    Platform,
}

impl Address {
    pub const fn agent(&self) -> Option<AgentId> {
        match self {
            Self::Agent(id) => Some(*id),
            Self::Client(_) | Self::Platform => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => id.fmt(f),
            Self::Client(name) => write!(f, "client:{}", name.as_str()),
            Self::Platform => f.write_str("platform"),
        }
    }
}

impl FromStr for Address {
    type Err = InvalidDraft;

    /// Reads what [`fmt::Display`] prints. Agent names are not addresses until the directory has resolved them.
    fn from_str(text: &str) -> Result<Self, InvalidDraft> {
        if text == "platform" {
            Ok(Self::Platform)
        } else if let Some(name) = text.strip_prefix("client:") {
            name.parse().map(Self::Client)
        } else {
            text.parse()
                .map(Self::Agent)
                .map_err(|_| InvalidDraft::new("receiver", "is no address: an agent id, client:<name> or platform"))
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a message says. Shared, never copied on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Valid JSON in UTF-8, as its sender wrote it.
    Json(Bytes),
    Bytes {
        content_type: String,
        data: Bytes,
    },
}

impl Content {
    /// Serialises `value`; for what the host itself says.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::Json(value.to_string().into())
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Json(json) => json.len(),
            Self::Bytes { data, .. } => data.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes with the content type.
    pub fn weight(&self) -> usize {
        match self {
            Self::Json(json) => json.len(),
            Self::Bytes { content_type, data } => content_type.len() + data.len(),
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Json(Bytes::from_static(b"null"))
    }
}

/// A message that the host has stamped. Sender, ids, time and hops are true.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub id: MessageId,
    pub performative: Performative,
    pub sender: Address,
    /// The set of FIPA, resolved, in the sender's order, without repetition; never empty.
    pub receivers: Vec<Address>,
    pub reply_to: Option<String>,
    pub content: Content,
    pub language: Option<String>,
    pub ontology: Option<String>,
    pub protocol: Option<String>,
    pub conversation_id: String,
    pub reply_with: Option<String>,
    pub in_reply_to: Option<String>,
    pub reply_by: Option<Timestamp>,
    pub timestamp: Timestamp,
    /// The message whose turn sent this one.
    pub causation_id: Option<MessageId>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// How many messages caused this one, each the next.
    pub hops: u32,
    /// Parameters whose names begin with `x_`.
    pub extensions: BTreeMap<String, serde_json::Value>,
}

impl Message {
    /// Bytes that this message costs a mailbox: its content, texts and extensions, and a flat sum for the rest.
    pub fn weight(&self) -> usize {
        const ENVELOPE: usize = 256;
        const ADDRESS: usize = 40;
        let texts = [
            &self.reply_to,
            &self.language,
            &self.ontology,
            &self.protocol,
            &self.reply_with,
            &self.in_reply_to,
            &self.traceparent,
        ];
        let name = |receiver: &Address| match receiver {
            Address::Client(name) => name.as_str().len(),
            Address::Agent(_) | Address::Platform => 0,
        };
        ENVELOPE
            + self.content.weight()
            + self.conversation_id.len()
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
            + self
                .receivers
                .iter()
                .map(|receiver| ADDRESS + name(receiver))
                .sum::<usize>()
            + extensions_weight(&self.extensions)
    }
}

/// Bytes of extension parameters, names and values in JSON.
pub(crate) fn extensions_weight(extensions: &BTreeMap<String, serde_json::Value>) -> usize {
    extensions
        .iter()
        .map(|(name, value)| name.len() + value.to_string().len())
        .sum()
}

/// A parameter of a draft that cannot be accepted: which, and what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Deserialize)]
#[error("`{field}` {problem}")]
pub struct InvalidDraft {
    pub field: String,
    pub problem: String,
}

impl InvalidDraft {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}
