//! JSON that comes in: null means absent, unknown members are refused, and the error names the member.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// Reads a small document (a few kilobytes; messages and modules have readers of their own).
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
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.inner().to_string();
        let path = error.path().to_string();
        let field = match (path.as_str(), named(&inner)) {
            (".", Some(name)) => name.to_owned(),
            (".", None) => "body".to_owned(),
            (_, Some(name)) if !path.ends_with(name) => format!("{path}.{name}"),
            _ => path,
        };
        Error::invalid(field, format!("is wrong: {inner}"))
    })
}

/// The member that serde's message puts between backquotes when one is missing or unknown.
fn named(message: &str) -> Option<&str> {
    let rest = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("missing field `"))?;
    rest.split('`').next()
}

pub(super) fn drop_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(drop_nulls);
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
