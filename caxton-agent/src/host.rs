//! What an agent can do in a turn.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Content, Draft, Performative, Timestamp};

#[cfg(target_arch = "wasm32")]
use crate::guest::Server as Backend;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::World as Backend;

/// The host as an agent sees it: the server, or in tests a [`TestHost`](crate::testing::TestHost).
#[derive(Debug)]
pub struct Host(pub(crate) Backend);

/// What the server and the tests' world have to offer.
pub(crate) trait Calls {
    fn send(&mut self, draft: Draft) -> Result<(), HostError>;
    fn reply(&mut self, performative: Performative, content: Content) -> Result<(), HostError>;
    fn log(&mut self, level: Level, line: &str);
    fn now(&self) -> Timestamp;
    fn monotonic(&self) -> Duration;
    fn random_bytes(&mut self, len: u32) -> Result<Vec<u8>, HostError>;
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, HostError>;
    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), HostError>;
    fn delete(&mut self, key: &str) -> Result<bool, HostError>;
    fn keys(&self, prefix: &str) -> Result<Vec<String>, HostError>;
    fn after(&mut self, time: Duration) -> Result<TimerId, HostError>;
    fn every(&mut self, time: Duration) -> Result<TimerId, HostError>;
    fn cancel(&mut self, timer: TimerId) -> Result<bool, HostError>;
    fn variable(&self, name: &str) -> Result<Option<String>, HostError>;
    fn variables(&self) -> Result<Vec<String>, HostError>;
    fn find(&mut self, capability: &str) -> Result<Vec<Description>, HostError>;
}

/// Why the host did not do what an agent asked. Each names the call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostError {
    /// What was given is no message, or has no JSON; or what is stored is not what was asked for. Says what is wrong.
    Malformed(&'static str, String),
    /// The agent's deploy does not permit it, or not to this receiver.
    NotPermitted(&'static str),
    /// More than a turn, a call or the agent may have.
    OverLimit(&'static str),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(call, why) => write!(f, "{call}: {why}"),
            Self::NotPermitted(call) => write!(f, "{call}: not permitted"),
            Self::OverLimit(call) => write!(f, "{call}: over the limit"),
        }
    }
}

impl std::error::Error for HostError {}

/// How much a line of the log matters, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// See [`trace!`](crate::trace!).
    Trace,
    /// See [`debug!`](crate::debug!).
    Debug,
    /// See [`info!`](crate::info!).
    Info,
    /// See [`warn!`](crate::warn!).
    Warn,
    /// See [`error!`](crate::error!).
    Error,
}

/// A timer of an agent. To know it again in a later turn, keep it in the state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimerId(pub u32);

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An agent as others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// What messages name as their sender.
    pub id: String,
    /// The name of its deploy.
    pub name: String,
    /// All that it can do, in the order of its deploy.
    pub capabilities: Vec<String>,
}

/// Messages. What a turn sends leaves when the turn ends well, and success means no more than that it will: what becomes
/// of a message later is told by messages (`failure`, `not_understood`).
impl Host {
    /// Sends a message.
    pub fn send(&mut self, draft: Draft) -> Result<(), HostError> {
        self.0.send(draft)
    }

    /// Answers the message in hand: to its `reply_to` or else its sender, in its conversation and protocol.
    /// [`Malformed`](HostError::Malformed) where there is none in hand, as in `init`.
    pub fn reply<T: Serialize + ?Sized>(&mut self, performative: Performative, value: &T) -> Result<(), HostError> {
        self.reply_raw(performative, json("reply", Content::json(value))?)
    }

    /// As [`reply`](Self::reply), with content of any kind.
    pub fn reply_raw(&mut self, performative: Performative, content: Content) -> Result<(), HostError> {
        self.0.reply(performative, content)
    }

    /// Answers with an `inform`.
    pub fn inform<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), HostError> {
        self.reply(Performative::Inform, value)
    }

    /// Answers that the agent will not do it. The content is `{"reason": reason}`, and so it is with what follows.
    pub fn refuse(&mut self, reason: &str) -> Result<(), HostError> {
        self.reply(Performative::Refuse, &Reason { reason })
    }

    /// Answers that it was tried and did not succeed.
    pub fn failure(&mut self, reason: &str) -> Result<(), HostError> {
        self.reply(Performative::Failure, &Reason { reason })
    }

    /// Answers that the message made no sense.
    pub fn not_understood(&mut self, reason: &str) -> Result<(), HostError> {
        self.reply(Performative::NotUnderstood, &Reason { reason })
    }
}

#[derive(Serialize)]
struct Reason<'a> {
    reason: &'a str,
}

fn json<T>(call: &'static str, result: serde_json::Result<T>) -> Result<T, HostError> {
    result.map_err(|error| HostError::Malformed(call, error.to_string()))
}

/// State: what the agent remembers, under keys of its own, as JSON. It outlives the instance, a crash and a restart of the
/// server. A turn reads what it wrote.
impl Host {
    /// The value, or none if there is no such key. [`Malformed`](HostError::Malformed) if it is no `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, HostError> {
        let stored = self.get_bytes(key)?;
        stored
            .map(|value| json("state.get", serde_json::from_slice(&value)))
            .transpose()
    }

    /// Keeps a value.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), HostError> {
        self.set_bytes(key, &json("state.set", serde_json::to_vec(value))?)
    }

    /// The value as it is stored.
    pub fn get_bytes(&self, key: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.0.get(key)
    }

    /// Keeps bytes that need not be JSON.
    pub fn set_bytes(&mut self, key: &str, value: &[u8]) -> Result<(), HostError> {
        self.0.set(key, value)
    }

    /// Forgets a key. Whether there was such a key.
    pub fn delete(&mut self, key: &str) -> Result<bool, HostError> {
        self.0.delete(key)
    }

    /// The keys that begin with the prefix, in byte order. The empty prefix gives all.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>, HostError> {
        self.0.keys(prefix)
    }
}

/// Timers, which call [`Agent::timer`](crate::Agent::timer). They outlive the instance, a crash and a restart of the
/// server. What falls due while the server is down or the agent is stopped fires when they are there again, once.
impl Host {
    /// Sets a timer that fires once, this long from now or a little later. Ten years at most.
    pub fn after(&mut self, time: Duration) -> Result<TimerId, HostError> {
        self.0.after(time)
    }

    /// Sets a timer that fires again and again until it is cancelled. Ten milliseconds at least.
    pub fn every(&mut self, time: Duration) -> Result<TimerId, HostError> {
        self.0.every(time)
    }

    /// Whether there was such a timer. One that has fired may still have its turn to come.
    pub fn cancel(&mut self, timer: TimerId) -> Result<bool, HostError> {
        self.0.cancel(timer)
    }
}

/// The rest of the world.
impl Host {
    /// Writes a line for the operator. [`info!`](crate::info!) and its like write formatted ones.
    pub fn log(&mut self, level: Level, line: &str) {
        self.0.log(level, line);
    }

    /// The server's clock.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Time since a moment that does not change while the instance lives. Never goes back.
    pub fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    /// Random bytes fit for secrets.
    pub fn random_bytes(&mut self, len: u32) -> Result<Vec<u8>, HostError> {
        self.0.random_bytes(len)
    }

    /// A random number fit for secrets.
    pub fn random_u32(&mut self) -> Result<u32, HostError> {
        let bytes = self.random_bytes(4)?;
        Ok(bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
    }

    /// A variable of the deploy's `environment`, or none if there is none of this name.
    pub fn variable(&self, name: &str) -> Result<Option<String>, HostError> {
        Calls::variable(&self.0, name)
    }

    /// The names of all variables, in byte order.
    pub fn variables(&self) -> Result<Vec<String>, HostError> {
        self.0.variables()
    }

    /// The running agents that have a capability, by name, this one among them if it has it; the first 256. To write to
    /// them is another permission.
    pub fn find(&mut self, capability: &str) -> Result<Vec<Description>, HostError> {
        self.0.find(capability)
    }
}
