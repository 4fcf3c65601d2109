//! The calls that an agent can make in a turn.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Content, Draft, Performative, Timestamp};

#[cfg(target_arch = "wasm32")]
use crate::guest::Server as Backend;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::World as Backend;

/// The host of an agent: the server, or in tests a [`TestHost`](crate::testing::TestHost).
#[derive(Debug)]
pub struct Host(pub(crate) Backend);

/// The calls that the server and the world of the tests implement.
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

/// Why the host refused a call. Each variant has the name of the call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostError {
    /// The draft is not a valid message, a value has no JSON form, or a stored value has another type. The text says which.
    Malformed(&'static str, String),
    /// The permissions of the agent's deploy do not allow the call, or not to this receiver.
    NotPermitted(&'static str),
    /// The call exceeds a limit of the call, the turn or the agent.
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

/// The level of a log line, the least severe first.
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

/// The id of a timer. To recognise the timer in a later turn, keep its id in the state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimerId(pub u32);

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An agent, as the directory describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The agent's id, which its messages have as `sender`.
    pub id: String,
    /// The agent's name.
    pub name: String,
    /// Its capabilities, in the order of its declaration.
    pub capabilities: Vec<String>,
}

/// Messages. The messages of a turn are sent when the turn ends with `Ok`. A call that succeeds means no more than that; if a
/// message fails later, the agent gets a message about it (`failure`, `not_understood`).
impl Host {
    /// Sends a message.
    pub fn send(&mut self, draft: Draft) -> Result<(), HostError> {
        self.0.send(draft)
    }

    /// Replies to the message of this turn: to its `reply_to` or else its sender, in its conversation and protocol.
    /// [`Malformed`](HostError::Malformed) if the turn has no message, as in `init`.
    pub fn reply<T: Serialize + ?Sized>(&mut self, performative: Performative, value: &T) -> Result<(), HostError> {
        self.reply_raw(performative, json("reply", Content::json(value))?)
    }

    /// Replies like [`reply`](Self::reply), with content of any kind.
    pub fn reply_raw(&mut self, performative: Performative, content: Content) -> Result<(), HostError> {
        self.0.reply(performative, content)
    }

    /// Replies with an `inform`.
    pub fn inform<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), HostError> {
        self.reply(Performative::Inform, value)
    }

    /// Replies with a `refuse`: the agent will not do it. The content is `{"reason": reason}`.
    pub fn refuse(&mut self, reason: &str) -> Result<(), HostError> {
        self.reply(Performative::Refuse, &Reason { reason })
    }

    /// Replies with a `failure`: the agent tried it without success. The content is `{"reason": reason}`.
    pub fn failure(&mut self, reason: &str) -> Result<(), HostError> {
        self.reply(Performative::Failure, &Reason { reason })
    }

    /// Replies with a `not_understood`: the message made no sense. The content is `{"reason": reason}`.
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

/// State: values under keys of the agent's own, as JSON. The state outlives the instance, a crash and a restart of the
/// server. A turn reads its own writes.
impl Host {
    /// The value, or none if there is no such key. [`Malformed`](HostError::Malformed) if the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, HostError> {
        let stored = self.get_bytes(key)?;
        stored
            .map(|value| json("state.get", serde_json::from_slice(&value)))
            .transpose()
    }

    /// Stores a value.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), HostError> {
        self.set_bytes(key, &json("state.set", serde_json::to_vec(value))?)
    }

    /// The stored bytes of a value.
    pub fn get_bytes(&self, key: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.0.get(key)
    }

    /// Stores bytes that need not be JSON.
    pub fn set_bytes(&mut self, key: &str, value: &[u8]) -> Result<(), HostError> {
        self.0.set(key, value)
    }

    /// Deletes a key, and returns whether it was there.
    pub fn delete(&mut self, key: &str) -> Result<bool, HostError> {
        self.0.delete(key)
    }

    /// The keys that begin with the prefix, in byte order. The empty prefix returns all keys.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>, HostError> {
        self.0.keys(prefix)
    }
}

/// Timers, which call [`Agent::timer`](crate::Agent::timer). They outlive the instance, a crash and a restart of the
/// server. A timer that is due while the server is down or the agent is stopped fires once when it runs again.
impl Host {
    /// Sets a timer that fires once, after `time` or a little later. `time` is ten years at most.
    pub fn after(&mut self, time: Duration) -> Result<TimerId, HostError> {
        self.0.after(time)
    }

    /// Sets a timer that fires every `time` until it is cancelled. `time` is ten milliseconds at least.
    pub fn every(&mut self, time: Duration) -> Result<TimerId, HostError> {
        self.0.every(time)
    }

    /// Cancels a timer, and returns whether it was set. If it has fired already, its turn may still follow.
    pub fn cancel(&mut self, timer: TimerId) -> Result<bool, HostError> {
        self.0.cancel(timer)
    }
}

/// The log, the clocks, random numbers, variables, and the directory.
impl Host {
    /// Writes a log line for the operator. [`info!`](crate::info!) and the other macros format one.
    pub fn log(&mut self, level: Level, line: &str) {
        self.0.log(level, line);
    }

    /// The server's clock.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// The time since a moment that is fixed while the instance lives. It never goes back.
    pub fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    /// Random bytes, good enough for secrets.
    pub fn random_bytes(&mut self, len: u32) -> Result<Vec<u8>, HostError> {
        self.0.random_bytes(len)
    }

    /// A random number, good enough for secrets.
    pub fn random_u32(&mut self) -> Result<u32, HostError> {
        let bytes = self.random_bytes(4)?;
        Ok(bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
    }

    /// The value of a variable of the deploy's `environment`, or none if there is no such variable.
    pub fn variable(&self, name: &str) -> Result<Option<String>, HostError> {
        Calls::variable(&self.0, name)
    }

    /// The names of all variables, in byte order.
    pub fn variables(&self) -> Result<Vec<String>, HostError> {
        self.0.variables()
    }

    /// The running agents that have a capability, sorted by name, at most 256. This agent is among them if it has the
    /// capability. To message them needs the permission `message`.
    pub fn find(&mut self, capability: &str) -> Result<Vec<Description>, HostError> {
        self.0.find(capability)
    }
}
