//! Glob patterns that strangers write: over names of agents, addresses and kinds of events.

use globset::{Error, ErrorKind, Glob, GlobBuilder};

/// Bytes of one pattern. The compiled form of a longer pattern may exceed the limit of the pattern library.
pub const PATTERN_BYTES: usize = 256;

/// Compiles a pattern. The error says what is wrong with it, as a predicate of the list that has it.
pub fn compile(pattern: &str) -> Result<Glob, String> {
    if pattern.len() > PATTERN_BYTES {
        return Err(format!("has a pattern of more than {PATTERN_BYTES} bytes"));
    }
    let wrong = |error| format!("has the pattern `{pattern}`, in which {}", why(&error));
    GlobBuilder::new(pattern).build().map_err(wrong)
}

fn why(error: &Error) -> String {
    match error.kind() {
        ErrorKind::UnclosedClass => "a [ has no ]".to_owned(),
        ErrorKind::InvalidRange(from, to) => format!("the range {from}-{to} is empty"),
        ErrorKind::UnopenedAlternates => "a } has no {".to_owned(),
        ErrorKind::UnclosedAlternates => "a { has no }".to_owned(),
        ErrorKind::NestedAlternates => "a { is within another".to_owned(),
        ErrorKind::DanglingEscape => "the last \\ is before nothing".to_owned(),
        ErrorKind::InvalidRecursive | ErrorKind::Regex(_) | _ => {
            "** is not a part of a path by itself, or the whole is too large".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_or_is_refused_with_the_reason() {
        assert!(compile("agent.*").unwrap().compile_matcher().is_match("agent.deployed"));
        for (pattern, reason) in [
            ("[a", "a [ has no ]"),
            ("[z-a]", "z-a"),
            ("a}", "a } has no {"),
            ("{a", "a { has no }"),
            ("a\\", "before nothing"),
            (&"x".repeat(257), "256 bytes"),
        ] {
            let problem = compile(pattern).unwrap_err();
            assert!(problem.contains(reason), "{problem}");
        }
    }
}
