//! Reads documents and their members: null means absent, no member is given twice, and an error names the wrong member.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::invalid::{Invalid, NO_OBJECT};
use super::scan::{LONE_SURROGATE, Scan};
use super::{InvalidJson, grammar};

/// Reads a document of a few kilobytes. Messages and modules have their own readers.
pub fn read<T: DeserializeOwned>(json: &[u8], whole: &str) -> Result<T, InvalidJson> {
    let raw = grammar(json).map_err(|problem| InvalidJson::new(whole, problem))?;
    from_value(strict(raw, whole)?, whole)
}

/// Reads a document that is a value already.
pub fn from_value<T: DeserializeOwned>(value: Value, whole: &str) -> Result<T, InvalidJson> {
    if !value.is_object() {
        return Err(InvalidJson::new(whole, NO_OBJECT));
    }
    typed(value, whole)
}

fn typed<T: DeserializeOwned>(mut value: Value, whole: &str) -> Result<T, InvalidJson> {
    drop_nulls(&mut value);
    serde_path_to_error::deserialize(Document(value)).map_err(|error| {
        let path = error.path().clone();
        error.into_inner().at(&path, whole)
    })
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(drop_nulls);
    }
}

/// Parses valid JSON. A member that is given twice is an error, and a text that is not Unicode is one of its member.
fn strict(raw: &RawValue, whole: &str) -> Result<Value, InvalidJson> {
    let scan = Scan::of(raw.get());
    scan.check_depth().map_err(|problem| InvalidJson::new(whole, problem))?;
    let repeated = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_str(raw.get());
    json.disable_recursion_limit(); // the depth is checked
    let mut track = serde_path_to_error::Track::new();
    let value =
        Strict { repeated: &repeated }.deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
    value.map_err(|_| {
        let problem = if scan.lone_surrogate {
            LONE_SURROGATE
        } else {
            "is a number beyond the range of a double"
        };
        let invalid = repeated.take().map(|name| Invalid::Repeated(name.into()));
        invalid
            .unwrap_or_else(|| Invalid::Wrong(problem.to_owned()))
            .at(&track.path(), whole)
    })
}

/// Builds a [`Value`], and stops at a member that is given twice, whose name it leaves in `repeated`.
#[derive(Clone, Copy)]
struct Strict<'a> {
    repeated: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.contains_key(&name) {
                self.repeated.replace(Some(name));
                return Err(A::Error::custom("a member is given twice"));
            }
            members.insert(name, map.next_value_seed(self)?);
        }
        Ok(members.into())
    }
}

/// A deserialiser of a value whose errors are [`Invalid`].
struct Document(Value);

impl Document {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(flag) => Unexpected::Bool(*flag),
            Value::Number(number) => Unexpected::Float(number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        }
    }
}
impl IntoDeserializer<'_, Invalid> for Document {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Document {
    type Error = Invalid;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(values) => visitor.visit_seq(SeqDeserializer::new(values.into_iter().map(Document))),
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, value)| (name, Document(value)));
                visitor.visit_map(MapDeserializer::new(members))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_newtype_struct(self)
    }

    /// The enums of requests have only unit variants, written as texts.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        match self.0 {
            Value::String(word) => visitor.visit_enum(word.into_deserializer()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err(Invalid::invalid_type(self.unexpected(), &"a text"))
            }
        }
    }

    /// serde would also read an array as the members in their order, which no request means.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        if self.0.is_object() {
            self.deserialize_any(visitor)
        } else {
            Err(Invalid::invalid_type(self.unexpected(), &visitor))
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::json::BODY;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(default)]
        number: Option<u32>,
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        flag: bool,
    }

    fn refused(json: &str, whole: &str) -> InvalidJson {
        read::<Outer>(json.as_bytes(), whole).unwrap_err()
    }

    #[test]
    fn null_means_absent() {
        let outer: Outer = read(br#"{"number": null, "inner": {"flag": true}, "unknown": null}"#, BODY).unwrap();
        assert!(outer.number.is_none() && outer.inner.flag);
    }

    #[test]
    fn errors_name_the_member() {
        for (json, field) in [
            ("nonsense", "body"),
            ("[]", "body"),
            ("", "body"),
            ("{}", "inner"),
            (r#"{"inner": {"flag": true}, "colour": 1}"#, "colour"),
            (r#"{"inner": {"flag": true}, "number": "x"}"#, "number"),
            (r#"{"inner": {"flag": true}, "number": 1e400}"#, "number"),
            (r#"{"inner": {"flag": true}, "number": "\ud800"}"#, "number"),
            (r#"{"inner": {"flag": true}, "number": 1, "number": 1}"#, "number"),
            (r#"{"inner": [true]}"#, "inner"),
            (r#"{"inner": {"flag": 1}}"#, "inner.flag"),
            (r#"{"inner": {}}"#, "inner.flag"),
            (r#"{"inner": {"flag": true, "colour": 1}}"#, "inner.colour"),
            (r#"{"inner": {"flag": true, "fl\u0061g": true}}"#, "inner.flag"),
        ] {
            assert_eq!(refused(json, BODY).field, field, "{json}");
            let within = if field == "body" {
                "config".to_owned()
            } else {
                format!("config.{field}")
            };
            assert_eq!(refused(json, "config").field, within, "{json}");
        }
    }

    #[test]
    fn depth_is_bounded_and_does_not_exhaust_the_stack() {
        let deep = format!(r#"{{"inner": {}1{}}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
        let invalid = refused(&deep, "config");
        assert_eq!(invalid.field, "config");
        assert!(invalid.problem.contains("100"), "{invalid}");
        let deepest = format!(r#"{{"a": {}1{}}}"#, "[".repeat(99), "]".repeat(99));
        assert!(read::<Value>(deepest.as_bytes(), BODY).unwrap()["a"].is_array());
    }
}
