//! Callers of the API that wait for a reply.

use std::sync::Arc;

use super::ReplyTo;
use crate::fipa::Performative;
use crate::journal::Placed;
use crate::message::{Address, ClientName, Message};
use dashmap::DashMap;

/// A caller that waits. Dropping the receiver ends the wait.
#[derive(Debug)]
pub struct Expected {
    pub reply: ReplyTo<(Arc<Message>, Placed)>,
    /// Whether to take the first reply of any kind, even one that does not end the exchange.
    pub first: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: ClientName,
    conversation_id: String,
    reply_with: String,
}

impl Key {
    /// The key under which a caller would wait for this reply.
    fn of(client: &ClientName, reply: &Message) -> Option<Self> {
        Some(Self {
            client: client.clone(),
            conversation_id: reply.conversation_id.clone(),
            reply_with: reply.in_reply_to.clone()?,
        })
    }
}

fn ends_wait(reply: &Message, asked: Performative, expected: &Expected) -> bool {
    expected.first || reply.performative.ends_wait_for(asked)
}

/// The waiting callers. Their number is bounded by the callers: each entry is a request in progress and is removed with
/// it.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: DashMap<Key, (Performative, Expected)>,
}

impl Waiters {
    /// Registers `expected` for the reply to `question`, which is about to be handed on. False: somebody already waits
    /// for a reply in the same conversation with the same `reply_with`, and the two replies could not be told apart.
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

    /// Whether a caller waits for this message.
    pub(super) fn awaits(&self, client: &ClientName, reply: &Message) -> bool {
        let waiting = Key::of(client, reply).and_then(|key| self.waiting.get(&key));
        waiting.is_some_and(|waiting| {
            let (asked, expected) = waiting.value();
            ends_wait(reply, *asked, expected) && !expected.reply.is_abandoned()
        })
    }

    /// Gives a recorded reply to the caller that waits for it. The caller still has to wait until its batch is durable.
    pub(super) fn deliver(&self, client: &ClientName, reply: &Arc<Message>, placed: &Placed) {
        let Some(key) = Key::of(client, reply) else { return };
        let ends = |_: &Key, (asked, expected): &(Performative, Expected)| ends_wait(reply, *asked, expected);
        if let Some((_, (_, expected))) = self.waiting.remove_if(&key, ends) {
            // A caller that has gone can read the reply in the history.
            expected.reply.send((reply.clone(), placed.clone()));
        }
    }
}
