//! Fault tests: every inner part of the node is killed under load, and each acknowledged message must be handled
//! exactly once.

mod deploys;
mod groups;
mod instances;
mod timers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use supervisors::Snapshot;

use super::*;
use crate::agent::spec::AgentSpec;
use crate::group::GroupSpec;
use crate::message::Status;

/// A guest that, at every request, adds one to a number in its state and replies with it.
const COUNTER: &str = include_str!("../../examples/agents/wat/counter.wat");
/// A guest that traps at every message.
const CRASH: &str = include_str!("../../examples/agents/wat/crash.wat");
/// The longest that any wait of these tests may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    node: Arc<Node>,
    _dir: tempfile::TempDir,
}

async fn world() -> World {
    world_of(Durability::Durable).await
}

async fn world_of(durability: Durability) -> World {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: dir.path().to_owned(),
        durability,
        partitions: 4,
        wasm: crate::config::Guests::at_most(100),
        ..Config::default()
    };
    let node = Opened::open(config).unwrap().start(|_| Vec::new()).await.unwrap();
    World { node, _dir: dir }
}

fn module(wat: &str) -> Bytes {
    wat::parse_str(wat).unwrap().into()
}

fn draft(json: &serde_json::Value) -> Draft {
    Draft::from_json(json.to_string().as_bytes()).unwrap()
}

impl World {
    async fn deploy(&self, wat: &str, config: &serde_json::Value) {
        let spec = AgentSpec::from_json(config.to_string().as_bytes()).unwrap();
        self.node.deploy(&Caller::anonymous(), module(wat), spec).await.unwrap();
    }

    async fn group(&self, json: &serde_json::Value) {
        let spec = GroupSpec::from_json(json.to_string().as_bytes()).unwrap();
        self.node.create_group(&Caller::anonymous(), spec).await.unwrap();
    }

    async fn ask(&self, agent: &str) -> Result<Reply> {
        let draft = draft(&serde_json::json!({"performative": "request", "receiver": agent, "content": {}}));
        self.node
            .send_and_wait(&Caller::anonymous(), draft, PATIENCE, false)
            .await
    }

    async fn lifecycle(&self, agent: &str) -> Lifecycle {
        let agent = self.node.agent(&Caller::anonymous(), agent).await.unwrap();
        agent.summary.lifecycle
    }

    async fn messages(&self, query: MessageQuery) -> Page {
        self.node.messages(&Caller::anonymous(), query).await.unwrap()
    }

    async fn snapshot(&self) -> Snapshot {
        self.node.tree.get().unwrap().snapshot().await
    }

    async fn incarnation(&self, name: &str) -> u64 {
        fn find(node: &Snapshot, name: &str) -> Option<u64> {
            if node.name == name {
                return Some(node.incarnation);
            }
            node.children.iter().find_map(|child| find(child, name))
        }
        find(&self.snapshot().await, name).unwrap()
    }

    /// Polls until a condition holds, because not every condition has an event to wait for.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !holds().await {
            assert!(began.elapsed() < PATIENCE, "{what} did not come true");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends to `counter` without pause while `fault` runs, and then checks that every acknowledged message was handled
    /// once and that nothing else was counted.
    async fn survives(&self, fault: impl AsyncFnOnce()) {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut floods = tokio::task::JoinSet::new();
        for client in 0..4 {
            let (node, stop, acknowledged) = (self.node.clone(), stop.clone(), acknowledged.clone());
            floods.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let json = serde_json::json!({
                        "performative": "request", "receiver": "counter", "content": {}, "sender": format!("c{client}"),
                    });
                    // A send may be refused while the killed part restarts. A refused message is not counted.
                    let taken = node.send(&Caller::anonymous(), draft(&json)).await.is_ok();
                    acknowledged.fetch_add(u64::from(taken), Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
        }
        let enough = async |more: u64| {
            let from = acknowledged.load(Ordering::Relaxed);
            self.until("the load goes on", async || {
                acknowledged.load(Ordering::Relaxed) >= from + more
            })
            .await;
        };
        enough(50).await;
        fault().await;
        enough(50).await;
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = floods.join_next().await {
            ended.unwrap();
        }
        let query = |status| MessageQuery {
            performative: Some(crate::fipa::Performative::Request),
            status,
            limit: 1,
            ..MessageQuery::default()
        };
        self.until("everything is handled", async || {
            let queued = query(Some(Status::Delivered));
            let page = self.node.messages(&Caller::anonymous(), queued).await;
            page.is_ok_and(|page| page.total == 0)
        })
        .await;
        let all = self.messages(query(None)).await.total;
        let done = self.messages(query(Some(Status::Processed))).await.total;
        assert!(
            done >= acknowledged.load(Ordering::Relaxed),
            "what was acknowledged was handled"
        );
        assert_eq!(done, all, "and nothing failed");
        let reply = self.ask("counter").await.unwrap();
        let crate::message::Content::Json(count) = &reply.message.content else {
            panic!("the counter answers in JSON");
        };
        assert_eq!(
            count.as_ref(),
            (all + 1).to_string().as_bytes(),
            "each was counted once"
        );
    }

    async fn kill(&self, path: &str) {
        let before = self.snapshot().await.find(path).unwrap().incarnation;
        self.node
            .actor(path)
            .unwrap_or_else(|| panic!("nothing runs at {path}"))
            .kill();
        self.until("it is restarted", async || {
            let snapshot = self.snapshot().await;
            snapshot
                .find(path)
                .is_some_and(|part| part.incarnation > before && part.state == "running")
        })
        .await;
    }
}

fn counter() -> serde_json::Value {
    serde_json::json!({"name": "counter", "permissions": {"state": true}})
}

/// Kills a part under load and checks the isolation: `counter` is restarted exactly when `touches_agents` says so.
async fn killing(path: impl FnOnce(&World) -> String, touches_agents: bool) {
    let world = world().await;
    world.deploy(COUNTER, &counter()).await;
    let path = path(&world);
    let before = world.incarnation("counter").await;
    world.survives(async || world.kill(&path).await).await;
    let after = world.incarnation("counter").await;
    assert_eq!(
        after > before,
        touches_agents,
        "{path}: incarnation {before}, then {after}"
    );
    world.node.shutdown().await;
}

fn home(world: &World) -> String {
    let partition = world.node.find("counter").unwrap().partition;
    format!("node/core/partitions/{partition}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_instance_loses_nothing() {
    killing(|world| format!("{}/agents/counter", home(world)), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_router_restarts_its_partitions_guests_from_the_journal() {
    killing(|world| format!("{}/router", home(world)), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_router_loses_nothing_of_a_node_in_memory_either() {
    let world = world_of(Durability::Memory).await;
    world.deploy(COUNTER, &counter()).await;
    let router = format!("{}/router", home(&world));
    world.survives(async || world.kill(&router).await).await;
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_supervisor_of_agents_restarts_them() {
    killing(|world| format!("{}/agents", home(world)), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_partition_comes_back_whole() {
    killing(home, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_the_journals_keeper_restarts_all_partitions() {
    killing(|_| "node/core/journal".to_owned(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_the_projections_keeper_restarts_all_partitions() {
    killing(|_| "node/core/projections".to_owned(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_announcer_stops_no_guest() {
    killing(|_| "node/events/announcer".to_owned(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_chronicler_stops_no_guest() {
    killing(|_| "node/events/chronicler".to_owned(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_supervisors_of_events_modules_and_operations_stop_no_guest() {
    for part in ["node/events", "node/modules", "node/operations"] {
        killing(|_| part.to_owned(), false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_agent_takes_messages_and_no_turns_also_after_a_restart_of_its_partition() {
    let world = world().await;
    world.deploy(COUNTER, &counter()).await;
    let caller = Caller::anonymous();
    world.node.suspend_agent(&caller, "counter", true).await.unwrap();
    let json = serde_json::json!({"performative": "request", "receiver": "counter", "content": {}});
    let receipt = world.node.send(&caller, draft(&json)).await.unwrap();
    world.kill(&format!("{}/router", home(&world))).await;
    let id = receipt.message_id.to_string();
    let status = async || world.node.message(&caller, &id).await.unwrap().status;
    assert_eq!(status().await, Status::Delivered);
    world.node.suspend_agent(&caller, "counter", false).await.unwrap();
    world
        .until("it is handled", async || status().await == Status::Processed)
        .await;
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_agent_can_be_started_again_with_its_state() {
    let world = world().await;
    world.deploy(COUNTER, &counter()).await;
    world.ask("counter").await.unwrap();
    let caller = Caller::anonymous();
    world
        .node
        .stop_agent(&caller, "counter", StopOptions::default())
        .await
        .unwrap();
    world
        .until("it is stopped", async || {
            world.lifecycle("counter").await == Lifecycle::Stopped
        })
        .await;
    world.node.start_agent(&caller, "counter").await.unwrap();
    let reply = world.ask("counter").await.unwrap();
    assert_eq!(reply.message.content, crate::message::Content::Json("2".into()));
    world.node.remove_agent(&caller, "counter", false).await.unwrap();
    assert!(matches!(
        world.node.agent(&caller, "counter").await,
        Err(Error::AgentNotFound(_))
    ));
    world.node.shutdown().await;
}
