//! JSON of strangers: read strictly, and carried as it was written.
//!
//! Purpose: one reader for every front, for declarations and for the doors of guests. Invariants: a member that is given twice, a
//! text that is not Unicode and a depth beyond [`limits::DEPTH`] are refused, and the error names the member and says what is
//! expected in the words of the API. What a sender wrote is never written anew, because that would lose digits, repeated members
//! and the order of members; see [`RawJson`].

mod document;
mod invalid;
mod member;
mod raw;
mod scan;

use serde_json::value::RawValue;

pub use self::document::{from_value, read};
pub use self::invalid::{Invalid, cut, wanted};
pub use self::member::{members, text, texts};
pub use self::raw::RawJson;
pub use self::scan::nesting;

/// Limits on JSON.
pub mod limits {
    /// The most levels of arrays and objects inside each other, counted in one content, one extension parameter or one document.
    /// Whoever reads the history must be able to read all of it: common readers of JSON stop at 128 levels, and a page of messages
    /// adds some of its own.
    pub const DEPTH: usize = 100;
}

/// The names of documents whose members go by their own names. The members of any other document go by `document.member`.
pub const BODY: &str = "body";
pub const QUERY: &str = "query";

/// JSON is refused: the member, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct InvalidJson {
    pub field: String,
    pub problem: String,
}

impl InvalidJson {
    fn new(field: &str, problem: impl Into<String>) -> Self {
        Self {
            field: cut(field),
            problem: problem.into(),
        }
    }
}

/// Checks that bytes are one JSON value that can be carried as it is. The error is a predicate, such as `is empty`.
pub fn check(json: &[u8]) -> Result<&RawValue, String> {
    let raw = grammar(json)?;
    check_value(raw)?;
    Ok(raw)
}

/// The same for a value of which only the grammar was checked, such as one of [`members`].
pub fn check_value(value: &RawValue) -> Result<(), String> {
    scan::check(value.get())
}

/// Checks that bytes are one JSON value, however deep it nests and whatever its texts are.
fn grammar(json: &[u8]) -> Result<&RawValue, String> {
    use serde_json::error::Category;
    let text = std::str::from_utf8(json)
        .map_err(|error| format!("is not UTF-8, as JSON must be, from byte {} on", error.valid_up_to()))?;
    serde_json::from_str(text).map_err(|error| match error.classify() {
        _ if text.trim_ascii().is_empty() => "is empty, and must be JSON".to_owned(),
        Category::Eof => format!(
            "is not JSON: it ends at line {}, column {}, before it is complete",
            error.line(),
            error.column()
        ),
        Category::Syntax | Category::Data | Category::Io => {
            format!("is not JSON: line {}, column {} is wrong", error.line(), error.column())
        }
    })
}
