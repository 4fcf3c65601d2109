//! `[retention]`: how much of the log is kept.

use std::fmt::Display;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::quantity::{ByteSize, Span};

/// The oldest segments of the log are deleted when the log exceeds either bound. What agents need, and the history of messages,
/// is in the projections and stays. While no segment has been deleted, the projections can be rebuilt from the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// How long a segment stays after its last record.
    pub age: AtMost<Span>,
    /// The size of all segments together. The last segment always stays.
    pub size: AtMost<ByteSize>,
    /// The size of one segment. The log is deleted by whole segments.
    pub segment: ByteSize,
}

impl Retention {
    /// A week leaves time to notice that something went wrong, and to look at the records of it.
    pub const DEFAULT_AGE: &str = "7days";
    pub const DEFAULT_SIZE: &str = "8GiB";
    pub const DEFAULT_SEGMENT: &str = "64MiB";
    /// Smaller segments would mean almost a file for each record.
    pub const SMALLEST_SEGMENT: u64 = 64 << 10;
}

impl Default for Retention {
    fn default() -> Self {
        const WELL_FORMED: &str = "a default is well-formed";
        Self {
            age: AtMost::Of(Span::parse(Self::DEFAULT_AGE).expect(WELL_FORMED)),
            size: AtMost::Of(ByteSize::parse(Self::DEFAULT_SIZE).expect(WELL_FORMED)),
            segment: ByteSize::parse(Self::DEFAULT_SEGMENT).expect(WELL_FORMED),
        }
    }
}

/// A bound, or the word `unlimited`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtMost<T> {
    Unlimited,
    Of(T),
}

const UNLIMITED: &str = "unlimited";

impl<T> AtMost<T> {
    pub const fn bound(&self) -> Option<&T> {
        match self {
            Self::Unlimited => None,
            Self::Of(bound) => Some(bound),
        }
    }
}

impl<T: Display> Serialize for AtMost<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unlimited => serializer.serialize_str(UNLIMITED),
            Self::Of(bound) => serializer.collect_str(bound),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for AtMost<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if value == UNLIMITED {
            return Ok(Self::Unlimited);
        }
        T::deserialize(value)
            .map(Self::Of)
            .map_err(|error| D::Error::custom(format_args!("{error}, or `{UNLIMITED}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_quantity_or_unlimited() {
        let read = |text: &str| serde_json::from_str::<Retention>(text);
        let kept = read(r#"{"age": "unlimited", "size": "1GiB"}"#).unwrap();
        assert_eq!(kept.age, AtMost::Unlimited);
        assert_eq!(kept.size.bound().map(ByteSize::bytes), Some(1 << 30));
        let seconds = read(r#"{"age": 90}"#).unwrap();
        assert_eq!(seconds.age.bound().map(|age| age.0.as_secs()), Some(90));
        let printed = serde_json::to_string(&kept).unwrap();
        assert_eq!(read(&printed).unwrap().age, AtMost::Unlimited);
        let wrong = read(r#"{"size": "much"}"#).unwrap_err().to_string();
        assert!(wrong.contains("much") && wrong.contains("unlimited"), "{wrong}");
    }
}
