//! Why the host refuses a call of a guest.

/// Why the host refuses a call. The guest gets it as an error and goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::wasm) enum Refusal {
    Malformed(String),
    NotPermitted,
    OverLimit,
}
