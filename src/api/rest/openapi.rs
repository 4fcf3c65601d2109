//! The parts of the OpenAPI document that no handler has: bodies that serde does not read, errors, and what all operations share.

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

/// The OpenAPI document, serialised once.
pub(super) struct Document(Bytes);

impl Document {
    pub(super) fn of(document: &OpenApi) -> Self {
        let json = document
            .to_json()
            .expect("the document is serialisable: its keys are strings");
        Self(json.into())
    }
}

/// Returns this document.
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

/// The header that makes a `POST` idempotent.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header that `Credentials` reads")]
pub(super) struct IdempotencyKey {
    /// Makes it safe to send the request again: it takes effect once, and every repetition gets the first response. 1 to 255
    /// visible ASCII characters without quotes, such as a UUID. The server remembers it for a day.
    #[param(rename = "Idempotency-Key", max_length = 257)]
    key: Option<String>,
}

/// A module and its configuration as a form.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a form that is read part by part")]
pub(super) struct DeployForm {
    /// The module.
    #[schema(value_type = String, content_media_type = "application/wasm")]
    wasm: Vec<u8>,
    /// The declaration of the agent. Required for a deploy, optional for a validation.
    config: Option<AgentSpec>,
}

/// A module and its configuration in JSON.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a document that is read without a copy of its module")]
pub(super) struct DeployDocument {
    /// The module in base64.
    #[schema(content_encoding = "base64")]
    wasm_module: String,
    /// The declaration of the agent. Required for a deploy, optional for a validation.
    config: Option<AgentSpec>,
}

/// A message to send. Extension members have names that begin with `x_`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Draft` parses")]
pub(super) struct MessageDocument {
    /// A FIPA communicative act, such as `request`, in upper or lower case.
    performative: String,
    /// The name of a client. Default: `anonymous`.
    sender: Option<String>,
    /// One receiver, or an array of them: an agent's id or name, `cap:<capability>` for one agent with that capability,
    /// `all:<capability>` for all of them, or `client:<name>`.
    #[schema(schema_with = text_or_texts)]
    receiver: String,
    /// Any JSON. With `encoding`, bytes in base64.
    content: Option<Value>,
    /// `base64` if the content is bytes.
    encoding: Option<String>,
    /// The media type of the bytes.
    content_type: Option<String>,
    conversation_id: Option<String>,
    reply_with: Option<String>,
    in_reply_to: Option<String>,
    reply_to: Option<String>,
    /// Required for a `cfp`.
    reply_by: Option<Timestamp>,
    protocol: Option<String>,
    language: Option<String>,
    ontology: Option<String>,
    /// `durable`, the default, or `memory`: the message is acknowledged before it is on the disk.
    durability: Option<String>,
}

/// The members of a group's declaration to change. Absent members stay as they are.
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

/// The body of every response with a status of 400 or more.
#[derive(ToSchema)]
#[schema(as = Error)]
#[expect(dead_code, reason = "describes `Envelope`, which borrows its texts")]
pub(super) struct ErrorDocument {
    error: ErrorBody,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `Envelope`, which borrows its texts")]
struct ErrorBody {
    /// A constant for programs, such as `AGENT_NOT_FOUND`.
    code: String,
    /// A sentence for people.
    message: String,
    /// Values for programs. For `INVALID_REQUEST`, `field` is the wrong member or parameter.
    #[schema(value_type = Object)]
    details: Value,
    /// 32 hex digits. The log lines of the request have the same id.
    trace_id: String,
}

/// The body of an error for clients that accept `application/problem+json` (RFC 9457).
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Failure` serialises")]
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

/// Completes every operation: adds the errors that any request can get, and the schemas of errors.
pub(super) struct ForAll;

/// Errors that any request can get.
const ANY: &[(&str, &str)] = &[
    (
        "400",
        "`INVALID_REQUEST`: `details.field` is the wrong member or parameter",
    ),
    (
        "403",
        "`FORBIDDEN`: the request comes from a web page of another machine, or its `Host` is a name other than localhost",
    ),
    ("417", "`INVALID_REQUEST`: `Expect` is not `100-continue`"),
    ("500", "`INTERNAL_ERROR`"),
];
/// Errors that a request with a body can get.
const BODY: &[(&str, &str)] = &[
    ("408", "`INVALID_REQUEST`: the body did not arrive in time"),
    ("413", "`PAYLOAD_TOO_LARGE`"),
    (
        "415",
        "`INVALID_REQUEST`: `Content-Type`, `Content-Encoding` or a header of a part says that the body is not what is read here",
    ),
];
/// Errors that a request that writes can get.
const WRITE: &[(&str, &str)] = &[(
    "503",
    "`UNAVAILABLE`: the disk is full, or the server is overloaded; try again after `Retry-After`",
)];
/// Errors that a request with an `Idempotency-Key` can get.
const KEY: &[(&str, &str)] = &[
    (
        "409",
        "`CONFLICT`: a request with the same `Idempotency-Key` is in progress",
    ),
    (
        "422",
        "`IDEMPOTENCY_KEY_REUSED`: the `Idempotency-Key` belongs to another request",
    ),
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
