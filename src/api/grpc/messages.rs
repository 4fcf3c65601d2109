//! `caxton.v1.MessageService`.

use std::sync::Arc;

use serde_json::value::RawValue;
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
use crate::fipa::Performative;
use crate::message::{Content, Draft, Durability, Message};
use crate::node::{Node, Receipt, Reply};

const JSON: &str = "application/json";

pub(super) struct Messages {
    node: Arc<Node>,
}

impl Messages {
    pub(super) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    async fn send(&self, asked: SendMessageRequest, Call { caller, trace }: Call) -> Result<SendMessageResponse> {
        let options = asked.options.unwrap_or_default();
        if options.timeout.is_some() || options.first_answer {
            return Err(Error::invalid("options", "are for SendMessageAndWait"));
        }
        let mut draft = in_trace(draft(asked.message)?, trace);
        draft.durability = durability(&options)?;
        let receipt = self.node.send(&caller, draft).await?;
        Ok(sent(receipt))
    }

    async fn send_and_wait(&self, asked: SendMessageRequest, Call { caller, trace }: Call) -> Result<MessageReply> {
        let options = asked.options.unwrap_or_default();
        let mut draft = in_trace(draft(asked.message)?, trace);
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
        let Reply { receipt, message } = self
            .node
            .send_and_wait(&caller, draft, timeout, options.first_answer)
            .await?;
        Ok(MessageReply {
            message_id: receipt.message_id.to_string(),
            status: MessageStatus::Delivered.into(),
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
        named => Durability::parse(named).map_err(|invalid| Error::invalid("options.durability", invalid.problem)),
    }
}

fn sent(receipt: Receipt) -> SendMessageResponse {
    let outcomes = receipt.receivers.into_iter().map(|outcome| {
        let status = if outcome.refused.is_some() {
            MessageStatus::Failed
        } else {
            MessageStatus::Delivered
        };
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
        status: MessageStatus::Delivered.into(),
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
        content: content(message.content, message.content_bytes, message.content_type)?,
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
        if !name.starts_with("x_") {
            return Err(Error::invalid(
                "message.extensions",
                format!("has `{name}`; each name begins with x_"),
            ));
        }
        let value = serde_json::from_str(&json).map_err(|error| {
            Error::invalid(
                "message.extensions",
                format!("has `{name}`, which is not JSON: {error}"),
            )
        })?;
        draft.extensions.insert(name, value);
    }
    if let Some(act) = given(message.performative) {
        let (act, alias) = Performative::parse(&act)
            .map_err(|error| Error::invalid("message.performative", format!("is unknown: {error}")))?;
        draft.performative = Some(act);
        if let Some(kind) = alias {
            draft.extensions.insert("x_inform_kind".to_owned(), kind.into());
        }
    }
    Ok(draft)
}

/// `content_bytes` count where both are given, so that a message that was read can be sent on.
fn content(object: Option<prost_types::Struct>, bytes: bytes::Bytes, content_type: String) -> Result<Content> {
    match (object, given(content_type)) {
        (_, Some(media)) if media == JSON => {
            serde_json::from_slice::<&RawValue>(&bytes)
                .map_err(|error| Error::invalid("message.content_bytes", format!("are not JSON: {error}")))?;
            Ok(Content::Json(bytes))
        }
        (Some(object), None) if bytes.is_empty() => json_of(object).map(Content::Json),
        (None, None) if bytes.is_empty() => Ok(Content::default()),
        (_, media) => Ok(Content::Bytes {
            content_type: media.unwrap_or_else(|| "application/octet-stream".to_owned()),
            data: bytes,
        }),
    }
}

fn shown(message: &Message) -> FipaMessage {
    let (content, content_bytes, content_type) = match &message.content {
        Content::Json(json) => match struct_of(json) {
            Shown { content, exact: true } => (content, bytes::Bytes::new(), String::new()),
            Shown { content, exact: false } => (content, json.clone(), JSON.to_owned()),
        },
        Content::Bytes { content_type, data } => (None, data.clone(), content_type.clone()),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    FipaMessage {
        performative: message.performative.to_string(),
        sender: message.sender.to_string(),
        receiver: message.receivers.iter().map(ToString::to_string).collect(),
        content,
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
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> FipaMessage {
        FipaMessage {
            performative: "INFORM-DONE".to_owned(),
            receiver: vec!["agent_123".to_owned()],
            conversation_id: "conv_789".to_owned(),
            extensions: [("x_tag".to_owned(), "[1]".to_owned())].into(),
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
        assert_eq!(draft.extensions["x_inform_kind"], "done");
        assert_eq!(draft.extensions["x_tag"], serde_json::json!([1]));
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
        let extensions = [("tag".to_owned(), "1".to_owned())].into();
        assert_eq!(
            field(FipaMessage {
                extensions,
                ..request()
            }),
            "message.extensions"
        );
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
            Content::Json("[1]".into()),
            Content::Json("null".into()),
            bytes(&[0, 255], "image/png"),
            bytes(&[], "image/png"),
            bytes(&[1], "application/octet-stream"),
        ] {
            let message = crate::api::testing::message(kept.clone());
            let shown = shown(&message);
            assert_eq!(
                content(shown.content, shown.content_bytes, shown.content_type).unwrap(),
                kept
            );
        }
    }
}
