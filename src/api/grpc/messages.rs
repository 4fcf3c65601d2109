//! `caxton.v1.MessageService`.

use std::sync::Arc;
use std::time::Instant;

use tonic::{Request, Response, Status};

use super::convert::{Shown, given, json_of, read_duration, read_timestamp, struct_of, timestamp};
use super::proto::message_service_server::MessageService;
use super::proto::{
    DeliveryOptions, FipaMessage, MessageReply, MessageStatus, ReceiverOutcome, SendMessageRequest, SendMessageResponse,
};
use super::status::{Call, call};
use crate::api::limits;
use crate::api::trace::Trace;
use crate::error::{Error, Result};
use crate::json;
use crate::message::{Content, Draft, Durability, InvalidDraft, Message, Status as Where};
use crate::node::{Node, Receipt, Reply};

const JSON: &str = "application/json";

pub(super) struct Messages {
    node: Arc<Node>,
}

impl Messages {
    pub(super) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    async fn send(&self, asked: SendMessageRequest, call: Call) -> Result<SendMessageResponse> {
        let options = asked.options.unwrap_or_default();
        if options.timeout.is_some() || options.first_answer {
            return Err(Error::invalid("options", "are for SendMessageAndWait"));
        }
        let mut draft = in_trace(draft(asked.message)?, call.trace);
        draft.durability = durability(&options)?;
        let receipt = self.node.send(&call.caller, draft).await?;
        Ok(sent(receipt))
    }

    async fn send_and_wait(&self, asked: SendMessageRequest, call: Call) -> Result<MessageReply> {
        let options = asked.options.unwrap_or_default();
        let mut draft = in_trace(draft(asked.message)?, call.trace);
        draft.durability = durability(&options)?;
        let timeout = match options
            .timeout
            .map(|timeout| read_duration("options.timeout", timeout))
            .transpose()?
        {
            None => limits::DEFAULT_REPLY_WAIT,
            Some(timeout) if !timeout.is_zero() && timeout <= limits::REPLY_WAIT => timeout,
            Some(_) => {
                let problem = format!(
                    "must be more than 0 and at most {} seconds",
                    limits::REPLY_WAIT.as_secs()
                );
                return Err(Error::invalid("options.timeout", problem));
            }
        };
        // Whoever waits for less than the options say gets the id of the message before the deadline too.
        let left = call
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(timeout, |left| left.min(timeout));
        let Reply { receipt, message } = self
            .node
            .send_and_wait(&call.caller, draft, timeout, options.first_answer)
            .await?;
        Ok(MessageReply {
            message_id: receipt.message_id.to_string(),
            status: status(receipt.status()).into(),
            reply: Some(shown(&message)),
            conversation_id: receipt.conversation_id,
        })
    }
}

#[tonic::async_trait]
impl MessageService for Messages {
    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        call(request, |asked, call| self.send(asked, call)).await
    }

    async fn send_message_and_wait(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<MessageReply>, Status> {
        call(request, |asked, call| self.send_and_wait(asked, call)).await
    }
}

fn durability(options: &DeliveryOptions) -> Result<Durability> {
    match options.durability.as_str() {
        "" => Ok(Durability::default()),
        named => Durability::parse(named).ok_or_else(|| Error::invalid("options.durability", Durability::EXPECTED)),
    }
}

const fn status(status: Where) -> MessageStatus {
    match status {
        Where::Delivered => MessageStatus::Delivered,
        Where::Queued => MessageStatus::Queued,
        Where::Processed => MessageStatus::Processed,
        Where::Failed => MessageStatus::Failed,
        Where::Expired => MessageStatus::Expired,
        Where::Dead => MessageStatus::Dead,
    }
}

fn sent(receipt: Receipt) -> SendMessageResponse {
    let overall = status(receipt.status());
    let outcomes = receipt.receivers.into_iter().map(|outcome| {
        let status = status(outcome.status());
        let (reason, detail) = outcome
            .refused
            .map_or_else(Default::default, |(reason, detail)| (reason.to_string(), detail));
        ReceiverOutcome {
            receiver: outcome.receiver,
            status: status.into(),
            reason,
            detail,
        }
    });
    SendMessageResponse {
        message_id: receipt.message_id.to_string(),
        status: overall.into(),
        delivered_at: Some(timestamp(receipt.delivered_at)),
        conversation_id: receipt.conversation_id,
        receivers: outcomes.collect(),
    }
}

fn in_trace(draft: Draft, trace: Trace) -> Draft {
    let traceparent = Some(trace.traceparent());
    Draft { traceparent, ..draft }
}

fn draft(message: Option<FipaMessage>) -> Result<Draft> {
    let message = message.ok_or_else(|| Error::invalid("message", "is missing"))?;
    if !message.encoding.is_empty() {
        return Err(Error::invalid(
            "message.encoding",
            "must be left out: content_bytes needs no encoding",
        ));
    }
    let mut draft = Draft {
        sender: given(message.sender),
        receivers: message.receiver,
        reply_to: given(message.reply_to),
        content: content(message.content.as_ref(), message.content_bytes, message.content_type)?,
        language: given(message.language),
        ontology: given(message.ontology),
        protocol: given(message.protocol),
        conversation_id: given(message.conversation_id),
        reply_with: given(message.reply_with),
        in_reply_to: given(message.in_reply_to),
        reply_by: message
            .reply_by
            .map(|time| read_timestamp("message.reply_by", time))
            .transpose()?,
        ..Draft::default()
    };
    for (name, json) in message.extensions {
        draft.extend(name, &json).map_err(in_extensions)?;
    }
    if let Some(act) = given(message.performative) {
        draft.act(&act).map_err(in_message)?;
    }
    Ok(draft)
}

/// Names a parameter as the protobuf message does.
fn in_message(invalid: InvalidDraft) -> Error {
    match invalid {
        InvalidDraft::Parameter { field, problem } => Error::invalid(format!("message.{field}"), problem),
        InvalidDraft::TooLarge { what, limit } => Error::PayloadTooLarge { what, limit },
    }
}

fn in_extensions(invalid: InvalidDraft) -> Error {
    let error = in_message(invalid);
    let Error::InvalidRequest { field, problem } = error else {
        return error;
    };
    let name = field.strip_prefix("message.").unwrap_or(&field);
    Error::invalid(format!("message.extensions.{name}"), problem)
}

/// `content_bytes` count where both are given, so that a message that was read can be sent on.
fn content(object: Option<&prost_types::Struct>, bytes: bytes::Bytes, content_type: String) -> Result<Content> {
    match (object, given(content_type)) {
        (_, Some(media)) if Content::is_json(&media) => {
            json::check(&bytes).map_err(|problem| Error::invalid("message.content_bytes", problem))?;
            Ok(Content::Json(bytes))
        }
        (Some(object), None) if bytes.is_empty() => json_of(object).map(Content::Json),
        (None, None) if bytes.is_empty() => Ok(Content::default()),
        (_, media) => Ok(Content::Bytes {
            content_type: media.unwrap_or_else(|| Content::OCTETS.to_owned()),
            data: bytes,
        }),
    }
}

fn shown(message: &Message) -> FipaMessage {
    let (shown, content_bytes, content_type) = match &message.content {
        Content::Json(json) => match struct_of(json) {
            shown if shown.exact => (shown, bytes::Bytes::new(), String::new()),
            shown => (shown, json.clone(), JSON.to_owned()),
        },
        Content::Bytes { content_type, data } => (Shown::default(), data.clone(), content_type.clone()),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    FipaMessage {
        performative: message.performative.to_string(),
        sender: message.sender.to_string(),
        receiver: message.receivers.iter().map(ToString::to_string).collect(),
        content: shown.content,
        content_too_deep: shown.too_deep,
        conversation_id: message.conversation_id.clone(),
        reply_with: text(&message.reply_with),
        in_reply_to: text(&message.in_reply_to),
        ontology: text(&message.ontology),
        language: text(&message.language),
        reply_to: text(&message.reply_to),
        reply_by: message.reply_by.map(timestamp),
        protocol: text(&message.protocol),
        encoding: String::new(),
        content_bytes,
        content_type,
        message_id: message.id.to_string(),
        timestamp: Some(timestamp(message.timestamp)),
        extensions: message
            .extensions
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().to_owned()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fipa::Performative;

    fn request() -> FipaMessage {
        FipaMessage {
            performative: "INFORM-DONE".to_owned(),
            receiver: vec!["agent_123".to_owned()],
            conversation_id: "conv_789".to_owned(),
            extensions: [("x_tag".to_owned(), "[1.10]".to_owned())].into(),
            ..FipaMessage::default()
        }
    }

    fn field(message: FipaMessage) -> String {
        let Error::InvalidRequest { field, .. } = draft(Some(message)).unwrap_err() else {
            panic!("no invalid request")
        };
        field
    }

    #[test]
    fn a_message_becomes_a_draft() {
        let draft = draft(Some(request())).unwrap().check().unwrap();
        assert_eq!(draft.performative, Some(Performative::Inform));
        assert_eq!((draft.sender, draft.reply_with), (None, None));
        assert_eq!(draft.extensions["x_inform_kind"].as_str(), r#""done""#);
        assert_eq!(draft.extensions["x_tag"].as_str(), "[1.10]");
        assert_eq!(draft.content, Content::default());
    }

    #[test]
    fn wrong_messages_name_the_field() {
        assert_eq!(
            field(FipaMessage {
                performative: "shout".to_owned(),
                ..request()
            }),
            "message.performative"
        );
        assert_eq!(
            field(FipaMessage {
                encoding: "base64".to_owned(),
                ..request()
            }),
            "message.encoding"
        );
        for (name, json) in [("tag", "1"), ("x_tag", "{"), ("x_tag", r#""\ud800""#)] {
            let extensions = [(name.to_owned(), json.to_owned())].into();
            let message = FipaMessage {
                extensions,
                ..request()
            };
            assert_eq!(field(message), format!("message.extensions.{name}"));
        }
        let not_json = FipaMessage {
            content_type: JSON.to_owned(),
            content_bytes: "{".into(),
            ..request()
        };
        assert_eq!(field(not_json), "message.content_bytes");
        assert!(matches!(draft(None), Err(Error::InvalidRequest { field, .. }) if field == "message"));
    }

    #[test]
    fn every_content_survives() {
        let bytes = |data: &'static [u8], media: &str| Content::Bytes {
            content_type: media.to_owned(),
            data: data.into(),
        };
        for kept in [
            Content::Json(r#"{"a":1}"#.into()),
            Content::Json(r#"{"n":9007199254740993}"#.into()),
            Content::Json(r#"{"b":1.10,"a":3.0,"b":[]} "#.into()),
            Content::Json("[1]".into()),
            Content::Json("null".into()),
            bytes(&[0, 255], "image/png"),
            bytes(&[], "image/png"),
            bytes(&[1], "application/octet-stream"),
        ] {
            let message = crate::api::testing::message(kept.clone());
            let shown = shown(&message);
            assert_eq!(
                content(shown.content.as_ref(), shown.content_bytes, shown.content_type).unwrap(),
                kept
            );
        }
    }

    #[test]
    fn json_is_json_in_every_spelling_of_its_media_type() {
        let read = |media: &str| content(None, "[1]".into(), media.to_owned()).unwrap();
        for json in [
            JSON,
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"utf-8\"",
        ] {
            assert_eq!(read(json), Content::Json("[1]".into()), "{json}");
        }
        for other in ["text/plain", "application/json-seq", "json", ""] {
            assert!(matches!(read(other), Content::Bytes { .. }), "{other}");
        }
    }
}
