//! What serde finds wrong with a request, kept as data until the member that is wrong is known.
//!
//! serde's own errors are English sentences about Rust types. Here the name of a missing member stays a name, and the sentence
//! says what was given and what is expected in the words of JSON. Texts that were given are not repeated: they may be secrets.

use std::fmt;

use serde::de::{Expected, Unexpected};

use crate::error::Error;

/// What is wrong with a member. Of what is missing or repeated beneath the member, the name is given.
#[derive(Debug)]
pub(super) enum Invalid {
    Missing(&'static str),
    Repeated(&'static str),
    Unknown(&'static [&'static str]),
    Wrong(String),
}

impl Invalid {
    /// The error of the member at `path`; `whole` is the name of what was read, where the path is empty.
    pub(super) fn at(self, path: &serde_path_to_error::Path, whole: &str) -> Error {
        let is_whole = path.iter().len() == 0;
        let field = match self {
            Self::Missing(name) | Self::Repeated(name) if is_whole => name.to_owned(),
            Self::Missing(name) | Self::Repeated(name) => format!("{path}.{name}"),
            Self::Unknown(_) | Self::Wrong(_) if is_whole => whole.to_owned(),
            Self::Unknown(_) | Self::Wrong(_) => path.to_string(),
        };
        Error::invalid(cut(&field), self.to_string())
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(_) => f.write_str("is missing"),
            Self::Repeated(_) => f.write_str("is given more than once"),
            Self::Unknown([]) => f.write_str("is not known here; nothing is"),
            Self::Unknown(known) => write!(f, "is not known here; these are: {}", known.join(", ")),
            Self::Wrong(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for Invalid {}

impl serde::de::Error for Invalid {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::Wrong(format!("is wrong: {problem}"))
    }

    fn invalid_type(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Wrong(format!("is {}, and must be {}", shown(given), wanted(expected)))
    }

    fn invalid_value(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(given, expected)
    }

    fn unknown_variant(given: &str, known: &'static [&'static str]) -> Self {
        Self::Wrong(format!("is `{}`, and must be one of {}", cut(given), known.join(", ")))
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::Unknown(known)
    }

    fn missing_field(name: &'static str) -> Self {
        Self::Missing(name)
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::Repeated(name)
    }
}

/// A name or word of the client's, for an error: not more than the client can find again.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

fn shown(given: Unexpected<'_>) -> String {
    match given {
        Unexpected::Bool(flag) => flag.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Char(_) | Unexpected::Str(_) => "a text".to_owned(),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        Unexpected::Bytes(_)
        | Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => "something else".to_owned(),
    }
}

/// Rust's names of the types that requests have, in the words of JSON.
pub(super) fn wanted(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "an object".to_owned(),
        other if other.starts_with("struct ") => "an object".to_owned(),
        other => other.to_owned(),
    }
}
