//! W3C trace context (<https://www.w3.org/TR/trace-context/>): one trace id for what a caller asked and what came of it.

use std::fmt;

/// The trace that a request belongs to: its caller's, or a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    id: u128,
    flags: u8,
}

impl Trace {
    /// A new trace, not sampled: only its caller or an exporter can know that it should be.
    pub(super) fn new() -> Self {
        Self {
            id: rand::random::<u128>().max(1),
            flags: 0,
        }
    }

    /// The trace of a request with these `traceparent` headers. More than one are as good as none: the recommendation has one.
    pub(super) fn of<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut headers = headers.into_iter();
        match (headers.next(), headers.next()) {
            (Some(only), None) => Self::continuing(std::str::from_utf8(only).ok()),
            _ => Self::new(),
        }
    }

    /// Goes on with the trace of a `traceparent` header. A header that is absent or wrong starts a new trace, as the
    /// recommendation says (section 2.2.3).
    pub(super) fn continuing(traceparent: Option<&str>) -> Self {
        traceparent.and_then(Self::parse).unwrap_or_else(Self::new)
    }

    fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        let mut parts = header.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next()?;
            let legal = part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            legal.then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let (version, id, parent, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let known = version == 0 && header.len() == 55 || (1..255).contains(&version);
        (known && id != 0 && parent != 0).then(|| Self {
            id,
            flags: u8::try_from(flags).unwrap_or(0),
        })
    }

    /// The `traceparent` of an answer, with a parent id of its own.
    pub(super) fn traceparent(self) -> String {
        format!("00-{self}-{:016x}-{:02x}", rand::random::<u64>().max(1), self.flags & 1)
    }
}

/// The trace id: 32 hex digits.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_callers_trace_goes_on() {
        let trace = Trace::continuing(Some(&format!("00-{ID}-00f067aa0ba902b7-01")));
        assert_eq!(trace.to_string(), ID);
        let parent = trace.traceparent();
        assert!(
            parent.starts_with(&format!("00-{ID}-")) && parent.ends_with("-01") && parent.len() == 55,
            "{parent}"
        );
        assert_eq!(
            Trace::continuing(Some(&format!("01-{ID}-00f067aa0ba902b7-00-more"))).to_string(),
            ID
        );
    }

    #[test]
    fn a_wrong_header_starts_a_new_trace() {
        let zero = "0".repeat(32);
        for bad in [
            String::new(),
            "nonsense".to_owned(),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{ID}-0000000000000000-01"),
            format!("00-{zero}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
        ] {
            let trace = Trace::continuing(Some(&bad));
            assert_ne!(trace.to_string(), ID, "{bad}");
            assert_eq!(trace.to_string().len(), 32);
        }
        assert_ne!(Trace::continuing(None), Trace::continuing(None));
        let header = format!("00-{ID}-00f067aa0ba902b7-01");
        assert_eq!(Trace::of([header.as_bytes()]).to_string(), ID);
        assert_ne!(Trace::of([header.as_bytes(), header.as_bytes()]).to_string(), ID);
    }
}
