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
use crate::json::nesting;
use crate::time::Timestamp;

/// Beyond this (2^53) a double does not hold every integer.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// The most levels of a `Struct`. Readers of protobuf stop at 100 messages inside each other; a level of a Struct is three of them,
/// and the message around it two.
const STRUCT_DEPTH: usize = 32;

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
        .and_then(|s| s.checked_add(i64::from(time.nanos / 1_000)))
        .filter(|_| (0..1_000_000_000).contains(&time.nanos))
        .and_then(Timestamp::within_range);
    micros.ok_or_else(|| {
        let problem = format!(
            "has {} seconds and {} nanos, and must be a time of the years 1 to 9999, with 0 to 999999999 nanos",
            time.seconds, time.nanos
        );
        Error::invalid(field, problem)
    })
}

pub(super) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).expect("less than a second in nanoseconds fits"),
    }
}

pub(super) fn read_duration(field: &str, span: prost_types::Duration) -> Result<Duration> {
    Duration::try_from(span).map_err(|_| {
        let problem = format!(
            "has {} seconds and {} nanos, and must not be negative",
            span.seconds, span.nanos
        );
        Error::invalid(field, problem)
    })
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
            let problem = format!("is {limit}, and must be 1 to {}, or left out", limits::PAGE);
            Err(Error::invalid("limit", problem))
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
pub(super) fn json_of(content: &Struct) -> Result<Bytes> {
    Ok(Bytes::from(object(content)?.to_string()))
}

fn object(content: &Struct) -> Result<Value> {
    let members = content.fields.iter();
    members.map(|(name, value)| Ok((name.clone(), json(value)?))).collect()
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the guard leaves integers of at most 54 bits"
)]
fn json(value: &ProtoValue) -> Result<Value> {
    Ok(match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => (*flag).into(),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() <= EXACT => (*n as i64).into(),
        Some(Kind::NumberValue(n)) => serde_json::Number::from_f64(*n).map(Value::Number).ok_or_else(|| {
            Error::invalid(
                "message.content",
                format!("has the number {n}, which JSON cannot write"),
            )
        })?,
        Some(Kind::StructValue(inner)) => object(inner)?,
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(json).collect::<Result<_>>()?),
    })
}

/// JSON as gRPC shows it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shown {
    /// None: it is no object, or nests too deep for a Struct.
    pub(super) content: Option<Struct>,
    /// It is an object that nests deeper than [`STRUCT_DEPTH`].
    pub(super) too_deep: bool,
    /// False: `content` is absent or not all that was written, and only the bytes of the JSON are.
    pub(super) exact: bool,
}

/// A Struct has no order of members, no repeated ones, and only doubles for numbers. So it is exact if the JSON that it gives back
/// is the same text.
pub(super) fn struct_of(json: &[u8]) -> Shown {
    let text = std::str::from_utf8(json).unwrap_or_default();
    let is_object = text.trim_ascii_start().starts_with('{');
    if is_object && nesting(text) > STRUCT_DEPTH {
        return Shown {
            too_deep: true,
            ..Shown::default()
        };
    }
    let Ok(Value::Object(members)) = serde_json::from_str(text) else {
        return Shown::default();
    };
    let mut exact = true;
    let content = structure(members, &mut exact);
    Shown {
        exact: exact && json_of(&content).is_ok_and(|again| again == json),
        content: Some(content),
        too_deep: false,
    }
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
    use prost::Message as _;

    use super::*;
    use crate::api::grpc::proto::{FipaMessage, MessageReply};

    fn there_and_back(text: &str) -> String {
        let shown = struct_of(text.as_bytes());
        let again = json_of(&shown.content.unwrap()).unwrap();
        assert_eq!(shown.exact, again == text, "{text}");
        String::from_utf8(again.into()).unwrap()
    }

    #[test]
    fn objects_survive_and_integers_stay_integers() {
        let text = r#"{"a":1,"b":-2.5,"c":[true,null,"x",{"d":9007199254740991}],"e":{}}"#;
        assert_eq!(there_and_back(text), text);
    }

    #[test]
    fn what_a_struct_loses_is_told() {
        for (text, again) in [
            (r#"{"n":3.0}"#, r#"{"n":3}"#),
            (r#"{"n":1.10}"#, r#"{"n":1.1}"#),
            (r#"{"b":1,"a":2}"#, r#"{"a":2,"b":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            ("{ }", "{}"),
        ] {
            assert_eq!(there_and_back(text), again);
        }
        for inexact in [r#"{"n":9007199254740993}"#, r#"{"n":[18446744073709551615]}"#] {
            let shown = struct_of(inexact.as_bytes());
            assert!(!shown.exact && shown.content.is_some(), "{inexact}");
        }
        for other in ["[1]", "null", r#""x""#, r#"{"n": 1e400}"#] {
            assert_eq!(struct_of(other.as_bytes()), Shown::default(), "{other}");
        }
        let nan = ProtoValue {
            kind: Some(Kind::NumberValue(f64::NAN)),
        };
        let fields = [("n".to_owned(), nan)].into();
        assert!(json_of(&Struct { fields }).is_err());
    }

    #[test]
    fn a_struct_nests_no_deeper_than_readers_of_protobuf_read() {
        let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let deepest = struct_of(nested(STRUCT_DEPTH).as_bytes());
        assert!(deepest.exact && !deepest.too_deep);
        // A reader that stops at 100 levels, as prost does, reads it within the two messages around it.
        let around = MessageReply {
            reply: Some(FipaMessage {
                content: deepest.content,
                ..FipaMessage::default()
            }),
            ..MessageReply::default()
        };
        assert!(MessageReply::decode(&*around.encode_to_vec()).is_ok());
        for depth in [STRUCT_DEPTH + 1, 128] {
            let shown = struct_of(nested(depth).as_bytes());
            assert!(shown.too_deep && shown.content.is_none() && !shown.exact, "{depth}");
        }
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
        let ends = [Timestamp::MIN, Timestamp::MAX];
        for time in [Timestamp::now(), Timestamp::from_micros(-1), Timestamp::from_micros(0)]
            .into_iter()
            .chain(ends)
        {
            assert_eq!(read_timestamp("t", timestamp(time)).unwrap(), time);
        }
        for (seconds, nanos) in [
            (i64::MAX, 0),
            (253_402_300_800, 0),
            (-62_135_596_801, 999_999_999),
            (0, -1),
            (0, 1_000_000_000),
        ] {
            let time = prost_types::Timestamp { seconds, nanos };
            assert!(read_timestamp("t", time).is_err(), "{time:?}");
        }
        let span = Duration::from_millis(1_500);
        assert_eq!(read_duration("t", duration(span)).unwrap(), span);
        assert!(read_duration("t", prost_types::Duration { seconds: -1, nanos: 0 }).is_err());
    }
}
