//! The component door: the world `caxton:agent/agent@1.0.0`, translated to and from what [`super::host`] does.

mod imports;

use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, HasSelf, Instance, InstancePre, Lift, Linker, Lower, TypedFunc,
};
use wasmtime::{Engine, Store};

use super::host::Guest;
use super::validate::LIFECYCLE;
use super::{End, caps};
use crate::fipa::Performative;
use crate::message::{Content, Message};

use wit::caxton::agent::types;
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

/// What an agent may export to hand over to its later versions.
const UPGRADE: &str = "caxton:agent/upgrade@1.0.0";

/// A component of the world, and where its exports are.
pub(super) struct AgentPre {
    instance: InstancePre<Guest>,
    world: wit::AgentIndices,
    timer: Option<ComponentExportIndex>,
    shutdown: Option<ComponentExportIndex>,
    export_state: Option<ComponentExportIndex>,
    code_change: Option<ComponentExportIndex>,
}

impl AgentPre {
    pub(super) fn new(instance: InstancePre<Guest>) -> wasmtime::Result<Self> {
        let component = instance.component();
        Ok(Self {
            timer: optional(component, LIFECYCLE, &TIMER)?,
            shutdown: optional(component, LIFECYCLE, &SHUTDOWN)?,
            export_state: optional(component, UPGRADE, &EXPORT_STATE)?,
            code_change: optional(component, UPGRADE, &CODE_CHANGE)?,
            world: wit::AgentIndices::new(&instance)?,
            instance,
        })
    }
}

/// A function that a component may have.
struct Optional {
    name: &'static str,
    /// As the world writes it.
    kind: &'static str,
    is: fn(&[Type], &[Type]) -> bool,
}

const TIMER: Optional = Optional {
    name: "timer",
    kind: "func(id: u32) -> result<_, string>",
    is: |params, results| matches!((params, results), ([Type::U32], [said]) if is_said(said)),
};

const SHUTDOWN: Optional = Optional {
    name: "shutdown",
    kind: "func()",
    is: |params, results| params.is_empty() && results.is_empty(),
};

const EXPORT_STATE: Optional = Optional {
    name: "export-state",
    kind: "func() -> result<list<u8>, string>",
    is: |params, results| match (params, results) {
        ([], [Type::Result(result)]) => {
            result.ok().is_some_and(|ok| is_bytes(&ok)) && result.err() == Some(Type::String)
        }
        _ => false,
    },
};

const CODE_CHANGE: Optional = Optional {
    name: "code-change",
    kind: "func(from-version: string, state: list<u8>) -> result<_, string>",
    is: |params, results| match (params, results) {
        ([Type::String, state], [said]) => is_bytes(state) && is_said(said),
        _ => false,
    },
};

fn is_bytes(kind: &Type) -> bool {
    matches!(kind, Type::List(list) if list.ty() == Type::U8)
}

/// `result<_, string>`.
fn is_said(kind: &Type) -> bool {
    matches!(kind, Type::Result(result) if result.ok().is_none() && result.err() == Some(Type::String))
}

/// Where a function of an interface is, if the component has it. The error is that it has another of this name.
fn optional(
    component: &Component,
    interface: &str,
    wanted: &Optional,
) -> wasmtime::Result<Option<ComponentExportIndex>> {
    let found = component
        .get_export_index(None, interface)
        .and_then(|interface| component.get_export(Some(&interface), wanted.name));
    let Some((item, index)) = found else {
        return Ok(None);
    };
    if let ComponentItem::ComponentFunc(func) = item {
        let params: Vec<_> = func.params().map(|(_, kind)| kind).collect();
        let results: Vec<_> = func.results().collect();
        if (wanted.is)(&params, &results) {
            return Ok(Some(index));
        }
    }
    let Optional { name, kind, .. } = wanted;
    Err(wasmtime::Error::msg(format!("`{interface}` has no `{name}: {kind}`")))
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
    shutdown: Option<TypedFunc<(), ()>>,
    export_state: Option<TypedFunc<(), (Exported,)>>,
    code_change: Option<TypedFunc<Handed, (Said,)>>,
}

/// What `export-state` returns.
type Exported = Result<Vec<u8>, String>;

/// What `code-change` takes: the version that it comes from, and what that exported.
type Handed = (String, Vec<u8>);

/// What an export of the world returns.
type Said = Result<(), String>;

impl Agent {
    pub(super) async fn open(pre: &AgentPre, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        // A list of a million strings that are all the same megabyte is small in the guest only.
        store.set_hostcall_fuel(caps::HOST_CALL_BYTES);
        let instance = pre.instance.instantiate_async(&mut *store).await?;
        Ok(Self {
            world: pre.world.load(&mut *store, &instance)?,
            timer: typed(instance, store, pre.timer.as_ref())?,
            shutdown: typed(instance, store, pre.shutdown.as_ref())?,
            export_state: typed(instance, store, pre.export_state.as_ref())?,
            code_change: typed(instance, store, pre.code_change.as_ref())?,
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

    pub(super) const fn takes_timers(&self) -> bool {
        self.timer.is_some()
    }

    pub(super) async fn timer(&self, store: &mut Store<Guest>, id: u32) -> wasmtime::Result<End> {
        match &self.timer {
            Some(timer) => Ok(ended(timer.call_async(store, (id,)).await?.0)),
            None => Ok(End::Ok),
        }
    }

    pub(super) const fn takes_shutdown(&self) -> bool {
        self.shutdown.is_some()
    }

    pub(super) async fn shutdown(&self, store: &mut Store<Guest>) -> wasmtime::Result<End> {
        if let Some(shutdown) = &self.shutdown {
            shutdown.call_async(store, ()).await?;
        }
        Ok(End::Ok)
    }

    /// None: it hands nothing over.
    pub(super) async fn export_state(&self, store: &mut Store<Guest>) -> wasmtime::Result<(End, Option<Vec<u8>>)> {
        let Some(export) = &self.export_state else {
            return Ok((End::Ok, None));
        };
        Ok(match export.call_async(store, ()).await?.0 {
            Ok(state) if state.len() > caps::HANDOVER_BYTES => {
                let most = caps::HANDOVER_BYTES;
                let reason = format!("export-state gave {} bytes, and may give {most}", state.len());
                (End::Error(reason), None)
            }
            Ok(state) => (End::Ok, Some(state)),
            Err(reason) => (ended(Err(reason)), None),
        })
    }

    pub(super) async fn code_change(
        &self,
        store: &mut Store<Guest>,
        from: &semver::Version,
        state: &[u8],
    ) -> wasmtime::Result<End> {
        let Some(change) = &self.code_change else {
            return Ok(cannot_take_over());
        };
        let (said,) = change.call_async(store, (from.to_string(), state.to_vec())).await?;
        Ok(ended(said))
    }
}

/// What is handed over to a guest that has no entry for it would be lost without a word.
pub(super) fn cannot_take_over() -> End {
    End::Error("the agent has no code-change to take over with".to_owned())
}

/// The function at an index, if there is one; [`optional`] has seen to its type.
fn typed<P, R>(
    instance: Instance,
    store: &mut Store<Guest>,
    index: Option<&ComponentExportIndex>,
) -> wasmtime::Result<Option<TypedFunc<P, R>>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    index.map(|index| instance.get_typed_func(store, index)).transpose()
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
