//! A host for tests: it runs one agent as the server does, without a server.
//!
//! What a turn sent and stored is there when it ended well, and not when it ended in error or crashed (panicked). Time
//! stands still until the test lets it pass.
//!
//! ```
//! use std::time::Duration;
//! use caxton_agent::testing::{End, Permission, TestHost, World};
//! use caxton_agent::{Agent, Draft, Host, Message, Performative, Result, TimerId};
//!
//! /// Passes on, a minute later, what it was told last.
//! struct Delayed;
//!
//! impl Agent for Delayed {
//!     fn init(_: &mut Host) -> Result<Self> {
//!         Ok(Self)
//!     }
//!
//!     fn handle(&mut self, message: &Message, host: &mut Host) -> Result {
//!         host.set("text", &message.content::<String>()?)?;
//!         host.after(Duration::from_secs(60))?;
//!         Ok(())
//!     }
//!
//!     fn timer(&mut self, _: TimerId, host: &mut Host) -> Result {
//!         let text: String = host.get("text")?.ok_or("nothing to pass on")?;
//!         Ok(host.send(Draft::new(Performative::Inform, "press").content(&text)?)?)
//!     }
//! }
//!
//! let mut delayed = TestHost::<Delayed>::start()?;
//! let told = |text| Draft::new(Performative::Inform, "delayed").content(text);
//! delayed.deliver("ann", told("news")?).ok();
//! assert!(delayed.advance(Duration::from_secs(59)).is_empty());
//! let fired = delayed.advance(Duration::from_secs(1)).remove(0);
//! assert_eq!(fired.only().content.read::<String>()?, "news");
//!
//! let turn = delayed.deliver("ann", Draft::new(Performative::Inform, "delayed"));
//! assert!(matches!(turn.end, End::Failed(reason) if reason.contains("expected a string")));
//! assert_eq!(delayed.state::<String>("text"), Some("news".into()));
//!
//! let mut forbidden = World::new().deny(Permission::State).start::<Delayed>()?;
//! assert_eq!(forbidden.deliver("ann", told("news")?).end, End::Failed("state.set: not permitted".into()));
//! # Ok::<(), caxton_agent::Failure>(())
//! ```

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::Calls;
use crate::{
    Agent, Content, Description, Draft, Failure, Host, HostError, Level, Message, Performative, TimerId, Timestamp,
};

/// How often a message is delivered whose turns crash, as by the server's default.
pub const MAX_DELIVERIES: u32 = 3;

/// When a world begins: 2026-01-01T00:00:00Z.
pub const BEGINNING: Timestamp = Timestamp(1_767_225_600_000_000);

/// An agent and the world around it.
#[derive(Debug)]
pub struct TestHost<A> {
    /// None after a crash, until the next turn.
    agent: Option<A>,
    host: Host,
}

/// How a turn ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// Its effects are there.
    Ok,
    /// The agent returned an error, with this text. There are no effects.
    Failed(String),
    /// The agent panicked with this text, at each of [`MAX_DELIVERIES`] deliveries (a last turn has one). There are no effects.
    Crashed(String),
}

/// What became of a message, or of a timer that fired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    /// How its last turn ended.
    pub end: End,
    /// What it sent and answered, in order. Empty unless it ended well.
    pub sent: Vec<Draft>,
    /// What it logged, in order, at every delivery and however it ended.
    pub log: Vec<(Level, String)>,
}

impl Turn {
    /// What was sent. Panics unless the turn ended well.
    #[track_caller]
    pub fn ok(self) -> Vec<Draft> {
        assert_eq!(self.end, End::Ok, "the turn did not end well");
        self.sent
    }

    /// The one message that was sent. Panics unless the turn ended well and sent one.
    #[track_caller]
    pub fn only(self) -> Draft {
        let mut sent = self.ok();
        assert_eq!(sent.len(), 1, "one message: {sent:#?}");
        sent.remove(0)
    }
}

/// What an agent's deploy permits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Permission {
    /// To send to others than who is answered.
    Message,
    /// State.
    State,
    /// Random numbers.
    Random,
    /// Timers.
    Timers,
    /// The variables of the deploy.
    Environment,
    /// To find others.
    Directory,
}

impl<A: Agent> TestHost<A> {
    /// An agent in a world that permits everything and has nothing else in it. An error is that of its init.
    pub fn start() -> Result<Self, Failure> {
        World::new().start()
    }

    /// Delivers a message, again if its turn crashes. The draft is one of somebody else, `sender`; what the host stamps is
    /// stamped. Panics if a new instance fails in its init.
    pub fn deliver(&mut self, sender: &str, draft: Draft) -> Turn {
        let message = self.host.0.stamp(sender, draft);
        self.run(Some(&message), MAX_DELIVERIES, |agent, host, attempt| {
            let message = Message {
                delivery_attempt: attempt,
                ..message.clone()
            };
            agent.handle(&message, host)
        })
    }

    /// Lets time pass. Timers that fall due meanwhile fire in their order, each at its time, and what became of each is
    /// returned.
    pub fn advance(&mut self, time: Duration) -> Vec<Turn> {
        let until = self.host.0.now + time;
        let mut turns = Vec::new();
        while let Some(id) = self.host.0.fire(until) {
            turns.push(self.run(None, MAX_DELIVERIES, |agent, host, _| agent.timer(id, host)));
        }
        self.host.0.now = until;
        turns
    }

    /// Ends the instance in order, as a stop does: it has its last turn, once, and the next turn has a new instance.
    pub fn shut_down(&mut self) -> Turn {
        let turn = self.run(None, 1, |agent, host, _| {
            agent.shutdown(host);
            Ok(())
        });
        self.agent = None;
        turn
    }

    /// Takes the instance away, as a restart of the server after a crash does: the next turn has a new one.
    pub fn restart(&mut self) {
        self.agent = None;
    }

    /// The timers that are set, and when each is due next.
    pub fn timers(&self) -> Vec<(TimerId, Timestamp)> {
        let timers = &self.host.0.kept.timers;
        timers.iter().map(|(id, timer)| (*id, timer.due)).collect()
    }

    /// What the agent has stored. Panics if it is no `T`.
    pub fn state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let value = self.host.0.kept.state.get(key)?;
        Some(serde_json::from_slice(value).expect("the state is of this type"))
    }

    fn run(
        &mut self,
        in_hand: Option<&Message>,
        deliveries: u32,
        turn: impl Fn(&mut A, &mut Host, u32) -> crate::Result,
    ) -> Turn {
        let mut end = End::Ok;
        for attempt in 1..=deliveries {
            let agent = self.agent.get_or_insert_with(|| {
                let agent = init(&mut self.host);
                agent.unwrap_or_else(|failure| panic!("init of a new instance failed: {failure}"))
            });
            let before = self.host.0.kept.clone();
            self.host.0.in_hand = in_hand.cloned();
            let ended = catch_unwind(AssertUnwindSafe(|| turn(agent, &mut self.host, attempt)));
            self.host.0.in_hand = None;
            end = match ended {
                Ok(Ok(())) => End::Ok,
                Ok(Err(failure)) => End::Failed(failure.to_string()),
                Err(panic) => End::Crashed(text(panic.as_ref())),
            };
            if end != End::Ok {
                self.host.0.kept = before;
            }
            if !matches!(end, End::Crashed(_)) {
                break;
            }
            self.agent = None;
        }
        Turn {
            end,
            sent: std::mem::take(&mut self.host.0.kept.sent),
            log: std::mem::take(&mut self.host.0.log),
        }
    }
}

/// Makes an agent, and keeps of its init what that stored and set.
fn init<A: Agent>(host: &mut Host) -> Result<A, Failure> {
    let lines = host.0.log.len();
    let agent = A::init(host)?;
    host.0.kept.sent.clear();
    host.0.log.truncate(lines);
    Ok(agent)
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// What surrounds an agent: made before it is started, and then its [`TestHost`]'s.
#[derive(Debug)]
pub struct World {
    denied: BTreeSet<Permission>,
    variables: BTreeMap<String, String>,
    others: Vec<Description>,
    now: Timestamp,
    messages: u64,
    random: u64,
    in_hand: Option<Message>,
    kept: Kept,
    log: Vec<(Level, String)>,
}

/// What a turn may change, and what a turn that does not end well leaves as it was.
#[derive(Clone, Default, Debug)]
struct Kept {
    state: BTreeMap<String, Vec<u8>>,
    timers: BTreeMap<TimerId, Timer>,
    sent: Vec<Draft>,
}

#[derive(Clone, Debug)]
struct Timer {
    due: Timestamp,
    /// None: once.
    every: Option<Duration>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            denied: BTreeSet::new(),
            variables: BTreeMap::new(),
            others: Vec::new(),
            now: BEGINNING,
            messages: 0,
            random: 0,
            in_hand: None,
            kept: Kept::default(),
            log: Vec::new(),
        }
    }
}

impl World {
    /// A world that permits everything and has nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a permission away.
    #[must_use]
    pub fn deny(mut self, permission: Permission) -> Self {
        self.denied.insert(permission);
        self
    }

    /// Adds a variable of the deploy's `environment`.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds an agent to be found, whose id is `agent-` and its name.
    #[must_use]
    pub fn agent(mut self, name: &str, capabilities: &[&str]) -> Self {
        self.others.push(Description {
            id: format!("agent-{name}"),
            name: name.to_owned(),
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
        });
        self.others.sort_by(|one, other| one.name.cmp(&other.name));
        self
    }

    /// Stores what the agent is to find in its state. Panics if the value has no JSON.
    #[must_use]
    pub fn state<T: Serialize + ?Sized>(mut self, key: &str, value: &T) -> Self {
        let value = serde_json::to_vec(value).expect("the value has JSON");
        self.kept.state.insert(key.to_owned(), value);
        self
    }

    /// Starts an agent in it. An error is that of its init. What an init sends and logs is not part of any [`Turn`].
    pub fn start<A: Agent>(self) -> Result<TestHost<A>, Failure> {
        let mut host = Host(self);
        Ok(TestHost {
            agent: Some(init(&mut host)?),
            host,
        })
    }

    fn stamp(&mut self, sender: &str, draft: Draft) -> Message {
        self.messages += 1;
        let number = self.messages;
        Message {
            message_id: format!("message-{number}"),
            performative: draft.performative,
            sender: sender.to_owned(),
            receivers: draft.receivers,
            reply_to: draft.reply_to,
            content: draft.content,
            language: draft.language,
            encoding: None,
            ontology: draft.ontology,
            protocol: draft.protocol,
            conversation_id: draft
                .conversation_id
                .unwrap_or_else(|| format!("conversation-{number}")),
            reply_with: draft.reply_with,
            in_reply_to: draft.in_reply_to,
            reply_by: draft.reply_by.map(|time| time.to_string()),
            timestamp: self.now.to_string(),
            delivery_attempt: 1,
            extensions: draft.extensions,
        }
    }

    /// The next timer that is due by then, at its time. One that fires once is gone.
    fn fire(&mut self, until: Timestamp) -> Option<TimerId> {
        let timers = &mut self.kept.timers;
        let (id, timer) = timers
            .iter_mut()
            .filter(|(_, timer)| timer.due <= until)
            .min_by_key(|(_, timer)| timer.due)?;
        let id = *id;
        self.now = self.now.max(timer.due);
        match timer.every {
            Some(period) => timer.due = timer.due + period,
            None => {
                timers.remove(&id);
            }
        }
        Some(id)
    }

    fn permits(&self, permission: Permission, call: &'static str) -> Result<(), HostError> {
        if self.denied.contains(&permission) {
            return Err(HostError::NotPermitted(call));
        }
        Ok(())
    }

    fn set_timer(
        &mut self,
        after: Duration,
        every: Option<Duration>,
        call: &'static str,
    ) -> Result<TimerId, HostError> {
        const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);
        const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
        self.permits(Permission::Timers, call)?;
        if after > LONGEST || every.is_some_and(|period| period < SHORTEST_PERIOD) {
            return Err(HostError::OverLimit(call));
        }
        let id = TimerId(self.kept.timers.last_key_value().map_or(0, |(id, _)| id.0) + 1);
        let due = self.now + after;
        self.kept.timers.insert(id, Timer { due, every });
        Ok(id)
    }
}

/// What is wrong with a draft, if the server would not take it.
fn fault(draft: &Draft) -> Option<&'static str> {
    if draft.receivers.is_empty() {
        Some("`receiver` names nobody")
    } else if draft.performative == Performative::Cfp && draft.reply_by.is_none() {
        Some("a `cfp` needs a `reply_by`")
    } else if draft.extensions.iter().any(|(name, _)| !name.starts_with("x_")) {
        Some("the name of an extension begins with `x_`")
    } else {
        None
    }
}

impl Calls for World {
    fn send(&mut self, draft: Draft) -> Result<(), HostError> {
        if let Some(fault) = fault(&draft) {
            return Err(HostError::Malformed("send", fault.to_owned()));
        }
        let answered = |to: &String| {
            let in_hand = self.in_hand.as_ref();
            in_hand.is_some_and(|message| *to == message.sender || *to == message.answer_to())
        };
        if !draft.receivers.iter().all(answered) {
            self.permits(Permission::Message, "send")?;
        }
        self.kept.sent.push(draft);
        Ok(())
    }

    fn reply(&mut self, performative: Performative, content: Content) -> Result<(), HostError> {
        let Some(message) = &self.in_hand else {
            let why = "there is no message in hand to reply to";
            return Err(HostError::Malformed("reply", why.to_owned()));
        };
        self.send(Draft {
            content,
            ontology: None,
            ..Draft::answer(performative, message)
        })
    }

    fn log(&mut self, level: Level, line: &str) {
        self.log.push((level, line.to_owned()));
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn monotonic(&self) -> Duration {
        self.now - BEGINNING
    }

    /// The same in each world, by `SplitMix64`, so that tests give the same each time.
    fn random_bytes(&mut self, len: u32) -> Result<Vec<u8>, HostError> {
        self.permits(Permission::Random, "random")?;
        let mut next = || {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)).to_be_bytes()[0]
        };
        Ok((0..len).map(|_| next()).collect())
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.permits(Permission::State, "state.get")?;
        Ok(self.kept.state.get(key).cloned())
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), HostError> {
        self.permits(Permission::State, "state.set")?;
        self.kept.state.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<bool, HostError> {
        self.permits(Permission::State, "state.delete")?;
        Ok(self.kept.state.remove(key).is_some())
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, HostError> {
        self.permits(Permission::State, "state.list")?;
        let keys = self.kept.state.keys();
        Ok(keys.filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    fn after(&mut self, time: Duration) -> Result<TimerId, HostError> {
        self.set_timer(time, None, "timer.set-once")
    }

    fn every(&mut self, time: Duration) -> Result<TimerId, HostError> {
        self.set_timer(time, Some(time), "timer.set-periodic")
    }

    fn cancel(&mut self, timer: TimerId) -> Result<bool, HostError> {
        self.permits(Permission::Timers, "timer.cancel")?;
        Ok(self.kept.timers.remove(&timer).is_some())
    }

    fn variable(&self, name: &str) -> Result<Option<String>, HostError> {
        self.permits(Permission::Environment, "environment")?;
        Ok(self.variables.get(name).cloned())
    }

    fn variables(&self) -> Result<Vec<String>, HostError> {
        self.permits(Permission::Environment, "environment")?;
        Ok(self.variables.keys().cloned().collect())
    }

    fn find(&mut self, capability: &str) -> Result<Vec<Description>, HostError> {
        self.permits(Permission::Directory, "directory")?;
        let others = self.others.iter();
        let has = |agent: &&Description| agent.capabilities.iter().any(|has| has == capability);
        Ok(others.filter(has).cloned().collect())
    }
}
