//! Declarations in protobuf on their way to JSON, so that both fronts have one reader and one wording of errors.

use serde_json::{Map, Value};

use super::convert::{given, read_duration};
use super::proto::Backoff;
use crate::error::Result;

/// Members that are given; what protobuf leaves at its default is left out.
#[derive(Debug, Default)]
pub(super) struct Members(pub(super) Map<String, Value>);

impl Members {
    pub(super) fn put(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    pub(super) fn text(&mut self, name: &str, text: String) {
        self.put(name, given(text));
    }

    /// A time, in seconds. Its field is named with `prefix`.
    pub(super) fn span(&mut self, name: &str, prefix: &str, span: Option<prost_types::Duration>) -> Result<()> {
        let span = span
            .map(|span| read_duration(&format!("{prefix}{name}"), span))
            .transpose()?;
        self.put(name, span.map(|span| span.as_secs_f64()));
        Ok(())
    }
}

pub(super) fn backoff(prefix: &str, backoff: Option<Backoff>) -> Result<Option<Map<String, Value>>> {
    let Some(backoff) = backoff else { return Ok(None) };
    let prefix = format!("{prefix}backoff.");
    let mut waits = Members::default();
    waits.span("min", &prefix, backoff.min)?;
    waits.span("max", &prefix, backoff.max)?;
    waits.put("factor", backoff.factor);
    waits.put("jitter", backoff.jitter);
    Ok(Some(waits.0))
}
