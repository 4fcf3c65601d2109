//! What a guest may ask of the host in a turn, and what the host keeps of it until the turn has ended. Both doors use
//! this, and only translate.

mod lookups;
mod output;
mod state;
mod timers;

use std::sync::Arc;
use std::time::Instant;

use rand::RngCore;
use wasmtime::Memory;

use self::output::Output;
use super::capacity::Memory as Shared;
use super::engine::Pace;
use super::limiter::Limiter;
use super::{Effects, Host, Limits, caps};
use crate::fipa::Performative;
use crate::message::{Content, Draft, Message};
use crate::rate::Rate;

/// Why the host did not do what a guest asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed(String),
    NotPermitted,
    OverLimit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// What an answer needs of the message in hand.
#[derive(Clone, Debug)]
pub(super) struct InHand {
    sender: String,
    reply_to: Option<String>,
    conversation_id: String,
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
    /// Whether `receiver` is who sent this message, or who it says is to be answered.
    fn is_answered_at(&self, receiver: &str) -> bool {
        receiver == self.sender || self.reply_to.as_deref() == Some(receiver)
    }

    /// Fills in what a draft that goes on with this conversation leaves out.
    fn complete(&self, draft: &mut Draft) {
        let answers = draft.receivers.iter().all(|receiver| self.is_answered_at(receiver));
        let names = |reply: &String| self.reply_with.as_ref() == Some(reply);
        let names_this = draft.in_reply_to.as_ref().is_some_and(names);
        // One that names another message goes on with that one's conversation, which is not known here.
        let names_another = draft.in_reply_to.is_some() && self.reply_with.is_some() && !names_this;
        let joins = match &draft.conversation_id {
            Some(id) => *id == self.conversation_id && (answers || names_this),
            None => names_this || (answers && !names_another),
        };
        if !joins {
            return;
        }
        draft
            .conversation_id
            .get_or_insert_with(|| self.conversation_id.clone());
        draft.protocol = draft.protocol.take().or_else(|| self.protocol.clone());
        if answers {
            draft.in_reply_to = draft.in_reply_to.take().or_else(|| self.reply_with.clone());
        }
    }
}

/// The data of a store: what is lent to the guest for its life, and the turn that it is in.
pub(super) struct Guest {
    host: Host,
    state_limit: u64,
    key_limit: usize,
    /// What may be logged.
    log: Rate,
    /// Bytes of log lines that were dropped because of it, and not told of yet.
    unlogged: usize,
    timer_limit: usize,
    /// Of the clock that never goes back.
    born: Instant,
    pub(super) limiter: Limiter,
    pub(super) pace: Pace,
    /// The memory that the core ABI's pointers point into.
    pub(super) memory: Option<Memory>,
    output: Output,
    turn: Open,
}

/// The turn that is going on.
#[derive(Default)]
struct Open {
    in_hand: Option<InHand>,
    sends_left: u32,
    effects: Effects,
    send_bytes: usize,
    write_bytes: usize,
    /// Of the state as the guest sees it. Counted at the first write, as most turns have none.
    extent: Option<state::Extent>,
    log_bytes: usize,
    random_bytes: usize,
    searches: u32,
    /// How many of the timers in `effects` are set and not cancelled.
    timers_set: usize,
    last_timer: Option<u32>,
}

impl Guest {
    pub(super) fn new(host: Host, limits: &Limits, pace: Pace, memory: Arc<Shared>) -> Self {
        Self {
            host,
            state_limit: limits.state_bytes,
            key_limit: usize::try_from(limits.state_keys).unwrap_or(usize::MAX),
            log: Rate::new(limits.log_bytes_per_second, Instant::now()),
            unlogged: 0,
            timer_limit: usize::try_from(limits.timers).unwrap_or(usize::MAX),
            born: Instant::now(),
            limiter: Limiter::new(limits.memory_bytes, memory),
            pace,
            memory: None,
            output: Output::default(),
            turn: Open::default(),
        }
    }

    pub(super) fn begin(&mut self, in_hand: Option<InHand>, sends: u32) {
        self.limiter.forget();
        self.turn = Open {
            in_hand,
            sends_left: sends,
            ..Open::default()
        };
    }

    /// Ends the turn and gives what it wants to happen.
    pub(super) fn finish(&mut self) -> Effects {
        self.flush();
        std::mem::take(&mut self.turn).effects
    }

    pub(super) fn born(&self) -> Instant {
        self.born
    }

    pub(super) fn send(&mut self, draft: Draft) -> Result<(), Refusal> {
        if self.turn.sends_left == 0 {
            return Err(Refusal::OverLimit);
        }
        let mut draft = draft
            .check()
            .map_err(|invalid| Refusal::Malformed(invalid.to_string()))?;
        let in_hand = self.turn.in_hand.as_ref();
        let may = |receiver: &String| {
            in_hand.is_some_and(|message| message.is_answered_at(receiver)) || self.host.grants.may_message(receiver)
        };
        if !draft.receivers.iter().all(may) {
            return Err(Refusal::NotPermitted);
        }
        // Whoever is asked may answer there, so naming somebody is as much as messaging him.
        let is_self = |to: &String| *to == self.host.name.as_str() || *to == self.host.agent.to_string();
        if !draft.reply_to.iter().all(|to| is_self(to) || may(to)) {
            return Err(Refusal::NotPermitted);
        }
        draft.sender = None;
        if let Some(message) = in_hand {
            message.complete(&mut draft);
        }
        let bytes = weight(&draft);
        self.room_for(bytes)?;
        self.turn.send_bytes += bytes;
        self.turn.sends_left -= 1;
        self.turn.effects.sends.push(draft);
        Ok(())
    }

    /// Answers the message in hand.
    pub(super) fn reply(&mut self, performative: Performative, content: Content) -> Result<(), Refusal> {
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

    fn room_for(&self, bytes: usize) -> Result<(), Refusal> {
        if self.turn.send_bytes + self.turn.write_bytes + bytes > caps::EFFECT_BYTES {
            return Err(Refusal::OverLimit);
        }
        Ok(())
    }

    /// Fills `bytes` with random numbers fit for secrets.
    pub(super) fn random(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        if !self.host.grants.random() {
            return Err(Refusal::NotPermitted);
        }
        self.draw(bytes)
    }

    /// As [`Self::random`], for a runtime that cannot do without.
    pub(super) fn draw(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        if bytes.len() > caps::RANDOM_TURN_BYTES - self.turn.random_bytes {
            return Err(Refusal::OverLimit);
        }
        self.turn.random_bytes += bytes.len();
        rand::rng().fill_bytes(bytes);
        Ok(())
    }

    /// A line for the operator, kept whatever becomes of the turn.
    pub(super) fn log(&mut self, level: Level, line: &[u8]) {
        let spent = self.turn.log_bytes;
        if spent > caps::LOG_TURN_BYTES {
            return;
        }
        let kept = &line[..line.len().min(caps::LOG_LINE_BYTES)];
        let (now, price) = (Instant::now(), kept.len().max(1) as u64);
        if !self.log.allows(price, now) {
            self.unlogged += kept.len();
            return;
        }
        self.log.take(price, now);
        if self.unlogged > 0 {
            let dropped = std::mem::take(&mut self.unlogged);
            let word = format!("(the host dropped {dropped} bytes that were logged over log_bytes_per_second)");
            self.print(Level::Warn, word.as_bytes());
        }
        self.turn.log_bytes += kept.len().max(1);
        if self.turn.log_bytes > caps::LOG_TURN_BYTES {
            return self.print(Level::Warn, b"(the host drops what else this turn logs)");
        }
        self.print(level, kept);
    }

    fn print(&self, level: Level, line: &[u8]) {
        let agent = self.host.name.as_str();
        // Read only where somebody listens at the level.
        macro_rules! print {
            ($level:ident) => {
                tracing::$level!(target: "caxton::guest", agent, agent_id = %self.host.agent, "{}", Printable(line))
            };
        }
        match level {
            Level::Trace => print!(trace),
            Level::Debug => print!(debug),
            Level::Info => print!(info),
            Level::Warn => print!(warn),
            Level::Error => print!(error),
        }
    }
}

/// How deep `json` nests. Read without recursion, for texts that are about to be read with it.
pub(super) fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Refuses an extension parameter that would take too much stack to read.
pub(super) fn shallow(name: &str, json: &[u8]) -> Result<(), Refusal> {
    if nesting(json) > caps::EXTENSION_DEPTH {
        return Err(Refusal::Malformed(format!(
            "`{name}` nests deeper than {}",
            caps::EXTENSION_DEPTH
        )));
    }
    Ok(())
}

/// A guest's text as one line: its control characters are escaped, so that it cannot look like a line of the server's.
struct Printable<'a>(&'a [u8]);

impl std::fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        String::from_utf8_lossy(self.0).chars().try_for_each(|c| match c {
            '\t' => f.write_char(c),
            c if c.is_control() => write!(f, "{}", c.escape_default()),
            c => f.write_char(c),
        })
    }
}

/// Bytes that a draft costs the turn: its content and texts, and a flat sum for the rest.
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
    let value = |(name, value): (&String, &serde_json::Value)| name.len() + value.to_string().len();
    ENVELOPE
        + content.weight()
        + receivers.iter().map(|receiver| receiver.len() + 32).sum::<usize>()
        + texts.into_iter().flatten().map(String::len).sum::<usize>()
        + extensions.iter().map(value).sum::<usize>()
}
