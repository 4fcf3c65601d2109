//! What the OpenAPI document says beside the operations: bodies that no struct of serde reads, errors, and rules for all.

use actix_web::{HttpResponse, web};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoParams, Modify, PartialSchema, ToSchema};

use crate::agent::spec::AgentSpec;
use crate::api::schema::text_or_texts;
use crate::group::GroupSpec;
use crate::time::Timestamp;

/// The document as it is served.
pub(super) struct Document(Bytes);

impl Document {
    pub(super) fn of(document: &OpenApi) -> Self {
        let json = document
            .to_json()
            .expect("the document is serialisable: its keys are strings");
        Self(json.into())
    }
}

/// Describes this API as OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "system",
    responses((status = 200, description = "This document", body = Value))
)]
pub(super) async fn get_document(document: web::Data<Document>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(document.0.clone())
}

/// A request with a key may be sent again: it takes effect once, and has its first answer each time.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the shape of a header that `Credentials` reads")]
pub(super) struct IdempotencyKey {
    /// 1 to 255 visible ASCII characters without quotes, such as a UUID. Remembered for a day.
    #[param(rename = "Idempotency-Key", max_length = 257)]
    key: Option<String>,
}

/// A deploy as a form.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape of a form that is read part by part")]
pub(super) struct DeployForm {
    /// The module.
    #[schema(value_type = String, content_media_type = "application/wasm")]
    wasm: Vec<u8>,
    /// What the agent is and may do. Only a validation may leave it out.
    config: Option<AgentSpec>,
}

/// A deploy in JSON.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the shape of a document whose module is decoded on its way")]
pub(super) struct DeployDocument {
    /// The module in base64.
    #[schema(content_encoding = "base64")]
    wasm_module: String,
    /// What the agent is and may do. Only a validation may leave it out.
    config: Option<AgentSpec>,
}

/// A message of a client. It may have members beside these, whose names begin with `x_`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape of what `Draft` reads by hand")]
pub(super) struct MessageDocument {
    /// One of FIPA's acts, such as `request`; upper case and `_` for `-` do as well.
    performative: String,
    /// The name of a client; `anonymous` if left out.
    sender: Option<String>,
    /// Agent ids or names, `cap:<capability>` (one that has it), `all:<capability>`, `client:<name>`; an array of several.
    #[schema(schema_with = text_or_texts)]
    receiver: String,
    /// Any JSON; with `encoding` a text in base64.
    content: Option<Value>,
    /// `base64`, where the content is bytes.
    encoding: Option<String>,
    /// The media type of bytes.
    content_type: Option<String>,
    conversation_id: Option<String>,
    reply_with: Option<String>,
    in_reply_to: Option<String>,
    reply_to: Option<String>,
    /// A `cfp` must have it.
    reply_by: Option<Timestamp>,
    protocol: Option<String>,
    language: Option<String>,
    ontology: Option<String>,
    /// `durable`, or `memory`: to be acknowledged before the disk has it.
    durability: Option<String>,
}

/// Members of a group's declaration that are to change.
pub(super) struct GroupChanges;

impl PartialSchema for GroupChanges {
    fn schema() -> RefOr<Schema> {
        let mut schema = GroupSpec::schema();
        if let RefOr::T(Schema::Object(declaration)) = &mut schema {
            declaration.required.clear();
        }
        schema
    }
}

impl ToSchema for GroupChanges {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        GroupSpec::schemas(schemas);
    }
}

/// Every answer with a status of 400 or more.
#[derive(ToSchema)]
#[schema(as = Error)]
#[expect(dead_code, reason = "the shape of what `Envelope` borrows")]
pub(super) struct ErrorDocument {
    error: ErrorBody,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape of what `Envelope` borrows")]
struct ErrorBody {
    /// For programs, such as `AGENT_NOT_FOUND`.
    code: String,
    /// For people.
    message: String,
    /// What a program can act on, such as `field`, the member or parameter that is wrong.
    #[schema(value_type = Object)]
    details: Value,
    /// 32 hex digits, by which the log tells of the request.
    trace_id: String,
}

/// An error for who accepts `application/problem+json` (RFC 9457).
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape of what `Failure` writes by hand")]
pub(super) struct Problem {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    code: String,
    #[schema(value_type = Object)]
    details: Value,
    trace_id: String,
}

/// What holds for every operation: the errors that any request can have, and the form of errors.
pub(super) struct ForAll;

/// Errors of any request.
const ANY: &[(&str, &str)] = &[
    ("400", "`INVALID_REQUEST`: `details.field` names what is wrong"),
    (
        "403",
        "`FORBIDDEN`: for web pages of other machines, and for host names other than localhost",
    ),
    ("500", "`INTERNAL_ERROR`"),
];
/// Errors of a request with a body.
const BODY: &[(&str, &str)] = &[
    ("408", "`INVALID_REQUEST`: the body did not arrive in time"),
    ("413", "`PAYLOAD_TOO_LARGE`"),
];
/// Errors of a request that writes.
const WRITE: &[(&str, &str)] = &[(
    "503",
    "`UNAVAILABLE`: full disk or overload; `Retry-After` says when to try again",
)];
/// Errors of a request that may have a key.
const KEY: &[(&str, &str)] = &[
    (
        "409",
        "`CONFLICT`: a request with this Idempotency-Key is being answered",
    ),
    ("422", "`IDEMPOTENCY_KEY_REUSED`: the key was given to another request"),
];

impl Modify for ForAll {
    fn modify(&self, document: &mut OpenApi) {
        for item in document.paths.paths.values_mut() {
            let operations = [
                (false, &mut item.get),
                (true, &mut item.post),
                (true, &mut item.put),
                (true, &mut item.delete),
            ];
            for (writes, operation) in operations {
                if let Some(operation) = operation {
                    complete(operation, writes);
                }
            }
        }
    }
}

fn complete(operation: &mut Operation, writes: bool) {
    let texts = [&mut operation.summary, &mut operation.description];
    for text in texts.into_iter().flatten() {
        *text = text.replace('\n', " ");
    }
    let in_header =
        |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(it) if it.parameter_in == ParameterIn::Header);
    let has_key = operation.parameters.iter().flatten().any(in_header);
    let has_body = operation.request_body.is_some();
    let kinds = [(true, ANY), (has_body, BODY), (writes, WRITE), (has_key, KEY)];
    let responses = &mut operation.responses.responses;
    for (status, description) in kinds.into_iter().filter(|(has, _)| *has).flat_map(|(_, errors)| errors) {
        let error = || ResponseBuilder::new().description(*description).build().into();
        responses.entry((*status).to_owned()).or_insert_with(error);
    }
    let errors = responses.iter_mut().filter(|(status, _)| status.as_str() >= "400");
    for (_, response) in errors {
        if let RefOr::T(response) = response {
            for (media, schema) in [("application/json", "Error"), ("application/problem+json", "Problem")] {
                let content = Content::new(Some(Ref::from_schema_name(schema)));
                response.content.insert(media.to_owned(), content.into());
            }
        }
    }
}
