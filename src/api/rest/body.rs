//! Extractors that read bodies within limits of bytes and time, among them the two forms of a deploy.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use actix_multipart::{Field, Multipart};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use crate::api::http::Front;
use crate::api::http::edge::trace;
use crate::api::http::failure::Failure;
use crate::api::{json, limits};
use crate::error::{Error, Result};
use crate::message::Draft;

/// A deploy or a validation: the module, and the JSON of its `config`, which a validation may leave out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Deploy {
    pub(super) module: Bytes,
    config: Option<Bytes>,
}

impl Deploy {
    pub(super) fn config(&self) -> Option<&Bytes> {
        self.config.as_ref()
    }

    pub(super) fn required_config(&self) -> Result<&Bytes> {
        let missing = || Error::invalid("config", "is missing: the JSON of an object with at least a `name`");
        self.config.as_ref().ok_or_else(missing)
    }
}

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
        let body = read(
            request.headers(),
            time(request.app_data()),
            payload,
            "body",
            limits::SMALL_BODY_BYTES,
        );
        Box::pin(async {
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
        let body = read(
            request.headers(),
            time(request.app_data()),
            payload,
            "body",
            limits::SMALL_BODY_BYTES,
        );
        Box::pin(async {
            let bytes = body.await?;
            let document = if bytes.trim_ascii().is_empty() {
                b"{}"
            } else {
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
        let body = read(
            request.headers(),
            time(request.app_data()),
            payload,
            "message",
            limits::MESSAGE_BODY_BYTES,
        );
        Box::pin(async move {
            let bytes = body.await?;
            let draft = Draft {
                traceparent: Some(trace.traceparent()),
                ..Draft::from_json(&bytes)?
            };
            Ok(Self { draft, bytes })
        })
    }
}

/// A deploy, and its permit of [`Front::uploads`]. The body is not read until there is a permit.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) deploy: Deploy,
    pub(super) permit: OwnedSemaphorePermit,
}

impl FromRequest for Upload {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let front = request.app_data::<web::Data<Front>>();
            let front = front.ok_or_else(|| Error::internal("the listener has no front"))?;
            let permit = front.uploads.clone().acquire_owned().await.map_err(Error::internal)?;
            let deploy = read_deploy(
                request.headers(),
                front.limits.body,
                &mut payload,
                front.node.limits().module_bytes,
            )
            .await?;
            Ok(Self { deploy, permit })
        })
    }
}

/// Reads a body of at most `limit` bytes. A body that declares more is refused without reading it.
fn read(
    headers: &HeaderMap,
    time: Duration,
    payload: &mut Payload,
    what: &'static str,
    limit: usize,
) -> impl Future<Output = Result<Bytes, Failure>> + use<> {
    let declared = declared(headers, what, limit);
    let payload = payload.take();
    async move {
        declared?;
        in_time(time, collect(payload, what, limit)).await
    }
}

/// The time in which the body must have arrived.
fn time(front: Option<&web::Data<Front>>) -> Duration {
    front.map_or(Duration::MAX, |front| front.limits.body)
}

/// Reads a deploy with a module of at most `module_bytes`: `multipart/form-data`, or JSON for all other content types.
async fn read_deploy(
    headers: &HeaderMap,
    time: Duration,
    payload: &mut Payload,
    module_bytes: usize,
) -> Result<Deploy, Failure> {
    let media = headers
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let is_multipart = media.len() >= 10 && media[..10].eq_ignore_ascii_case(b"multipart/");
    let envelope = limits::CONFIG_BYTES + limits::FRAMING_BYTES;
    if is_multipart {
        declared(headers, "form of a deploy", module_bytes.saturating_add(envelope))?;
        let parts = Multipart::new(headers, payload.take());
        return in_time(time, from_multipart(parts, module_bytes)).await;
    }
    let limit = module_bytes.div_ceil(3).saturating_mul(4).saturating_add(envelope);
    let body = read(headers, time, payload, "JSON of a deploy", limit).await?;
    // To decode tens of megabytes of base64 here would delay the other requests of this thread.
    let deploy = web::block(move || from_json(&body, module_bytes))
        .await
        .map_err(Error::internal)??;
    Ok(deploy)
}

fn declared(headers: &HeaderMap, what: &'static str, limit: usize) -> Result<()> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > limit as u64 => Err(Error::PayloadTooLarge { what, limit }),
        _ => Ok(()),
    }
}

async fn in_time<T>(time: Duration, reading: impl Future<Output = Result<T>>) -> Result<T, Failure> {
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
        let chunk = chunk.map_err(|error| Error::invalid("body", format!("cannot be read: {error}")))?;
        if body.len() + chunk.len() > limit {
            return Err(Error::PayloadTooLarge { what, limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The parts `wasm` and `config`, in any order.
async fn from_multipart(mut parts: Multipart, module_bytes: usize) -> Result<Deploy> {
    let broken = |error: actix_multipart::MultipartError| Error::invalid("body", format!("is no form: {error}"));
    let (mut module, mut config) = (None, None);
    while let Some(part) = parts.next().await {
        let mut part = part.map_err(broken)?;
        let name = part.name().unwrap_or_default().to_owned();
        let (slot, what, limit) = match name.as_str() {
            "wasm" => (&mut module, "module", module_bytes),
            "config" => (&mut config, "config", limits::CONFIG_BYTES),
            _ => {
                let name: String = name.chars().take(64).collect();
                return Err(Error::invalid(
                    name,
                    "is no part of a deploy: its parts are `wasm` and `config`",
                ));
            }
        };
        if slot.is_some() {
            return Err(Error::invalid(name, "is given more than once"));
        }
        *slot = Some(part_bytes(&mut part, what, limit, broken).await?);
    }
    Ok(Deploy {
        module: module.ok_or_else(|| Error::invalid("wasm", "is missing: send the module as the part `wasm`"))?,
        config,
    })
}

async fn part_bytes(
    part: &mut Field,
    what: &'static str,
    limit: usize,
    broken: impl Fn(actix_multipart::MultipartError) -> Error,
) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = part.next().await {
        let chunk = chunk.map_err(&broken)?;
        if bytes.len() + chunk.len() > limit {
            return Err(Error::PayloadTooLarge { what, limit });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// `{"wasm_module": "<base64>", "config": {…}}`.
fn from_json(body: &[u8], module_bytes: usize) -> Result<Deploy> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body)
        .map_err(|error| Error::invalid("body", format!("is neither a form nor a JSON object: {error}")))?;
    let (mut module, mut config) = (None, None);
    for (name, value) in members {
        match (name.as_str(), value.get()) {
            (_, "null") => {}
            ("wasm_module", text) => {
                let base64: std::borrow::Cow<'_, str> = serde_json::from_str(text)
                    .map_err(|_| Error::invalid("wasm_module", "must be a string: the module in base64"))?;
                let bytes = BASE64
                    .decode(base64.as_bytes())
                    .map_err(|error| Error::invalid("wasm_module", format!("is not base64: {error}")))?;
                if bytes.len() > module_bytes {
                    return Err(Error::PayloadTooLarge {
                        what: "module",
                        limit: module_bytes,
                    });
                }
                module = Some(bytes.into());
            }
            ("config", json) if json.len() > limits::CONFIG_BYTES => {
                return Err(Error::PayloadTooLarge {
                    what: "config",
                    limit: limits::CONFIG_BYTES,
                });
            }
            ("config", json) => config = Some(Bytes::copy_from_slice(json.as_bytes())),
            _ => {
                let name: String = name.chars().take(64).collect();
                return Err(Error::invalid(
                    name,
                    "is no member of a deploy: they are `wasm_module` and `config`",
                ));
            }
        }
    }
    Ok(Deploy {
        module: module.ok_or_else(|| Error::invalid("wasm_module", "is missing: the module in base64"))?,
        config,
    })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn form(parts: &[(&str, &str)], limit: usize) -> Result<Deploy> {
        let part = |(name, value): &(&str, &str)| {
            format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let body = parts.iter().map(part).collect::<String>() + "--XX--\r\n";
        raw_form(body, limit).await
    }

    async fn raw_form(body: String, limit: usize) -> Result<Deploy> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            "multipart/form-data; boundary=XX".parse().unwrap(),
        );
        // One byte at a time, because the result must not depend on how the network splits the body.
        let bytes: Vec<_> = body.bytes().map(|byte| Ok(Bytes::copy_from_slice(&[byte]))).collect();
        from_multipart(Multipart::new(&headers, stream::iter(bytes)), limit).await
    }

    fn names(result: Result<Deploy>) -> String {
        let error = result.unwrap_err();
        match (error.details()["field"].as_str(), &error) {
            (Some(field), _) => field.to_owned(),
            (None, error) => error.to_string(),
        }
    }

    #[actix_web::test]
    async fn the_parts_of_a_form_come_in_any_order() {
        let expected = Deploy {
            module: "\0asm".into(),
            config: Some("{}".into()),
        };
        assert_eq!(
            form(&[("wasm", "\0asm"), ("config", "{}")], 10).await.unwrap(),
            expected
        );
        assert_eq!(
            form(&[("config", "{}"), ("wasm", "\0asm")], 10).await.unwrap(),
            expected
        );
    }

    #[actix_web::test]
    async fn a_wrong_form_names_the_part() {
        let without = form(&[("wasm", "x")], 10).await.unwrap();
        assert_eq!(without.required_config().unwrap_err().details()["field"], "config");
        assert_eq!(names(form(&[("config", "{}")], 10).await), "wasm");
        assert_eq!(names(form(&[("wasm", "x"), ("wasm", "x")], 10).await), "wasm");
        assert_eq!(names(form(&[("colour", "x")], 10).await), "colour");
        assert_eq!(
            names(form(&[("wasm", "12345678901"), ("config", "{}")], 10).await),
            "the module is larger than 10 bytes"
        );
        assert_eq!(names(raw_form("--XX\r\nContent-Dispo".to_owned(), 10).await), "body");
        assert_eq!(names(raw_form("nonsense".to_owned(), 10).await), "body");
    }

    #[test]
    fn a_json_deploy_names_the_member() {
        let names = |json: &str| names(from_json(json.as_bytes(), 4));
        let good = from_json(
            br#"{"wasm_module": "AGFzbQ==", "config": {"name": "a"}, "strategy": null}"#,
            4,
        )
        .unwrap();
        assert_eq!(
            good,
            Deploy {
                module: "\0asm".into(),
                config: Some(r#"{"name": "a"}"#.into())
            }
        );
        assert_eq!(
            names(r#"{"wasm_module": "AGFzbQ==", "config": {}, "name": "a"}"#),
            "name"
        );
        assert_eq!(names(r#"{"wasm_module": "not base64!", "config": {}}"#), "wasm_module");
        assert_eq!(names(r#"{"wasm_module": 7, "config": {}}"#), "wasm_module");
        assert_eq!(names(r#"{"config": {}}"#), "wasm_module");
        let without = from_json(br#"{"wasm_module": "AGFzbQ==", "config": null}"#, 4).unwrap();
        assert_eq!(without.required_config().unwrap_err().details()["field"], "config");
        assert_eq!(
            names(r#"{"wasm_module": "AGFzbXg=", "config": {}}"#),
            "the module is larger than 4 bytes"
        );
        assert_eq!(names("[]"), "body");
    }

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
