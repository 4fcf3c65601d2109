//! The encoding of turns.

use bytes::Bytes;

use super::timer::WireTimerChange;
use super::{Malformed, agent, id, message_id};
use crate::id::InstanceId;
use crate::journal::{Turn, TurnEnd};
use crate::time::Timestamp;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireTurn {
    #[prost(bytes = "bytes", tag = "1")]
    agent: Bytes,
    #[prost(bytes = "bytes", optional, tag = "2")]
    message: Option<Bytes>,
    #[prost(uint32, tag = "3")]
    attempt: u32,
    #[prost(oneof = "WireEnd", tags = "4, 5, 6")]
    end: Option<WireEnd>,
    #[prost(message, repeated, tag = "7")]
    writes: Vec<WireWrite>,
    #[prost(int64, tag = "8")]
    at: i64,
    #[prost(uint64, tag = "9")]
    latency_micros: u64,
    #[prost(uint64, tag = "10")]
    guest_micros: u64,
    #[prost(message, repeated, tag = "11")]
    timers: Vec<WireTimerChange>,
    /// The instance that ran the turn. Most agents have one instance of one version, which takes no bytes.
    #[prost(uint32, default = "1", tag = "12")]
    revision: u32,
    #[prost(uint32, default = "1", tag = "13")]
    instance: u32,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireEnd {
    #[prost(bool, tag = "4")]
    Ok(bool),
    #[prost(string, tag = "5")]
    Error(String),
    #[prost(message, tag = "6")]
    Crash(WireCrash),
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireCrash {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    detail: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireWrite {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    value: Option<Bytes>,
}

impl WireTurn {
    pub(super) fn of(turn: &Turn) -> Self {
        Self {
            agent: id(turn.agent.uuid()),
            message: turn.message.map(|message| id(message.uuid())),
            attempt: turn.attempt,
            end: Some(match &turn.end {
                TurnEnd::Ok => WireEnd::Ok(true),
                TurnEnd::Error { reason } => WireEnd::Error(reason.clone()),
                TurnEnd::Crash { kind, detail } => WireEnd::Crash(WireCrash {
                    kind: kind.clone(),
                    detail: detail.clone(),
                }),
            }),
            writes: turn
                .writes
                .iter()
                .map(|(key, value)| WireWrite {
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
            at: turn.at.micros(),
            latency_micros: turn.latency_micros,
            guest_micros: turn.guest_micros,
            timers: turn.timers.iter().map(WireTimerChange::of).collect(),
            revision: turn.instance.revision,
            instance: turn.instance.number,
        }
    }

    pub(super) fn turn(self) -> Result<Turn, Malformed> {
        let instance = InstanceId {
            revision: self.revision,
            number: self.instance,
        };
        Ok(Turn {
            agent: agent(&self.agent)?,
            instance,
            message: self.message.as_ref().map(message_id).transpose()?,
            attempt: self.attempt,
            end: match self.end.ok_or(Malformed("a turn ended in an unknown way"))? {
                WireEnd::Ok(_) => TurnEnd::Ok,
                WireEnd::Error(reason) => TurnEnd::Error { reason },
                WireEnd::Crash(WireCrash { kind, detail }) => TurnEnd::Crash { kind, detail },
            },
            writes: self.writes.into_iter().map(|write| (write.key, write.value)).collect(),
            at: Timestamp::from_micros(self.at),
            latency_micros: self.latency_micros,
            guest_micros: self.guest_micros,
            timers: self.timers.into_iter().map(|change| change.change(instance)).collect(),
        })
    }
}
