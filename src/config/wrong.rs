//! What is wrong with a configuration, in the words of its keys.

use std::fmt::{self, Display};

use figment::error::{Actual, Kind};

use crate::json::wanted;

/// What the library found. It can be several errors; each has a line.
#[derive(Debug)]
pub struct Wrong(Box<figment::Error>);

impl Wrong {
    pub(super) fn new(error: figment::Error) -> Self {
        Self(Box::new(error))
    }
}

impl std::error::Error for Wrong {}

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.clone().into_iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            let key = error.path.join(".");
            match &error.kind {
                Kind::UnknownField(name, known) => {
                    let section = error.path.iter().filter(|part| *part != name);
                    let whole: Vec<_> = section.map(String::as_str).chain([name.as_str()]).collect();
                    write!(f, "`{}` is no key; there are {}", whole.join("."), known.join(", "))?;
                }
                Kind::MissingField(name) => write!(f, "`{}` is missing", joined(&key, name))?,
                Kind::DuplicateField(name) => write!(f, "`{}` is given twice", joined(&key, name))?,
                Kind::UnknownVariant(given, known) => {
                    write!(f, "`{key}` is `{given}`, and must be {}", known.join(" or "))?;
                }
                Kind::InvalidType(given, expected) | Kind::InvalidValue(given, expected) => {
                    write!(f, "`{key}` is {}, and must be {}", shown(given), kind(expected))?;
                }
                Kind::Message(problem) if key.is_empty() => f.write_str(problem)?,
                Kind::Message(problem) => write!(f, "`{key}` {problem}")?,
                other @ (Kind::InvalidLength(..)
                | Kind::ISizeOutOfRange(_)
                | Kind::USizeOutOfRange(_)
                | Kind::Unsupported(_)
                | Kind::UnsupportedKey(..)) => write!(f, "`{key}` cannot be read: {other}")?,
            }
            if let Some(source) = &error.metadata {
                let place = source.source.as_ref().map(ToString::to_string);
                write!(f, " (in {})", place.as_deref().unwrap_or("an environment variable"))?;
            }
        }
        Ok(())
    }
}

fn joined(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

fn shown(given: &Actual) -> String {
    match given {
        Actual::Bool(given) => given.to_string(),
        Actual::Unsigned(given) => given.to_string(),
        Actual::Signed(given) => given.to_string(),
        Actual::Float(given) => given.to_string(),
        Actual::Char(given) => format!("`{given}`"),
        Actual::Str(given) => format!("`{given}`"),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other @ (Actual::Bytes(_)
        | Actual::Unit
        | Actual::Option
        | Actual::NewtypeStruct
        | Actual::Enum
        | Actual::UnitVariant
        | Actual::NewtypeVariant
        | Actual::TupleVariant
        | Actual::StructVariant
        | Actual::Other(_)) => other.to_string(),
    }
}

/// The expected type in the words of TOML.
fn kind(expected: &str) -> String {
    if expected.starts_with("struct ") {
        return "a table".to_owned();
    }
    wanted(&expected)
}
