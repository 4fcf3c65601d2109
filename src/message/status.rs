//! The words for where a message is, everywhere the same: in the response to a send, in the history, and in its filters.

use serde::{Deserialize, Serialize};

/// Where a message is. With several receivers, the status is that of the receiver for whom most is left to do or went wrong: see
/// [`Self::and`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is durable and in the mailbox of an agent, which has not handled it.
    Delivered,
    /// It is durable and in the inbox of a client, who has not read it.
    Queued,
    /// Its receiver has handled it: the agent's turn took effect, or the client who waited for it has it.
    Processed,
    /// Its receiver refused it, or the receiver's turn ended in an error.
    Failed,
    /// Its `reply_by` was past when it was sent, so nobody got it.
    Expired,
    /// It is a dead letter: its receiver will not handle it.
    Dead,
}

impl Status {
    pub const ALL: &[Self] = &[
        Self::Delivered,
        Self::Queued,
        Self::Processed,
        Self::Failed,
        Self::Expired,
        Self::Dead,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Queued => "queued",
            Self::Processed => "processed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Dead => "dead",
        }
    }

    /// The status of a message whose receivers have these two. Delivered is above all, because an agent will still handle it; then
    /// what went wrong, the worst first; then what nobody has read.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        if self.rank() < other.rank() { other } else { self }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Processed => 0,
            Self::Queued => 1,
            Self::Expired => 2,
            Self::Failed => 3,
            Self::Dead => 4,
            Self::Delivered => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_as_it_is_shown() {
        for &status in Status::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }

    #[test]
    fn several_receivers_have_the_status_of_the_one_with_most_left_or_wrong() {
        use Status::{Dead, Delivered, Expired, Failed, Processed, Queued};
        let ranked = [Processed, Queued, Expired, Failed, Dead, Delivered];
        for (at, low) in ranked.iter().enumerate() {
            for high in &ranked[at..] {
                assert_eq!((low.and(*high), high.and(*low)), (*high, *high));
            }
        }
    }
}
