//! Why the host refuses a call of a guest.

use crate::message::InvalidDraft;

/// Why the host refuses a call. The guest gets it as an error and goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::wasm) enum Refusal {
    Malformed(String),
    NotPermitted,
    OverLimit,
}

impl From<InvalidDraft> for Refusal {
    fn from(invalid: InvalidDraft) -> Self {
        match invalid {
            InvalidDraft::Parameter { .. } => Self::Malformed(invalid.to_string()),
            InvalidDraft::TooLarge { .. } => Self::OverLimit,
        }
    }
}
