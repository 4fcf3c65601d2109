//! The guest's side of the world in `proto/wit/agent.wit`: the exports that [`export!`](crate::export!) makes, and the
//! imports that [`Host`](crate::Host) calls.

use std::cell::RefCell;
use std::thread::LocalKey;
use std::time::Duration;

use crate::host::Calls;
use crate::time::micros;
use crate::{Agent, Content, Description, Draft, Host, HostError, Level, Message, Performative, TimerId, Timestamp};

#[allow(clippy::pedantic, missing_docs, unreachable_pub, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        // `wit` is a link to proto/wit, so that `cargo package` includes the files.
        path: "wit",
        world: "timed-agent",
        pub_export_macro: true,
        export_macro_name: "export_component",
    });
}

pub use bindings::caxton::agent::types::Performative as Act;
pub use bindings::export_component;
pub use bindings::exports;
pub use exports::caxton::agent::handler::{Guest as Handler, Message as Incoming};
pub use exports::caxton::agent::lifecycle::Guest as Lifecycle;

use bindings::caxton::agent::{clock, directory, environment, log, messaging, random, state, timer as timers, types};

/// Holds the agent of an instance. None before its init.
pub type Slot<A> = RefCell<Option<A>>;

pub fn init<A: Agent>(slot: &'static LocalKey<Slot<A>>) -> Result<(), String> {
    // A panic becomes a trap, which has no text, so the text of the panic is logged.
    std::panic::set_hook(Box::new(|panic| log::write(log::Level::Error, &panic.to_string())));
    let agent = A::init(&mut Host(Server)).map_err(|failure| failure.to_string())?;
    slot.set(Some(agent));
    Ok(())
}

pub fn handle<A: Agent>(slot: &'static LocalKey<Slot<A>>, message: Incoming) -> Result<(), String> {
    let message = message.into();
    turn(slot, |agent, host| agent.handle(&message, host))
}

pub fn timer<A: Agent>(slot: &'static LocalKey<Slot<A>>, id: u32) -> Result<(), String> {
    turn(slot, |agent, host| agent.timer(TimerId(id), host))
}

pub fn shutdown<A: Agent>(slot: &'static LocalKey<Slot<A>>) {
    slot.with_borrow_mut(|agent| {
        if let Some(agent) = agent {
            agent.shutdown(&mut Host(Server));
        }
    });
}

fn turn<A: Agent>(
    slot: &'static LocalKey<Slot<A>>,
    run: impl FnOnce(&mut A, &mut Host) -> crate::Result,
) -> Result<(), String> {
    slot.with_borrow_mut(|agent| {
        let agent = agent.as_mut().expect("the host calls init first");
        run(agent, &mut Host(Server)).map_err(|failure| failure.to_string())
    })
}

/// The server, through the imports of the world.
#[derive(Debug)]
pub struct Server;

impl Calls for Server {
    fn send(&mut self, draft: Draft) -> Result<(), HostError> {
        messaging::send(&draft.into()).map_err(|error| refused("send", error))
    }

    fn reply(&mut self, performative: Performative, content: Content) -> Result<(), HostError> {
        messaging::reply(performative.into(), &content.into()).map_err(|error| refused("reply", error))
    }

    fn log(&mut self, level: Level, line: &str) {
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, line);
    }

    fn now(&self) -> Timestamp {
        Timestamp(clock::now())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(clock::monotonic())
    }

    fn random_bytes(&mut self, len: u32) -> Result<Vec<u8>, HostError> {
        random::get_bytes(len).map_err(|error| match error {
            random::RandomError::NotPermitted => HostError::NotPermitted("random"),
            random::RandomError::OverLimit => HostError::OverLimit("random"),
        })
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, HostError> {
        state::get(key).map_err(|error| unkept("state.get", error))
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), HostError> {
        state::set(key, value).map_err(|error| unkept("state.set", error))
    }

    fn delete(&mut self, key: &str) -> Result<bool, HostError> {
        state::delete(key).map_err(|error| unkept("state.delete", error))
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, HostError> {
        state::list(prefix).map_err(|error| unkept("state.list", error))
    }

    fn after(&mut self, time: Duration) -> Result<TimerId, HostError> {
        timers::set_once(micros(time))
            .map(TimerId)
            .map_err(|error| unset("timer.set-once", error))
    }

    fn every(&mut self, time: Duration) -> Result<TimerId, HostError> {
        timers::set_periodic(micros(time))
            .map(TimerId)
            .map_err(|error| unset("timer.set-periodic", error))
    }

    fn cancel(&mut self, timer: TimerId) -> Result<bool, HostError> {
        timers::cancel(timer.0).map_err(|error| unset("timer.cancel", error))
    }

    fn variable(&self, name: &str) -> Result<Option<String>, HostError> {
        environment::get(name).map_err(hidden)
    }

    fn variables(&self) -> Result<Vec<String>, HostError> {
        environment::list().map_err(hidden)
    }

    fn find(&mut self, capability: &str) -> Result<Vec<Description>, HostError> {
        let found = directory::find(capability).map_err(|error| match error {
            directory::DirectoryError::NotPermitted => HostError::NotPermitted("directory"),
            directory::DirectoryError::OverLimit => HostError::OverLimit("directory"),
        })?;
        let described = |agent: directory::AgentDescription| Description {
            id: agent.id,
            name: agent.name,
            capabilities: agent.capabilities,
        };
        Ok(found.into_iter().map(described).collect())
    }
}

fn refused(call: &'static str, error: types::SendError) -> HostError {
    match error {
        types::SendError::Malformed(why) => HostError::Malformed(call, why),
        types::SendError::NotPermitted => HostError::NotPermitted(call),
        types::SendError::OverLimit => HostError::OverLimit(call),
    }
}

fn unkept(call: &'static str, error: state::StateError) -> HostError {
    match error {
        state::StateError::NotPermitted => HostError::NotPermitted(call),
        state::StateError::OverLimit => HostError::OverLimit(call),
    }
}

fn unset(call: &'static str, error: timers::TimerError) -> HostError {
    match error {
        timers::TimerError::NotPermitted => HostError::NotPermitted(call),
        timers::TimerError::OverLimit => HostError::OverLimit(call),
    }
}

fn hidden(environment::EnvironmentError::NotPermitted: environment::EnvironmentError) -> HostError {
    HostError::NotPermitted("environment")
}

impl From<types::Content> for Content {
    fn from(content: types::Content) -> Self {
        match content {
            types::Content::Json(text) => Self::Json(text),
            types::Content::Bytes(types::Binary { content_type, data }) => Self::Bytes { content_type, data },
        }
    }
}

impl From<Content> for types::Content {
    fn from(content: Content) -> Self {
        match content {
            Content::Json(text) => Self::Json(text),
            Content::Bytes { content_type, data } => Self::Bytes(types::Binary { content_type, data }),
        }
    }
}

impl From<Incoming> for Message {
    fn from(message: Incoming) -> Self {
        Self {
            message_id: message.message_id,
            performative: message.performative.into(),
            sender: message.sender,
            receivers: message.receivers,
            reply_to: message.reply_to,
            content: message.content.into(),
            language: message.language,
            encoding: message.encoding,
            ontology: message.ontology,
            protocol: message.protocol,
            conversation_id: message.conversation_id,
            reply_with: message.reply_with,
            in_reply_to: message.in_reply_to,
            reply_by: message.reply_by,
            timestamp: message.timestamp,
            delivery_attempt: message.delivery_attempt,
            extensions: message.extensions,
        }
    }
}

impl From<Draft> for types::Draft {
    fn from(draft: Draft) -> Self {
        Self {
            performative: draft.performative.into(),
            receivers: draft.receivers,
            content: draft.content.into(),
            conversation_id: draft.conversation_id,
            reply_with: draft.reply_with,
            in_reply_to: draft.in_reply_to,
            reply_by: draft.reply_by.map(|time| time.to_string()),
            protocol: draft.protocol,
            ontology: draft.ontology,
            language: draft.language,
            reply_to: draft.reply_to,
            extensions: draft.extensions,
        }
    }
}
