//! JSON that is carried as its author wrote it.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// One JSON value, as its author wrote it: with all digits of its numbers, with members in their order, also repeated ones.
/// It nests at most [`limits::DEPTH`](super::limits::DEPTH) levels deep, and its texts are Unicode.
#[derive(Clone)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// Checks a text. The error is a predicate, such as `is empty`.
    pub fn parse(json: &str) -> Result<Self, String> {
        super::check(json.as_bytes()).map(|raw| Self(raw.to_owned()))
    }

    /// The same without the checks of depth and texts, for what passed them once.
    pub fn parse_stored(json: String) -> serde_json::Result<Self> {
        RawValue::from_string(json).map(Self)
    }

    /// A text of the host as a JSON text.
    pub fn text(text: &str) -> Self {
        Self(serde_json::value::to_raw_value(text).expect("a text is serialisable"))
    }

    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_kept() {
        for json in [
            "123456789012345678901234567890",
            "1.10",
            "1e400",
            r#"{"b":1,"a":2,"b":3}"#,
            r#"{ "spaced" : [ ] }"#,
        ] {
            let raw = RawJson::parse(json).unwrap();
            assert_eq!(serde_json::to_string(&raw).unwrap(), json);
        }
        assert_eq!(RawJson::text("a\"b").as_str(), r#""a\"b""#);
    }

    #[test]
    fn what_cannot_be_carried_is_refused_with_the_reason() {
        let problem = |json: &str| RawJson::parse(json).unwrap_err();
        assert!(problem("  ").contains("empty"));
        assert!(problem("{").contains("line 1, column 1, before it is complete"));
        assert!(problem("[1,]").contains("line 1, column 4 is wrong"));
        assert!(problem(r#""\ud800""#).contains("surrogate"));
        assert!(problem(&("[".repeat(101) + &"]".repeat(101))).contains("100"));
    }
}
