//! Extractors that read bodies within limits of bytes and time.

use std::future::Future;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::api::http::Front;
use crate::api::http::edge::trace;
use crate::api::http::failure::Failure;
use crate::api::http::representation;
use crate::api::{json, limits};
use crate::error::{Error, Result};
use crate::message::Draft;

/// A small JSON document, with its bytes for the fingerprint of the request.
#[derive(Debug)]
pub(super) struct Json<T> {
    pub(super) value: T,
    pub(super) bytes: Bytes,
}

impl<T: DeserializeOwned> FromRequest for Json<T> {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = representation::json(request.headers());
        let time = time(request.app_data());
        let body = read(request.headers(), time, payload, "body", limits::SMALL_BODY_BYTES);
        Box::pin(async {
            is_json?;
            let bytes = body.await?;
            let value = json::read(&bytes)?;
            Ok(Self { value, bytes })
        })
    }
}

/// As [`Json`], and an empty body counts as an empty object.
#[derive(Debug)]
pub(super) struct OptionalJson<T>(pub(super) Json<T>);

impl<T: DeserializeOwned> FromRequest for OptionalJson<T> {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = representation::json(request.headers());
        let time = time(request.app_data());
        let body = read(request.headers(), time, payload, "body", limits::SMALL_BODY_BYTES);
        Box::pin(async {
            let bytes = body.await?;
            let document = if bytes.trim_ascii().is_empty() {
                b"{}"
            } else {
                is_json?; // no bytes are of any type
                &bytes[..]
            };
            let value = json::read(document)?;
            Ok(Self(Json { value, bytes }))
        })
    }
}

/// The empty body of a request whose path says everything: no bytes, or `{}`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoMembers {}

/// A message of a client, with the trace of its request.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) draft: Draft,
    pub(super) bytes: Bytes,
}

impl FromRequest for Posted {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let trace = trace(&request.extensions());
        let is_json = representation::json(request.headers());
        let time = time(request.app_data());
        let body = read(request.headers(), time, payload, "message", limits::MESSAGE_BODY_BYTES);
        Box::pin(async move {
            is_json?;
            let bytes = body.await?;
            let draft = Draft {
                traceparent: Some(trace.traceparent()),
                ..Draft::from_json(&bytes)?
            };
            Ok(Self { draft, bytes })
        })
    }
}

/// Reads a body of at most `limit` bytes. A body that declares more, or that is coded, is refused without reading it.
pub(super) fn read(
    headers: &HeaderMap,
    time: Duration,
    payload: &mut Payload,
    what: &'static str,
    limit: usize,
) -> impl Future<Output = Result<Bytes, Failure>> + use<> {
    let plain = representation::plain(headers);
    let declared = declared(headers, what, limit);
    let payload = payload.take();
    async move {
        plain?;
        declared?;
        in_time(time, collect(payload, what, limit)).await
    }
}

/// The time in which the body must have arrived.
fn time(front: Option<&web::Data<Front>>) -> Duration {
    front.map_or(Duration::MAX, |front| front.limits.body)
}

pub(super) fn declared(headers: &HeaderMap, what: &'static str, limit: usize) -> Result<()> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > limit as u64 => Err(Error::PayloadTooLarge { what, limit }),
        _ => Ok(()),
    }
}

pub(super) async fn in_time<T, E>(time: Duration, reading: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
where
    Failure: From<E>,
{
    match tokio::time::timeout(time, reading).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(Failure::slow_body(time)),
    }
}

async fn collect(
    mut stream: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    what: &'static str,
    limit: usize,
) -> Result<Bytes> {
    let mut body = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        if body.len() + chunk.len() > limit {
            return Err(Error::PayloadTooLarge { what, limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Why a body could not be read to its end.
#[allow(
    clippy::match_wildcard_for_single_variants,
    clippy::wildcard_enum_match_arm,
    reason = "the enum is another crate's and has variants that do not occur here"
)]
pub(super) fn broken(error: &PayloadError) -> Error {
    let problem = match error {
        // The parser does not tell the two apart.
        PayloadError::Incomplete(_) | PayloadError::EncodingCorrupted => {
            "ends before it is complete, or a chunk is not as `Transfer-Encoding: chunked` says"
        }
        PayloadError::Overflow => "is broken: the lines between its chunks are too long",
        PayloadError::Io(_) => "cannot be read: the connection broke",
        _ => "cannot be read",
    };
    Error::invalid("body", problem)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[actix_web::test]
    async fn a_body_over_its_limit_is_cut_off() {
        let chunks = |n: usize| stream::iter((0..n).map(|_| Ok::<_, PayloadError>(Bytes::from_static(b"12345"))));
        assert_eq!(collect(chunks(2), "message", 10).await.unwrap().len(), 10);
        assert!(matches!(
            collect(chunks(3), "message", 10).await,
            Err(Error::PayloadTooLarge { limit: 10, .. })
        ));

        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, "11".parse().unwrap());
        assert!(matches!(
            declared(&headers, "message", 10),
            Err(Error::PayloadTooLarge { .. })
        ));
        assert!(declared(&headers, "message", 11).is_ok());
    }
}
