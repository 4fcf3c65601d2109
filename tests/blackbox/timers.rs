//! Timers: turns set them, the journal keeps them, and each fires once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::guests;
use crate::harness::{TestNode, until};

/// Long enough for a few calls to a busy server, and short enough for a test.
const SOON: Duration = Duration::from_secs(2);

async fn deploy(node: &Client) -> String {
    node.deploy("timer", "timer").await
}

/// Sets a timer, and returns its id or the host's error code.
async fn set(node: &Client, after: Duration) -> Value {
    node.told("timer", &json!(after.as_micros())).await
}

async fn until_fired(node: &Client, count: u64) {
    until(&format!("{count} timers have fired"), async || {
        (node.told("timer", &json!(null)).await == count).then_some(())
    })
    .await;
}

async fn until_passed(began: Instant, time: Duration) {
    until("it is time", async || (began.elapsed() > time).then_some(())).await;
}

/// The messages of fired timers, oldest first.
async fn fired(node: &Client) -> Vec<Value> {
    let mut messages = node.history("").await;
    messages.retain(|message| message["protocol"] == "caxton-timer");
    messages
}

async fn ids_fired(node: &Client) -> Vec<u64> {
    let id = |message: &Value| message["content"]["timer"].as_u64().unwrap();
    fired(node).await.iter().map(id).collect()
}

#[tokio::test]
async fn a_timer_fires_once_and_its_message_is_like_any_other() {
    let node = TestNode::start().await;
    let id = deploy(&node).await;
    assert_eq!(set(&node, Duration::from_millis(50)).await, 1);
    until_fired(&node, 1).await;
    assert_eq!(set(&node, Duration::ZERO).await, 2);
    until_fired(&node, 2).await;
    assert_eq!(ids_fired(&node).await, [1, 2]);
    let messages = fired(&node).await;
    assert_eq!(messages[0]["sender"], "platform");
    assert_eq!(messages[0]["receiver"], json!(id));
    assert_eq!(messages[0]["performative"], "inform");
    assert_eq!(messages[0]["status"], "processed");
}

#[tokio::test]
async fn a_turn_that_crashes_sets_no_timer() {
    let node = TestNode::start().await;
    deploy(&node).await;
    assert_eq!(node.ask("timer", &json!("1")).await["performative"], "failure");
    assert_eq!(set(&node, Duration::from_millis(5)).await, 1, "the id is still free");
    until_fired(&node, 1).await;
    assert_eq!(ids_fired(&node).await, [1]);
}

#[tokio::test]
async fn a_timer_that_is_cancelled_does_not_fire() {
    let node = TestNode::start().await;
    deploy(&node).await;
    assert_eq!(set(&node, SOON).await, 1);
    assert_eq!(node.told("timer", &json!(-1)).await, 0);
    assert_eq!(node.told("timer", &json!(-1)).await, -1);
    assert_eq!(set(&node, SOON).await, 2, "due after the one that was cancelled");
    until_fired(&node, 1).await;
    assert_eq!(ids_fired(&node).await, [2]);
}

#[tokio::test]
async fn timers_outlive_kill_nine_and_what_fell_due_meanwhile_fires_once() {
    let mut node = TestNode::start().await;
    deploy(&node).await;
    let began = Instant::now();
    assert_eq!(set(&node, SOON).await, 1);
    assert_eq!(set(&node, 3 * SOON).await, 2);
    node.kill_nine();
    until_passed(began, SOON + Duration::from_millis(100)).await;
    node.restart().await;
    until_fired(&node, 1).await;
    until_fired(&node, 2).await;
    assert_eq!(set(&node, Duration::ZERO).await, 3, "ids go on");
    until_fired(&node, 3).await;
    assert!(node.terminate().await.success());
    node.restart().await;
    assert_eq!(ids_fired(&node).await, [1, 2, 3]);
    assert_eq!(node.told("timer", &json!(null)).await, 3);
}

#[tokio::test]
async fn timers_need_the_permission_and_keep_to_the_limit() {
    let node = TestNode::start().await;
    let config = json!({"name": "timer", "permissions": {"state": true}});
    node.deploy_as(config, guests::example("timer")).await;
    assert_eq!(set(&node, SOON).await, -2);
    assert_eq!(node.told("timer", &json!(-1)).await, -2);
    node.delete("/api/v1/agents/timer").await.good();

    let config = json!({"name": "timer", "resources": {"timers": 1}});
    node.deploy_as(config, guests::example("timer")).await;
    assert_eq!(set(&node, Duration::from_millis(100)).await, 1);
    assert_eq!(set(&node, SOON).await, -3);
    until_fired(&node, 1).await;
    assert_eq!(set(&node, Duration::from_secs(11 * 365 * 86_400)).await, -3);
    assert_eq!(set(&node, SOON).await, 2, "its place is free again");

    let config = json!({"name": "more", "resources": {"timers": 1_000_000}});
    let refused = node.try_deploy(&config, guests::example("timer")).await;
    let error = refused.refused(400, "INVALID_REQUEST");
    assert_eq!(error["details"]["field"], "config.resources.timers", "{error:#}");
}

#[tokio::test]
async fn a_timer_of_a_stopped_agent_waits_until_it_is_started_again() {
    let mut node = TestNode::start().await;
    deploy(&node).await;
    let began = Instant::now();
    assert_eq!(set(&node, SOON).await, 1);
    node.post("/api/v1/agents/timer/stop", &json!({})).await.good();
    node.until_status("timer", "stopped").await;
    until_passed(began, SOON + Duration::from_millis(100)).await;
    assert_eq!(ids_fired(&node).await, [0; 0]);
    node.kill_nine();
    node.restart().await;
    node.post("/api/v1/agents/timer/start", &json!({})).await.good();
    until_fired(&node, 1).await;

    let began = Instant::now();
    assert_eq!(set(&node, SOON).await, 2);
    node.post("/api/v1/agents/timer/stop", &json!({})).await.good();
    node.until_status("timer", "stopped").await;
    until_passed(began, SOON + Duration::from_millis(100)).await;
    node.post("/api/v1/agents/timer/start", &json!({})).await.good();
    until_fired(&node, 2).await;
    assert_eq!(ids_fired(&node).await, [1, 2]);
}

#[tokio::test]
async fn the_timers_of_a_removed_agent_are_gone() {
    let mut node = TestNode::start().await;
    deploy(&node).await;
    assert_eq!(set(&node, SOON).await, 1);
    node.delete("/api/v1/agents/timer").await.good();
    let id = deploy(&node).await;
    assert_eq!(set(&node, SOON).await, 1);
    node.kill_nine();
    node.restart().await;
    until_fired(&node, 1).await;
    let messages = fired(&node).await;
    assert_eq!(messages.len(), 1, "{messages:#?}");
    assert_eq!(messages[0]["receiver"], json!(id));
}

#[tokio::test]
async fn a_periodic_timer_goes_on_over_a_restart_and_does_not_pile_up() {
    let mut node = TestNode::start().await;
    let period = Duration::from_millis(20);
    node.deploy_as(json!({"name": "timer"}), guests::periodic(20)).await;
    node.send("timer", &json!(null)).await;
    let until_more = async |node: &Client, than: usize| {
        until("it goes on", async || (fired(node).await.len() > than).then_some(())).await;
    };
    until_more(&node, 3).await;
    node.kill_nine();
    node.restart().await;
    until_more(&node, fired(&node).await.len() + 3).await;
    assert!(ids_fired(&node).await.iter().all(|id| *id == 1), "no other was set");

    node.post("/api/v1/agents/timer/suspend", &json!({})).await.good();
    let (began, before) = (Instant::now(), fired(&node).await.len());
    until_passed(began, 20 * period).await;
    let missed = fired(&node).await.len() - before;
    assert!(missed <= 2, "what it misses is one: {missed}");
    node.post("/api/v1/agents/timer/resume", &json!({})).await.good();
    until_more(&node, before + missed + 3).await;
}

#[tokio::test]
async fn a_timer_waits_for_room_in_a_full_mailbox() {
    let node = TestNode::start().await;
    let config = json!({"name": "timer", "resources": {"mailbox_messages": 1}});
    node.deploy_as(config, guests::example("timer")).await;
    let began = Instant::now();
    assert_eq!(set(&node, SOON).await, 1);
    node.post("/api/v1/agents/timer/suspend", &json!({})).await.good();
    let queued = node.send("timer", &json!(null)).await;
    until_passed(began, SOON + Duration::from_millis(100)).await;
    assert_eq!(ids_fired(&node).await, [0; 0]);
    node.post("/api/v1/agents/timer/resume", &json!({})).await.good();
    assert_eq!(node.until_settled(&queued).await["status"], "processed");
    until("it has fired", async || {
        let messages = fired(&node).await;
        (messages.first()?["status"] == "processed").then_some(())
    })
    .await;
    assert_eq!(ids_fired(&node).await, [1]);
}

#[tokio::test]
async fn a_timer_of_an_agent_that_failed_waits_until_its_group_is_back() {
    let node = TestNode::start().await;
    let backoff = json!({"min": "1ms", "max": "5ms"});
    let group = json!({"name": "shop", "intensity": 0, "backoff": backoff});
    node.post("/api/v1/supervisors", &group).await.good();
    let config = json!({"name": "timer", "supervision": {"group": "shop"}});
    node.deploy_as(config, guests::example("timer")).await;
    let config = json!({"name": "hopeless", "supervision": {"group": "shop"}, "delivery": {"max_deliveries": 100}});
    node.deploy_as(config, guests::example("crash")).await;
    let began = Instant::now();
    assert_eq!(set(&node, SOON).await, 1);
    node.send("hopeless", &json!(null)).await;
    node.until_status("timer", "failed").await;
    until_passed(began, SOON + Duration::from_millis(100)).await;
    assert_eq!(ids_fired(&node).await, [0; 0]);
    let restart = json!({"path": "shop", "action": "restart"});
    node.post("/api/v1/supervision/actions", &restart).await.good();
    until_fired(&node, 1).await;
    assert_eq!(ids_fired(&node).await, [1]);
}
