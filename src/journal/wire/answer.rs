//! The encoding of remembered answers.

use bytes::Bytes;

use super::Malformed;
use crate::id::Digest;
use crate::journal::Record;
use crate::time::Timestamp;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireAnswer {
    #[prost(string, tag = "1")]
    pub(super) principal: String,
    #[prost(string, tag = "2")]
    pub(super) key: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) fingerprint: Bytes,
    #[prost(string, tag = "4")]
    pub(super) answer: String,
    #[prost(int64, tag = "5")]
    pub(super) at: i64,
}

impl WireAnswer {
    pub(super) fn record(self) -> Result<Record, Malformed> {
        let fingerprint = <[u8; 32]>::try_from(&self.fingerprint[..]);
        Ok(Record::Answer {
            principal: self.principal,
            key: self.key,
            fingerprint: fingerprint
                .map(Digest::from_bytes)
                .map_err(|_| Malformed("a fingerprint has not 32 bytes"))?,
            answer: self.answer,
            at: Timestamp::from_micros(self.at),
        })
    }
}
