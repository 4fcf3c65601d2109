//! What noisy neighbours cost the others: the rate of agents that reply to requests, alone and beside an agent that spins, one that
//! crashes, one that floods, and all three.
//!
//! `cargo bench --bench neighbours` runs a node in memory, in this process. `NEIGHBOURS_SECONDS` sets how long each case is measured
//! (15). The baseline of a case is the same load in the same run, right before and right after it; the goal is 0.8 of that.

#[path = "support/load.rs"]
mod load;
mod support;

use std::sync::Arc;
use std::time::Duration;

use caxton::agent::spec::AgentSpec;
use caxton::config::Config;
use caxton::message::Durability;
use caxton::node::{Caller, Node};
use hdrhistogram::Histogram;
use load::{load, request};
use serde_json::{Value, json};

const ECHO: &str = include_str!("../examples/agents/wat/echo.wat");
const CRASH: &str = include_str!("../examples/agents/wat/crash.wat");
const SPIN: &str = include_str!("../examples/agents/wat/spin.wat");
/// Sends as many messages as a turn may, in every turn: one to itself, so that it never ends, and the others to an agent that
/// ignores them.
const FLOOD: &str = r#"(module
    (import "caxton" "send_message" (func $send (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "{\22performative\22:\22inform\22,\22receiver\22:\22flood\22}")
    (data (i32.const 64) "{\22performative\22:\22inform\22,\22receiver\22:\22sink\22}")
    (func (export "caxton_alloc") (param i32) (result i32) (i32.const 4096))
    (func (export "handle_message") (param i32 i32) (result i32)
      (drop (call $send (i32.const 0) (i32.const 44)))
      (loop $more (br_if $more (i32.eqz (call $send (i32.const 64) (i32.const 43)))))
      (i32.const 0)))"#;
const SINK: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "caxton_alloc") (param i32) (result i32) (i32.const 4096))
    (func (export "handle_message") (param i32 i32) (result i32) (i32.const 0)))"#;

const AGENTS: usize = 100;
/// How many messages the crashing agent gets, and how many deliveries each has: more than it can use in the time.
const CRASHES: usize = 1_024;
const TRIES: u32 = 100;

/// A neighbour, with the highest limits that a declaration may have by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noise {
    Spinning,
    Crashing,
    Flooding,
}

impl Noise {
    const ALL: [Self; 3] = [Self::Spinning, Self::Crashing, Self::Flooding];

    fn agents(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Spinning => &[("spin", SPIN)],
            Self::Crashing => &[("crash", CRASH)],
            Self::Flooding => &[("sink", SINK), ("flood", FLOOD)],
        }
    }

    async fn begin(self, node: &Arc<Node>) {
        for (name, wat) in self.agents() {
            let config = json!({
                "name": name,
                "permissions": {"message": ["*"]},
                "resources": {"turn_deadline": "600s"},
                // Its restart intensity is never exceeded, and it is restarted as early as allowed.
                "supervision": {"intensity": 10_000, "period": "1s", "backoff": {"min": "1ms", "max": "1ms"}},
                "delivery": {"max_deliveries": TRIES},
            });
            deploy(node, &config, wat).await;
        }
        match self {
            Self::Spinning => send(node, "spin").await,
            Self::Crashing => {
                for _ in 0..CRASHES {
                    send(node, "crash").await;
                }
            }
            Self::Flooding => send(node, "flood").await,
        }
    }

    async fn end(self, node: &Arc<Node>) {
        for (name, _) in self.agents().iter().rev() {
            let removed = node.remove_agent(&Caller::anonymous(), name, true).await;
            removed.expect("it is removed, whatever it does");
        }
    }
}

async fn deploy(node: &Arc<Node>, config: &Value, wat: &str) {
    let spec = AgentSpec::from_json(config.to_string().as_bytes()).expect("it is a declaration");
    let module = wat::parse_str(wat).expect("the guests are well-formed");
    let deployed = node.deploy(&Caller::anonymous(), module.into(), spec).await;
    deployed.expect("it is deployed");
}

async fn send(node: &Arc<Node>, agent: &str) {
    let sent = node.send(&Caller::anonymous(), request(agent)).await;
    sent.expect("it is taken");
}

/// Measures the load alone, beside these neighbours, and alone again. The second time alone is needed because the history grows
/// meanwhile, and with it the cost of each request.
async fn beside(node: &Arc<Node>, what: &str, noises: &[Noise], time: Duration) {
    let (alone, calm) = load(node, AGENTS, time).await;
    for noise in noises {
        noise.begin(node).await;
    }
    let (rate, noisy) = load(node, AGENTS, time).await;
    let restarts = node.supervision_figures().await.expect("the tree is there").restarts;
    for noise in noises {
        noise.end(node).await;
    }
    let (after, _) = load(node, AGENTS, time).await;
    let alone = f64::midpoint(alone, after);
    let p99 = |times: &Histogram<u64>| times.value_at_quantile(0.99) as f64 / 1e3;
    println!(
        "{what:<10} {alone:>8.0} answers/s alone, {rate:>8.0} beside it: {:.2}   p99 {:>8.1} us, {:>8.1} us   {restarts} restarts",
        rate / alone,
        p99(&calm),
        p99(&noisy)
    );
}

async fn run() {
    let seconds = std::env::var("NEIGHBOURS_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(15));
    let node = support::node(Config {
        durability: Durability::Memory,
        ..Config::default()
    })
    .await;
    for n in 0..AGENTS {
        deploy(&node, &json!({"name": format!("echo-{n}")}), ECHO).await;
    }
    load(&node, AGENTS, time / 3).await; // warms up
    for noise in Noise::ALL {
        beside(&node, &format!("{noise:?}").to_lowercase(), &[noise], time).await;
    }
    beside(&node, "all", &Noise::ALL, time).await;
    node.shutdown().await;
}

fn main() {
    support::run(run());
}
