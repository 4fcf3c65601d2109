//! FIPA messages (SC00061): drafts of agents and clients, and the messages that the host makes of them.
//!
//! Nothing in a [`Draft`] is trusted: its receivers are texts that nobody resolved, and its sender is absent or a claim. A
//! [`Message`] has been stamped by the host. Nobody between the interface and the guest parses the content.

mod draft;
mod failure;
mod status;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

pub use draft::Draft;
pub use failure::FailureReason;
pub use status::Status;
pub use view::MessageView;

use crate::fipa::Performative;
use crate::id::{AgentId, MessageId, Partition};
use crate::json::{InvalidJson, RawJson};
use crate::time::Timestamp;

/// Limits on one message, checked when it enters the server.
pub mod limits {
    /// The longest content, in bytes.
    pub const CONTENT_BYTES: usize = 4 << 20;
    /// The most receivers of one message.
    pub const RECEIVERS: usize = 1_024;
    /// The longest text parameter, in bytes.
    pub const TEXT_BYTES: usize = 1_024;
    /// The longest receiver as its sender writes it, in bytes.
    pub const RECEIVER_BYTES: usize = 256;
    /// The most extension parameters (`x_…`) of one message.
    pub const EXTENSIONS: usize = 32;
    /// The size of all extension parameters together: names and values, in JSON.
    pub const EXTENSION_BYTES: usize = 64 << 10;
    /// The longest chain of messages that each caused the next. The host takes a longer one for a loop.
    pub const HOPS: u32 = 10_000;
}

/// What the acknowledgement of a message promises, or what a node keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The message is on the disk, and outlives the process.
    #[default]
    Durable,
    /// The message is accepted in memory. A durable node still writes it to the disk like any other, but acknowledges it earlier.
    Memory,
}

impl Durability {
    /// What an error says of another text.
    pub const EXPECTED: &'static str = "must be `durable` or `memory`";

    /// Reads `durable` or `memory`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "durable" => Some(Self::Durable),
            "memory" => Some(Self::Memory),
            _ => None,
        }
    }
}

/// The name of a caller of the API: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientName(String);

impl ClientName {
    /// The partition, out of `count`, that records what this client gets and sends.
    pub fn partition(&self, count: u16) -> Partition {
        Partition::of(&format!("client:{}", self.0), count)
    }

    /// The name of a caller without a token.
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
                "is no client name, which has 1 to 128 visible ASCII characters",
            ))
        }
    }
}

/// A sender or receiver that the host has resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    Agent(AgentId),
    /// A caller of the API.
    Client(ClientName),
    /// The host itself, which sends failures and fired timers. It is FIPA's agent management system (SC00023).
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

    /// Reads what [`fmt::Display`] prints. The name of an agent is not an address: the directory resolves it to one.
    fn from_str(text: &str) -> Result<Self, InvalidDraft> {
        if text == "platform" {
            Ok(Self::Platform)
        } else if let Some(name) = text.strip_prefix("client:") {
            name.parse().map(Self::Client)
        } else {
            text.parse()
                .map(Self::Agent)
                .map_err(|_| InvalidDraft::new("receiver", "is not an address: an agent id, client:<name> or platform"))
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The content of a message. The parts of the server share its bytes and do not copy them.
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
    /// The media type of bytes of an unknown type.
    pub const OCTETS: &'static str = "application/octet-stream";

    /// Whether a media type is that of JSON, in any spelling and with any parameters.
    pub fn is_json(media: &str) -> bool {
        media
            .parse::<mime::Mime>()
            .is_ok_and(|media| media.essence_str() == mime::APPLICATION_JSON.essence_str())
    }

    /// The content of a message that the host itself sends.
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

    /// The size in bytes, with the content type.
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

/// A message that the host has stamped: its sender, ids, time and hops can be trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub id: MessageId,
    pub performative: Performative,
    pub sender: Address,
    /// The resolved receivers: in the sender's order, without repetition, never empty.
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
    /// The length of the chain of messages that caused this one.
    pub hops: u32,
    /// Parameters whose names begin with `x_`.
    pub extensions: BTreeMap<String, RawJson>,
}

impl Message {
    /// The bytes that this message takes of a mailbox's limit: its content, texts and extensions, and a fixed sum for the rest.
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

/// The size of extension parameters in bytes: names and values, in JSON.
pub(crate) fn extensions_weight(extensions: &BTreeMap<String, RawJson>) -> usize {
    extensions
        .iter()
        .map(|(name, value)| name.len() + value.as_str().len())
        .sum()
}

/// A draft is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDraft {
    /// A parameter is wrong: its name, what is wrong with it, and what is expected.
    #[error("`{field}` {problem}")]
    Parameter { field: String, problem: String },
    #[error("the {what} is larger than {limit} bytes")]
    TooLarge { what: &'static str, limit: usize },
}

impl InvalidDraft {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Parameter {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl From<InvalidJson> for InvalidDraft {
    fn from(InvalidJson { field, problem }: InvalidJson) -> Self {
        Self::Parameter { field, problem }
    }
}
