//! Callers of the API that wait for an answer.

use std::sync::Arc;

use super::ReplyTo;
use crate::fipa::Performative;
use crate::id::Seq;
use crate::message::{Address, ClientName, Message};
use dashmap::DashMap;

/// Someone who waits. Dropping the receiver ends the wait.
#[derive(Debug)]
pub struct Expected {
    pub reply: ReplyTo<(Arc<Message>, Seq)>,
    /// Take the first answer of any kind, even one that does not end the session.
    pub first: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: ClientName,
    conversation_id: String,
    reply_with: String,
}

/// Bounded by the callers: each entry is a request that is being answered, and leaves with it.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: DashMap<Key, (Performative, Expected)>,
}

impl Waiters {
    /// `question` is about to be handed on; `expected` waits for its answer. False: somebody waits already for an answer of
    /// the same conversation and name, and which is whose could not be told.
    pub fn expect(&self, question: &Message, expected: Expected) -> bool {
        self.waiting.retain(|_, (_, waiting)| !waiting.reply.is_abandoned());
        let (Address::Client(client), Some(reply_with)) = (&question.sender, &question.reply_with) else {
            return true;
        };
        let key = Key {
            client: client.clone(),
            conversation_id: question.conversation_id.clone(),
            reply_with: reply_with.clone(),
        };
        match self.waiting.entry(key) {
            dashmap::Entry::Occupied(_) => false,
            dashmap::Entry::Vacant(free) => {
                free.insert((question.performative, expected));
                true
            }
        }
    }

    /// `answer` was appended up to `seq` for a client. The one who waits still has to see it durable.
    pub(super) fn deliver(&self, client: &ClientName, reply: &Arc<Message>, seq: Seq) {
        let Some(reply_with) = reply.in_reply_to.clone() else {
            return;
        };
        let key = Key {
            client: client.clone(),
            conversation_id: reply.conversation_id.clone(),
            reply_with,
        };
        let ends = |asked: Performative, first: bool| first || reply.performative.ends_wait_for(asked);
        if let Some((_, (_, expected))) = self
            .waiting
            .remove_if(&key, |_, (asked, wait)| ends(*asked, wait.first))
        {
            // A caller that has gone finds the reply in the history.
            expected.reply.send((reply.clone(), seq));
        }
    }
}
