//! What a guest needs in order to run without a node around it.

use std::collections::BTreeMap;
use std::sync::Arc;

use caxton::id::MessageId;
use caxton::message::{Address, ClientName, Content, Message};
use caxton::time::Timestamp;
use caxton::wasm::Grants;
use serde_json::json;

pub(crate) struct NoGrants;

impl Grants for NoGrants {}

pub(crate) fn request() -> Arc<Message> {
    Arc::new(Message {
        id: MessageId::new(),
        performative: caxton::fipa::Performative::Request,
        sender: Address::Client(ClientName::anonymous()),
        receivers: vec![Address::Client(ClientName::anonymous())],
        reply_to: None,
        content: Content::json(&json!({"n": 1})),
        language: None,
        ontology: None,
        protocol: None,
        conversation_id: "conv_1".to_owned(),
        reply_with: Some("q1".to_owned()),
        in_reply_to: None,
        reply_by: None,
        timestamp: Timestamp::now(),
        causation_id: None,
        traceparent: None,
        hops: 0,
        extensions: BTreeMap::new(),
    })
}

/// Whether guests use the pool. `-- on-demand` measures without it.
pub(crate) fn pooled() -> bool {
    let pooled = !std::env::args().any(|argument| argument == "on-demand");
    println!("instances {}", if pooled { "in a pool" } else { "on demand" });
    pooled
}
