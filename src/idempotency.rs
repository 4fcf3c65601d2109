//! Requests that a client may send again: it gives each a key, and the second coming of one has no second effect.
//!
//! Source: the `Idempotency-Key` header field (draft-ietf-httpapi-idempotency-key-header). What is remembered is the answer of
//! a request that took effect. One that was refused changed nothing, is not remembered, and may be sent again with its key.

use std::fmt;

use crate::id::Digest;

/// Limits of what is remembered.
pub mod limits {
    use std::time::Duration;

    /// Characters of a key.
    pub const KEY_CHARS: usize = 255;
    /// How long an answer is remembered. A request that comes later is a new one.
    pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
    /// Answers that are remembered; when one more comes, the oldest goes, however young it is.
    pub const KEPT: u64 = 1_000_000;
}

/// What a client calls one request. Clients do not share keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

/// The text is no key.
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

/// One coming of a request that has a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub key: Key,
    /// Of what is asked for. The same key with another is a mistake of the client.
    pub fingerprint: Digest,
}

impl Attempt {
    /// Of the operation `what` with these parts of its request, such as the path and the body.
    pub fn new(key: Key, what: &str, parts: &[&[u8]]) -> Self {
        // Digests of equal length, so that no part can run into the next.
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
