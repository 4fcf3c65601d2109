//! One event: what a record says to subscribers.

use bytes::Bytes;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::event::{EventBody, EventKind, HandledMessage, SentMessage};
use crate::fipa::Performative;
use crate::id::{MessageId, Seq};
use crate::journal::{Record, TurnEnd};
use crate::message::{Address, Content, Message, MessageView};
use crate::time::Timestamp;

/// The largest content that an event carries, in bytes, so that a subscriber who lags keeps little memory. A larger one is read
/// from the history.
const CARRIED_BYTES: usize = 4 << 10;

/// One event, as subscribers get it.
#[derive(Clone, Debug)]
pub struct Event {
    pub seq: Seq,
    pub kind: EventKind,
    pub timestamp: Timestamp,
    /// Whom the event concerns. For a message: its sender and its receivers.
    pub parties: Vec<Address>,
    pub performative: Option<Performative>,
    /// The message that was sent, if this is the event of that.
    pub sent: Option<SentContent>,
    /// The members that this kind of event has beside those of every event.
    pub body: Map<String, Value>,
}

/// The content of a message that was sent.
#[derive(Clone, Debug)]
pub struct SentContent {
    pub message: MessageId,
    /// None: it is too large to be carried.
    pub content: Option<Content>,
}

impl SentContent {
    fn of(message: &Message) -> Self {
        // A copy: the bytes may be a part of a large request.
        let copy = || match &message.content {
            Content::Json(json) => Content::Json(Bytes::copy_from_slice(json)),
            Content::Bytes { content_type, data } => Content::Bytes {
                content_type: content_type.clone(),
                data: Bytes::copy_from_slice(data),
            },
        };
        Self {
            message: message.id,
            content: (message.content.len() <= CARRIED_BYTES).then(copy),
        }
    }
}

impl Event {
    /// The event of a record, if the record has one.
    pub fn of(seq: Seq, record: &Record) -> Option<Self> {
        let (timestamp, parties, performative, body) = match record {
            Record::Message(dispatch) if dispatch.first => {
                let message = &dispatch.message;
                let receivers = MessageView::receivers(message);
                let parties = std::iter::once(&message.sender).chain(&message.receivers);
                let body = EventBody::MessageSent(SentMessage {
                    message_id: message.id,
                    from: message.sender.clone(),
                    to: receivers.clone(),
                    sender: message.sender.clone(),
                    receiver: receivers,
                    performative: message.performative,
                    conversation_id: message.conversation_id.clone(),
                    protocol: message.protocol.clone(),
                });
                let parties = parties.cloned().collect();
                (message.timestamp, parties, Some(message.performative), body)
            }
            Record::Turn(turn) => {
                let mut handled = HandledMessage {
                    message_id: turn.message?,
                    agent_id: turn.agent,
                    revision: turn.instance.revision,
                    instance: turn.instance.number,
                    attempt: turn.attempt,
                    reason: None,
                    detail: None,
                };
                let body = match &turn.end {
                    TurnEnd::Ok => EventBody::MessageProcessed(handled),
                    TurnEnd::Error { reason } => {
                        handled.reason = Some(reason.clone());
                        EventBody::MessageFailed(handled)
                    }
                    TurnEnd::Crash { kind, detail } => {
                        (handled.reason, handled.detail) = (Some(kind.clone()), Some(detail.clone()));
                        EventBody::MessageCrashed(handled)
                    }
                };
                (turn.at, vec![Address::Agent(turn.agent)], None, body)
            }
            Record::DeadLetter {
                message,
                agent,
                reason,
                detail,
                at,
            } => {
                let body = EventBody::DeadLetter {
                    message_id: *message,
                    agent_id: *agent,
                    reason: *reason,
                    detail: detail.clone(),
                };
                (*at, vec![Address::Agent(*agent)], None, body)
            }
            Record::Event { kind, agent, body, at } => {
                return Some(Self {
                    seq,
                    kind: *kind,
                    timestamp: *at,
                    parties: agent.iter().copied().map(Address::Agent).collect(),
                    performative: None,
                    sent: None,
                    body: serde_json::from_str(body).unwrap_or_default(),
                });
            }
            // These records have no event of their own. A timer that fires sends a message, and the message has an event: that of
            // its first record.
            Record::Message(_)
            | Record::Agent { .. }
            | Record::AgentRemoved { .. }
            | Record::Document { .. }
            | Record::TimerFired { .. }
            | Record::Answer { .. } => return None,
        };
        let Ok(Value::Object(members)) = serde_json::to_value(&body) else {
            return None;
        };
        let sent = if let Record::Message(dispatch) = record {
            Some(SentContent::of(&dispatch.message))
        } else {
            None
        };
        Some(Self {
            seq,
            kind: body.kind(),
            timestamp,
            parties,
            performative,
            sent,
            body: members,
        })
    }
}

/// An event as its subscribers get it: the members of every event, those of its kind, and what the subscriptions add.
#[derive(Clone, Copy, Debug)]
pub struct ShownEvent<'a> {
    pub event: &'a Event,
    /// The subscriptions that want the event.
    pub subscriptions: &'a [String],
    /// The content of a message, if one of them wants it.
    pub content: Option<&'a Content>,
}

impl Serialize for ShownEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &event.kind)?;
        map.serialize_entry("id", &format_args!("evt_{}", event.seq))?;
        map.serialize_entry("seq", &event.seq)?;
        map.serialize_entry("timestamp", &event.timestamp)?;
        for (name, value) in &event.body {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("subscription_ids", self.subscriptions)?;
        if let Some(content) = self.content {
            content.serialize_members(&mut map)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_message_to_two_partitions_has_one_event() {
        let message = Arc::new(crate::journal::testing::message(
            Address::Platform,
            vec![Address::Platform],
        ));
        let events = [true, false].map(|first| {
            let dispatch = crate::journal::Dispatch {
                message: message.clone(),
                first,
                deliveries: Vec::new(),
                undelivered: None,
                unread: false,
            };
            Event::of(Seq(1), &Record::Message(dispatch)).map(|event| event.kind)
        });
        assert_eq!(events, [Some(EventKind::MessageSent), None]);
    }

    #[test]
    fn an_event_carries_content_that_is_small_and_shows_it_as_it_was_written() {
        let sent = |content: &str| {
            let mut message = crate::journal::testing::message(Address::Platform, vec![Address::Platform]);
            message.content = Content::Json(content.to_owned().into());
            let dispatch = crate::journal::Dispatch {
                message: Arc::new(message),
                first: true,
                deliveries: Vec::new(),
                undelivered: None,
                unread: false,
            };
            Event::of(Seq(1), &Record::Message(dispatch)).unwrap()
        };
        let written = r#"{"n": 1.10,"n":2}"#;
        let event = sent(written);
        let shown = ShownEvent {
            event: &event,
            subscriptions: &[],
            content: event.sent.as_ref().and_then(|sent| sent.content.as_ref()),
        };
        let json = serde_json::to_string(&shown).unwrap();
        assert!(json.ends_with(&format!(r#","content":{written}}}"#)), "{json}");
        let large = sent(&"1".repeat(CARRIED_BYTES + 1));
        assert!(large.sent.is_some_and(|sent| sent.content.is_none()));
    }

    #[test]
    fn an_event_has_id_seq_type_and_timestamp() {
        let record = Record::Event {
            kind: EventKind::AgentDeployed,
            agent: Some(crate::id::AgentId::new()),
            body: r#"{"agent_id":"x"}"#.to_owned(),
            at: Timestamp::from_micros(0),
        };
        let event = Event::of(Seq(7), &record).unwrap();
        let shown = ShownEvent {
            event: &event,
            subscriptions: &["sub_1".to_owned()],
            content: None,
        };
        let json = serde_json::to_value(shown).unwrap();
        assert_eq!(json["subscription_ids"], serde_json::json!(["sub_1"]));
        assert_eq!(json["type"], "agent.deployed");
        assert_eq!(
            (json["seq"].clone(), json["id"].clone(), json["agent_id"].clone()),
            (7.into(), "evt_7".into(), "x".into())
        );
        assert_eq!(json["timestamp"], "1970-01-01T00:00:00.000000Z");
    }
}
