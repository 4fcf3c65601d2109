//! The variables that an agent's owner declares for it. Their values may be secrets.
//!
//! Invariant: a value is never shown. `Debug` and `Serialize` write [`MASK`] instead, so responses, events and logs do
//! too. Only [`Environment::values`] returns the values: to give them to the agent, and to seal them for the catalog's
//! document.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits;
use crate::error::{Error, Result};

/// The text that is shown instead of a value.
pub const MASK: &str = "********";

/// Variables by name. All instances of an agent share one copy.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Arc<BTreeMap<String, String>>);

impl Environment {
    pub(in crate::agent) fn new(values: BTreeMap<String, String>) -> Self {
        Self(Arc::new(values))
    }

    /// Names and values, in the names' byte order.
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Checks names and sizes. An error names the variable, and never shows its value.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |problem: String| Err(Error::invalid("config.environment", problem));
        if self.0.len() > limits::VARIABLES {
            return wrong(format!(
                "has {} variables, and may have {}",
                self.0.len(),
                limits::VARIABLES
            ));
        }
        for (name, value) in self.0.iter() {
            if !is_name(name) {
                let shown: String = name.chars().take(limits::VARIABLE_NAME_BYTES).collect();
                let most = limits::VARIABLE_NAME_BYTES;
                return wrong(format!(
                    "has the name `{}`: 1 to {most} ASCII letters, digits and `_`, the first no digit",
                    shown.escape_default()
                ));
            }
            if value == MASK {
                return wrong(format!("has for `{name}` the mask that answers show: give the value"));
            }
        }
        let bytes: usize = self.0.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > limits::ENVIRONMENT_BYTES {
            return wrong(format!(
                "takes {bytes} bytes, and names and values together may take {}",
                limits::ENVIRONMENT_BYTES
            ));
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=limits::VARIABLE_NAME_BYTES).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, MASK))).finish()
    }
}

impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|name| (name, MASK)))
    }
}

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The values are first read as any JSON, because serde's error for a wrong type would repeat the value.
        let given = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
        let text = |(name, value)| {
            let serde_json::Value::String(value) = value else {
                return Err(D::Error::custom(format_args!("the value of `{name}` must be a text")));
            };
            Ok((name, value))
        };
        Ok(Self(Arc::new(given.into_iter().map(text).collect::<Result<_, _>>()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::spec::{AgentSpec, Ceilings};

    fn spec(environment: &serde_json::Value) -> Result<AgentSpec> {
        let config = serde_json::json!({"name": "a", "environment": environment});
        let spec = AgentSpec::from_json(config.to_string().as_bytes())?;
        spec.check(&Ceilings::default()).map(|()| spec)
    }

    #[test]
    fn values_are_kept_and_never_shown() {
        let spec = spec(&serde_json::json!({"TOKEN": "s3cret", "_b2": "", "NOTHING": null})).unwrap();
        let values: Vec<_> = spec.environment.values().iter().collect();
        let expected = [
            ("TOKEN".to_owned(), "s3cret".to_owned()),
            ("_b2".to_owned(), String::new()),
        ];
        assert_eq!(
            values,
            expected.iter().map(|(name, value)| (name, value)).collect::<Vec<_>>()
        );
        let json = serde_json::to_string(&spec).unwrap();
        for shown in [format!("{spec:?}"), format!("{spec:#?}"), json] {
            assert!(shown.contains("TOKEN") && shown.contains(MASK), "{shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_value() {
        let long = "x".repeat(limits::VARIABLE_NAME_BYTES + 1);
        let large = "s3cret".repeat(limits::ENVIRONMENT_BYTES);
        let many: serde_json::Map<_, _> = (0..=limits::VARIABLES).map(|n| (format!("V{n}"), "".into())).collect();
        let wrong = [
            serde_json::json!({"TOKEN": ["s3cret"]}),
            serde_json::json!({"TOKEN": 271_828}),
            serde_json::json!({"": "s3cret"}),
            serde_json::json!({"2TOKEN": "s3cret"}),
            serde_json::json!({"TO KEN": "s3cret"}),
            serde_json::json!({long: "s3cret"}),
            serde_json::json!({"TOKEN": MASK}),
            serde_json::json!({"TOKEN": large}),
            many.into(),
        ];
        for environment in &wrong {
            let error = spec(environment).unwrap_err();
            let Error::InvalidRequest { field, .. } = &error else {
                panic!("{error}")
            };
            assert!(field.starts_with("config.environment"), "{field}");
            let text = error.to_string();
            assert!(!text.contains("s3cret") && !text.contains("271828"), "{text}");
        }
    }

    #[test]
    fn the_limits_can_be_reached() {
        let name = "n".repeat(limits::VARIABLE_NAME_BYTES);
        let value = "v".repeat(limits::ENVIRONMENT_BYTES - limits::VARIABLE_NAME_BYTES);
        spec(&serde_json::json!({name: value})).unwrap();
    }
}
