//! What an agent has asked, and the reply slots that it holds for the replies.

use std::sync::Arc;

use super::{Inner, Mailbox, ReplySlot};
use crate::fipa::Performative;
use crate::message::{Address, Message};

/// Answers that one agent may wait for at a time. A send beyond it gets over-limit in the guest.
pub const REPLY_SLOTS: u32 = 4_096;

/// What an agent has asked and what answers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub conversation_id: String,
    /// The asker's `reply_with`; the host gives one to a question that has none.
    pub reply_with: String,
    pub participant: Address,
}

impl Mailbox {
    /// How many reply slots are free, that is, how many more messages the agent may send.
    pub fn reply_slots_left(&self) -> u32 {
        let inner = self.inner.lock();
        let left =
            inner.reply_slots + i64::try_from(inner.questions.len()).expect("questions are bounded by reply slots");
        u32::try_from(left.max(0)).expect("there are no more reply slots than a u32 holds")
    }

    /// Reserves the slot of a reply. When all are taken the oldest question gives its own up: a reply to it still
    /// comes in, but needs room like any other message. None: all are on their way through the router.
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

    /// As [`Self::reserve_reply`], for a send of a turn that was within its budget when it began. What the router took
    /// meanwhile is overdrawn, by no more than one turn's sends.
    pub fn reserve_promised_reply(self: &Arc<Self>) -> ReplySlot {
        if let Some(reply_slot) = self.reserve_reply() {
            return reply_slot;
        }
        self.inner.lock().reply_slots -= 1;
        ReplySlot { mailbox: self.clone() }
    }

    /// Remembers what the agent asked, so that the reply finds its slot. Each question holds a slot, so there are at most
    /// [`REPLY_SLOTS`] of them.
    pub fn ask(&self, question: Question, act: Performative, reply_slot: ReplySlot) {
        let replaced = self.inner.lock().questions.insert(question, (act, reply_slot));
        drop(replaced); // gives its reply slot back, which takes the lock
    }
}

impl Inner {
    /// The reply slot of the question to `participant` that `message` answers for good. An answer that only goes on with a
    /// conversation (`agree`, the first of many) takes room like any other message.
    pub(super) fn answered_by(&mut self, message: &Message, participant: &Address) -> Option<ReplySlot> {
        let asked = Question {
            conversation_id: message.conversation_id.clone(),
            reply_with: message.in_reply_to.clone()?,
            participant: participant.clone(),
        };
        let (act, _) = self.questions.get(&asked)?;
        if message.performative.ends_wait_for(*act) {
            self.questions.shift_remove(&asked).map(|(_, reply_slot)| reply_slot)
        } else {
            None
        }
    }
}
