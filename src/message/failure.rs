//! The platform's `failure`: the message that tells a sender why its message had no effect.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Address, Content, Message};
use crate::fipa::Performative;
use crate::id::MessageId;
use crate::time::Timestamp;

/// Why a delivery failed: the member `reason` of a `failure`, and of the response to a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The receiver names no agent and no client.
    UnknownReceiver,
    /// The message has more receivers than one message may have.
    OverLimit,
    /// The chain of messages that caused each other is longer than [`super::limits::HOPS`].
    Loop,
    /// The receiver's mailbox is full.
    Overloaded,
    /// The receiver was stopped or removed, or it failed.
    Gone,
    /// Every delivery ended in a crash of the receiver.
    Crashed,
    /// The receiver's turn ended in an error.
    Error,
    /// The message's `reply_by` was past when it was sent.
    Expired,
}

impl FailureReason {
    pub const ALL: &[Self] = &[
        Self::UnknownReceiver,
        Self::OverLimit,
        Self::Loop,
        Self::Overloaded,
        Self::Gone,
        Self::Crashed,
        Self::Error,
        Self::Expired,
    ];

    /// The reason of a published name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownReceiver => "unknown_receiver",
            Self::OverLimit => "over_limit",
            Self::Loop => "loop",
            Self::Overloaded => "overloaded",
            Self::Gone => "gone",
            Self::Crashed => "crashed",
            Self::Error => "error",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Message {
    /// The platform's `failure` to the sender of `about` (FIPA SC00037, failure). `receiver` is who did not do what `about` asked:
    /// one address, or an array of them.
    pub fn failure_of(
        about: &Self,
        receiver: &serde_json::Value,
        reason: FailureReason,
        detail: &str,
        now: Timestamp,
    ) -> Self {
        Self {
            id: MessageId::new(),
            performative: Performative::Failure,
            sender: Address::Platform,
            receivers: vec![about.sender.clone()],
            reply_to: None,
            content: Content::json(&serde_json::json!({
                "reason": reason,
                "detail": detail,
                "message_id": about.id,
                "receiver": receiver,
            })),
            language: None,
            ontology: None,
            protocol: about.protocol.clone(),
            conversation_id: about.conversation_id.clone(),
            reply_with: None,
            in_reply_to: about.reply_with.clone(),
            reply_by: None,
            timestamp: now,
            causation_id: Some(about.id),
            traceparent: about.traceparent.clone(),
            hops: about.hops.saturating_add(1),
            extensions: BTreeMap::new(),
        }
    }

    /// [`Self::failure_of`] for all receivers of `about`.
    #[cfg(test)]
    pub(crate) fn failure(about: &Self, reason: FailureReason, detail: &str, now: Timestamp) -> Self {
        Self::failure_of(about, &super::MessageView::receivers(about), reason, detail, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_written_as_it_is_shown() {
        for &reason in FailureReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert_eq!(FailureReason::parse(reason.as_str()), Some(reason));
        }
    }
}
