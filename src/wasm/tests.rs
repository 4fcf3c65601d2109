//! Tests with guests in the text format of WebAssembly. Each guest has one behaviour or fault.

mod capacity;
mod components;
mod core;
mod crashes;
mod effects;
mod examples;
mod garbage;
mod lookups;
mod slices;
mod state_lease;
mod timers;
mod upgrades;
mod wasi;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{
    Budget, CacheFolder, Crash, CrashKind, End, Found, Grants, Host, Instance, Leasing, Limits, LogRate, Runtime,
    RuntimeConfig, Search, StateLease, StateLock, Turn,
};
use crate::error::{Error, Finding};
use crate::fipa::Performative;
use crate::id::{AgentId, InstanceId, MessageId};
use crate::message::{Address, Content, Message};
use crate::time::Timestamp;

#[derive(Clone, Default)]
struct Granted {
    receivers: &'static [&'static str],
    state: bool,
    random: bool,
    timers: bool,
    environment: Option<BTreeMap<String, String>>,
    /// The agents in the directory. A search finds an agent by the first of its capabilities.
    directory: Option<Vec<Found>>,
}

impl Grants for Granted {
    fn may_message(&self, receiver: &str) -> bool {
        self.receivers.contains(&receiver)
    }

    fn state(&self) -> bool {
        self.state
    }

    fn random(&self) -> bool {
        self.random
    }

    fn timers(&self) -> bool {
        self.timers
    }

    fn environment(&self) -> Option<&BTreeMap<String, String>> {
        self.environment.as_ref()
    }

    fn directory(&self) -> Option<&dyn Search> {
        self.directory.as_ref().map(|_| self as &dyn Search)
    }
}

impl Search for Granted {
    fn find(&self, capability: &str, most: usize) -> Vec<Found> {
        let all = self.directory.iter().flatten();
        let able = all.filter(|found| found.capabilities[0] == capability);
        able.take(most).cloned().collect()
    }
}

const ALL: Granted = Granted {
    receivers: &["friend"],
    state: true,
    random: true,
    timers: true,
    environment: None,
    directory: None,
};
const LIMITS: Limits = Limits {
    memory_bytes: 4 << 20,
    state_bytes: 1 << 10,
    state_keys: 20,
    timers: 3,
};
const BUDGET: Budget = Budget {
    fuel: None,
    deadline: Duration::from_secs(20),
    sends: 4,
};

fn host(grants: &Granted) -> Host {
    Host {
        agent: AgentId::new(),
        name: "guest".parse().unwrap(),
        instance: InstanceId::FIRST,
        state: Arc::default(),
        timers: Arc::default(),
        state_lock: StateLock::default(),
        leasing: Leasing::AtFirstUse,
        log_rate: LogRate::new(1 << 20),
        grants: Arc::new(grants.clone()),
    }
}

fn runtime() -> Arc<Runtime> {
    Runtime::new(&RuntimeConfig {
        slow_lanes: 1,
        instances: 64,
        ..RuntimeConfig::default()
    })
    .unwrap()
}

fn binary(wat: &str) -> Bytes {
    wat::parse_str(wat)
        .unwrap_or_else(|error| panic!("{error}\n{wat}"))
        .into()
}

async fn start_with(host: Host, wat: &str) -> Instance {
    start_within(LIMITS, host, wat).await
}

async fn start_within(limits: Limits, host: Host, wat: &str) -> Instance {
    let program = runtime().compile(binary(wat), false).await.unwrap();
    program.instantiate(host, limits).await.unwrap()
}

/// An instance with all permissions.
async fn start(wat: &str) -> Instance {
    start_with(host(&ALL), wat).await
}

/// A guest of the core ABI that executes `body` for each message, which is at 4096. `rest` are the other items of its module.
fn guest(rest: &str, body: &str) -> String {
    format!(
        r#"(module
            (import "caxton" "send_message" (func $send (param i32 i32) (result i32)))
            (import "caxton" "log" (func $log (param i32 i32 i32)))
            (import "caxton" "current_timestamp" (func $now (result i64)))
            (import "caxton" "random_u32" (func $random (result i32)))
            (import "caxton" "store_data" (func $store (param i32 i32 i32 i32) (result i32)))
            (import "caxton" "load_data" (func $load (param i32 i32 i32 i32) (result i32)))
            (import "caxton" "delete_data" (func $delete (param i32 i32) (result i32)))
            (import "caxton" "set_timer" (func $set_timer (param i64) (result i32)))
            (import "caxton" "cancel_timer" (func $cancel_timer (param i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "caxton_alloc") (param i32) (result i32) i32.const 4096)
            {rest}
            (func $handle (export "handle_message") (param $ptr i32) (param $len i32) (result i32) {body}))"#
    )
}

/// A guest that sends `draft` and returns the code that it got from the host.
fn sender(draft: &str) -> String {
    let data = draft.replace('"', "\\22");
    guest(
        &format!(r#"(data (i32.const 0) "{data}")"#),
        &format!("(call $send (i32.const 0) (i32.const {}))", draft.len()),
    )
}

fn message() -> Message {
    Message {
        id: MessageId::new(),
        performative: Performative::Request,
        sender: Address::Client("alice".parse().unwrap()),
        receivers: vec![Address::Agent(AgentId::new())],
        reply_to: Some("desk".to_owned()),
        content: Content::Json(r#"{"a":1}"#.into()),
        language: None,
        ontology: None,
        protocol: Some("fipa-request".to_owned()),
        conversation_id: "talk".to_owned(),
        reply_with: Some("r1".to_owned()),
        in_reply_to: None,
        reply_by: None,
        timestamp: Timestamp::now(),
        causation_id: None,
        traceparent: None,
        hops: 0,
        extensions: BTreeMap::new(),
    }
}

async fn handle(instance: &mut Instance) -> Turn {
    instance.handle(&message(), 1, BUDGET).await
}

fn crash(turn: &Turn) -> &Crash {
    assert!(turn.effects.is_empty(), "a crash has no effects");
    match &turn.end {
        End::Crash(crash) => crash,
        other @ (End::Ok | End::Error(_)) => panic!("{other:?} is no crash"),
    }
}

fn returned(code: i32) -> End {
    End::Error(format!("the agent returned {code}"))
}

async fn findings(bytes: impl Into<Bytes>) -> Vec<Finding> {
    match runtime().compile(bytes.into(), false).await {
        Err(Error::InvalidWasm(findings)) => findings,
        Err(error) => panic!("{error}"),
        Ok(_) => Vec::new(),
    }
}
