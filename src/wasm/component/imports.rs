//! The imports of the world: each function translates its arguments and calls [`Guest`], which does the work.

use std::time::{Duration, Instant};

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use super::world::to_fipa;
use super::world::wit::caxton::agent::directory::{AgentDescription, DirectoryError};
use super::world::wit::caxton::agent::environment::EnvironmentError;
use super::world::wit::caxton::agent::random::RandomError;
use super::world::wit::caxton::agent::state::StateError;
use super::world::wit::caxton::agent::timer::TimerError;
use super::world::wit::{
    self,
    caxton::agent::{clock, directory, environment, log, messaging, random, state, timer, types},
};
use crate::json;
use crate::message::{Content, Draft};
use crate::time::InvalidTime;
use crate::wasm::caps;
use crate::wasm::grants::Found;
use crate::wasm::host::{self, Guest, Refusal};

pub(in crate::wasm) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wit::Agent::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    Ok(linker)
}

/// The draft of a broadcast: a message to all agents that have a capability.
fn broadcast_draft(capability: &str, announcement: messaging::Announcement) -> Result<messaging::Draft, Refusal> {
    if capability.is_empty() {
        return Err(malformed("capability", "is empty"));
    }
    Ok(messaging::Draft {
        receivers: vec![format!("all:{capability}")],
        performative: announcement.performative,
        content: announcement.content,
        conversation_id: announcement.conversation_id,
        reply_with: announcement.reply_with,
        in_reply_to: announcement.in_reply_to,
        reply_by: announcement.reply_by,
        protocol: announcement.protocol,
        ontology: announcement.ontology,
        language: announcement.language,
        reply_to: announcement.reply_to,
        extensions: announcement.extensions,
    })
}

/// Translates a draft from the world. Its lengths and counts are checked later, when it is sent.
fn from_world(draft: messaging::Draft) -> Result<Draft, Refusal> {
    let reply_by = draft.reply_by.map(|text| {
        text.parse()
            .map_err(|invalid: InvalidTime| malformed("reply_by", &invalid.to_string()))
    });
    let mut written = Draft {
        performative: Some(to_fipa(draft.performative)),
        receivers: draft.receivers,
        reply_to: draft.reply_to,
        content: content(draft.content)?,
        language: draft.language,
        ontology: draft.ontology,
        protocol: draft.protocol,
        conversation_id: draft.conversation_id,
        reply_with: draft.reply_with,
        in_reply_to: draft.in_reply_to,
        reply_by: reply_by.transpose()?,
        ..Draft::default()
    };
    for (name, value) in draft.extensions {
        written.extend(name, &value)?;
    }
    Ok(written)
}

fn content(content: types::Content) -> Result<Content, Refusal> {
    Ok(match content {
        types::Content::Json(json) => {
            json::check(json.as_bytes()).map_err(|problem| malformed("content", &problem))?;
            Content::Json(json.into())
        }
        types::Content::Bytes(types::Binary { content_type, data }) => Content::Bytes {
            content_type,
            data: data.into(),
        },
    })
}

fn malformed(field: &str, problem: &str) -> Refusal {
    Refusal::Malformed(format!("`{field}` {problem}"))
}

impl From<Refusal> for types::SendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(why) => Self::Malformed(why),
            Refusal::NotPermitted => Self::NotPermitted,
            Refusal::OverLimit => Self::OverLimit,
        }
    }
}

impl From<Refusal> for StateError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotPermitted => Self::NotPermitted,
            // Keys and values can be any bytes, so no call is malformed.
            Refusal::OverLimit | Refusal::Malformed(_) => Self::OverLimit,
        }
    }
}

impl From<Refusal> for RandomError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotPermitted => Self::NotPermitted,
            Refusal::OverLimit | Refusal::Malformed(_) => Self::OverLimit,
        }
    }
}

impl types::Host for Guest {}

impl messaging::Host for Guest {
    fn send(&mut self, draft: messaging::Draft) -> Result<(), types::SendError> {
        Ok(from_world(draft).and_then(|draft| Guest::send(self, draft))?)
    }

    fn reply(
        &mut self,
        performative: types::Performative,
        new_content: types::Content,
    ) -> Result<(), types::SendError> {
        Ok(content(new_content).and_then(|content| Guest::reply(self, to_fipa(performative), content))?)
    }

    fn broadcast(&mut self, capability: String, announcement: messaging::Announcement) -> Result<(), types::SendError> {
        let draft = broadcast_draft(&capability, announcement).and_then(from_world);
        Ok(draft.and_then(|draft| Guest::send(self, draft))?)
    }
}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Trace => host::Level::Trace,
            log::Level::Debug => host::Level::Debug,
            log::Level::Info => host::Level::Info,
            log::Level::Warn => host::Level::Warn,
            log::Level::Error => host::Level::Error,
        };
        self.log.line(level, message.as_bytes());
    }
}

impl clock::Host for Guest {
    fn now(&mut self) -> u64 {
        // A time before 1970 means that the server's clock is wrong. The guest gets 0.
        u64::try_from(crate::time::Timestamp::now().micros()).unwrap_or(0)
    }

    fn monotonic(&mut self) -> u64 {
        u64::try_from(Instant::now().duration_since(self.born()).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl random::Host for Guest {
    fn get_u32(&mut self) -> Result<u32, RandomError> {
        let mut bytes = [0; 4];
        self.random(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn get_bytes(&mut self, len: u32) -> Result<Vec<u8>, RandomError> {
        let len = usize::try_from(len).map_err(|_| RandomError::OverLimit)?;
        if len > caps::RANDOM_TURN_BYTES {
            // No turn may draw so many. Refused before memory is allocated for them.
            return Err(self.random(&mut []).err().map_or(RandomError::OverLimit, Into::into));
        }
        let mut bytes = vec![0; len];
        self.random(&mut bytes)?;
        Ok(bytes)
    }
}

impl state::Host for Guest {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, StateError> {
        self.lease_state().await;
        Ok(Guest::get(self, &key)?.map(|value| value.to_vec()))
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), StateError> {
        self.lease_state().await;
        Ok(Guest::set(self, &key, &value)?)
    }

    async fn delete(&mut self, key: String) -> Result<bool, StateError> {
        self.lease_state().await;
        Ok(Guest::delete(self, &key)?)
    }

    async fn list(&mut self, prefix: String) -> Result<Vec<String>, StateError> {
        self.lease_state().await;
        Ok(Guest::list(self, &prefix)?)
    }
}

impl From<Refusal> for TimerError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotPermitted => Self::NotPermitted,
            Refusal::OverLimit | Refusal::Malformed(_) => Self::OverLimit,
        }
    }
}

impl timer::Host for Guest {
    async fn set_once(&mut self, after: u64) -> Result<u32, TimerError> {
        self.lease_timers().await;
        Ok(self.set_timer(Duration::from_micros(after))?)
    }

    async fn set_periodic(&mut self, every: u64) -> Result<u32, TimerError> {
        self.lease_timers().await;
        Ok(Guest::set_periodic(self, Duration::from_micros(every))?)
    }

    async fn cancel(&mut self, id: u32) -> Result<bool, TimerError> {
        self.lease_timers().await;
        Ok(self.cancel_timer(id)?)
    }
}

impl From<Refusal> for EnvironmentError {
    fn from(_: Refusal) -> Self {
        // A missing permission is the only reason for which variables are refused.
        Self::NotPermitted
    }
}

impl environment::Host for Guest {
    fn get(&mut self, name: String) -> Result<Option<String>, EnvironmentError> {
        Ok(self.variable(&name)?)
    }

    fn list(&mut self) -> Result<Vec<String>, EnvironmentError> {
        Ok(self.variables()?)
    }
}

impl From<Refusal> for DirectoryError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotPermitted => Self::NotPermitted,
            Refusal::OverLimit | Refusal::Malformed(_) => Self::OverLimit,
        }
    }
}

impl From<Found> for AgentDescription {
    fn from(found: Found) -> Self {
        Self {
            id: found.id.to_string(),
            name: found.name.to_string(),
            capabilities: found.capabilities,
        }
    }
}

impl directory::Host for Guest {
    fn find(&mut self, capability: String) -> Result<Vec<AgentDescription>, DirectoryError> {
        Ok(Guest::find(self, &capability)?.into_iter().map(Into::into).collect())
    }
}
