//! What crash loops cost the other agents: 1,000 agents crash again and again, with the default backoff, beside 1,000 that reply to
//! requests.
//!
//! `cargo bench --bench storm` runs a node in memory, in this process. `STORM_SECONDS` sets how long the agents crash (60). The
//! baseline is the same load in the same run, before the first crash.

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
use serde_json::json;

const CRASH: &str = include_str!("../examples/agents/wat/crash.wat");
const ECHO: &str = include_str!("../examples/agents/wat/echo.wat");
const AGENTS: usize = 1_000;
const BASELINE: Duration = Duration::from_secs(15);

async fn deploy(node: &Arc<Node>, name: String, wat: &str) {
    let config = json!({
        "name": name,
        // The restart intensity is never exceeded, so that the agent goes on crashing.
        "supervision": {"intensity": 10_000, "period": "60s"},
        "delivery": {"max_deliveries": 100},
    });
    let spec = AgentSpec::from_json(config.to_string().as_bytes()).expect("it is a declaration");
    let module = wat::parse_str(wat).expect("the examples are well-formed");
    let deployed = node.deploy(&Caller::anonymous(), module.into(), spec).await;
    deployed.expect("it is deployed");
}

/// Resident memory in MiB, where the system reports it.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4_096.0 / f64::from(1 << 20)
}

fn print(what: &str, rate: f64, times: &Histogram<u64>) {
    let micros = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{what:<10} {rate:>8.0} answers/s   p50 {:>8.1} us   p99 {:>8.1} us",
        micros(0.5),
        micros(0.99)
    );
}

async fn run() {
    let seconds = std::env::var("STORM_SECONDS").ok().and_then(|text| text.parse().ok());
    let storm = Duration::from_secs(seconds.unwrap_or(60));
    let node = support::node(Config {
        durability: Durability::Memory,
        ..Config::default()
    })
    .await;
    for n in 0..AGENTS {
        deploy(&node, format!("echo-{n}"), ECHO).await;
        deploy(&node, format!("crash-{n}"), CRASH).await;
    }
    load(&node, AGENTS, BASELINE / 3).await; // warms up
    let (calm_rate, calm) = load(&node, AGENTS, BASELINE).await;
    for n in 0..AGENTS {
        let sent = node.send(&Caller::anonymous(), request(&format!("crash-{n}"))).await;
        sent.expect("it is taken");
    }
    // All agents crash at once in the first seconds, which are the worst. Memory is sampled after each quarter of the time.
    let mut figures = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..4 {
        figures.push(load(&node, AGENTS, storm / 4).await);
        memory.push(resident());
    }
    let restarts = node.supervision_figures().await.expect("the tree is there").restarts;
    print("calm", calm_rate, &calm);
    for (quarter, (rate, times)) in (1..).zip(&figures) {
        print(&format!("storm {quarter}/4"), *rate, times);
    }
    let rate = figures.iter().map(|(rate, _)| rate).sum::<f64>() / 4.0;
    println!(
        "{restarts} restarts in {} s; the others' answers: {:.2} x calm",
        storm.as_secs(),
        rate / calm_rate
    );
    println!("memory after each quarter, MiB: {memory:.0?}");
    node.shutdown().await;
}

fn main() {
    support::run(run());
}
