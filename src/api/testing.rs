//! A message for the tests of the edges.

use std::collections::BTreeMap;

use crate::fipa::Performative;
use crate::id::MessageId;
use crate::message::{Address, Content, Message};
use crate::time::Timestamp;

/// A request that says `content`, without anything optional.
pub(super) fn message(content: Content) -> Message {
    Message {
        id: MessageId::new(),
        performative: Performative::Request,
        sender: Address::Platform,
        receivers: vec![Address::Platform],
        reply_to: None,
        content,
        language: None,
        ontology: None,
        protocol: None,
        conversation_id: "c".to_owned(),
        reply_with: None,
        in_reply_to: None,
        reply_by: None,
        timestamp: Timestamp::now(),
        causation_id: None,
        traceparent: None,
        hops: 0,
        extensions: BTreeMap::new(),
    }
}
