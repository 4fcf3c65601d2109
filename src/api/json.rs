//! Reads JSON of requests: null means absent, and an error names the wrong member.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde_json::Value;

use super::invalid::Invalid;
use crate::error::{Error, Result};

/// Reads a document of a few kilobytes. Messages and modules have their own readers.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    let value =
        serde_json::from_slice(json).map_err(|error| Error::invalid("body", format!("is not JSON: {error}")))?;
    from_value(value)
}

pub(super) fn from_value<T: DeserializeOwned>(mut value: Value) -> Result<T> {
    if !value.is_object() {
        return Err(Error::invalid("body", "must be a JSON object"));
    }
    drop_nulls(&mut value);
    serde_path_to_error::deserialize(Document(value)).map_err(|error| {
        let path = error.path().clone();
        error.into_inner().at(&path, "body")
    })
}

pub(super) fn drop_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(drop_nulls);
    }
}

/// JSON has no NaN: the mean of no values is shown as 0.
pub(super) fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
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

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

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

    fn field(json: &str) -> String {
        let Error::InvalidRequest { field, .. } = read::<Outer>(json.as_bytes()).unwrap_err() else {
            panic!("no invalid request")
        };
        field
    }

    #[test]
    fn null_means_absent() {
        let outer: Outer = read(br#"{"number": null, "inner": {"flag": true}, "unknown": null}"#).unwrap();
        assert!(outer.number.is_none() && outer.inner.flag);
    }

    #[test]
    fn errors_name_the_member() {
        assert_eq!(field("nonsense"), "body");
        assert_eq!(field("[]"), "body");
        assert_eq!(field("{}"), "inner");
        assert_eq!(field(r#"{"inner": {"flag": true}, "colour": 1}"#), "colour");
        assert_eq!(field(r#"{"inner": {"flag": true}, "number": "x"}"#), "number");
        assert_eq!(field(r#"{"inner": {"flag": 1}}"#), "inner.flag");
        assert_eq!(field(r#"{"inner": {}}"#), "inner.flag");
        assert_eq!(field(r#"{"inner": {"flag": true, "colour": 1}}"#), "inner.colour");
    }
}
