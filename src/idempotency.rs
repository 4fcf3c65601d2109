//! Idempotency keys: a client that gives a request a key may send the request again, and it takes effect once.
//!
//! Source: the `Idempotency-Key` header field (draft-ietf-httpapi-idempotency-key-header). The server remembers the answer to a
//! request that took effect. A refused request changed nothing, so its answer is not remembered, and the client may send it again
//! with the same key.

use std::fmt;

use crate::id::Digest;

/// Limits on keys and on remembered answers.
pub mod limits {
    use std::time::Duration;

    /// The longest key, in characters.
    pub const KEY_CHARS: usize = 255;
    /// How long an answer is remembered. After that time, a request with the same key is a new request.
    pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
    /// How many answers are remembered. One more makes the server forget the oldest, even if it is younger than [`KEPT_FOR`].
    pub const KEPT: u64 = 1_000_000;
}

/// A client's name for one request. Keys of different clients are independent of each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

/// The text is not a valid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be 1 to {} visible ASCII characters without quotes or backslashes, such as a UUID",
    limits::KEY_CHARS
)]
pub struct InvalidKey;

impl Key {
    /// Reads the header: a string of structured fields (`"8e03978e"`), or the same without quotes.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        let key = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or(text);
        let sound = (1..=limits::KEY_CHARS).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        if sound && !key.contains(['"', '\\']) {
            return Ok(Self(key.to_owned()));
        }
        Err(InvalidKey)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request with a key, each time it arrives: the first time or again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub key: Key,
    /// A digest of what is asked for. A client that uses its key with another fingerprint made a mistake.
    pub fingerprint: Digest,
}

impl Attempt {
    /// An attempt at the operation `what`. `parts` are the parts of the request that distinguish it, such as path and body.
    pub fn new(key: Key, what: &str, parts: &[&[u8]]) -> Self {
        // All digests have the same length, so no two lists of parts make the same text.
        let digests = parts.iter().map(|part| Digest::of(part).to_string());
        let text: String = std::iter::once(what.to_owned()).chain(digests).collect();
        Self {
            key,
            fingerprint: Digest::of(text.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_with_quotes_and_without() {
        for text in ["8e03978e-40d5", "\"8e03978e-40d5\"", "  8e03978e-40d5 "] {
            assert_eq!(Key::parse(text).unwrap().as_str(), "8e03978e-40d5");
        }
        for bad in ["", "\"\"", "two words", "\"half", "ä", "a\"b", "a\\b", &"x".repeat(256)] {
            assert_eq!(Key::parse(bad), Err(InvalidKey), "{bad}");
        }
    }

    #[test]
    fn a_fingerprint_tells_operations_and_parts_apart() {
        let of = |what, parts: &[&[u8]]| Attempt::new(Key::parse("k").unwrap(), what, parts).fingerprint;
        assert_eq!(of("POST /a", &[b"x", b"y"]), of("POST /a", &[b"x", b"y"]));
        assert_ne!(of("POST /a", &[b"x", b"y"]), of("POST /b", &[b"x", b"y"]));
        assert_ne!(of("POST /a", &[b"x", b"y"]), of("POST /a", &[b"xy"]));
        assert_ne!(of("POST /a", &[b"x", b"y"]), of("POST /a", &[b"y", b"x"]));
    }
}
