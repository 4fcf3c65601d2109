//! The encoding of timers.

use bytes::Bytes;

use crate::id::InstanceId;
use crate::time::Timestamp;
use crate::timer::{Timer, TimerChange};

/// A timer that is set, or without a due time one that is cancelled. The instance that sets it is that of the turn.
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
    /// The instance that set the timer.
    #[prost(uint32, default = "1", tag = "5")]
    pub(super) revision: u32,
    #[prost(uint32, default = "1", tag = "6")]
    pub(super) instance: u32,
}

impl WireTimerChange {
    pub(super) fn of(change: &TimerChange) -> Self {
        match *change {
            TimerChange::Set(Timer { id, due, every, .. }) => Self {
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

    /// The change by a turn of the instance `set_by`.
    pub(super) fn change(self, set_by: InstanceId) -> TimerChange {
        let Self { id, due, every } = self;
        match due.map(Timestamp::from_micros) {
            Some(due) => TimerChange::Set(Timer { id, due, every, set_by }),
            None => TimerChange::Cancel(id),
        }
    }
}
