//! The message in hand: the one that the guest handles in this turn.

use crate::message::{Draft, Message};

/// What a reply takes from the message in hand.
#[derive(Clone, Debug)]
pub(in crate::wasm) struct InHand {
    pub(super) sender: String,
    pub(super) reply_to: Option<String>,
    pub(super) conversation_id: String,
    protocol: Option<String>,
    reply_with: Option<String>,
}

impl From<&Message> for InHand {
    fn from(message: &Message) -> Self {
        Self {
            sender: message.sender.to_string(),
            reply_to: message.reply_to.clone(),
            conversation_id: message.conversation_id.clone(),
            protocol: message.protocol.clone(),
            reply_with: message.reply_with.clone(),
        }
    }
}

impl InHand {
    /// Whether a message to `receiver` is a reply: `receiver` is the sender of this message, or its `reply_to`.
    pub(super) fn is_replied_to(&self, receiver: &str) -> bool {
        receiver == self.sender || self.reply_to.as_deref() == Some(receiver)
    }

    /// Fills in what a draft leaves out, if it continues the conversation of this message.
    pub(super) fn complete(&self, draft: &mut Draft) {
        let is_reply = draft.receivers.iter().all(|receiver| self.is_replied_to(receiver));
        let names = |reply: &String| self.reply_with.as_ref() == Some(reply);
        let names_this = draft.in_reply_to.as_ref().is_some_and(names);
        // A draft that refers to another message continues that message's conversation, which is not known here.
        let names_another = draft.in_reply_to.is_some() && self.reply_with.is_some() && !names_this;
        let joins = match &draft.conversation_id {
            Some(id) => *id == self.conversation_id && (is_reply || names_this),
            None => names_this || (is_reply && !names_another),
        };
        if !joins {
            return;
        }
        draft
            .conversation_id
            .get_or_insert_with(|| self.conversation_id.clone());
        draft.protocol = draft.protocol.take().or_else(|| self.protocol.clone());
        if is_reply {
            draft.in_reply_to = draft.in_reply_to.take().or_else(|| self.reply_with.clone());
        }
    }
}
