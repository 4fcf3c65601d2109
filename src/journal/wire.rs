//! The encoding of records as bytes.
//!
//! Purpose: the one encoding of facts, in segments and in the bodies of the history. It is Protobuf, because its field
//! numbers let a later release read what an earlier one wrote. A field number is never reused.
//!
//! Invariant: decoding any bytes gives a value or an error, never a panic.

mod answer;
mod message;
mod timer;
mod turn;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use uuid::Uuid;

use self::answer::WireAnswer;
use self::message::WireMessage;
use self::timer::WireTimerFired;
use self::turn::WireTurn;
use super::{Dispatch, Record};
use crate::event::EventKind;
use crate::id::{AgentId, InstanceId, MessageId, Partition};
use crate::message::{FailureReason, Message};
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl From<prost::DecodeError> for Malformed {
    fn from(_: prost::DecodeError) -> Self {
        Self("the payload is not the encoding of records")
    }
}

/// Encodes records as the payload of a frame.
pub(super) fn encode_batch(records: &[(Partition, Record)]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(records.len() * 512);
    let mut last: Option<&Arc<Message>> = None;
    for (partition, record) in records {
        let mut fact = Fact::of(record);
        if let (Record::Message(dispatch), Fact::Message(wire)) = (record, &mut fact) {
            if last.is_none_or(|last| !Arc::ptr_eq(last, &dispatch.message)) {
                wire.message = Some(WireMessage::of(&dispatch.message));
            }
            last = Some(&dispatch.message);
        }
        let entry = Entry {
            partition: partition.0.into(),
            fact: Some(fact),
        };
        prost::encoding::message::encode(1, &entry, &mut payload);
    }
    payload
}

/// Decodes the payload of a frame. The contents of messages share `payload` and are not copied.
pub(super) fn decode_batch(payload: Bytes) -> Result<Vec<(Partition, Record)>, Malformed> {
    let entries = Entries::decode(payload)?.entries;
    let mut last = None;
    entries
        .into_iter()
        .map(|entry| {
            let partition = u16::try_from(entry.partition).map_err(|_| Malformed("a partition is out of range"))?;
            let fact = entry.fact.ok_or(Malformed("a record is of an unknown kind"))?;
            Ok((Partition(partition), fact.record(&mut last)?))
        })
        .collect()
}

pub(super) fn encode_message(message: &Message) -> Vec<u8> {
    WireMessage::of(message).encode_to_vec()
}

pub(super) fn decode_message(body: Bytes) -> Result<Message, Malformed> {
    WireMessage::decode(body)?.message()
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entries {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(uint32, tag = "1")]
    partition: u32,
    #[prost(oneof = "Fact", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10")]
    fact: Option<Fact>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(
    clippy::large_enum_variant,
    reason = "it lives for one record: a box would cost each message an allocation"
)]
enum Fact {
    #[prost(message, tag = "2")]
    Message(WireDispatch),
    #[prost(message, tag = "3")]
    Turn(WireTurn),
    #[prost(message, tag = "4")]
    DeadLetter(WireDeadLetter),
    #[prost(message, tag = "5")]
    Agent(WireAgent),
    #[prost(message, tag = "6")]
    AgentRemoved(WireAgentRemoved),
    #[prost(message, tag = "7")]
    Event(WireEvent),
    #[prost(message, tag = "8")]
    Document(WireDocument),
    #[prost(message, tag = "9")]
    TimerFired(WireTimerFired),
    #[prost(message, tag = "10")]
    Answer(WireAnswer),
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireDispatch {
    /// Absent: the message of the dispatch before this one in the batch.
    #[prost(message, optional, tag = "1")]
    message: Option<WireMessage>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    deliveries: Vec<Bytes>,
    #[prost(string, optional, tag = "3")]
    undelivered: Option<String>,
    /// Not the first record of its message. Most records are the first, and this way the flag takes no bytes in them.
    #[prost(bool, tag = "4")]
    further: bool,
    #[prost(bool, tag = "5")]
    unread: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireDeadLetter {
    #[prost(bytes = "bytes", tag = "1")]
    message: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    agent: Bytes,
    /// The published name of the reason: a number would need a second table.
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(int64, tag = "4")]
    at: i64,
    #[prost(string, tag = "5")]
    detail: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireAgent {
    #[prost(bytes = "bytes", tag = "1")]
    agent: Bytes,
    #[prost(string, tag = "2")]
    document: String,
    #[prost(int64, tag = "3")]
    at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireAgentRemoved {
    #[prost(bytes = "bytes", tag = "1")]
    agent: Bytes,
    #[prost(int64, tag = "2")]
    at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireEvent {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    agent: Option<Bytes>,
    #[prost(string, tag = "3")]
    body: String,
    #[prost(int64, tag = "4")]
    at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireDocument {
    #[prost(string, tag = "1")]
    collection: String,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(string, optional, tag = "3")]
    document: Option<String>,
    #[prost(int64, tag = "4")]
    at: i64,
}

fn id(uuid: Uuid) -> Bytes {
    Bytes::copy_from_slice(uuid.as_bytes())
}

fn uuid(bytes: &Bytes) -> Result<Uuid, Malformed> {
    Uuid::from_slice(bytes).map_err(|_| Malformed("an id has not 16 bytes"))
}

fn agent(bytes: &Bytes) -> Result<AgentId, Malformed> {
    uuid(bytes).map(AgentId::from_uuid)
}

fn message_id(bytes: &Bytes) -> Result<MessageId, Malformed> {
    uuid(bytes).map(MessageId::from_uuid)
}

impl Fact {
    fn of(record: &Record) -> Self {
        match record {
            // Its message depends on the record before it.
            Record::Message(dispatch) => Self::Message(WireDispatch {
                message: None,
                deliveries: dispatch.deliveries.iter().map(|agent| id(agent.uuid())).collect(),
                undelivered: dispatch.undelivered.clone(),
                unread: dispatch.unread,
                further: !dispatch.first,
            }),
            Record::Turn(turn) => Self::Turn(WireTurn::of(turn)),
            Record::DeadLetter {
                message,
                agent,
                reason,
                detail,
                at,
            } => Self::DeadLetter(WireDeadLetter {
                message: id(message.uuid()),
                agent: id(agent.uuid()),
                reason: reason.as_str().to_owned(),
                detail: detail.clone(),
                at: at.micros(),
            }),
            Record::Agent { agent, document, at } => Self::Agent(WireAgent {
                agent: id(agent.uuid()),
                document: document.clone(),
                at: at.micros(),
            }),
            Record::AgentRemoved { agent, at } => Self::AgentRemoved(WireAgentRemoved {
                agent: id(agent.uuid()),
                at: at.micros(),
            }),
            Record::Event { kind, agent, body, at } => Self::Event(WireEvent {
                kind: kind.as_str().to_owned(),
                agent: agent.map(|agent| id(agent.uuid())),
                body: body.clone(),
                at: at.micros(),
            }),
            Record::Document {
                collection,
                key,
                document,
                at,
            } => Self::Document(WireDocument {
                collection: collection.clone(),
                key: key.clone(),
                document: document.clone(),
                at: at.micros(),
            }),
            Record::Answer {
                principal,
                key,
                fingerprint,
                answer,
                at,
            } => Self::Answer(WireAnswer {
                principal: principal.clone(),
                key: key.clone(),
                fingerprint: Bytes::copy_from_slice(fingerprint.as_bytes()),
                answer: answer.clone(),
                at: at.micros(),
            }),
            Record::TimerFired {
                agent,
                timer,
                set_by,
                next,
                at,
            } => Self::TimerFired(WireTimerFired {
                agent: id(agent.uuid()),
                timer: *timer,
                next: next.map(Timestamp::micros),
                at: at.micros(),
                revision: set_by.revision,
                instance: set_by.number,
            }),
        }
    }

    /// `last` is the message of the last dispatch before this fact in its batch.
    fn record(self, last: &mut Option<Arc<Message>>) -> Result<Record, Malformed> {
        Ok(match self {
            Self::Message(dispatch) => dispatch.record(last)?,
            Self::Turn(turn) => Record::Turn(turn.turn()?),
            Self::DeadLetter(letter) => Record::DeadLetter {
                message: message_id(&letter.message)?,
                agent: agent(&letter.agent)?,
                reason: FailureReason::parse(&letter.reason).ok_or(Malformed("a failure has an unknown reason"))?,
                detail: letter.detail,
                at: Timestamp::from_micros(letter.at),
            },
            Self::Agent(entry) => Record::Agent {
                agent: agent(&entry.agent)?,
                document: entry.document,
                at: Timestamp::from_micros(entry.at),
            },
            Self::AgentRemoved(entry) => Record::AgentRemoved {
                agent: agent(&entry.agent)?,
                at: Timestamp::from_micros(entry.at),
            },
            Self::Event(event) => Record::Event {
                kind: EventKind::parse(&event.kind).ok_or(Malformed("an event is of an unknown kind"))?,
                agent: event.agent.as_ref().map(agent).transpose()?,
                body: event.body,
                at: Timestamp::from_micros(event.at),
            },
            Self::Document(entry) => Record::Document {
                collection: entry.collection,
                key: entry.key,
                document: entry.document,
                at: Timestamp::from_micros(entry.at),
            },
            Self::Answer(answer) => answer.record()?,
            Self::TimerFired(fired) => Record::TimerFired {
                agent: agent(&fired.agent)?,
                timer: fired.timer,
                set_by: InstanceId {
                    revision: fired.revision,
                    number: fired.instance,
                },
                next: fired.next.map(Timestamp::from_micros),
                at: Timestamp::from_micros(fired.at),
            },
        })
    }
}

impl WireDispatch {
    /// `last` is the message of the dispatch before this one, and becomes that of this one.
    fn record(self, last: &mut Option<Arc<Message>>) -> Result<Record, Malformed> {
        let message = match self.message {
            Some(message) => Arc::new(message.message()?),
            None => last.take().ok_or(Malformed("a dispatch has no message"))?,
        };
        *last = Some(message.clone());
        Ok(Record::Message(Dispatch {
            message,
            first: !self.further,
            deliveries: self.deliveries.iter().map(agent).collect::<Result<_, _>>()?,
            undelivered: self.undelivered,
            unread: self.unread,
        }))
    }
}
