//! JSON of requests and responses.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Result;
use crate::json::{self, BODY};

/// Reads a body of a few kilobytes. Messages and modules have their own readers.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    Ok(json::read(body, BODY)?)
}

/// Reads a body whose members were put together from something else.
pub(super) fn from_value<T: DeserializeOwned>(body: Value) -> Result<T> {
    Ok(json::from_value(body, BODY)?)
}

/// JSON has no NaN: the mean of no values is shown as 0.
pub(super) fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}
