//! What a hop costs: 100 messages go round a ring of 100 agents at the same time, and each hop is a turn.
//!
//! `cargo bench --bench hop` measures both durability modes, with the history on. `burst` is the rate of turns in the best half
//! second, while the history lags behind. `sustained` is the rate at which the history records them, in the second half of the
//! run. There are two baselines in the same run: a plain file to which synced groups of 256 records of 400 bytes are appended,
//! and messages round a ring of bare ractor actors.

mod support;

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caxton::agent::spec::AgentSpec;
use caxton::config::Config;
use caxton::message::{Draft, Durability};
use caxton::node::{Caller, Node};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::json;

const RING: usize = 100;
const TOKENS: usize = 100;
/// How often the rates are sampled, and how many samples the run has. A message is dropped after 10,000 hops.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: usize = 30;

/// Forwards each message that it gets to the next agent.
fn guest(next: usize) -> Vec<u8> {
    let message =
        json!({"performative": "inform", "receiver": format!("ring-{next}"), "content": {"text": "x".repeat(200)}});
    let message = message.to_string();
    let text = format!(
        r#"(module
            (import "caxton" "send_message" (func $send (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "{}")
            (func (export "caxton_alloc") (param i32) (result i32) (i32.const 4096))
            (func (export "handle_message") (param i32 i32) (result i32)
                (call $send (i32.const 0) (i32.const {}))))"#,
        message.replace('"', "\\22"),
        message.len()
    );
    wat::parse_str(text).expect("it is well-formed")
}

/// Rates, in hops a second.
struct Rates {
    /// Hops that agents handled, one rate for each sample.
    handled: Vec<f64>,
    /// Hops that the history recorded.
    kept: Vec<f64>,
}

impl Rates {
    fn burst(&self) -> f64 {
        self.handled.iter().copied().fold(0.0, f64::max)
    }

    fn sustained(&self) -> f64 {
        let rest = &self.kept[self.kept.len() / 2..];
        rest.iter().sum::<f64>() / rest.len() as f64
    }
}

async fn ring(durability: Durability) -> (Rates, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let config = Config {
        data_dir: dir.path().to_owned(),
        durability,
        ..Config::default()
    };
    let node = support::node(config).await;
    for n in 0..RING {
        let config = json!({"name": format!("ring-{n}"), "permissions": {"message": ["ring-*"]}});
        let spec = AgentSpec::from_json(config.to_string().as_bytes()).expect("it is a declaration");
        let deployed = node
            .deploy(&Caller::anonymous(), guest((n + 1) % RING).into(), spec)
            .await;
        deployed.expect("it is deployed");
    }
    for n in 0..TOKENS {
        let json = json!({"performative": "inform", "receiver": format!("ring-{}", n % RING), "content": {}});
        let draft = Draft::from_json(json.to_string().as_bytes()).expect("it is a message");
        node.send(&Caller::anonymous(), draft).await.expect("it is taken");
    }
    let mut rates = Rates {
        handled: Vec::new(),
        kept: Vec::new(),
    };
    let mut before = hops(&node).await;
    for _ in 0..LOOKS {
        let began = Instant::now();
        tokio::time::sleep(LOOK).await;
        let now = hops(&node).await;
        let rate = |now: u64, before: u64| (now - before) as f64 / began.elapsed().as_secs_f64();
        if now == before {
            break; // all messages were dropped
        }
        rates.handled.push(rate(now.0, before.0));
        rates.kept.push(rate(now.1, before.1));
        before = now;
    }
    node.shutdown().await;
    (rates, dir)
}

/// How many hops agents have handled, and how many of those the history has.
async fn hops(node: &Arc<Node>) -> (u64, u64) {
    let mut handled = 0;
    for n in 0..RING {
        let agent = node.agent(&format!("ring-{n}")).await.expect("it runs");
        handled += agent.messages_processed;
    }
    (handled, node.system_metrics().await.messages_processed)
}

/// The records a second that a plain file takes, in groups of 256 with one sync each.
fn plain_append() -> f64 {
    const GROUP: usize = 256;
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = File::create(dir.path().join("log")).expect("a file");
    file.set_len(256 << 20).expect("room ahead");
    let group = vec![7_u8; 400 * GROUP];
    let (began, mut records) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(3) {
        file.write_all(&group).expect("it is written");
        file.sync_data().expect("it is synced");
        records += GROUP;
    }
    records as f64 / began.elapsed().as_secs_f64()
}

struct Passer;

enum Pass {
    Next(ActorRef<Pass>),
    Token(Arc<[u8]>),
}

impl Actor for Passer {
    type Msg = Pass;
    type State = (Option<ActorRef<Pass>>, Arc<std::sync::atomic::AtomicU64>);
    type Arguments = Arc<std::sync::atomic::AtomicU64>;

    async fn pre_start(&self, _: ActorRef<Pass>, hops: Self::Arguments) -> Result<Self::State, ActorProcessingErr> {
        Ok((None, hops))
    }

    async fn handle(
        &self,
        _: ActorRef<Pass>,
        message: Pass,
        (next, hops): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Pass::Next(actor) => *next = Some(actor),
            Pass::Token(token) => {
                hops.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if let Some(next) = next {
                    next.cast(Pass::Token(token))?;
                }
            }
        }
        Ok(())
    }
}

async fn raw_ring() -> f64 {
    let hops = Arc::default();
    let mut actors = Vec::new();
    for _ in 0..RING {
        actors.push(
            Actor::spawn(None, Passer, Arc::clone(&hops))
                .await
                .expect("it starts")
                .0,
        );
    }
    for (n, actor) in actors.iter().enumerate() {
        actor.cast(Pass::Next(actors[(n + 1) % RING].clone())).expect("it runs");
    }
    let token: Arc<[u8]> = vec![7; 200].into();
    for n in 0..TOKENS {
        actors[n % RING].cast(Pass::Token(token.clone())).expect("it runs");
    }
    let (began, before) = (Instant::now(), hops.load(std::sync::atomic::Ordering::Relaxed));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let rate = (hops.load(std::sync::atomic::Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    for actor in actors {
        actor.kill();
    }
    rate
}

async fn run() {
    let plain = tokio::task::spawn_blocking(plain_append).await.expect("it ends well");
    let raw = raw_ring().await;
    println!("plain append, groups of 256: {plain:.0} records/s; bare ractor ring: {raw:.0} hops/s");
    for (name, durability) in [("memory", Durability::Memory), ("durable", Durability::Durable)] {
        let (rates, _dir) = ring(durability).await;
        let (burst, sustained) = (rates.burst(), rates.sustained());
        println!(
            "{name:<8} burst {burst:>8.0} hops/s, sustained {sustained:>8.0}: {:.2} and {:.2} x plain append, {:.3} and {:.3} x raw ring",
            burst / plain,
            sustained / plain,
            burst / raw,
            sustained / raw
        );
    }
}

fn main() {
    support::run(run());
}
