//! A message that somebody asks to send. REST and guests of the core ABI write it in JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Content, Durability, InvalidDraft, limits};
use crate::fipa::Performative;
use crate::json::{self, RawJson};
use crate::time::{InvalidTime, Timestamp};

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
    pub extensions: BTreeMap<String, RawJson>,
    /// What the acknowledgement to a client promises. A guest gets no acknowledgement, so it has no effect there.
    pub durability: Durability,
    /// The W3C trace context of the request. REST and gRPC set it; it is never read from a body.
    pub traceparent: Option<String>,
}

impl Draft {
    /// Reads a draft from JSON. The name of an own parameter must begin with `x_`. Members that the host stamps are accepted and
    /// ignored, so that a message from the history can be sent again. An error names the member and what is expected.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidDraft> {
        let mut draft = Self::default();
        let (mut raw_content, mut content_type, mut encoding) = (None, None, None);
        for (name, value) in json::members(json, json::BODY)? {
            if value.get() == "null" {
                continue; // null means absent, as in every input
            }
            let text = || json::text(&name, value).map(Some);
            match name.as_str() {
                "performative" => draft.act(&json::text(&name, value)?)?,
                "sender" => draft.sender = text()?,
                "receiver" => draft.receivers = json::texts(&name, value, limits::RECEIVERS)?,
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
                "durability" => {
                    let named = Durability::parse(&json::text(&name, value)?);
                    draft.durability = named.ok_or_else(|| InvalidDraft::new(name, Durability::EXPECTED))?;
                }
                "reply_by" => {
                    let time = json::text(&name, value)?.parse();
                    draft.reply_by =
                        Some(time.map_err(|invalid: InvalidTime| InvalidDraft::new(name, invalid.to_string()))?);
                }
                "message_id" | "timestamp" | "causation_id" | "traceparent" | "hops" | "delivery_attempt"
                | "status" | "attempts" | "reason" => {}
                extension if extension.starts_with("x_") => draft.extend(name, value.get())?,
                _ => {
                    return Err(InvalidDraft::new(
                        json::cut(&name),
                        "is not a parameter of a message; the name of your own parameter must begin with x_",
                    ));
                }
            }
        }
        draft.content = content(raw_content, content_type, encoding.as_deref())?;
        Ok(draft)
    }

    /// Sets the performative, as its sender spells it.
    pub fn act(&mut self, performative: &str) -> Result<(), InvalidDraft> {
        let (act, alias) = Performative::parse(performative)
            .map_err(|unknown| InvalidDraft::new("performative", unknown.to_string()))?;
        self.performative = Some(act);
        if let Some(kind) = alias {
            self.extensions.insert("x_inform_kind".to_owned(), RawJson::text(kind));
        }
        Ok(())
    }

    /// Adds an extension parameter: a name that begins with `x_`, and a JSON text.
    pub fn extend(&mut self, name: String, json: &str) -> Result<(), InvalidDraft> {
        if !name.starts_with("x_") {
            let problem = "must begin with x_, as the names of all extension parameters do";
            return Err(InvalidDraft::new(json::cut(&name), problem));
        }
        let value = RawJson::parse(json).map_err(|problem| InvalidDraft::new(json::cut(&name), problem))?;
        self.extensions.insert(name, value);
        Ok(())
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
            return Err(InvalidDraft::TooLarge {
                what: "content",
                limit: limits::CONTENT_BYTES,
            });
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

/// The content of the members `content`, `content_type` and `encoding`.
fn content(
    raw: Option<&RawValue>,
    content_type: Option<String>,
    encoding: Option<&str>,
) -> Result<Content, InvalidDraft> {
    match encoding {
        None => {
            if let Some(other) = content_type.filter(|media| !Content::is_json(media)) {
                let problem = format!(
                    "is `{}`, and content without `encoding` is application/json; send bytes with `\"encoding\": \"base64\"`",
                    json::cut(&other)
                );
                return Err(InvalidDraft::new("content_type", problem));
            }
            let Some(raw) = raw else { return Ok(Content::default()) };
            json::check_value(raw).map_err(|problem| InvalidDraft::new("content", problem))?;
            Ok(Content::Json(Bytes::copy_from_slice(raw.get().as_bytes())))
        }
        Some("base64") => {
            let Some(raw) = raw else { return Ok(Content::default()) };
            let data = BASE64.decode(json::text("content", raw)?).map_err(|_| {
                InvalidDraft::new(
                    "content",
                    "is not base64, as `encoding` says; write it with + and /, padded with =",
                )
            })?;
            Ok(Content::Bytes {
                content_type: content_type.unwrap_or_else(|| Content::OCTETS.to_owned()),
                data: data.into(),
            })
        }
        Some(other) => {
            let problem = format!(
                "is `{}`, and must be `base64`, or left out for JSON content",
                json::cut(other)
            );
            Err(InvalidDraft::new("encoding", problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::id::{AgentId, MessageId};
    use crate::message::{Address, Message, MessageView};

    fn draft(json: &serde_json::Value) -> Result<Draft, InvalidDraft> {
        Draft::from_json(json.to_string().as_bytes()).and_then(Draft::check)
    }

    fn field(draft: Result<Draft, InvalidDraft>) -> String {
        match draft.unwrap_err() {
            InvalidDraft::Parameter { field, .. } => field,
            InvalidDraft::TooLarge { what, .. } => panic!("{what}"),
        }
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
        assert_eq!(draft.extensions["x_tag"].as_str(), "1");
        assert_eq!(draft.extensions["x_inform_kind"].as_str(), r#""done""#);
    }

    #[test]
    fn bad_drafts_name_the_field() {
        let field = |value| field(draft(&value));
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
    fn no_parameter_is_given_twice_and_no_text_is_half_a_character() {
        for (json, named) in [
            (
                r#"{"performative":"inform","receiver":"a","performative":"inform"}"#,
                "performative",
            ),
            (
                r#"{"performative":"inform","receiver":"a","content":1,"content":1}"#,
                "content",
            ),
            (
                r#"{"performative":"inform","receiver":"a","x_a":1,"x_\u0061":null}"#,
                "x_a",
            ),
            (r#"{"performative":"inform","receiver":["a","\ud800"]}"#, "receiver[1]"),
            (
                r#"{"performative":"inform","receiver":"a","language":"\udfff"}"#,
                "language",
            ),
            (
                r#"{"performative":"inform","receiver":"a","content":{"a":["\ud800"]}}"#,
                "content",
            ),
            (r#"{"performative":"inform","receiver":"a","x_a":{"\ud800":1}}"#, "x_a"),
            (r#"{"performative":"inform","receiver":"a","\ud800":1}"#, "body"),
        ] {
            assert_eq!(field(Draft::from_json(json.as_bytes())), named, "{json}");
        }
    }

    #[test]
    fn content_and_extensions_are_carried_as_written() {
        let written = r#"{"n": 123456789012345678901234567890, "e":1e400, "d":1.10,"b":1,"a":2,"b":"\ud83d\ude00" }"#;
        let json =
            format!(r#"{{"performative":"inform","receiver":"a","x_b":{written},"content": {written} ,"x_a":-0}}"#);
        let draft = Draft::from_json(json.as_bytes()).unwrap();
        assert_eq!(draft.content, Content::Json(written.into()));
        assert_eq!(draft.extensions["x_b"].as_str(), written);
        assert_eq!(draft.extensions["x_a"].as_str(), "-0");
    }

    #[test]
    fn content_and_extensions_nest_as_deep_as_readers_read() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let message = |name: &str, depth: usize| {
            format!(
                r#"{{"performative":"inform","receiver":"a","{name}":{}}}"#,
                nested(depth)
            )
        };
        for name in ["content", "x_a"] {
            assert!(Draft::from_json(message(name, 100).as_bytes()).is_ok());
            for depth in [101, 1_000_000] {
                assert_eq!(field(Draft::from_json(message(name, depth).as_bytes())), name);
            }
        }
        assert_eq!(
            field(Draft::from_json(message("sender", 1_000_000).as_bytes())),
            "sender"
        );
    }

    #[test]
    fn bytes_survive_and_have_a_type() {
        let read = |members: &str| {
            Draft::from_json(format!(r#"{{"performative":"inform","receiver":"a",{members}}}"#).as_bytes())
        };
        let bytes = read(r#""encoding":"base64","content":"AP8=""#).unwrap().content;
        assert_eq!(
            bytes,
            Content::Bytes {
                content_type: "application/octet-stream".to_owned(),
                data: vec![0, 255].into()
            }
        );
        assert_eq!(field(read(r#""encoding":"base64","content":"?""#)), "content");
        assert_eq!(
            field(read(r#""content_type":"image/png","content":"AP8=""#)),
            "content_type"
        );
        let json = read(r#""content_type":"Application/JSON; charset=utf-8","content":[1]"#).unwrap();
        assert_eq!(json.content, Content::Json("[1]".into()));
    }

    #[test]
    fn content_that_is_too_large_is_no_mistake_of_a_parameter() {
        let draft = |bytes: usize| Draft {
            performative: Some(Performative::Inform),
            receivers: vec!["a".to_owned()],
            content: Content::Json(vec![b'1'; bytes].into()),
            ..Draft::default()
        };
        assert!(draft(limits::CONTENT_BYTES).check().is_ok());
        let expected = InvalidDraft::TooLarge {
            what: "content",
            limit: limits::CONTENT_BYTES,
        };
        assert_eq!(draft(limits::CONTENT_BYTES + 1).check().unwrap_err(), expected);
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
