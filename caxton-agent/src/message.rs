//! Messages between agents.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};

use crate::Timestamp;

macro_rules! performatives {
    ($($act:ident $text:literal $doc:literal)+) => {
        /// The 22 communicative acts of FIPA SC00037.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        pub enum Performative {
            $(#[doc = $doc] #[serde(rename = $text)] $act,)+
        }

        impl Performative {
            /// The name in the API, such as `accept_proposal`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$act => $text,)+ }
            }
        }

        #[cfg(target_arch = "wasm32")]
        impl From<crate::guest::Act> for Performative {
            fn from(act: crate::guest::Act) -> Self {
                match act { $(crate::guest::Act::$act => Self::$act,)+ }
            }
        }

        #[cfg(target_arch = "wasm32")]
        impl From<Performative> for crate::guest::Act {
            fn from(act: Performative) -> Self {
                match act { $(Performative::$act => Self::$act,)+ }
            }
        }
    };
}

performatives! {
    AcceptProposal "accept_proposal" "The sender accepts a proposal: the receiver is now committed to it."
    Agree "agree" "The sender agrees to do what was requested, now or later."
    Cancel "cancel" "The sender asks that what an earlier message started be ended."
    Cfp "cfp" "A call for proposals: what would the receiver do, and on what terms? Needs a `reply_by`."
    Confirm "confirm" "The content is true; the receiver was known to be uncertain of it."
    Disconfirm "disconfirm" "The content is false; the receiver was known to believe it."
    Failure "failure" "What was asked was tried and did not succeed. Something may have happened."
    Inform "inform" "The content is true: an answer, a result, a piece of news."
    InformIf "inform_if" "Inform the receiver whether the content is true. Used within the content of a request."
    InformRef "inform_ref" "Inform the receiver of what the content describes. Used within the content of a request."
    NotUnderstood "not_understood" "The message in `in_reply_to` made no sense to the sender."
    Propagate "propagate" "Handle the message in the content, and pass it on to the agents that the content describes."
    Propose "propose" "An offer to do something on the terms in the content. It binds."
    Proxy "proxy" "Pass the message in the content on to the agents that the content describes."
    QueryIf "query_if" "Is the content true?"
    QueryRef "query_ref" "What is the thing that the content describes?"
    Refuse "refuse" "The sender will not do it. Nothing happened."
    RejectProposal "reject_proposal" "The sender turns a proposal down: whoever made it is free of it."
    Request "request" "Please do this."
    RequestWhen "request_when" "Please do this, once, when a condition holds."
    RequestWhenever "request_whenever" "Please do this each time that a condition holds."
    Subscribe "subscribe" "Please inform me of this value, now and each time that it changes."
}

impl Performative {
    /// Whether the act asks the receiver for something new. An agent that does not know such an act replies with
    /// [`not_understood`](crate::Host::not_understood). All other acts reply, inform, or end a conversation.
    pub const fn asks(self) -> bool {
        matches!(
            self,
            Self::Cfp
                | Self::Propagate
                | Self::Propose
                | Self::Proxy
                | Self::QueryIf
                | Self::QueryRef
                | Self::Request
                | Self::RequestWhen
                | Self::RequestWhenever
                | Self::Subscribe
        )
    }
}

impl fmt::Display for Performative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The content of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// One JSON value, as its text.
    Json(String),
    /// Bytes, with the content type that says what they are.
    Bytes {
        /// A media type, such as `image/png`.
        content_type: String,
        /// The bytes.
        data: Vec<u8>,
    },
}

impl Content {
    /// The value as JSON. An error if it has no JSON form, such as a map whose keys are not texts.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        serde_json::to_string(value).map(Self::Json)
    }

    /// Reads the JSON as a `T`. The error says where the value does not fit `T`, or that the content is not JSON.
    pub fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        match self {
            Self::Json(text) => serde_json::from_str(text),
            Self::Bytes { content_type, .. } => Err(serde_json::Error::custom(format_args!(
                "the content is {content_type} and not JSON"
            ))),
        }
    }
}

/// A message that an agent receives. The host has checked and stamped it, so `sender` cannot be forged.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Message {
    /// The host's id of this message. Unique, and the same at each delivery of it.
    pub message_id: String,
    /// The kind of the message.
    pub performative: Performative,
    /// The address of the sender. A message can be sent to it.
    pub sender: String,
    /// Every receiver of the message, resolved to ids by the host.
    pub receivers: Vec<String>,
    /// Where a reply should go, if not to `sender`. See [`answer_to`](Self::answer_to).
    pub reply_to: Option<String>,
    /// The content, not parsed. See [`content()`](Self::content).
    pub content: Content,
    /// The language that the content is written in.
    pub language: Option<String>,
    /// The encoding of the content in that language.
    pub encoding: Option<String>,
    /// The ontology that gives the symbols of the content their meaning.
    pub ontology: Option<String>,
    /// The protocol that the conversation follows, such as `fipa-contract-net`.
    pub protocol: Option<String>,
    /// The conversation that the message is part of. Never empty.
    pub conversation_id: String,
    /// The value that a reply to this message has as `in_reply_to`.
    pub reply_with: Option<String>,
    /// The `reply_with` of the message to which this one replies.
    pub in_reply_to: Option<String>,
    /// The latest time at which a reply is accepted, RFC 3339.
    pub reply_by: Option<String>,
    /// When the host accepted the message, RFC 3339.
    pub timestamp: String,
    /// 1 at the first delivery, and one more after each crash of a turn with this message. A crashed turn sent nothing and
    /// stored nothing.
    pub delivery_attempt: u32,
    /// Parameters that the sender added: names that begin with `x_`, and JSON texts.
    pub extensions: Vec<(String, String)>,
}

impl Message {
    /// Reads the content as a `T`. The error says where it does not fit `T`, or that it is not JSON.
    pub fn content<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        self.content.read()
    }

    /// The address for a reply: `reply_to`, or else the sender.
    pub fn answer_to(&self) -> &str {
        self.reply_to.as_deref().unwrap_or(&self.sender)
    }
}

/// A message that an agent sends. The host adds sender, message id and timestamp.
///
/// ```
/// use caxton_agent::{Draft, Performative};
///
/// let draft = Draft::new(Performative::Request, "seller").content(&("widgets", 100))?.reply_with("order-1");
/// assert_eq!(draft.content.read::<(String, u64)>()?, ("widgets".into(), 100));
/// # Ok::<(), caxton_agent::Failure>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Draft {
    /// The kind of the message.
    pub performative: Performative,
    /// At least one: an agent's id or name, `cap:<capability>`, `all:<capability>`, or the `sender` of a message.
    pub receivers: Vec<String>,
    /// The content. JSON's `null` if there is none.
    pub content: Content,
    /// Absent: the conversation of this turn's message if the draft replies to it, and otherwise a new one.
    pub conversation_id: Option<String>,
    /// The value that a reply should have as `in_reply_to`.
    pub reply_with: Option<String>,
    /// The `reply_with` of the message to which this one replies.
    pub in_reply_to: Option<String>,
    /// The latest time at which a reply is accepted. Required in a `cfp`.
    pub reply_by: Option<Timestamp>,
    /// The protocol that the conversation follows.
    pub protocol: Option<String>,
    /// The ontology that gives the symbols of the content their meaning.
    pub ontology: Option<String>,
    /// The language that the content is written in.
    pub language: Option<String>,
    /// Where a reply should go, if not to this agent.
    pub reply_to: Option<String>,
    /// Own parameters: names that begin with `x_`, and JSON texts.
    pub extensions: Vec<(String, String)>,
}

macro_rules! setters {
    ($($field:ident)+) => {$(
        #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: impl Into<String>) -> Self {
            self.$field = Some($field.into());
            self
        }
    )+};
}

impl Draft {
    /// A message to one receiver: an agent's id or name, or the `sender` of a message.
    pub fn new(performative: Performative, receiver: impl Into<String>) -> Self {
        Self {
            performative,
            receivers: vec![receiver.into()],
            content: Content::Json("null".into()),
            conversation_id: None,
            reply_with: None,
            in_reply_to: None,
            reply_by: None,
            protocol: None,
            ontology: None,
            language: None,
            reply_to: None,
            extensions: Vec::new(),
        }
    }

    /// A message to one agent that has the capability.
    pub fn to_one(performative: Performative, capability: &str) -> Self {
        Self::new(performative, format!("cap:{capability}"))
    }

    /// A broadcast: one message to every running agent with the capability, also to the sender if it has the capability.
    pub fn to_all(performative: Performative, capability: &str) -> Self {
        Self::new(performative, format!("all:{capability}"))
    }

    /// A reply to a message, in its conversation, protocol and ontology. [`Host::reply`](crate::Host::reply) is shorter;
    /// this is for a reply that needs a `reply_with`, or that is sent in a later turn.
    pub fn answer(performative: Performative, message: &Message) -> Self {
        Self {
            conversation_id: Some(message.conversation_id.clone()),
            in_reply_to: message.reply_with.clone(),
            protocol: message.protocol.clone(),
            ontology: message.ontology.clone(),
            ..Self::new(performative, message.answer_to())
        }
    }

    /// Adds a receiver.
    #[must_use]
    pub fn and_to(mut self, receiver: impl Into<String>) -> Self {
        self.receivers.push(receiver.into());
        self
    }

    setters! { conversation_id reply_with in_reply_to protocol ontology language reply_to }

    /// Sets [`reply_by`](field@Self::reply_by): `host.now() + Duration::from_secs(3)`.
    #[must_use]
    pub fn reply_by(mut self, time: Timestamp) -> Self {
        self.reply_by = Some(time);
        self
    }

    /// Adds a parameter whose name begins with `x_`. An error if the value has no JSON form.
    pub fn extension<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> serde_json::Result<Self> {
        self.extensions.push((name.to_owned(), serde_json::to_string(value)?));
        Ok(self)
    }

    /// Sets the content to a value as JSON. An error if the value has no JSON form.
    pub fn content<T: Serialize + ?Sized>(self, value: &T) -> serde_json::Result<Self> {
        Ok(self.raw_content(Content::json(value)?))
    }

    /// Sets the content as it is.
    #[must_use]
    pub fn raw_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }
}
