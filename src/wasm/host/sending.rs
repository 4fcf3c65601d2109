//! Sending: which messages a turn may send, and what the host fills in.

use super::guest::Guest;
use super::refusal::Refusal;
use crate::fipa::Performative;
use crate::json::RawJson;
use crate::message::{Content, Draft};

impl Guest {
    /// Adds a message to the effects of the turn.
    pub(in crate::wasm) fn send(&mut self, draft: Draft) -> Result<(), Refusal> {
        if self.turn.sends_left == 0 {
            return Err(Refusal::OverLimit);
        }
        let mut draft = draft.check()?;
        let in_hand = self.turn.in_hand.as_ref();
        let may = |receiver: &String| {
            in_hand.is_some_and(|message| message.is_replied_to(receiver)) || self.host.grants.may_message(receiver)
        };
        if !draft.receivers.iter().all(may) {
            return Err(Refusal::NotPermitted);
        }
        // The receivers may reply to this address without a permission of their own, so the guest needs the permission for it.
        let is_self = |to: &String| *to == self.host.name.as_str() || *to == self.host.agent.to_string();
        if !draft.reply_to.iter().all(|to| is_self(to) || may(to)) {
            return Err(Refusal::NotPermitted);
        }
        draft.sender = None;
        if let Some(message) = in_hand {
            message.complete(&mut draft);
        }
        let bytes = weight(&draft);
        self.turn.room_for(bytes)?;
        self.turn.send_bytes += bytes;
        self.turn.sends_left -= 1;
        self.turn.effects.sends.push(draft);
        Ok(())
    }

    /// Replies to the message in hand.
    pub(in crate::wasm) fn reply(&mut self, performative: Performative, content: Content) -> Result<(), Refusal> {
        let Some(message) = &self.turn.in_hand else {
            return Err(Refusal::Malformed("there is no message in hand to reply to".to_owned()));
        };
        let draft = Draft {
            performative: Some(performative),
            receivers: vec![message.reply_to.as_ref().unwrap_or(&message.sender).clone()],
            content,
            conversation_id: Some(message.conversation_id.clone()),
            ..Draft::default()
        };
        self.send(draft)
    }
}

/// Bytes that a draft costs the turn: those of its content and texts, and a flat sum for everything else.
fn weight(draft: &Draft) -> usize {
    const ENVELOPE: usize = 256;
    let Draft {
        receivers,
        content,
        extensions,
        ..
    } = draft;
    let texts = [
        &draft.reply_to,
        &draft.language,
        &draft.ontology,
        &draft.protocol,
        &draft.conversation_id,
        &draft.reply_with,
        &draft.in_reply_to,
    ];
    let value = |(name, value): (&String, &RawJson)| name.len() + value.as_str().len();
    ENVELOPE
        + content.weight()
        + receivers.iter().map(|receiver| receiver.len() + 32).sum::<usize>()
        + texts.into_iter().flatten().map(String::len).sum::<usize>()
        + extensions.iter().map(value).sum::<usize>()
}
