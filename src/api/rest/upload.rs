//! A deploy or a validation: the extractor of a module and its configuration, which come as a form or as JSON.

use std::time::Duration;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::sync::OwnedSemaphorePermit;

use super::body::{broken, declared, in_time, read};
use crate::api::http::Front;
use crate::api::http::failure::Failure;
use crate::api::http::representation;
use crate::api::limits;
use crate::error::{Error, Result};
use crate::json;

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
            let module_bytes = front.node.limits().module_bytes;
            let deploy = read_deploy(request.headers(), front.limits.body, &mut payload, module_bytes).await?;
            Ok(Self { deploy, permit })
        })
    }
}

/// Reads a deploy with a module of at most `module_bytes`: `multipart/form-data`, or JSON.
async fn read_deploy(
    headers: &HeaderMap,
    time: Duration,
    payload: &mut Payload,
    module_bytes: usize,
) -> Result<Deploy, Failure> {
    let envelope = limits::CONFIG_BYTES + limits::FRAMING_BYTES;
    if representation::is_form(headers)? {
        representation::plain(headers)?;
        declared(headers, "form of a deploy", module_bytes.saturating_add(envelope))?;
        let parts = Multipart::new(headers, payload.take());
        return in_time(time, from_multipart(parts, module_bytes)).await;
    }
    representation::json(headers)?;
    let limit = module_bytes.div_ceil(3).saturating_mul(4).saturating_add(envelope);
    let body = read(headers, time, payload, "JSON of a deploy", limit).await?;
    // To decode tens of megabytes of base64 here would delay the other requests of this thread.
    let deploy = web::block(move || from_json(&body, module_bytes))
        .await
        .map_err(Error::internal)??;
    Ok(deploy)
}

/// The parts `wasm` and `config`, in any order.
async fn from_multipart(mut parts: Multipart, module_bytes: usize) -> Result<Deploy, Failure> {
    let (mut module, mut config) = (None, None);
    while let Some(part) = parts.next().await {
        let mut part = part.map_err(|error| no_form(&error))?;
        let name = part.name().unwrap_or_default().to_owned();
        let (slot, what, limit) = match name.as_str() {
            "wasm" => (&mut module, "module", module_bytes),
            "config" => (&mut config, "config", limits::CONFIG_BYTES),
            _ => {
                let problem = "is no part of a deploy: its parts are `wasm` and `config`";
                return Err(Error::invalid(json::cut(&name), problem).into());
            }
        };
        if slot.is_some() {
            return Err(Error::invalid(name, "is given more than once").into());
        }
        representation::part(part.headers(), &name)?;
        *slot = Some(part_bytes(&mut part, what, limit).await?);
    }
    Ok(Deploy {
        module: module.ok_or_else(|| Error::invalid("wasm", "is missing: send the module as the part `wasm`"))?,
        config,
    })
}

async fn part_bytes(part: &mut Field, what: &'static str, limit: usize) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = part.next().await {
        let chunk = chunk.map_err(|error| no_form(&error))?;
        if bytes.len() + chunk.len() > limit {
            return Err(Error::PayloadTooLarge { what, limit });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Why a body could not be read as a form.
#[allow(
    clippy::match_wildcard_for_single_variants,
    clippy::wildcard_enum_match_arm,
    reason = "the enum is another crate's and has variants that do not occur here"
)]
fn no_form(error: &MultipartError) -> Error {
    let (field, problem) = match error {
        MultipartError::Payload(error) => return broken(error),
        MultipartError::BoundaryMissing | MultipartError::ContentTypeParse => (
            "Content-Type",
            "has no boundary of the parts; leave the header to the program that makes the form",
        ),
        MultipartError::ContentDispositionMissing | MultipartError::ContentDispositionNameMissing => (
            "body",
            "has a part without a name; each needs `Content-Disposition: form-data; name=\"…\"`",
        ),
        MultipartError::Nested => ("body", "has a form inside a part; send the parts `wasm` and `config`"),
        MultipartError::Parse(_) => ("body", "has a part whose headers cannot be read"),
        MultipartError::Incomplete => ("body", "is no complete form: it ends before its last boundary"),
        _ => ("body", "is no form with the boundary that `Content-Type` names"),
    };
    Error::invalid(field, problem)
}

/// `{"wasm_module": "<base64>", "config": {…}}`.
fn from_json(body: &[u8], module_bytes: usize) -> Result<Deploy> {
    let (mut module, mut config) = (None, None);
    for (name, value) in json::members(body, json::BODY)? {
        match (name.as_str(), value.get()) {
            (_, "null") => {}
            ("wasm_module", _) => {
                let wrong = |_| {
                    Error::invalid(
                        "wasm_module",
                        "must be the module in base64, with + and /, padded with =",
                    )
                };
                let bytes = BASE64.decode(json::text(&name, value)?).map_err(wrong)?;
                if bytes.len() > module_bytes {
                    return Err(Error::PayloadTooLarge {
                        what: "module",
                        limit: module_bytes,
                    });
                }
                module = Some(bytes.into());
            }
            ("config", config) if config.len() > limits::CONFIG_BYTES => {
                return Err(Error::PayloadTooLarge {
                    what: "config",
                    limit: limits::CONFIG_BYTES,
                });
            }
            ("config", declared) => config = Some(Bytes::copy_from_slice(declared.as_bytes())),
            _ => {
                let problem = "is no member of a deploy: they are `wasm_module` and `config`";
                return Err(Error::invalid(json::cut(&name), problem));
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
    use std::fmt::Display;

    use actix_web::http::header;
    use futures_util::stream;

    use super::*;

    async fn form(parts: &[(&str, &str)], limit: usize) -> Result<Deploy, Failure> {
        let part = |(name, value): &(&str, &str)| {
            format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let body = parts.iter().map(part).collect::<String>() + "--XX--\r\n";
        raw_form(body, limit).await
    }

    async fn raw_form(body: String, limit: usize) -> Result<Deploy, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            "multipart/form-data; boundary=XX".parse().unwrap(),
        );
        // One byte at a time, because the result must not depend on how the network splits the body.
        let bytes: Vec<_> = body.bytes().map(|byte| Ok(Bytes::copy_from_slice(&[byte]))).collect();
        from_multipart(Multipart::new(&headers, stream::iter(bytes)), limit).await
    }

    fn says(result: Result<Deploy, impl Display>, what: &str) {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(what), "{error} does not say {what}");
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
        says(form(&[("config", "{}")], 10).await, "`wasm` is missing");
        says(
            form(&[("wasm", "x"), ("wasm", "x")], 10).await,
            "`wasm` is given more than once",
        );
        says(form(&[("colour", "x")], 10).await, "`colour` is no part");
        let large = form(&[("wasm", "12345678901"), ("config", "{}")], 10).await;
        says(large, "the module is larger than 10 bytes");
        says(
            raw_form("--XX\r\nContent-Dispo".to_owned(), 10).await,
            "`body` is no complete form",
        );
        says(raw_form("nonsense".to_owned(), 10).await, "`body` is no");
        let unnamed = "--XX\r\nContent-Type: text/plain\r\n\r\nx\r\n--XX--\r\n";
        says(
            raw_form(unnamed.to_owned(), 10).await,
            "`body` has a part without a name",
        );
        let coded = "--XX\r\nContent-Disposition: form-data; name=\"wasm\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n--XX--\r\n";
        says(
            raw_form(coded.to_owned(), 10).await,
            "`Content-Transfer-Encoding of the part wasm` is `base64`",
        );
    }

    #[test]
    fn a_json_deploy_names_the_member() {
        let says = |json: &str, what: &str| says(from_json(json.as_bytes(), 4), what);
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
        says(
            r#"{"wasm_module": "AGFzbQ==", "config": {}, "name": "a"}"#,
            "`name` is no member",
        );
        says(
            r#"{"wasm_module": "not base64!", "config": {}}"#,
            "`wasm_module` must be the module in base64",
        );
        says(r#"{"wasm_module": 7, "config": {}}"#, "`wasm_module` is a number");
        says(
            r#"{"wasm_module": "", "wasm_module": ""}"#,
            "`wasm_module` is given more than once",
        );
        says(r#"{"config": {}}"#, "`wasm_module` is missing");
        let without = from_json(br#"{"wasm_module": "AGFzbQ==", "config": null}"#, 4).unwrap();
        assert_eq!(without.required_config().unwrap_err().details()["field"], "config");
        says(
            r#"{"wasm_module": "AGFzbXg=", "config": {}}"#,
            "the module is larger than 4 bytes",
        );
        says("[]", "`body` must be a JSON object");
    }
}
