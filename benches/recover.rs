//! What a crash costs: the time from a guest's trap to the first reply of the instance that replaces it.
//!
//! `cargo bench --bench recover` runs a node in memory, in this process. The baseline has no supervision, router, mailbox and
//! journal: a ractor actor around a wasm instance that traps, and that the bench spawns again itself. All figures come from one
//! run, so the ratios are comparable between machines.

#[path = "support/guests.rs"]
mod guests;
mod support;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caxton::agent::spec::AgentSpec;
use caxton::config::Config;
use caxton::id::{AgentId, InstanceId};
use caxton::message::{Draft, Durability, Message};
use caxton::node::Node;
use caxton::principal::Caller;
use caxton::wasm::{Budget, End, Host, Instance, Leasing, Limits, LogRate, Program, Runtime, RuntimeConfig, StateLock};
use guests::{NoGrants, request};
use hdrhistogram::Histogram;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const CRASH_ONCE: &str = include_str!("../examples/agents/wat/crash_once.wat");
const ECHO: &str = include_str!("../examples/agents/wat/echo.wat");
const ROUNDS: u32 = 5_000;
const WARM_UP: u32 = 500;

struct Times(Histogram<u64>);

impl Times {
    /// Measures `round`, after some rounds to warm up.
    async fn of(mut round: impl AsyncFnMut() -> Duration) -> Self {
        let mut times = Self(Histogram::new(3).expect("three digits are allowed"));
        for n in 0..WARM_UP + ROUNDS {
            let took = round().await;
            if n >= WARM_UP {
                times.0 += u64::try_from(took.as_nanos()).expect("no round takes centuries");
            }
        }
        times
    }

    fn micros(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    fn print(&self, what: &str) {
        let (p50, p99) = (self.micros(0.5), self.micros(0.99));
        println!("{what:<46} p50 {p50:>8.1} us   p99 {p99:>8.1} us");
    }
}

fn module(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("the examples are well-formed")
}

async fn deploy(node: &Arc<Node>, name: &str, wat: &str) {
    // The restart intensity is never exceeded and there is no backoff, so that only the restart is measured.
    let config = json!({
        "name": name,
        "supervision": {"intensity": 10_000, "period": "1ms", "backoff": {"min": "0s", "max": "0s"}},
    });
    let spec = AgentSpec::from_json(config.to_string().as_bytes()).expect("it is a declaration");
    let deployed = node.deploy(&Caller::anonymous(), module(wat).into(), spec).await;
    deployed.expect("it is deployed");
}

async fn ask(node: &Node, agent: &str) -> Duration {
    let json = json!({"performative": "request", "receiver": agent, "content": {"n": 1}, "durability": "memory"});
    let draft = Draft::from_json(json.to_string().as_bytes()).expect("it is a message");
    let began = Instant::now();
    let reply = node
        .send_and_wait(&Caller::anonymous(), draft, Duration::from_secs(10), false)
        .await;
    let took = began.elapsed();
    assert_eq!(reply.expect("it answers").message.performative.as_str(), "inform");
    took
}

/// An actor around a guest, without the node, router, mailbox and journal.
struct Raw;

struct RawStart {
    program: Arc<Program>,
    answered: UnboundedSender<()>,
}

impl Actor for Raw {
    type Msg = (Arc<Message>, u32);
    type State = (Instance, UnboundedSender<()>);
    type Arguments = RawStart;

    async fn pre_start(&self, _: ActorRef<Self::Msg>, start: RawStart) -> Result<Self::State, ActorProcessingErr> {
        let host = Host {
            agent: AgentId::new(),
            name: "raw".parse().expect("it is a name"),
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
        let mut instance = start
            .program
            .instantiate(host, limits)
            .await
            .map_err(|crash| crash.detail)?;
        instance.init(budget()).await;
        Ok((instance, start.answered))
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        (message, attempt): Self::Msg,
        (instance, answered): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let turn = instance.handle(&message, attempt, budget()).await;
        if turn.end != End::Ok {
            return Err("a trap".into());
        }
        black_box(turn.effects);
        let _ = answered.send(());
        Ok(())
    }
}

const fn budget() -> Budget {
    Budget {
        fuel: None,
        deadline: Duration::from_secs(5),
        sends: 10,
    }
}

/// The baseline: trap, exit, spawn, instantiate, reply.
async fn raw(pooled: bool) -> Times {
    // A small pool, because the node in this process uses the memory maps of a whole one.
    let config = RuntimeConfig {
        instances: 100,
        pooled,
        ..RuntimeConfig::default()
    };
    let runtime = Runtime::new(&config).expect("a runtime");
    let compiled = runtime.compile(module(CRASH_ONCE).into(), false).await;
    let program = compiled.expect("it compiles");
    let (answered, mut answers) = unbounded_channel();
    let message = request();
    let start = || RawStart {
        program: program.clone(),
        answered: answered.clone(),
    };
    let mut actor = Actor::spawn(None, Raw, start()).await.expect("it starts").0;
    Times::of(async || {
        let began = Instant::now();
        actor.cast((message.clone(), 1)).expect("it runs");
        let _ = actor.wait(None).await;
        actor = Actor::spawn(None, Raw, start()).await.expect("it starts").0;
        actor.cast((message.clone(), 2)).expect("it runs");
        answers.recv().await.expect("it answers");
        began.elapsed()
    })
    .await
}

async fn run() {
    let mut config = Config {
        durability: Durability::Memory,
        ..Config::default()
    };
    config.wasm.pooled = guests::pooled();
    let node = support::node(config.clone()).await;
    deploy(&node, "echo", ECHO).await;
    deploy(&node, "crasher", CRASH_ONCE).await;
    let raw = raw(config.wasm.pooled).await;
    let plain = Times::of(async || ask(&node, "echo").await).await;
    let crashed = Times::of(async || ask(&node, "crasher").await).await;
    raw.print("raw: trap, spawn, instantiate, answer");
    plain.print("node: an answer without a crash");
    crashed.print("node: trap, restart, first answer");
    for (quantile, name) in [(0.5, "p50"), (0.99, "p99")] {
        let [raw, plain, crashed] = [&raw, &plain, &crashed].map(|times| times.micros(quantile));
        println!(
            "{name}: trap to first answer {:.2} x raw; the crash alone (less an answer without one) {:.1} us, {:.2} x raw",
            crashed / raw,
            crashed - plain,
            (crashed - plain) / raw
        );
    }
    node.shutdown().await;
}

fn main() {
    support::run(run());
}
