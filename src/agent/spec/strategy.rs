//! How later versions of an agent replace one.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A strategy. It is written as a text, or as an object with the text as its `type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    #[default]
    Immediate,
    Rolling,
    BlueGreen,
    Canary,
}

impl Strategy {
    pub const NAMES: &[&str] = &["immediate", "rolling", "blue_green", "canary"];

    fn parse(name: &str) -> Option<Self> {
        match name {
            "immediate" => Some(Self::Immediate),
            "rolling" => Some(Self::Rolling),
            "blue_green" => Some(Self::BlueGreen),
            "canary" => Some(Self::Canary),
            _ => None,
        }
    }
}

/// Members of the object that say how a rollout goes. There are no rollouts yet.
const OF_A_ROLLOUT: &[&str] = &[
    "stages",
    "rollback_on_error",
    "error_threshold",
    "min_requests",
    "batch_size",
    "batch_interval",
];

impl<'de> Deserialize<'de> for Strategy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Strategy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or an object with a `type`")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Strategy, E> {
                Strategy::parse(name).ok_or_else(|| E::unknown_variant(name, Strategy::NAMES))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strategy, A::Error> {
                let mut strategy = None;
                while let Some(Member(member)) = map.next_key()? {
                    if member == "type" {
                        strategy = Some(map.next_value::<Named>()?.0);
                    } else {
                        map.next_value::<NotBuilt>()?;
                    }
                }
                strategy.ok_or_else(|| A::Error::missing_field("type"))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The name of a member, which must be known.
struct Member(String);

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == "type" || OF_A_ROLLOUT.contains(&name.as_str()) {
            return Ok(Self(name));
        }
        Err(D::Error::unknown_field(&name, &["type"]))
    }
}

/// The value of `type`. It is a type of its own, so that an error has the path of the member.
struct Named(Strategy);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let strategy = Strategy::parse(&name).ok_or_else(|| D::Error::unknown_variant(&name, Strategy::NAMES));
        strategy.map(Self)
    }
}

/// A value that nothing reads yet.
struct NotBuilt;

impl<'de> Deserialize<'de> for NotBuilt {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        let problem = "is not built yet, like all of rollouts; leave it out, and `type` is kept for later versions";
        Err(D::Error::custom(problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::spec::AgentSpec;

    fn strategy(json: &str) -> crate::error::Result<Strategy> {
        let config = format!(r#"{{"name": "a", "strategy": {json}}}"#);
        AgentSpec::from_json(config.as_bytes()).map(|spec| spec.strategy)
    }

    #[test]
    fn a_strategy_is_a_text_or_an_object_with_its_type() {
        for &name in Strategy::NAMES {
            let known = strategy(&format!("\"{name}\"")).unwrap();
            assert_eq!(strategy(&format!(r#"{{"type": "{name}"}}"#)).unwrap(), known);
            assert_eq!(serde_json::to_value(known).unwrap(), name);
        }
    }

    #[test]
    fn what_is_wrong_or_not_built_is_named() {
        for (json, field, word) in [
            (r#""hope""#, "config.strategy", "immediate, rolling"),
            ("7", "config.strategy", "a text, or an object"),
            (r#"{"type": "hope"}"#, "config.strategy.type", "immediate, rolling"),
            (r#"{"type": 7}"#, "config.strategy.type", "a text"),
            ("{}", "config.strategy.type", "missing"),
            (
                r#"{"type": "canary", "colour": 1}"#,
                "config.strategy.colour",
                "not known",
            ),
            (
                r#"{"type": "canary", "stages": [{"percentage": 10, "duration": "5m"}]}"#,
                "config.strategy.stages",
                "not built yet",
            ),
        ] {
            let error = strategy(json).unwrap_err();
            assert_eq!(error.details()["field"], field, "{json}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
