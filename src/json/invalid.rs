//! Errors of deserialisation that keep the name of a missing or repeated member as data.
//!
//! serde's own errors are only sentences, about Rust types. These errors name the wrong member, and say in the words of JSON what
//! was given and what is expected. They do not repeat a given text, because it may be a secret.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Expected, Unexpected};

use super::{BODY, InvalidJson, QUERY};

pub(super) const REPEATED: &str = "is given more than once";
pub(super) const NO_OBJECT: &str = "must be a JSON object";

/// What is wrong with the member that was read last. `Missing` and `Repeated` are about a member of it, and have its name.
#[derive(Debug)]
pub enum Invalid {
    Missing(&'static str),
    Repeated(Cow<'static, str>),
    Unknown(&'static [&'static str]),
    Wrong(String),
}

impl Invalid {
    /// The error for the member at `path` of a document. `whole` is the name of the document, and so the field if the path is empty.
    pub fn at(self, path: &serde_path_to_error::Path, whole: &str) -> InvalidJson {
        let named = !matches!(whole, BODY | QUERY);
        let path = (path.iter().len() > 0).then(|| path.to_string());
        let member = match &self {
            Self::Missing(name) => Some((*name).to_owned()),
            Self::Repeated(name) => Some(name.to_string()),
            Self::Unknown(_) | Self::Wrong(_) => None,
        };
        let steps = [named.then(|| whole.to_owned()), path, member];
        let steps: Vec<_> = steps.into_iter().flatten().collect();
        let field = if steps.is_empty() { whole } else { &steps.join(".") };
        InvalidJson::new(field, self.to_string())
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(_) => f.write_str("is missing"),
            Self::Repeated(_) => f.write_str(REPEATED),
            Self::Unknown([]) => f.write_str("is not known here; nothing is"),
            Self::Unknown(known) => write!(f, "is not known here; these are: {}", known.join(", ")),
            Self::Wrong(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for Invalid {}

impl serde::de::Error for Invalid {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::Wrong(problem.to_string())
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
        Self::Repeated(name.into())
    }
}

/// The beginning of a text of the client, for an error.
pub fn cut(text: &str) -> String {
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

/// The expected type in the words of JSON. serde has the names of Rust.
pub fn wanted(expected: &dyn Expected) -> String {
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
