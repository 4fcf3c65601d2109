//! A message as JSON. REST, the WebSocket and guests of the core ABI use the same form.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Content, Durability, InvalidDraft, Message, limits};
use crate::fipa::Performative;
use crate::time::Timestamp;

/// One text or an array of texts: the two forms of `receiver`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(pub Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Texts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                    if texts.len() > limits::RECEIVERS {
                        return Err(serde::de::Error::custom(format_args!(
                            "more than {} receivers",
                            limits::RECEIVERS
                        )));
                    }
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A message that a client or a guest asks to send. Its form has been checked, but no name in it has been resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    pub performative: Option<Performative>,
    /// A claim. Only the API reads it, to refuse the request or to name its client; the host stamps the sender.
    pub sender: Option<String>,
    /// Agent ids or names, `cap:<capability>`, `all:<capability>`, `client:<name>`.
    pub receivers: Vec<String>,
    pub reply_to: Option<String>,
    pub content: Content,
    pub language: Option<String>,
    pub ontology: Option<String>,
    pub protocol: Option<String>,
    pub conversation_id: Option<String>,
    pub reply_with: Option<String>,
    pub in_reply_to: Option<String>,
    pub reply_by: Option<Timestamp>,
    pub extensions: BTreeMap<String, serde_json::Value>,
    /// What the acknowledgement to a client promises. A guest gets no acknowledgement, so it has no effect there.
    pub durability: Durability,
    /// The W3C trace context of the request. REST and gRPC set it; it is never read from a body.
    pub traceparent: Option<String>,
}

impl Draft {
    /// Reads a draft from JSON. The name of an own parameter must begin with `x_`. Members that the host stamps are accepted and
    /// ignored, so that a message from the history can be sent again. If a member is there twice, the last one counts. An error
    /// names the member and what is expected.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidDraft> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_slice(json)
            .map_err(|error| InvalidDraft::new("body", format!("is not a message as a JSON object: {error}")))?;
        let mut draft = Self::default();
        let (mut raw_content, mut content_type, mut encoding) = (None, None, None);
        for (name, value) in members {
            if value.get() == "null" {
                continue; // null means absent, as in every input
            }
            let text = || Some(member::<String>(&name, value)).transpose();
            match name.as_str() {
                "performative" => {
                    let (act, alias) = Performative::parse(&member::<String>(&name, value)?)
                        .map_err(|error| InvalidDraft::new("performative", format!("is unknown: {error}")))?;
                    draft.performative = Some(act);
                    if let Some(kind) = alias {
                        draft.extensions.insert("x_inform_kind".to_owned(), kind.into());
                    }
                }
                "sender" => draft.sender = text()?,
                "receiver" => draft.receivers = member::<Texts>(&name, value)?.0,
                "reply_to" => draft.reply_to = text()?,
                "content" => raw_content = Some(value),
                "content_type" => content_type = text()?,
                "encoding" => encoding = text()?,
                "language" => draft.language = text()?,
                "ontology" => draft.ontology = text()?,
                "protocol" => draft.protocol = text()?,
                "conversation_id" => draft.conversation_id = text()?,
                "reply_with" => draft.reply_with = text()?,
                "in_reply_to" => draft.in_reply_to = text()?,
                "durability" => draft.durability = Durability::parse(&member::<String>(&name, value)?)?,
                "reply_by" => draft.reply_by = Some(member(&name, value)?),
                "message_id" | "timestamp" | "causation_id" | "traceparent" | "hops" | "delivery_attempt"
                | "status" => {}
                extension if extension.starts_with("x_") => {
                    let value = member(&name, value)?;
                    draft.extensions.insert(name, value);
                }
                _ => {
                    return Err(InvalidDraft::new(
                        name.chars().take(64).collect::<String>(),
                        "is not a parameter of a message; the name of your own parameter must begin with x_",
                    ));
                }
            }
        }
        draft.content = match (raw_content, encoding.as_deref()) {
            (None, None | Some("base64")) => Content::default(),
            (Some(raw), None) => Content::Json(Bytes::copy_from_slice(raw.get().as_bytes())),
            (Some(raw), Some("base64")) => Content::Bytes {
                content_type: content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
                data: BASE64
                    .decode(member::<String>("content", raw)?)
                    .map_err(|error| InvalidDraft::new("content", format!("is not base64: {error}")))?
                    .into(),
            },
            (_, Some(_)) => {
                return Err(InvalidDraft::new(
                    "encoding",
                    "must be `base64`, or left out for JSON content",
                ));
            }
        };
        Ok(draft)
    }

    /// Checks the rules that the types cannot express: lengths, counts, and parameters that must be there.
    pub fn check(self) -> Result<Self, InvalidDraft> {
        if self.performative.is_none() {
            return Err(InvalidDraft::new(
                "performative",
                "is missing: name one of FIPA's performatives, such as request",
            ));
        }
        if self.receivers.is_empty() {
            return Err(InvalidDraft::new(
                "receiver",
                "is missing: name an agent by id or name, or cap:<capability>",
            ));
        }
        if self.receivers.len() > limits::RECEIVERS {
            return Err(InvalidDraft::new(
                "receiver",
                format!("has more than {} entries", limits::RECEIVERS),
            ));
        }
        if self
            .receivers
            .iter()
            .any(|receiver| receiver.len() > limits::RECEIVER_BYTES)
        {
            let problem = format!("has an entry of more than {} bytes", limits::RECEIVER_BYTES);
            return Err(InvalidDraft::new("receiver", problem));
        }
        if let Content::Bytes { content_type, .. } = &self.content
            && content_type.len() > limits::TEXT_BYTES
        {
            let problem = format!("is longer than {} bytes", limits::TEXT_BYTES);
            return Err(InvalidDraft::new("content_type", problem));
        }
        if super::extensions_weight(&self.extensions) > limits::EXTENSION_BYTES {
            let problem = format!("parameters take more than {} bytes together", limits::EXTENSION_BYTES);
            return Err(InvalidDraft::new("x_", problem));
        }
        if self.content.len() > limits::CONTENT_BYTES {
            return Err(InvalidDraft::new(
                "content",
                format!("is longer than {} bytes", limits::CONTENT_BYTES),
            ));
        }
        let texts = [
            ("reply_to", &self.reply_to),
            ("language", &self.language),
            ("ontology", &self.ontology),
            ("protocol", &self.protocol),
            ("conversation_id", &self.conversation_id),
            ("reply_with", &self.reply_with),
            ("in_reply_to", &self.in_reply_to),
        ];
        for (field, text) in texts {
            if text
                .as_ref()
                .is_some_and(|text| text.len() > limits::TEXT_BYTES || text.is_empty())
            {
                return Err(InvalidDraft::new(
                    field,
                    format!("must have 1 to {} bytes, or be left out", limits::TEXT_BYTES),
                ));
            }
        }
        if self.extensions.len() > limits::EXTENSIONS {
            return Err(InvalidDraft::new(
                "x_",
                format!("parameters are more than {}", limits::EXTENSIONS),
            ));
        }
        if self.performative == Some(Performative::Cfp) && self.reply_by.is_none() {
            return Err(InvalidDraft::new(
                "reply_by",
                "is missing: a cfp needs the time until which it accepts proposals (FIPA SC00029)",
            ));
        }
        Ok(self)
    }
}

fn member<'a, T: Deserialize<'a>>(name: &str, value: &'a RawValue) -> Result<T, InvalidDraft> {
    serde_json::from_str(value.get()).map_err(|error| InvalidDraft::new(name, format!("is wrong: {error}")))
}

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
        match &message.content {
            Content::Json(json) => {
                let raw: &RawValue = serde_json::from_slice(json).map_err(serde::ser::Error::custom)?;
                map.serialize_entry("content", raw)?;
            }
            Content::Bytes { content_type, data } => {
                map.serialize_entry("encoding", "base64")?;
                map.serialize_entry("content_type", content_type)?;
                map.serialize_entry("content", &BASE64.encode(data))?;
            }
        }
        map.end()
    }
}

impl From<Vec<u8>> for Content {
    /// Bytes of an unknown type.
    fn from(data: Vec<u8>) -> Self {
        Self::Bytes {
            content_type: "application/octet-stream".to_owned(),
            data: Bytes::from(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::id::{AgentId, MessageId};
    use crate::message::Address;

    fn draft(json: &serde_json::Value) -> Result<Draft, InvalidDraft> {
        Draft::from_json(json.to_string().as_bytes()).and_then(Draft::check)
    }

    #[test]
    fn the_reference_example_is_read() {
        let draft = draft(&json!({
            "performative": "request", "sender": "client_001", "receiver": "agent_123",
            "content": {"action": "process", "data": {"key": "value"}},
            "conversation_id": "conv_789", "reply_with": "msg_001"
        }))
        .unwrap();
        assert_eq!(draft.receivers, ["agent_123"]);
        assert_eq!(
            draft.content,
            Content::Json(r#"{"action":"process","data":{"key":"value"}}"#.into())
        );
    }

    #[test]
    fn null_means_absent_and_extensions_are_kept() {
        let draft =
            draft(&json!({"performative": "INFORM-DONE", "receiver": ["a", "b"], "protocol": null, "x_tag": 1}))
                .unwrap();
        assert_eq!(draft.protocol, None);
        assert_eq!(draft.content, Content::default());
        assert_eq!(draft.extensions["x_tag"], 1);
        assert_eq!(draft.extensions["x_inform_kind"], "done");
    }

    #[test]
    fn bad_drafts_name_the_field() {
        let field = |value| draft(&value).unwrap_err().field;
        assert_eq!(field(json!({"receiver": "a"})), "performative");
        assert_eq!(field(json!({"performative": "shout", "receiver": "a"})), "performative");
        assert_eq!(field(json!({"performative": "inform"})), "receiver");
        assert_eq!(
            field(json!({"performative": "inform", "receiver": "a", "colour": 1})),
            "colour"
        );
        assert_eq!(
            field(json!({"performative": "inform", "receiver": "a", "encoding": "rot13", "content": "x"})),
            "encoding"
        );
        assert_eq!(
            field(json!({"performative": "inform", "receiver": "a", "reply_with": ""})),
            "reply_with"
        );
        assert_eq!(field(json!({"performative": "cfp", "receiver": "a"})), "reply_by");
        assert_eq!(field(json!({"performative": "inform", "receiver": 7})), "receiver");
        assert_eq!(field(json!([])), "body");
    }

    #[test]
    fn big_integers_and_bytes_survive() {
        let draft = Draft::from_json(
            br#"{"performative":"inform","receiver":"a","content":{"n":18446744073709551615,"e":1e400}}"#,
        );
        assert_eq!(
            draft.unwrap().content,
            Content::Json(r#"{"n":18446744073709551615,"e":1e400}"#.into())
        );
        let draft =
            Draft::from_json(br#"{"performative":"inform","receiver":"a","encoding":"base64","content":"AP8="}"#);
        assert!(matches!(draft.unwrap().content, Content::Bytes { data, .. } if data == [0, 255].as_slice()));
    }

    #[test]
    fn content_comes_last_and_reads_back() {
        let message = Message {
            id: MessageId::new(),
            performative: Performative::Request,
            sender: Address::Platform,
            receivers: vec![Address::Agent(AgentId::new())],
            reply_to: None,
            content: Content::Json(r#"{"a":1}"#.into()),
            language: None,
            ontology: None,
            protocol: None,
            conversation_id: "c".to_owned(),
            reply_with: Some("r".to_owned()),
            in_reply_to: None,
            reply_by: None,
            timestamp: Timestamp::now(),
            causation_id: None,
            traceparent: None,
            hops: 0,
            extensions: BTreeMap::new(),
        };
        let json = String::from_utf8(MessageView::of(&message).to_json()).unwrap();
        assert!(json.ends_with(r#""content":{"a":1}}"#), "{json}");
        let back = Draft::from_json(json.as_bytes()).and_then(Draft::check).unwrap();
        assert_eq!((back.content, back.reply_with), (message.content, message.reply_with));
    }
}
