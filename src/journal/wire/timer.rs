//! The encoding of timers.

use bytes::Bytes;

use crate::time::Timestamp;
use crate::timer::{Timer, TimerChange};

/// A timer that is set, or without a due time one that is cancelled.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireTimerChange {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(int64, optional, tag = "2")]
    due: Option<i64>,
    #[prost(uint64, optional, tag = "3")]
    every: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireTimerFired {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) agent: Bytes,
    #[prost(uint32, tag = "2")]
    pub(super) timer: u32,
    #[prost(int64, optional, tag = "3")]
    pub(super) next: Option<i64>,
    #[prost(int64, tag = "4")]
    pub(super) at: i64,
}

impl WireTimerChange {
    pub(super) fn of(change: &TimerChange) -> Self {
        match *change {
            TimerChange::Set(Timer { id, due, every }) => Self {
                id,
                due: Some(due.micros()),
                every,
            },
            TimerChange::Cancel(id) => Self {
                id,
                due: None,
                every: None,
            },
        }
    }

    pub(super) fn change(self) -> TimerChange {
        let Self { id, due, every } = self;
        match due.map(Timestamp::from_micros) {
            Some(due) => TimerChange::Set(Timer { id, due, every }),
            None => TimerChange::Cancel(id),
        }
    }
}
