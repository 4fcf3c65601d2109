//! Recovery: what is there again when the server restarts, after kill -9 and after SIGTERM.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::guests;
use crate::harness::{TestNode, until};

async fn kill_and_restart(node: &mut TestNode) {
    node.kill_nine();
    node.restart().await;
}

#[tokio::test]
async fn an_acknowledged_deploy_survives_kill_nine() {
    let mut node = TestNode::start().await;
    let config = json!({
        "name": "echo", "version": "2.3.4", "resources": {"memory": "50MB"}, "capabilities": ["echoing"],
        "supervision": {"intensity": 7}, "permissions": {"message": ["x-*"]},
    });
    let id = node.deploy_as(config, guests::example("echo")).await;
    let before = node.agent(&id).await;
    kill_and_restart(&mut node).await;
    let after = node.until_status(&id, "running").await;
    for member in [
        "agent_id",
        "name",
        "version",
        "digest",
        "created_at",
        "deployment",
        "config",
    ] {
        assert_eq!(before[member], after[member], "{member}");
    }
    assert_eq!(node.told("echo", &json!("still here")).await, "still here");
    let clash = node.try_deploy(&json!({"name": "echo"}), guests::example("echo")).await;
    clash.refused(409, "AGENT_ALREADY_EXISTS");
}

#[tokio::test]
async fn an_acknowledged_stop_survives_kill_nine() {
    let mut node = TestNode::start().await;
    let id = node.deploy("echo", "echo").await;
    let asked = node.send("echo", &json!("before")).await;
    node.post("/api/v1/agents/echo/stop", &json!({})).await.good();
    kill_and_restart(&mut node).await;
    node.until_status(&id, "stopped").await;
    let refused = node
        .post("/api/v1/messages", &crate::client::request("echo", &json!("after")))
        .await;
    refused.refused(409, "INVALID_STATE");
    let settled = node.until_settled(&asked).await;
    assert!(
        settled["status"] == "processed" || settled["status"] == "dead",
        "{settled:#}"
    );
}

#[tokio::test]
async fn an_acknowledged_removal_survives_kill_nine() {
    let mut node = TestNode::start().await;
    let id = node.deploy("counter", "counter").await;
    assert_eq!(node.told("counter", &json!(null)).await, 1);
    node.delete("/api/v1/agents/counter").await.good();
    kill_and_restart(&mut node).await;
    node.get("/api/v1/agents/counter").await.refused(404, "AGENT_NOT_FOUND");
    assert_eq!(
        node.history(&format!("agent={id}")).await.len(),
        2,
        "its messages stay in the history"
    );
    node.deploy("counter", "counter").await;
    assert_eq!(
        node.told("counter", &json!(null)).await,
        1,
        "a new agent of the same name has none of the old one's state"
    );
}

#[tokio::test]
async fn state_survives_kill_nine() {
    let mut node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    for count in 1..=6 {
        assert_eq!(node.told("counter", &json!(null)).await, count);
        if count % 2 == 0 {
            kill_and_restart(&mut node).await;
        }
    }
}

/// Sends ten requests that take 50 ms each, and returns the ids. All of them are acknowledged.
async fn queue_ten(node: &TestNode) -> Vec<String> {
    node.deploy_as(json!({"name": "slow"}), guests::slow_counter(50)).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(node.send("slow", &json!({"n": n})).await);
    }
    ids
}

async fn all_ten_are_handled_in_order(node: &TestNode, ids: &[String]) {
    for id in ids {
        assert_eq!(node.until_settled(id).await["status"], "processed");
    }
    assert_eq!(
        node.told("slow", &json!(null)).await,
        11,
        "each of the ten counted once"
    );
    let answers = node.history("receiver=client:tester&performative=inform").await;
    let count_for = |id: &String| {
        let answer = answers.iter().find(|answer| answer["in_reply_to"] == id.as_str());
        answer.unwrap_or_else(|| panic!("{id} has no answer"))["content"]
            .as_u64()
            .unwrap()
    };
    let counts: Vec<_> = ids.iter().map(count_for).collect();
    assert_eq!(
        counts,
        (1..=10).collect::<Vec<_>>(),
        "they were handled in the order in which they were sent"
    );
}

#[tokio::test]
async fn queued_messages_survive_kill_nine() {
    let mut node = TestNode::start().await;
    let ids = queue_ten(&node).await;
    kill_and_restart(&mut node).await;
    all_ten_are_handled_in_order(&node, &ids).await;
}

#[tokio::test]
async fn sigterm_ends_with_status_0_and_loses_nothing() {
    let mut node = TestNode::start().await;
    let ids = queue_ten(&node).await;
    assert_eq!(node.terminate().await.code(), Some(0));
    node.restart().await;
    let agent = node.agent("slow").await;
    assert_eq!(
        agent["status"], "running",
        "a shutdown of the server is no stop of an agent"
    );
    all_ten_are_handled_in_order(&node, &ids).await;
}

#[tokio::test]
async fn the_counts_of_the_history_survive_kill_nine() {
    let mut node = TestNode::start().await;
    node.deploy("error", "error").await;
    node.deploy("echo", "echo").await;
    node.failure("error", "error").await;
    node.told("echo", &json!(1)).await;
    kill_and_restart(&mut node).await;
    let statuses: Vec<Value> = node
        .history("sender=client:tester")
        .await
        .iter()
        .map(|m| m["status"].clone())
        .collect();
    assert_eq!(statuses.len(), 2);
    assert!(
        statuses.contains(&json!("processed")) && statuses.contains(&json!("failed")),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn a_crash_of_the_server_is_no_crash_of_the_message_in_hand() {
    let mut node = TestNode::start().await;
    let config = json!({"name": "slow", "delivery": {"max_deliveries": 1}});
    // Long enough for the test to see the message in its turn, even on a busy machine.
    node.deploy_as(config, guests::slow_counter(2_000)).await;
    let id = node.send("slow", &json!(null)).await;
    for _ in 0..3 {
        until("the turn has begun", async || {
            let busy = node.series("caxton_mailbox_messages", &[]).await?;
            (busy >= 1.0).then_some(())
        })
        .await;
        kill_and_restart(&mut node).await;
    }
    assert_eq!(node.until_settled(&id).await["status"], "processed");
}

/// Deploys agents, and removes every other one of them, until the server is gone. Returns the names of acknowledged operations,
/// and whether each agent must exist.
async fn churn(client: Client, worker: usize, deployed: Arc<AtomicUsize>) -> BTreeMap<String, bool> {
    let mut known = BTreeMap::new();
    for number in 0.. {
        let name = format!("agent-{worker}-{number}");
        let body = json!({"config": {"name": name}, "wasm_module": BASE64.encode(guests::example("echo"))});
        let request = client.request(Method::POST, "/api/v1/agents").json(&body);
        match Client::try_answer(request).await {
            Some(answer) if answer.status == 201 => known.insert(name.clone(), true),
            _ => break,
        };
        deployed.fetch_add(1, Ordering::Relaxed);
        if number % 2 == 1 {
            let request = client.request(Method::DELETE, &format!("/api/v1/agents/{name}"));
            known.remove(&name); // without an acknowledgement, both are right
            match Client::try_answer(request).await {
                Some(answer) if answer.status == 200 => known.insert(name, false),
                _ => break,
            };
        }
    }
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deployed_is_there_and_what_was_removed_is_gone_whenever_the_kill_comes() {
    let mut node = TestNode::start().await;
    for round in 0..3 {
        let deployed = Arc::new(AtomicUsize::new(0));
        let mut churning = tokio::task::JoinSet::new();
        for worker in 0..4 {
            churning.spawn(churn(node.client(), round * 10 + worker, deployed.clone()));
        }
        let enough = 12 + round;
        until("enough agents are deployed", async || {
            (deployed.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
        node.kill_nine();
        let known = churning.join_all().await;
        node.restart().await;
        for (name, there) in known.into_iter().flatten() {
            let answer = node.get(&format!("/api/v1/agents/{name}")).await;
            assert_eq!(
                answer.status,
                if there { 200 } else { 404 },
                "round {round}, {name}: {}",
                answer.body
            );
            if there {
                assert_eq!(node.told(&name, &json!(name)).await, name);
            }
        }
    }
}

#[tokio::test]
async fn a_dead_letter_stays_dead() {
    let mut node = TestNode::start().await;
    let config = json!({"name": "poisoned", "supervision": {"backoff": {"min": "1ms", "max": "1ms"}}});
    let id = node.deploy_as(config, guests::example("crash")).await;
    node.failure("poisoned", "crashed").await;
    kill_and_restart(&mut node).await;
    let asked = node.history(&format!("receiver={id}")).await;
    assert_eq!((asked.len(), &asked[0]["status"]), (1, &json!("dead")));
    let failures = node.history("performative=failure").await;
    assert_eq!(failures.len(), 1, "the sender is told once");
    assert_eq!(
        node.in_tree("poisoned").await.unwrap()["restarts"],
        json!({}),
        "it is not tried again"
    );
}

/// Starts only once. Its first message stores a key, and every init that finds the key traps.
const STARTS_ONCE: &str = r#"(module
  (import "caxton" "store_data" (func $store (param i32 i32 i32 i32) (result i32)))
  (import "caxton" "load_data" (func $load (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "caxton_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "agent_init") (result i32)
    (if (i32.ge_s (call $load (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 1)) (i32.const 0))
      (then (unreachable)))
    (i32.const 0))
  (func (export "handle_message") (param i32 i32) (result i32)
    (call $store (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1))))"#;

#[tokio::test]
async fn an_agent_that_does_not_start_any_more_keeps_nobody_else_from_starting() {
    let mut node = TestNode::start().await;
    let supervision = json!({"intensity": 2, "backoff": {"min": "1ms", "max": "5ms"}});
    let config = json!({"name": "once", "supervision": supervision});
    node.deploy_as(config, guests::assemble(STARTS_ONCE)).await;
    // There are agents in every partition, so also in that of the agent that cannot start.
    for n in 0..80 {
        node.deploy(&format!("echo-{n}"), "echo").await;
    }
    let id = node.send("once", &json!(null)).await;
    assert_eq!(node.until_settled(&id).await["status"], "processed");
    kill_and_restart(&mut node).await;
    for n in 0..80 {
        assert_eq!(node.told(&format!("echo-{n}"), &json!(n)).await, n);
    }
    let agent = node.until_status("once", "failed").await;
    assert!(agent["failure"].is_string(), "{agent:#}");
}
