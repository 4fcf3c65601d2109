//! A message as JSON, as REST, the WebSocket and guests of the core ABI get it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Content, Message};

/// The JSON form of a message. The order of members is part of the interface, so that a small guest can stop reading early: the
/// members for routing come first, and the content comes last.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    pub message: &'a Message,
    /// 1 for the first delivery, and one more for each delivery after a crash. Only guests get it.
    pub delivery_attempt: Option<u32>,
    /// The status of the message. Only the API shows it.
    pub status: Option<&'a str>,
}

impl<'a> MessageView<'a> {
    pub const fn of(message: &'a Message) -> Self {
        Self {
            message,
            delivery_attempt: None,
            status: None,
        }
    }

    /// The receivers in JSON: a string for one, an array for several.
    pub fn receivers(message: &Message) -> serde_json::Value {
        match message.receivers.as_slice() {
            [one] => one.to_string().into(),
            several => several.iter().map(ToString::to_string).collect(),
        }
    }

    pub fn to_json(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("a message is serialisable: its keys are strings and its content is JSON")
    }
}

impl Serialize for MessageView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.message;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("message_id", &message.id)?;
        map.serialize_entry("performative", &message.performative)?;
        map.serialize_entry("sender", &message.sender)?;
        match message.receivers.as_slice() {
            [one] => map.serialize_entry("receiver", one)?,
            several => map.serialize_entry("receiver", several)?,
        }
        map.serialize_entry("conversation_id", &message.conversation_id)?;
        let mut text =
            |name: &'static str, text: Option<&str>| text.map_or(Ok(()), |text| map.serialize_entry(name, text));
        text("reply_with", message.reply_with.as_deref())?;
        text("in_reply_to", message.in_reply_to.as_deref())?;
        text("protocol", message.protocol.as_deref())?;
        if let Some(reply_by) = message.reply_by {
            map.serialize_entry("reply_by", &reply_by)?;
        }
        map.serialize_entry("timestamp", &message.timestamp)?;
        if let Some(attempt) = self.delivery_attempt {
            map.serialize_entry("delivery_attempt", &attempt)?;
        }
        let mut text =
            |name: &'static str, text: Option<&str>| text.map_or(Ok(()), |text| map.serialize_entry(name, text));
        text("reply_to", message.reply_to.as_deref())?;
        text("language", message.language.as_deref())?;
        text("ontology", message.ontology.as_deref())?;
        text("traceparent", message.traceparent.as_deref())?;
        text("status", self.status)?;
        if let Some(cause) = message.causation_id {
            map.serialize_entry("causation_id", &cause)?;
        }
        if message.hops > 0 {
            map.serialize_entry("hops", &message.hops)?;
        }
        for (name, value) in &message.extensions {
            map.serialize_entry(name, value)?;
        }
        message.content.serialize_members(&mut map)?;
        map.end()
    }
}

impl Content {
    /// Adds the members that show a content: `content` as it was written, and for bytes what they are.
    pub fn serialize_members<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Json(json) => {
                let raw: &RawValue = serde_json::from_slice(json).map_err(serde::ser::Error::custom)?;
                map.serialize_entry("content", raw)
            }
            Self::Bytes { content_type, data } => {
                map.serialize_entry("encoding", "base64")?;
                map.serialize_entry("content_type", content_type)?;
                map.serialize_entry("content", &BASE64.encode(data))
            }
        }
    }
}
