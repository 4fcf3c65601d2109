//! Sizes, times and shares of a processor as people write them in requests and configuration.

use std::fmt;
use std::time::Duration;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text of a quantity, which may also be written as a bare number.
pub(crate) fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Written;
    impl Visitor<'_> for Written {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a number")
        }

        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.trim().to_owned())
        }

        fn visit_u64<E>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_i64<E>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_f64<E>(self, number: f64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Written)
}

/// The beginning of what was given, for an error.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A number of bytes: `"50MB"` (10^6), `"64MiB"` (2^20), or a bare number of bytes. Prints as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteSize {
    bytes: u64,
    text: String,
}

impl ByteSize {
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The error is a predicate: `is …, and must be …`.
    pub fn parse(text: &str) -> Result<Self, String> {
        const UNITS: &[(&str, u64)] = &[
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("KB", 1_000),
            ("kB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("B", 1),
            ("", 1),
        ];
        let wrong = || {
            format!(
                "is `{}`, and must be a number of bytes, or a number with KB, MB, GB, KiB, MiB or GiB",
                shown(text)
            )
        };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &text[digits.len()..];
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let count: u64 = digits.trim().parse().map_err(|_| wrong())?;
        Ok(Self {
            bytes: count.checked_mul(*factor).ok_or_else(wrong)?,
            text: text.to_owned(),
        })
    }

    /// How usage is shown: whole megabytes (10^6), rounded.
    pub fn megabytes(bytes: u64) -> String {
        format!("{}MB", (bytes + 500_000) / 1_000_000)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&written(deserializer)?).map_err(D::Error::custom)
    }
}

/// How much processor an agent may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// Fuel for each turn: `"100000"` or a bare number. One unit is about one instruction, as wasmtime counts them.
    Fuel(u64),
    /// A rate in thousandths of a core: `"100m"` is a tenth of a core. Only the time in guest code counts.
    Millicores(u32),
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fuel(fuel) => write!(f, "{fuel}"),
            Self::Millicores(rate) => write!(f, "{rate}m"),
        }
    }
}

impl Serialize for Cpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = written(deserializer)?;
        let parsed = match text.strip_suffix('m') {
            Some(rate) => rate
                .parse()
                .ok()
                .filter(|rate| (1..=1_000).contains(rate))
                .map(Self::Millicores),
            None => text.parse().ok().filter(|fuel| *fuel > 0).map(Self::Fuel),
        };
        parsed.ok_or_else(|| {
            D::Error::custom(format_args!(
                "is `{}`, and must be the fuel of a turn, such as 100000, or a rate from 1m to 1000m",
                shown(&text)
            ))
        })
    }
}

/// A span of time: `"200ms"`, `"5m"`, or a bare number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// A longer time is refused, as it is almost surely a mistake.
    const MAX_DAYS: u64 = 366;

    /// The error is a predicate: `is …, and must be …`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "is `{}`, and must be a number of seconds, or a time such as 200ms, 30s, 5m or 1h",
                shown(text)
            )
        };
        let seconds = |text: &str| {
            text.parse::<f64>()
                .ok()
                .and_then(|s| Duration::try_from_secs_f64(s).ok())
        };
        let span = seconds(text)
            .or_else(|| humantime::parse_duration(text).ok())
            .ok_or_else(wrong)?;
        if span > Duration::from_secs(Self::MAX_DAYS * 24 * 3600) {
            return Err(format!(
                "is `{}`, and must be at most {} days",
                shown(text),
                Self::MAX_DAYS
            ));
        }
        Ok(Self(span))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&written(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_and_binary() {
        let bytes = |text| ByteSize::parse(text).map(|size| size.bytes()).ok();
        assert_eq!(bytes("50MB"), Some(50_000_000));
        assert_eq!(bytes("1MiB"), Some(1 << 20));
        assert_eq!(bytes("12"), Some(12));
        for bad in ["", "MB", "-1", "1.5MB", "1mb", "99999999999GiB"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        assert_eq!(serde_json::from_str::<ByteSize>("1024").unwrap().to_string(), "1024");
    }

    #[test]
    fn cpu_is_fuel_or_a_rate() {
        let cpu = |json| serde_json::from_str::<Cpu>(json).ok();
        assert_eq!(cpu("\"100000\""), Some(Cpu::Fuel(100_000)));
        assert_eq!(cpu("100000"), Some(Cpu::Fuel(100_000)));
        assert_eq!(cpu("\"100m\""), Some(Cpu::Millicores(100)));
        assert_eq!((cpu("0"), cpu("\"0m\""), cpu("\"fast\"")), (None, None, None));
    }

    #[test]
    fn a_bare_number_is_seconds() {
        let span = |text| Span::parse(text).map(|span| span.0).ok();
        assert_eq!(span("0"), Some(Duration::ZERO));
        assert_eq!(span("1.5"), Some(Duration::from_millis(1_500)));
        assert_eq!(span("5m"), Some(Duration::from_secs(300)));
        assert_eq!((span("soon"), span("-1"), span("1e300")), (None, None, None));
    }
}
