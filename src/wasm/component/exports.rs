//! The exports of the world: the functions of a guest that the host calls, with messages as values of the world.

use wasmtime::Store;
use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, TypedFunc,
};

use super::world::wit::{self, caxton::agent::types, exports::caxton::agent::handler};
use super::world::{LIFECYCLE, UPGRADE, from_fipa};
use crate::message::{Content, Message};
use crate::wasm::caps;
use crate::wasm::host::Guest;
use crate::wasm::turn::End;

/// A component that is ready to be instantiated, and the indices of its exports.
pub(in crate::wasm) struct ComponentPre {
    instance: InstancePre<Guest>,
    world: wit::AgentIndices,
    timer: Option<ComponentExportIndex>,
    shutdown: Option<ComponentExportIndex>,
    export_state: Option<ComponentExportIndex>,
    code_change: Option<ComponentExportIndex>,
}

impl ComponentPre {
    pub(in crate::wasm) fn new(instance: InstancePre<Guest>) -> wasmtime::Result<Self> {
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

/// A function that a component may export or leave out.
struct Optional {
    name: &'static str,
    /// Its type, in the syntax of WIT.
    kind: &'static str,
    /// Whether parameters and results have this type.
    is: fn(&[Type], &[Type]) -> bool,
}

const TIMER: Optional = Optional {
    name: "timer",
    kind: "func(id: u32) -> result<_, string>",
    is: |params, results| matches!((params, results), ([Type::U32], [result]) if is_result(result)),
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
        ([Type::String, state], [result]) => is_bytes(state) && is_result(result),
        _ => false,
    },
};

/// Whether the type is `list<u8>`.
fn is_bytes(kind: &Type) -> bool {
    matches!(kind, Type::List(list) if list.ty() == Type::U8)
}

/// Whether the type is `result<_, string>`.
fn is_result(kind: &Type) -> bool {
    matches!(kind, Type::Result(result) if result.ok().is_none() && result.err() == Some(Type::String))
}

/// The index of a function in an exported interface. None: the component does not have it. It is an error if the component exports
/// something of another type under this name.
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
    Err(wasmtime::Error::msg(format!(
        "the export `{name}` of `{interface}` has another type than `{name}: {kind}`"
    )))
}

/// The exported functions of one instance.
pub(in crate::wasm) struct Exports {
    world: wit::Agent,
    timer: Option<TypedFunc<(u32,), (Returned,)>>,
    shutdown: Option<TypedFunc<(), ()>>,
    export_state: Option<TypedFunc<(), (Exported,)>>,
    code_change: Option<TypedFunc<CodeChange, (Returned,)>>,
}

/// What `export-state` returns.
type Exported = Result<Vec<u8>, String>;

/// The parameters of `code-change`: the version that exported the state, and the state.
type CodeChange = (String, Vec<u8>);

/// What all other exports return: nothing, or the reason of a failure.
type Returned = Result<(), String>;

impl Exports {
    pub(in crate::wasm) async fn open(pre: &ComponentPre, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        // Wasmtime copies what a guest passes. A list of a million strings that all refer to the same megabyte is small in the
        // guest, but a million megabytes in the host.
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

    pub(in crate::wasm) async fn init(&self, store: &mut Store<Guest>) -> wasmtime::Result<End> {
        self.world.caxton_agent_handler().call_init(store).await.map(ended)
    }

    pub(in crate::wasm) async fn handle(
        &self,
        store: &mut Store<Guest>,
        message: &Message,
        attempt: u32,
    ) -> wasmtime::Result<End> {
        self.world
            .caxton_agent_handler()
            .call_handle(store, &to_world(message, attempt))
            .await
            .map(ended)
    }

    pub(in crate::wasm) const fn takes_timers(&self) -> bool {
        self.timer.is_some()
    }

    pub(in crate::wasm) async fn timer(&self, store: &mut Store<Guest>, id: u32) -> wasmtime::Result<End> {
        match &self.timer {
            Some(timer) => Ok(ended(timer.call_async(store, (id,)).await?.0)),
            None => Ok(End::Ok),
        }
    }

    pub(in crate::wasm) const fn takes_shutdown(&self) -> bool {
        self.shutdown.is_some()
    }

    pub(in crate::wasm) async fn shutdown(&self, store: &mut Store<Guest>) -> wasmtime::Result<End> {
        if let Some(shutdown) = &self.shutdown {
            shutdown.call_async(store, ()).await?;
        }
        Ok(End::Ok)
    }

    /// The state that the guest hands over. None: it does not export the function, or failed.
    pub(in crate::wasm) async fn export_state(
        &self,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<(End, Option<Vec<u8>>)> {
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

    pub(in crate::wasm) async fn code_change(
        &self,
        store: &mut Store<Guest>,
        from: &semver::Version,
        state: &[u8],
    ) -> wasmtime::Result<End> {
        let Some(change) = &self.code_change else {
            return Ok(cannot_take_over());
        };
        let (returned,) = change.call_async(store, (from.to_string(), state.to_vec())).await?;
        Ok(ended(returned))
    }
}

/// The end of a code change for a guest without the function. Without an error the state would be lost unnoticed.
pub(in crate::wasm) fn cannot_take_over() -> End {
    End::Error("the agent cannot take over state, because it does not export code-change".to_owned())
}

/// The function at an index, if there is one. [`optional`] has checked its type.
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

fn ended(returned: Returned) -> End {
    match returned {
        Ok(()) => End::Ok,
        Err(mut reason) => {
            reason.truncate(reason.floor_char_boundary(caps::REASON_BYTES));
            End::Error(reason)
        }
    }
}

/// A message as a value of the world.
fn to_world(message: &Message, attempt: u32) -> handler::Message {
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
            .map(|(name, value)| (name.clone(), value.as_str().to_owned()))
            .collect(),
    }
}
