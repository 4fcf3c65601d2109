//! OpenAPI schemas of values that have serde implementations of their own. All other types derive their schemas.

#![allow(
    unused_qualifications,
    reason = "the code that `ToSchema` generates qualifies the types of a struct's fields"
)]

use utoipa::openapi::schema::{AdditionalProperties, SchemaType, Type};
use utoipa::openapi::{Array, Object, ObjectBuilder, OneOfBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::agent::spec::{Environment, Shutdown, Strategy};
use crate::error::Finding;
use crate::event::EventKind;
use crate::fipa::Performative;
use crate::id::{AgentId, AgentName, DeploymentId, Digest, MessageId, Seq};
use crate::message::{MessageView, Status};
use crate::node::{Lifecycle, Verb};
use crate::quantity::{ByteSize, Cpu, Span};
use crate::time::Timestamp;

/// Implements [`ToSchema`] for each type with the given schema.
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
    ByteSize: quantity("A number of bytes, or a text with a unit: KB, MB, GB, KiB, MiB or GiB.", "64MiB");
    Span: quantity("A number of seconds, or a text with a unit, such as 200ms, 30s, 5m or 1h.", "30s");
    Cpu: quantity("Fuel for each turn (100000), or a rate in thousandths of a core: 1m to 1000m.", "100m");
    Shutdown: quantity("`brutal_kill`, `infinity`, a number of seconds, or a text with a unit.", "5s");
    Seq: whole("A sequence number of the journal.");
    Lifecycle: words("A state of an agent's life.", Lifecycle::ALL.iter().map(|state| state.as_str()));
    Status: words("Where a message is.", Status::ALL.iter().map(|status| status.as_str()));
    Verb: words("An action on an agent or a group.", Verb::ALL.iter().map(|verb| verb.as_str()));
    EventKind: words("The type of an event.", EventKind::ALL.iter().map(|kind| kind.as_str()));
    Performative: words("A FIPA communicative act.", Performative::ALL.iter().map(|act| act.as_str()));
    Strategy: rollout_strategy();
    Environment: object()
        .description(Some("Environment variables of an agent. Responses show `********` instead of the values."))
        .additional_properties(Some(AdditionalProperties::from(RefOr::from(Object::with_type(Type::String)))));
    Finding: object()
        .description(Some("A rule for modules that a module violates: what was found, and what is expected."))
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
    text("The name of an agent or a group, unique among both.", "my-agent")
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

/// One text, or an array of texts.
pub(super) fn text_or_texts() -> OneOfBuilder {
    OneOfBuilder::new().item(string()).item(Array::new(string()))
}

/// A text, or an object with it.
fn rollout_strategy() -> OneOfBuilder {
    let names = || words("How later versions replace one.", Strategy::NAMES.iter().copied());
    OneOfBuilder::new()
        .item(names())
        .item(object().property("type", names()).required("type"))
}

pub(super) fn strategy() -> ObjectBuilder {
    words(
        "Which members are restarted when one of them fails.",
        ["one_for_one", "one_for_all", "rest_for_one"].into_iter(),
    )
}

pub(super) fn auto_shutdown() -> ObjectBuilder {
    words(
        "Whether a group ends when significant members have ended.",
        ["never", "any_significant", "all_significant"].into_iter(),
    )
}

/// A message of the history or a reply. Extension members have names that begin with `x_`.
#[derive(ToSchema)]
#[schema(as = Message)]
#[expect(dead_code, reason = "describes what `MessageView` serialises")]
struct ShownMessage {
    message_id: MessageId,
    performative: Performative,
    /// The id of an agent, `client:<name>`, or `platform`.
    sender: String,
    /// A text for one receiver, an array for several.
    #[schema(schema_with = text_or_texts)]
    receiver: String,
    /// Any JSON, unchanged from the sender. With `encoding`, bytes in base64.
    content: serde_json::Value,
    /// `base64` if the content is bytes.
    encoding: Option<String>,
    /// The media type of the bytes.
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
    /// The message whose turn sent this one.
    causation_id: Option<MessageId>,
    /// The number of messages between the first one of a client and this one.
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
