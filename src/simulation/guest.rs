//! Guests of the simulation: closures instead of wasm.

use std::cell::Cell;

use bytes::Bytes;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde::Serialize;

use crate::agent::Agent;
use crate::fipa::Performative;
use crate::id::InstanceId;
use crate::message::{Content, Draft, Message};
use crate::time::Timestamp;
use crate::timer::{Timer, TimerChange};
use crate::wasm::Effects;

/// How a guest's turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The turn's effects take place.
    Ok,
    /// The turn has no effects, and the sender gets a `failure`.
    Error(String),
    /// The instance crashed; the message is delivered again.
    Crash(String),
}

/// Handles messages. A closure is a guest.
pub trait Guest {
    fn handle(&mut self, message: &Message, turn: &mut Turn<'_>) -> Ended;
}

impl<F: FnMut(&Message, &mut Turn<'_>) -> Ended> Guest for F {
    fn handle(&mut self, message: &Message, turn: &mut Turn<'_>) -> Ended {
        self(message, turn)
    }
}

/// The operations of a guest in a turn. They take effect when the turn ends in [`Ended::Ok`] and is recorded.
pub struct Turn<'a> {
    pub(super) agent: &'a Agent,
    pub(super) instance: InstanceId,
    pub(super) message: &'a Message,
    pub(super) attempt: u32,
    pub(super) now: Timestamp,
    pub(super) random: &'a mut StdRng,
    pub(super) effects: Effects,
    /// Whether the turn has read or written the agent's state or timers.
    pub(super) touched: Cell<bool>,
}

impl Turn<'_> {
    /// The number of this delivery of the message, from 1.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns true with this probability, as the run's seed decides.
    pub fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share)
    }

    /// A value of the agent's state, as this turn sees it.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.touched.set(true);
        match self.effects.writes.get(key) {
            Some(written) => written.clone(),
            None => self.agent.state.read().get(key).cloned(),
        }
    }

    pub fn set(&mut self, key: &str, value: impl Into<Bytes>) {
        self.touched.set(true);
        self.effects.writes.insert(key.to_owned(), Some(value.into()));
    }

    /// Sends a message that asks `receiver` for something.
    pub fn request(&mut self, receiver: &str, content: impl Serialize) {
        self.effects
            .sends
            .push(draft(Performative::Request, receiver, &content));
    }

    /// Replies to the message that this turn handles.
    pub fn inform(&mut self, content: impl Serialize) {
        let reply = Draft {
            conversation_id: Some(self.message.conversation_id.clone()),
            in_reply_to: self.message.reply_with.clone(),
            ..draft(Performative::Inform, &self.message.sender.to_string(), &content)
        };
        self.effects.sends.push(reply);
    }

    /// Sets a timer that fires once.
    pub fn set_timer(&mut self, after: std::time::Duration) {
        self.touched.set(true);
        let id = self
            .agent
            .timers
            .free_id(None, |id| self.effects.timers.contains_key(&id));
        let timer = Timer {
            id,
            due: self.now.plus(after),
            every: None,
            set_by: self.instance,
        };
        self.effects.timers.insert(id, TimerChange::Set(timer));
    }
}

pub(super) fn draft(performative: Performative, receiver: &str, content: &impl Serialize) -> Draft {
    let content = serde_json::to_value(content).expect("a guest's content is JSON");
    Draft {
        performative: Some(performative),
        receivers: vec![receiver.to_owned()],
        content: Content::json(&content),
        ..Draft::default()
    }
}
