//! The component door: the world `caxton:agent/agent@1.0.0`, translated to and from what [`super::host`] does.

use std::time::{Duration, Instant};

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{ComponentExportIndex, HasSelf, InstancePre, Linker, TypedFunc};
use wasmtime::{Engine, Store};

use super::host::{self, Guest, Refusal};
use super::validate::LIFECYCLE;
use super::{End, caps};
use crate::fipa::Performative;
use crate::message::{Content, Draft, Message};

use wit::caxton::agent::random::RandomError;
use wit::caxton::agent::state::StateError;
use wit::caxton::agent::timer::TimerError;
use wit::caxton::agent::{clock, log, messaging, random, state, timer, types};
use wit::exports::caxton::agent::handler;

#[allow(
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
mod wit {
    // No call of the host waits, so imports are plain functions; exports are async so that a guest can be interrupted.
    wasmtime::component::bindgen!({
        path: "proto/wit",
        world: "agent",
        exports: { default: async },
    });
}

/// A component of the world, and where its exports are.
pub(super) struct AgentPre {
    instance: InstancePre<Guest>,
    world: wit::AgentIndices,
    timer: Option<ComponentExportIndex>,
}

impl AgentPre {
    pub(super) fn new(instance: InstancePre<Guest>) -> wasmtime::Result<Self> {
        let component = instance.component();
        let timer = component
            .get_export_index(None, LIFECYCLE)
            .and_then(|lifecycle| component.get_export(Some(&lifecycle), "timer"));
        let timer = match timer {
            Some((ComponentItem::ComponentFunc(func), index)) if is_timer(&func) => Some(index),
            Some(_) => {
                let expected = "timer: func(id: u32) -> result<_, string>";
                return Err(wasmtime::Error::msg(format!("`{LIFECYCLE}` has no `{expected}`")));
            }
            None => None,
        };
        Ok(Self {
            world: wit::AgentIndices::new(&instance)?,
            instance,
            timer,
        })
    }
}

fn is_timer(func: &ComponentFunc) -> bool {
    let params: Vec<_> = func.params().map(|(_, kind)| kind).collect();
    let results: Vec<_> = func.results().collect();
    let says = |result: &Type| matches!(result, Type::Result(result) if result.ok().is_none() && result.err() == Some(Type::String));
    matches!(params.as_slice(), [Type::U32]) && matches!(results.as_slice(), [result] if says(result))
}

pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wit::Agent::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    Ok(linker)
}

/// An instance of the world.
pub(super) struct Agent {
    world: wit::Agent,
    timer: Option<TypedFunc<(u32,), (Said,)>>,
}

/// What an export of the world returns.
type Said = Result<(), String>;

impl Agent {
    pub(super) async fn open(pre: &AgentPre, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        // A list of a million strings that are all the same megabyte is small in the guest only.
        store.set_hostcall_fuel(caps::HOST_CALL_BYTES);
        let instance = pre.instance.instantiate_async(&mut *store).await?;
        let timer = pre.timer.as_ref();
        Ok(Self {
            world: pre.world.load(&mut *store, &instance)?,
            timer: timer
                .map(|index| instance.get_typed_func(&mut *store, index))
                .transpose()?,
        })
    }

    pub(super) async fn init(&self, store: &mut Store<Guest>) -> wasmtime::Result<End> {
        self.world.caxton_agent_handler().call_init(store).await.map(ended)
    }

    pub(super) async fn handle(
        &self,
        store: &mut Store<Guest>,
        message: &Message,
        attempt: u32,
    ) -> wasmtime::Result<End> {
        self.world
            .caxton_agent_handler()
            .call_handle(store, &outside(message, attempt))
            .await
            .map(ended)
    }
}

impl Agent {
    pub(super) const fn takes_timers(&self) -> bool {
        self.timer.is_some()
    }

    pub(super) async fn timer(&self, store: &mut Store<Guest>, id: u32) -> wasmtime::Result<End> {
        match &self.timer {
            Some(timer) => Ok(ended(timer.call_async(store, (id,)).await?.0)),
            None => Ok(End::Ok),
        }
    }
}

fn ended(said: Said) -> End {
    match said {
        Ok(()) => End::Ok,
        Err(mut reason) => {
            reason.truncate(reason.floor_char_boundary(caps::REASON_BYTES));
            End::Error(reason)
        }
    }
}

/// A message as the world has it.
fn outside(message: &Message, attempt: u32) -> handler::Message {
    let text = |json: &[u8]| String::from_utf8_lossy(json).into_owned();
    handler::Message {
        message_id: message.id.to_string(),
        performative: from_fipa(message.performative),
        sender: message.sender.to_string(),
        receivers: message.receivers.iter().map(ToString::to_string).collect(),
        reply_to: message.reply_to.clone(),
        content: match &message.content {
            Content::Json(json) => types::Content::Json(text(json)),
            Content::Bytes { content_type, data } => types::Content::Bytes(types::Binary {
                content_type: content_type.clone(),
                data: data.to_vec(),
            }),
        },
        language: message.language.clone(),
        encoding: None,
        ontology: message.ontology.clone(),
        protocol: message.protocol.clone(),
        conversation_id: message.conversation_id.clone(),
        reply_with: message.reply_with.clone(),
        in_reply_to: message.in_reply_to.clone(),
        reply_by: message.reply_by.map(|time| time.to_string()),
        timestamp: message.timestamp.to_string(),
        delivery_attempt: attempt,
        extensions: message
            .extensions
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
    }
}

/// A draft of the world's as ours. Lengths and counts are checked when it is sent.
fn inside(draft: messaging::Draft) -> Result<Draft, Refusal> {
    let extensions = draft.extensions.into_iter().map(|(name, value)| {
        if !name.starts_with("x_") {
            return Err(malformed(&name, "must begin with x_, as parameters of your own do"));
        }
        host::shallow(&name, value.as_bytes())?;
        let value = serde_json::from_str(&value).map_err(|error| malformed(&name, &format!("is not JSON: {error}")))?;
        Ok((name, value))
    });
    let reply_by = draft.reply_by.map(|text| {
        text.parse()
            .map_err(|error| malformed("reply_by", &format!("is not an RFC 3339 time: {error}")))
    });
    Ok(Draft {
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
        extensions: extensions.collect::<Result<_, _>>()?,
        ..Draft::default()
    })
}

fn content(content: types::Content) -> Result<Content, Refusal> {
    Ok(match content {
        types::Content::Json(json) => {
            serde_json::from_str::<serde::de::IgnoredAny>(&json)
                .map_err(|error| malformed("content", &format!("is not JSON: {error}")))?;
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
            // State takes any bytes: nothing of it is malformed.
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
        Ok(inside(draft).and_then(|draft| Guest::send(self, draft))?)
    }

    fn reply(&mut self, performative: types::Performative, said: types::Content) -> Result<(), types::SendError> {
        Ok(content(said).and_then(|content| Guest::reply(self, to_fipa(performative), content))?)
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
        self.log(level, message.as_bytes());
    }
}

impl clock::Host for Guest {
    fn now(&mut self) -> u64 {
        // Before 1970 the clock of the server is wrong anyway.
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
            // Asked for what is never given: said before memory is.
            return Err(self.random(&mut []).err().map_or(RandomError::OverLimit, Into::into));
        }
        let mut bytes = vec![0; len];
        self.random(&mut bytes)?;
        Ok(bytes)
    }
}

impl state::Host for Guest {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, StateError> {
        Ok(Guest::get(self, &key)?.map(|value| value.to_vec()))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), StateError> {
        Ok(Guest::set(self, &key, &value)?)
    }

    fn delete(&mut self, key: String) -> Result<bool, StateError> {
        Ok(Guest::delete(self, &key)?)
    }

    fn list(&mut self, prefix: String) -> Result<Vec<String>, StateError> {
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
    fn set_once(&mut self, after: u64) -> Result<u32, TimerError> {
        Ok(self.set_timer(Duration::from_micros(after))?)
    }

    fn set_periodic(&mut self, every: u64) -> Result<u32, TimerError> {
        Ok(Guest::set_periodic(self, Duration::from_micros(every))?)
    }

    fn cancel(&mut self, id: u32) -> Result<bool, TimerError> {
        Ok(self.cancel_timer(id)?)
    }
}

macro_rules! same_acts {
    ($($act:ident,)+) => {
        const fn to_fipa(act: types::Performative) -> Performative {
            match act { $(types::Performative::$act => Performative::$act,)+ }
        }

        const fn from_fipa(act: Performative) -> types::Performative {
            match act { $(Performative::$act => types::Performative::$act,)+ }
        }
    };
}

same_acts! {
    AcceptProposal, Agree, Cancel, Cfp, Confirm, Disconfirm, Failure, Inform, InformIf, InformRef, NotUnderstood,
    Propagate, Propose, Proxy, QueryIf, QueryRef, Refuse, RejectProposal, Request, RequestWhen, RequestWhenever, Subscribe,
}
