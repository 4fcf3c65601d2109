//! A host for tests: it runs one agent without a server, by the server's rules.
//!
//! The messages and writes of a turn take effect if the turn returns `Ok`, and not if it returns an error or crashes (panics).
//! Time passes only when the test says so.
//!
//! ```
//! use std::time::Duration;
//! use caxton_agent::testing::{End, Permission, TestHost, World};
//! use caxton_agent::{Agent, Draft, Host, Message, Performative, Result, TimerId};
//!
//! /// Forwards, a minute later, the last text that it got.
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
//! let inform = |text| Draft::new(Performative::Inform, "delayed").content(text);
//! delayed.deliver("ann", inform("news")?).ok();
//! assert!(delayed.advance(Duration::from_secs(59)).is_empty());
//! let fired = delayed.advance(Duration::from_secs(1)).remove(0);
//! assert_eq!(fired.only().content.read::<String>()?, "news");
//!
//! let turn = delayed.deliver("ann", Draft::new(Performative::Inform, "delayed"));
//! assert!(matches!(turn.end, End::Failed(reason) if reason.contains("expected a string")));
//! assert_eq!(delayed.state::<String>("text"), Some("news".into()));
//!
//! let mut forbidden = World::new().deny(Permission::State).start::<Delayed>()?;
//! assert_eq!(forbidden.deliver("ann", inform("news")?).end, End::Failed("state.set: not permitted".into()));
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

/// How many times a message is delivered if its turns crash: the server's default.
pub const MAX_DELIVERIES: u32 = 3;

/// The time at which a world begins: 2026-01-01T00:00:00Z.
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
    /// The turn returned `Ok`, and has its effects.
    Ok,
    /// The agent returned an error with this text. The turn has no effects.
    Failed(String),
    /// The agent panicked with this text at each of [`MAX_DELIVERIES`] deliveries (the last turn of an instance has one). The
    /// turn has no effects.
    Crashed(String),
}

/// The outcome of a delivered message, or of a timer that fired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    /// How the turn of the last delivery ended.
    pub end: End,
    /// The messages that it sent, in order. Empty unless the end is `Ok`.
    pub sent: Vec<Draft>,
    /// The log lines of all deliveries, in order. They are kept even if the end is not `Ok`.
    pub log: Vec<(Level, String)>,
}

impl Turn {
    /// The messages that were sent. Panics unless the end is `Ok`.
    #[track_caller]
    pub fn ok(self) -> Vec<Draft> {
        assert_eq!(self.end, End::Ok, "the turn did not end with `Ok`");
        self.sent
    }

    /// The one message that was sent. Panics unless the end is `Ok` and there is exactly one.
    #[track_caller]
    pub fn only(self) -> Draft {
        let mut sent = self.ok();
        assert_eq!(sent.len(), 1, "one message: {sent:#?}");
        sent.remove(0)
    }
}

/// A permission that the deploy of an agent grants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Permission {
    /// To send messages, other than replies to the message of the turn.
    Message,
    /// To read and write state.
    State,
    /// To get random numbers.
    Random,
    /// To set timers.
    Timers,
    /// To read the variables of the deploy.
    Environment,
    /// To find other agents.
    Directory,
}

impl<A: Agent> TestHost<A> {
    /// Starts an agent in a world that grants every permission and has no other agents. An error comes from the agent's init.
    pub fn start() -> Result<Self, Failure> {
        World::new().start()
    }

    /// Delivers a message from `sender`, and again if its turn crashes. The draft is stamped as the server stamps it. Panics if
    /// the init of a new instance fails.
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

    /// Lets time pass. Timers that are due meanwhile fire in order, each at its due time. The result has a turn for each.
    pub fn advance(&mut self, time: Duration) -> Vec<Turn> {
        let until = self.host.0.now + time;
        let mut turns = Vec::new();
        while let Some(id) = self.host.0.fire(until) {
            turns.push(self.run(None, MAX_DELIVERIES, |agent, host, _| agent.timer(id, host)));
        }
        self.host.0.now = until;
        turns
    }

    /// Ends the instance in order, as a stop of the agent does: its shutdown is called once. The next turn has a new instance.
    pub fn shut_down(&mut self) -> Turn {
        let turn = self.run(None, 1, |agent, host, _| {
            agent.shutdown(host);
            Ok(())
        });
        self.agent = None;
        turn
    }

    /// Drops the instance without a last turn, as a crash of the server does. The next turn has a new instance.
    pub fn restart(&mut self) {
        self.agent = None;
    }

    /// The timers that are set, and when each is due next.
    pub fn timers(&self) -> Vec<(TimerId, Timestamp)> {
        let timers = &self.host.0.kept.timers;
        timers.iter().map(|(id, timer)| (*id, timer.due)).collect()
    }

    /// The value that the agent stored under a key. Panics if it is not a `T`.
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

/// Makes an agent. The state and timers of its init are kept; its messages and log lines are dropped.
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

/// The surroundings of an agent. A test makes them first, and starts the agent in them.
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

/// Everything that a turn can change. It is restored if the turn has no effects.
#[derive(Clone, Default, Debug)]
struct Kept {
    state: BTreeMap<String, Vec<u8>>,
    timers: BTreeMap<TimerId, Timer>,
    sent: Vec<Draft>,
}

#[derive(Clone, Debug)]
struct Timer {
    due: Timestamp,
    /// The period. None: the timer fires once.
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
    /// A world that grants every permission, and has no other agents, variables or state.
    pub fn new() -> Self {
        Self::default()
    }

    /// Withdraws a permission.
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

    /// Adds an agent to the directory. Its id is `agent-<name>`.
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

    /// Stores a value in the agent's state. Panics if the value has no JSON form.
    #[must_use]
    pub fn state<T: Serialize + ?Sized>(mut self, key: &str, value: &T) -> Self {
        let value = serde_json::to_vec(value).expect("the value has JSON");
        self.kept.state.insert(key.to_owned(), value);
        self
    }

    /// Starts an agent in this world. An error comes from its init. What the init sends and logs is not part of any [`Turn`].
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

    /// Takes the next timer that is due until then, and moves the clock to its due time. A one-shot timer is removed.
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

/// What is wrong with a draft that the server would refuse.
fn fault(draft: &Draft) -> Option<&'static str> {
    if draft.receivers.is_empty() {
        Some("`receiver` names nobody")
    } else if draft.performative == Performative::Cfp && draft.reply_by.is_none() {
        Some("a `cfp` needs a `reply_by`")
    } else if draft.extensions.iter().any(|(name, _)| !name.starts_with("x_")) {
        Some("the name of an extension must begin with `x_`")
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

    /// The same bytes in every world, by `SplitMix64`, so that a test has the same result each time.
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
