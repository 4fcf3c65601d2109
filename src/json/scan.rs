//! What a parser does not tell of JSON that it only skips: how deep it nests, and whether its texts are Unicode.
//!
//! Both are found without recursion, so that no depth can exhaust the stack.

use super::limits;

/// What is wrong with a text that has `\ud800` without its other half. No UTF-8 can hold it, so most readers refuse it.
pub(super) const LONE_SURROGATE: &str = "has half of a surrogate pair (\\ud800 to \\udfff), which is no character; write both halves, or the character itself";

/// How deep arrays and objects nest in `json`, which need not be valid.
pub fn nesting(json: &str) -> usize {
    Scan::of(json).depth
}

/// Refuses valid JSON that cannot be carried. The error is a predicate.
pub(super) fn check(json: &str) -> Result<(), String> {
    let scan = Scan::of(json);
    scan.check_depth()?;
    if scan.lone_surrogate {
        return Err(LONE_SURROGATE.to_owned());
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    depth: usize,
    pub(super) lone_surrogate: bool,
}

impl Scan {
    pub(super) fn of(json: &str) -> Self {
        let bytes = json.as_bytes();
        let (mut scan, mut depth, mut at) = (Self::default(), 0_usize, 0);
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => at = scan.text(bytes, at),
                b'[' | b'{' => {
                    depth += 1;
                    scan.depth = scan.depth.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        scan
    }

    pub(super) fn check_depth(&self) -> Result<(), String> {
        if self.depth > limits::DEPTH {
            let (depth, most) = (self.depth, limits::DEPTH);
            return Err(format!("nests {depth} levels deep, and may nest {most}"));
        }
        Ok(())
    }

    /// Scans a text from behind its opening quote. Returns where it ends.
    fn text(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
            at += found;
            if bytes[at] == b'"' {
                return at + 1;
            }
            at += match (Half::of(&bytes[at..]), bytes.get(at + 6..).and_then(Half::of)) {
                (Some(Half::High), Some(Half::Low)) => 12,
                (Some(_), _) => {
                    self.lone_surrogate = true;
                    6
                }
                (None, _) => 2,
            }
        }
        bytes.len()
    }
}

/// Half of a surrogate pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    High,
    Low,
}

impl Half {
    /// The half with whose escape, such as `\ud800`, the bytes begin.
    fn of(bytes: &[u8]) -> Option<Self> {
        let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
        let unit = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        match unit {
            0xd800..=0xdbff => Some(Self::High),
            0xdc00..=0xdfff => Some(Self::Low),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_arrays_and_objects_outside_of_texts() {
        for (json, depth) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[{}],"b":[[]]}"#, 3),
            (r#"["[[[[","\"[","\\",{}]"#, 2),
        ] {
            assert_eq!(nesting(json), depth, "{json}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(check(&nested(limits::DEPTH)), Ok(()));
        assert!(check(&nested(limits::DEPTH + 1)).unwrap_err().contains("100"));
        assert_eq!(nesting(&nested(1_000_000)), 1_000_000);
    }

    #[test]
    fn a_pair_is_a_character_and_half_of_it_is_none() {
        let lone = |json: &str| Scan::of(json).lone_surrogate;
        for good in [
            r#""\ud83d\ude00""#,
            r#""\uD83D\uDE00""#,
            r#""\\ud800""#,
            r#""\u0041\n""#,
            r#"{"a":"\ud7ff\ue000"}"#,
            "1",
        ] {
            assert!(!lone(good), "{good}");
        }
        for bad in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\ud800\udc00""#,
            r#""\ud800x\udc00""#,
            r#"{"\ud800":1}"#,
            r#"["\\\ud800"]"#,
            r#""\udc00\ud800""#,
        ] {
            assert!(lone(bad), "{bad}");
        }
    }
}
