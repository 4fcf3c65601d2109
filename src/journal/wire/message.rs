//! The encoding of a message.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Malformed, agent, id, message_id};
use crate::fipa::Performative;
use crate::json::RawJson;
use crate::message::{Address, Content, Message};
use crate::time::Timestamp;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireMessage {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    /// The spelling of the API: a number would need a second table.
    #[prost(string, tag = "2")]
    performative: String,
    #[prost(message, optional, tag = "3")]
    sender: Option<WireAddress>,
    #[prost(message, repeated, tag = "4")]
    receivers: Vec<WireAddress>,
    #[prost(string, optional, tag = "5")]
    reply_to: Option<String>,
    #[prost(oneof = "WireContent", tags = "6, 7")]
    content: Option<WireContent>,
    #[prost(string, optional, tag = "8")]
    language: Option<String>,
    #[prost(string, optional, tag = "9")]
    ontology: Option<String>,
    #[prost(string, optional, tag = "10")]
    protocol: Option<String>,
    #[prost(string, tag = "11")]
    conversation_id: String,
    #[prost(string, optional, tag = "12")]
    reply_with: Option<String>,
    #[prost(string, optional, tag = "13")]
    in_reply_to: Option<String>,
    #[prost(int64, optional, tag = "14")]
    reply_by: Option<i64>,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(bytes = "bytes", optional, tag = "16")]
    causation_id: Option<Bytes>,
    #[prost(string, optional, tag = "17")]
    traceparent: Option<String>,
    #[prost(uint32, tag = "18")]
    hops: u32,
    /// Each value is the JSON text that its author wrote.
    #[prost(btree_map = "string, string", tag = "19")]
    extensions: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireContent {
    #[prost(bytes = "bytes", tag = "6")]
    Json(Bytes),
    #[prost(message, tag = "7")]
    Typed(WireTyped),
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireTyped {
    #[prost(string, tag = "1")]
    content_type: String,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireAddress {
    #[prost(oneof = "Party", tags = "1, 2, 3")]
    party: Option<Party>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Party {
    #[prost(bytes = "bytes", tag = "1")]
    Agent(Bytes),
    #[prost(string, tag = "2")]
    Client(String),
    #[prost(bool, tag = "3")]
    Platform(bool),
}

impl WireAddress {
    fn of(address: &Address) -> Self {
        let party = match address {
            Address::Agent(agent) => Party::Agent(id(agent.uuid())),
            Address::Client(name) => Party::Client(name.as_str().to_owned()),
            Address::Platform => Party::Platform(true),
        };
        Self { party: Some(party) }
    }

    fn address(self) -> Result<Address, Malformed> {
        Ok(match self.party.ok_or(Malformed("an address is of an unknown kind"))? {
            Party::Agent(id) => Address::Agent(agent(&id)?),
            Party::Client(name) => Address::Client(name.parse().map_err(|_| Malformed("a client's name is illegal"))?),
            Party::Platform(_) => Address::Platform,
        })
    }
}

impl WireMessage {
    pub(super) fn of(message: &Message) -> Self {
        Self {
            id: id(message.id.uuid()),
            performative: message.performative.as_str().to_owned(),
            sender: Some(WireAddress::of(&message.sender)),
            receivers: message.receivers.iter().map(WireAddress::of).collect(),
            reply_to: message.reply_to.clone(),
            content: Some(match &message.content {
                Content::Json(json) => WireContent::Json(json.clone()),
                Content::Bytes { content_type, data } => WireContent::Typed(WireTyped {
                    content_type: content_type.clone(),
                    data: data.clone(),
                }),
            }),
            language: message.language.clone(),
            ontology: message.ontology.clone(),
            protocol: message.protocol.clone(),
            conversation_id: message.conversation_id.clone(),
            reply_with: message.reply_with.clone(),
            in_reply_to: message.in_reply_to.clone(),
            reply_by: message.reply_by.map(Timestamp::micros),
            timestamp: message.timestamp.micros(),
            causation_id: message.causation_id.map(|cause| id(cause.uuid())),
            traceparent: message.traceparent.clone(),
            hops: message.hops,
            extensions: message
                .extensions
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().to_owned()))
                .collect(),
        }
    }

    pub(super) fn message(self) -> Result<Message, Malformed> {
        Ok(Message {
            id: message_id(&self.id)?,
            performative: Performative::parse(&self.performative)
                .map_err(|_| Malformed("an act is unknown"))?
                .0,
            sender: self.sender.ok_or(Malformed("a message has no sender"))?.address()?,
            receivers: self
                .receivers
                .into_iter()
                .map(WireAddress::address)
                .collect::<Result<_, _>>()?,
            reply_to: self.reply_to,
            content: match self.content.ok_or(Malformed("a message has no content"))? {
                WireContent::Json(json) => Content::Json(json),
                WireContent::Typed(WireTyped { content_type, data }) => Content::Bytes { content_type, data },
            },
            language: self.language,
            ontology: self.ontology,
            protocol: self.protocol,
            conversation_id: self.conversation_id,
            reply_with: self.reply_with,
            in_reply_to: self.in_reply_to,
            reply_by: self.reply_by.map(Timestamp::from_micros),
            timestamp: Timestamp::from_micros(self.timestamp),
            causation_id: self.causation_id.as_ref().map(message_id).transpose()?,
            traceparent: self.traceparent,
            hops: self.hops,
            extensions: self
                .extensions
                .into_iter()
                .map(|(name, json)| RawJson::parse_stored(json).map(|value| (name, value)))
                .collect::<Result<_, _>>()
                .map_err(|_| Malformed("an extension is not JSON"))?,
        })
    }
}
