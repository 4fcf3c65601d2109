//! The open questions of an agent, each with the reply slot that it holds for its reply.

use std::sync::Arc;

use indexmap::Equivalent;

use super::{Inner, Mailbox, ReplySlot};
use crate::fipa::Performative;
use crate::message::{Address, Message};

/// The replies that one agent may wait for at a time. The guest gets `over-limit` for a send beyond it.
pub const REPLY_SLOTS: u32 = 4_096;

/// A question that an agent has asked, by what its reply says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub conversation_id: String,
    /// The asker's `reply_with`; the host gives one to a question that has none.
    pub reply_with: String,
    pub participant: Address,
}

/// A [`Question`] to be looked up. It has the same hash.
#[derive(Hash)]
struct Asked<'a> {
    conversation_id: &'a str,
    reply_with: &'a str,
    participant: &'a Address,
}

impl Equivalent<Question> for Asked<'_> {
    fn equivalent(&self, question: &Question) -> bool {
        self.conversation_id == question.conversation_id
            && self.reply_with == question.reply_with
            && *self.participant == question.participant
    }
}

impl Mailbox {
    /// How many reply slots are free, that is, how many more messages the agent may send.
    pub fn reply_slots_left(&self) -> u32 {
        let inner = self.inner.lock();
        let left =
            inner.reply_slots + i64::try_from(inner.questions.len()).expect("questions are bounded by reply slots");
        u32::try_from(left.max(0)).expect("there are no more reply slots than a u32 holds")
    }

    /// Reserves the slot of a reply. When all are taken, the oldest question gives up its own: a reply to it still
    /// comes in, but needs room like any other message. None: all slots belong to messages on their way through the router.
    pub fn reserve_reply(self: &Arc<Self>) -> Option<ReplySlot> {
        let mut inner = self.inner.lock();
        if inner.reply_slots <= 0 {
            return inner
                .questions
                .shift_remove_index(0)
                .map(|(_, (_, reply_slot))| reply_slot);
        }
        inner.reply_slots -= 1;
        drop(inner);
        Some(ReplySlot { mailbox: self.clone() })
    }

    /// As [`Self::reserve_reply`], for a send of a turn. The send was within the budget that the turn had when it began; what
    /// the router has reserved since is overdrawn, by no more than one turn's sends.
    pub fn reserve_promised_reply(self: &Arc<Self>) -> ReplySlot {
        if let Some(reply_slot) = self.reserve_reply() {
            return reply_slot;
        }
        self.inner.lock().reply_slots -= 1;
        ReplySlot { mailbox: self.clone() }
    }

    /// Remembers a question of the agent, so that the reply finds its slot. Each question holds a slot, so there are at most
    /// [`REPLY_SLOTS`] questions.
    pub fn ask(&self, question: Question, act: Performative, reply_slot: ReplySlot) {
        let replaced = self.inner.lock().questions.insert(question, (act, reply_slot));
        drop(replaced); // gives its reply slot back, which takes the lock
    }
}

impl Inner {
    /// The reply slot of the question to `participant` whose wait `message` ends. A reply that only goes on with the
    /// conversation, such as `agree` or the first of several, takes room like any other message.
    pub(super) fn answered_by(&mut self, message: &Message, participant: &Address) -> Option<ReplySlot> {
        let asked = Asked {
            conversation_id: &message.conversation_id,
            reply_with: message.in_reply_to.as_deref()?,
            participant,
        };
        let (act, _) = self.questions.get(&asked)?;
        if message.performative.ends_wait_for(*act) {
            self.questions.shift_remove(&asked).map(|(_, reply_slot)| reply_slot)
        } else {
            None
        }
    }
}
