//! Times, and content between JSON and `google.protobuf.Struct`.

use std::time::Duration;

use bytes::Bytes;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as ProtoValue};
use serde_json::Value;

use super::proto::AgentExit;
use crate::api::limits;
use crate::api::tree::ExitView;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// Beyond this (2^53) a double does not hold every integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.micros().rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp {
        seconds: time.micros().div_euclid(1_000_000),
        nanos: i32::try_from(nanos).expect("less than a second in nanoseconds fits"),
    }
}

pub(super) fn read_timestamp(field: &str, time: prost_types::Timestamp) -> Result<Timestamp> {
    let micros = time
        .seconds
        .checked_mul(1_000_000)
        .and_then(|s| s.checked_add(i64::from(time.nanos / 1_000)));
    match micros {
        Some(micros) if (0..1_000_000_000).contains(&time.nanos) => Ok(Timestamp::from_micros(micros)),
        _ => Err(Error::invalid(field, "is no time")),
    }
}

pub(super) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).expect("less than a second in nanoseconds fits"),
    }
}

pub(super) fn read_duration(field: &str, span: prost_types::Duration) -> Result<Duration> {
    Duration::try_from(span).map_err(|_| Error::invalid(field, "must not be negative"))
}

/// The text of a protobuf field, for which empty means absent.
pub(super) fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The number of things on a page; 0 is the default.
pub(super) fn page_size(limit: i32) -> Result<usize> {
    match usize::try_from(limit) {
        Ok(0) => Ok(limits::DEFAULT_PAGE),
        Ok(limit) if limit <= limits::PAGE => Ok(limit),
        _ => {
            let mend = format!("must be 1 to {}, or left out", limits::PAGE);
            Err(Error::invalid("limit", mend))
        }
    }
}

pub(super) fn exit(exit: ExitView) -> AgentExit {
    AgentExit {
        reason: exit.reason.to_owned(),
        at: Some(timestamp(exit.at)),
        detail: exit.detail,
        message_id: exit.message_id.map(|id| id.to_string()).unwrap_or_default(),
        attempt: exit.attempt,
        backtrace: exit.backtrace,
    }
}

/// JSON of a Struct. Doubles that are integers become integers: JSON agents tell 3 from 3.0.
pub(super) fn json_of(content: Struct) -> Result<Bytes> {
    Ok(Bytes::from(object(content)?.to_string()))
}

fn object(content: Struct) -> Result<Value> {
    content
        .fields
        .into_iter()
        .map(|(name, value)| Ok((name, json(value)?)))
        .collect()
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the guard leaves integers of at most 54 bits"
)]
fn json(value: ProtoValue) -> Result<Value> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() <= EXACT => (n as i64).into(),
        Some(Kind::NumberValue(n)) => serde_json::Number::from_f64(n)
            .map(Value::Number)
            .ok_or_else(|| Error::invalid("message.content", "has a number that JSON does not know"))?,
        Some(Kind::StructValue(inner)) => object(inner)?,
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(json).collect::<Result<_>>()?),
    })
}

/// JSON as gRPC shows it.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    /// None: it is no object.
    pub(super) content: Option<Struct>,
    /// False: `content` is absent or lacks digits, and only the bytes of the JSON tell the truth.
    pub(super) exact: bool,
}

pub(super) fn struct_of(json: &[u8]) -> Shown {
    let Ok(Value::Object(members)) = serde_json::from_slice(json) else {
        return Shown {
            content: None,
            exact: false,
        };
    };
    let mut exact = true;
    let content = Some(structure(members, &mut exact));
    Shown { content, exact }
}

fn structure(members: serde_json::Map<String, Value>, exact: &mut bool) -> Struct {
    Struct {
        fields: members
            .into_iter()
            .map(|(name, value)| (name, proto(value, exact)))
            .collect(),
    }
}

fn proto(value: Value, exact: &mut bool) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(flag),
        Value::String(text) => Kind::StringValue(text),
        Value::Number(number) => {
            let double = number.as_f64().unwrap_or(f64::NAN);
            // At the bound itself the double may stand for its neighbour.
            *exact &= double.abs() < EXACT;
            Kind::NumberValue(double)
        }
        Value::Array(values) => Kind::ListValue(ListValue {
            values: values.into_iter().map(|value| proto(value, exact)).collect(),
        }),
        Value::Object(members) => Kind::StructValue(structure(members, exact)),
    };
    ProtoValue { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn there_and_back(value: &Value) -> Value {
        let shown = struct_of(value.to_string().as_bytes());
        assert!(shown.exact, "{value}");
        serde_json::from_slice(&json_of(shown.content.unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn objects_survive_and_integers_stay_integers() {
        let value = json!({"a": 1, "b": -2.5, "c": [true, null, "x", {"d": 9_007_199_254_740_991_i64}], "e": {}});
        assert_eq!(there_and_back(&value), value);
        assert_eq!(there_and_back(&json!({"n": 3.0})), json!({"n": 3}));
    }

    #[test]
    fn what_a_struct_cannot_hold_is_told() {
        for inexact in [r#"{"n": 9007199254740993}"#, r#"{"n": [18446744073709551615]}"#] {
            let shown = struct_of(inexact.as_bytes());
            assert!(!shown.exact && shown.content.is_some(), "{inexact}");
        }
        for other in ["[1]", "null", r#""x""#, r#"{"n": 1e400}"#] {
            assert_eq!(
                struct_of(other.as_bytes()),
                Shown {
                    content: None,
                    exact: false
                },
                "{other}"
            );
        }
        let nan = ProtoValue {
            kind: Some(Kind::NumberValue(f64::NAN)),
        };
        assert!(
            json_of(Struct {
                fields: [("n".to_owned(), nan)].into()
            })
            .is_err()
        );
    }

    #[test]
    fn a_page_has_its_limits() {
        assert_eq!(
            (page_size(0).unwrap(), page_size(1_000).unwrap()),
            (limits::DEFAULT_PAGE, 1_000)
        );
        assert!(page_size(-1).is_err() && page_size(1_001).is_err());
    }

    #[test]
    fn times_survive() {
        for time in [Timestamp::now(), Timestamp::from_micros(-1), Timestamp::from_micros(0)] {
            assert_eq!(read_timestamp("t", timestamp(time)).unwrap(), time);
        }
        assert!(
            read_timestamp(
                "t",
                prost_types::Timestamp {
                    seconds: i64::MAX,
                    nanos: 0
                }
            )
            .is_err()
        );
        assert!(read_timestamp("t", prost_types::Timestamp { seconds: 0, nanos: -1 }).is_err());
        let span = Duration::from_millis(1_500);
        assert_eq!(read_duration("t", duration(span)).unwrap(), span);
        assert!(read_duration("t", prost_types::Duration { seconds: -1, nanos: 0 }).is_err());
    }
}
