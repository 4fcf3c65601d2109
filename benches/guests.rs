//! What a guest costs: the time to start it, the memory to keep it, and the time of a request.
//!
//! `cargo bench --bench guests` runs a node in memory, in this process. The baseline is a ractor actor around a wasm instance,
//! without node, router, mailbox and journal: no design can be faster. All figures come from one run, so the ratios are
//! comparable between machines. `-- on-demand` measures without the pool.

#[path = "support/guests.rs"]
mod guests;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caxton::agent::spec::AgentSpec;
use caxton::config::Config;
use caxton::id::{AgentId, InstanceId};
use caxton::message::{Draft, Durability, Message};
use caxton::node::Node;
use caxton::principal::Caller;
use caxton::wasm::{Budget, End, Host, Instance, Leasing, Limits, LogRate, Program, Runtime, StateLock};
use guests::{NoGrants, request};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const ECHO: &str = include_str!("../examples/agents/wat/echo.wat");
/// A guest with one page of memory and a little data in it, like a small guest compiled from a language.
const QUIET: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 1024) "a little that is there from the start on")
    (func (export "caxton_alloc") (param i32) (result i32) (i32.const 4096))
    (func (export "handle_message") (param i32 i32) (result i32) (i32.const 0)))"#;
const AGENTS: usize = 10_000;
const ASKED: u32 = 20_000;
const BUDGET: Budget = Budget {
    fuel: None,
    deadline: Duration::from_secs(5),
    sends: 10,
};

/// The memory of this process in KiB, with its page tables, and the number of its memory maps.
fn held() -> (f64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number")
    };
    let maps = std::fs::read_to_string("/proc/self/maps")
        .expect("Linux")
        .lines()
        .count();
    (kib("VmRSS:") + kib("VmPTE:"), maps)
}

fn module(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("it is well-formed")
}

/// An actor around a guest, without the node, router, mailbox and journal.
struct Bare;

impl Actor for Bare {
    type Msg = Arc<Message>;
    type State = (Instance, UnboundedSender<()>);
    type Arguments = (Arc<Program>, UnboundedSender<()>);

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        (program, answered): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let host = Host {
            agent: AgentId::new(),
            name: "bare".parse().expect("it is a name"),
            instance: InstanceId::FIRST,
            state: Arc::new(BTreeMap::new().into()),
            timers: Arc::default(),
            state_lock: StateLock::default(),
            leasing: Leasing::AtStart,
            log_rate: LogRate::new(0),
            grants: Arc::new(NoGrants),
        };
        let limits = Limits {
            memory_bytes: 64 << 20,
            state_bytes: 0,
            state_keys: 0,
            timers: 0,
        };
        let mut instance = program.instantiate(host, limits).await.map_err(|crash| crash.detail)?;
        instance.init(BUDGET).await;
        Ok((instance, answered))
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        (instance, answered): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let turn = instance.handle(&message, 1, BUDGET).await;
        if turn.end != End::Ok {
            return Err("a crash".into());
        }
        let _ = answered.send(()); // an error means that the bench has ended
        Ok(())
    }
}

struct Cost {
    agents: usize,
    spawn: Duration,
    /// Measured after every agent has handled a message.
    first: Duration,
    fresh_kib: f64,
    used_kib: f64,
    maps: f64,
    ask: Duration,
}

impl Cost {
    fn print_start(&self, what: &str) {
        println!(
            "{what} {:>6} agents: {:>6.0} started/s, then a message to each in {:.2} s",
            self.agents,
            self.agents as f64 / self.spawn.as_secs_f64(),
            self.first.as_secs_f64(),
        );
    }

    /// Prints the memory of an agent. Only the first agents of this process count: later ones reuse memory that the allocator
    /// kept.
    fn print_memory(&self, what: &str) {
        println!(
            "{what} an agent, page tables counted: {:.1} KiB never messaged, {:.1} KiB after a message, {:.1} maps",
            self.fresh_kib, self.used_kib, self.maps
        );
    }

    fn print_ask(&self, what: &str) {
        println!(
            "{what} a request and its answer, one at a time: {:.1} us",
            self.ask.as_secs_f64() * 1e6
        );
    }
}

async fn bare(config: &Config, wat: &str, agents: usize) -> Cost {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Runtime::new(&config.wasm.runtime(folder.path())).expect("a runtime");
    let program = runtime.compile(module(wat).into(), false).await.expect("it compiles");
    let (answered, mut answers) = unbounded_channel();
    let message = request();
    let (before, maps_before) = held();
    let began = Instant::now();
    let mut actors = Vec::new();
    for _ in 0..agents {
        let start = (program.clone(), answered.clone());
        actors.push(Actor::spawn(None, Bare, start).await.expect("it starts"));
    }
    let spawn = began.elapsed();
    let (fresh, _) = held();
    let began = Instant::now();
    for (actor, _) in &actors {
        actor.cast(message.clone()).expect("it runs");
    }
    for _ in 0..agents {
        answers.recv().await.expect("it answers");
    }
    let first = began.elapsed();
    let (used, maps) = held();
    let began = Instant::now();
    for n in 0..ASKED {
        actors[n as usize % 100].0.cast(message.clone()).expect("it runs");
        answers.recv().await.expect("it answers");
    }
    let ask = began.elapsed() / ASKED;
    for (actor, task) in actors {
        actor.stop(None);
        let _ = task.await; // it ends well or was killed
    }
    let each = agents as f64;
    Cost {
        agents,
        spawn,
        first,
        fresh_kib: (fresh - before) / each,
        used_kib: (used - before) / each,
        maps: (maps - maps_before) as f64 / each,
        ask,
    }
}

async fn deploy(node: &Arc<Node>, name: &str, module: &bytes::Bytes) {
    // Under requests without a pause the agent sends more messages a second than the default limit allows.
    let json = json!({"name": name, "resources": {"sends_per_second": 1_000_000}}).to_string();
    let spec = AgentSpec::from_json(json.as_bytes()).expect("it is a declaration");
    let deployed = node.deploy(&Caller::anonymous(), module.clone(), spec).await;
    deployed.expect("it is deployed");
}

fn draft(n: usize) -> Draft {
    let json = json!({"performative": "request", "receiver": format!("agent-{n}"), "content": {"n": 1}, "durability": "memory"});
    Draft::from_json(json.to_string().as_bytes()).expect("it is a message")
}

async fn ask(node: &Node, n: usize) {
    let asked = node
        .send_and_wait(&Caller::anonymous(), draft(n), Duration::from_secs(60), false)
        .await;
    asked.expect("it answers");
}

async fn turns(node: &Arc<Node>) -> u64 {
    let metrics = node.system_metrics(&Caller::anonymous()).await;
    metrics.expect("it is measured").messages_processed
}

async fn in_node(config: Config, wat: &str, agents: usize, answers: bool) -> Cost {
    let node = support::node(config).await;
    let module = bytes::Bytes::from(module(wat));
    deploy(&node, "first", &module).await; // compiles the module, which is then cached
    let (before, maps_before) = held();
    let began = Instant::now();
    for n in 0..agents {
        deploy(&node, &format!("agent-{n}"), &module).await;
    }
    let spawn = began.elapsed();
    let (fresh, _) = held();
    let began = Instant::now();
    let handled = turns(&node).await;
    for n in 0..agents {
        node.send(&Caller::anonymous(), draft(n)).await.expect("it is taken");
    }
    while turns(&node).await < handled + agents as u64 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let first = began.elapsed();
    let (used, maps) = held();
    let began = Instant::now();
    if answers {
        for n in 0..ASKED {
            ask(&node, n as usize % 100).await;
        }
    }
    let ask = began.elapsed() / ASKED;
    node.shutdown().await;
    let each = agents as f64;
    Cost {
        agents,
        spawn,
        first,
        fresh_kib: (fresh - before) / each,
        used_kib: (used - before) / each,
        maps: (maps - maps_before) as f64 / each,
        ask,
    }
}

async fn run() {
    let mut config = Config {
        durability: Durability::Memory,
        ..Config::default()
    };
    config.wasm.pooled = guests::pooled();
    config.limits.agents = u32::MAX; // the number of instances is the limit that counts here
    let agents = AGENTS.min(config.wasm.runtime(std::path::Path::new("/")).instances - 10);
    let quiet = in_node(config.clone(), QUIET, agents, false).await;
    quiet.print_start("node");
    quiet.print_memory("node");
    let bare = bare(&config, ECHO, 1_000).await;
    bare.print_start("bare");
    bare.print_ask("bare");
    let node = in_node(config, ECHO, 1_000, true).await;
    node.print_start("node");
    node.print_ask("node");
    println!(
        "node and bare, 1,000 agents that answer: spawn {:.2} x the rate, an answer {:.2} x the time",
        bare.spawn.as_secs_f64() / node.spawn.as_secs_f64(),
        node.ask.as_secs_f64() / bare.ask.as_secs_f64()
    );
}

fn main() {
    support::run(run());
}
