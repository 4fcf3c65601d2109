//! Schemas of the values that are written as texts or numbers, for the OpenAPI document. Structs derive theirs.

#![allow(
    unused_qualifications,
    reason = "what the derive of `ToSchema` makes of a struct names its types by their traits"
)]

use utoipa::openapi::schema::{AdditionalProperties, SchemaType, Type};
use utoipa::openapi::{Array, Object, ObjectBuilder, OneOfBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::agent::spec::{Environment, Shutdown};
use crate::error::Finding;
use crate::fipa::Performative;
use crate::id::{AgentId, AgentName, DeploymentId, Digest, MessageId, Seq};
use crate::journal::projections::Status;
use crate::message::MessageView;
use crate::node::{Lifecycle, Verb};
use crate::quantity::{ByteSize, Cpu, Span};
use crate::time::Timestamp;

/// Implements [`ToSchema`] for types by a function that makes their schema.
macro_rules! schemas {
    ($($type:ty: $schema:expr;)+) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {}
    )+};
}

schemas! {
    AgentId: text("The id of an agent.", "agent_0192f0c1a2b37c4d8e5f60718293a4b5");
    MessageId: text("The id of a message.", "msg_0192f0c1a2b37c4d8e5f60718293a4b5");
    DeploymentId: text("The id of a deployment.", "deploy_0192f0c1a2b37c4d8e5f60718293a4b5");
    AgentName: named().pattern(Some("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"));
    Digest: text("SHA-256 of a module, in hex.", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
    Timestamp: text("A time in UTC, as RFC 3339 has it.", "2026-01-15T10:30:00.123456Z");
    ByteSize: quantity("Bytes: a number, or a text with KB, MB, GB, KiB, MiB or GiB.", "64MiB");
    Span: quantity("A time: a number of seconds, or a text such as 200ms, 30s, 5m or 1h.", "30s");
    Cpu: quantity("The fuel of a turn (100000), or a rate of 1m to 1000m, thousandths of a core.", "100m");
    Shutdown: quantity("`brutal_kill`, `infinity`, or a time as elsewhere.", "5s");
    Seq: whole("A place in the journal.");
    Lifecycle: words("A state of an agent's life.", Lifecycle::ALL.iter().map(|state| state.as_str()));
    Status: words("Where a message stands.", Status::ALL.iter().map(|status| status.as_str()));
    Verb: words("What is done to an agent or a group.", Verb::ALL.iter().map(|verb| verb.as_str()));
    Performative: words("The act of a message, by FIPA.", Performative::ALL.iter().map(|act| act.as_str()));
    Environment: object()
        .description(Some("Variables of an agent. Answers have `********` in the place of their values."))
        .additional_properties(Some(AdditionalProperties::from(RefOr::from(Object::with_type(Type::String)))));
    Finding: object()
        .description(Some("A rule about modules, what was found, and what would be right."))
        .property("rule", Object::with_type(Type::String))
        .property("found", Object::with_type(Type::String))
        .property("expected", Object::with_type(Type::String))
        .required("rule")
        .required("found")
        .required("expected");
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn object() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object)
}

fn text(description: &str, example: &str) -> ObjectBuilder {
    string().description(Some(description)).examples([example])
}

fn named() -> ObjectBuilder {
    text(
        "The name of an agent or of a group; they share one space of names.",
        "my-agent",
    )
}

fn whole(description: &str) -> ObjectBuilder {
    let number = ObjectBuilder::new().schema_type(Type::Integer);
    number.description(Some(description)).minimum(Some(0))
}

fn words(description: &str, words: impl Iterator<Item = &'static str>) -> ObjectBuilder {
    string().description(Some(description)).enum_values(Some(words))
}

fn quantity(description: &str, example: &str) -> ObjectBuilder {
    let either = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Number]));
    either.description(Some(description)).examples([example])
}

/// One text, or several. A receiver of a message, as a client may write it.
pub(super) fn text_or_texts() -> OneOfBuilder {
    OneOfBuilder::new().item(string()).item(Array::new(string()))
}

/// Where the children of a group are restarted when one of them fails.
pub(super) fn strategy() -> ObjectBuilder {
    words(
        "Which children restart when one fails.",
        ["one_for_one", "one_for_all", "rest_for_one"].into_iter(),
    )
}

pub(super) fn auto_shutdown() -> ObjectBuilder {
    words(
        "Whether a group ends with its significant members.",
        ["never", "any_significant", "all_significant"].into_iter(),
    )
}

/// A message as answers show it. It may have members beside these, which begin with `x_`.
#[derive(ToSchema)]
#[schema(as = Message)]
#[expect(dead_code, reason = "the shape of what `MessageView` writes by hand")]
struct ShownMessage {
    message_id: MessageId,
    performative: Performative,
    /// The id of an agent, `client:<name>`, or `platform`.
    sender: String,
    /// One, or an array of several.
    #[schema(schema_with = text_or_texts)]
    receiver: String,
    /// Any JSON, as its sender wrote it; with `encoding` a text in base64.
    content: serde_json::Value,
    /// `base64`, where the content is bytes.
    encoding: Option<String>,
    /// The media type of bytes.
    content_type: Option<String>,
    conversation_id: String,
    reply_with: Option<String>,
    in_reply_to: Option<String>,
    reply_to: Option<String>,
    reply_by: Option<Timestamp>,
    protocol: Option<String>,
    language: Option<String>,
    ontology: Option<String>,
    timestamp: Timestamp,
    traceparent: Option<String>,
    /// The message that this one came of.
    causation_id: Option<MessageId>,
    /// How many agents a message passed since a client sent the first.
    hops: Option<u32>,
    status: Option<String>,
}

impl PartialSchema for MessageView<'_> {
    fn schema() -> RefOr<Schema> {
        ShownMessage::schema()
    }
}

impl ToSchema for MessageView<'_> {
    fn name() -> std::borrow::Cow<'static, str> {
        ShownMessage::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        ShownMessage::schemas(schemas);
    }
}
