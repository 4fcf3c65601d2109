//! A full disk: reads go on, writes are refused, and no turn starts. When there is space again, the server continues by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::client::{Answer, request};
use crate::faults::Cut;
use crate::guests;
use crate::harness::{TestNode, until};
use crate::ledger::{Flooded, Ledger};
use crate::socket::Socket;

/// How many bytes the files may take together: the first segment, and a little more.
const LITTLE: &str = "room 73500000";
const MUCH: &str = "room 400000000";

const FULL: &str = "the disk of the data folder";
const NO_DESCRIPTOR: &str = "no file descriptor is free";

#[track_caller]
fn refused_for(answer: Answer, why: &str) {
    let wait = answer.headers.get("retry-after").cloned();
    let error = answer.refused(503, "UNAVAILABLE");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(why), "{error:#}");
    let seconds: u64 = wait.unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
}

async fn until_full(node: &TestNode) {
    until_short_of(node, FULL).await;
}

async fn until_short_of(node: &TestNode, why: &str) {
    until("the server is not ready", async || {
        (node.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    refused_for(node.get("/readyz").await, why);
    until("gRPC does not serve", async || {
        (serving(node).await == ServingStatus::NotServing).then_some(())
    })
    .await;
}

/// The status of the whole server by `grpc.health.v1`.
async fn serving(node: &TestNode) -> ServingStatus {
    let channel = Endpoint::from_shared(node.grpc()).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    let asked = HealthCheckRequest::default();
    client.check(asked).await.unwrap().into_inner().status()
}

async fn until_ready(node: &TestNode) {
    until("there is room again", async || {
        let serves = serving(node).await == ServingStatus::Serving;
        (serves && node.get("/readyz").await.status == 200).then_some(())
    })
    .await;
}

async fn writes_are_refused(node: &TestNode, why: &str) {
    let message = request("counter", &json!({"add": 1}));
    refused_for(node.post("/api/v1/messages", &message).await, why);
    refused_for(node.post("/api/v1/messages/wait", &message).await, why);
    let deploy = json!({"config": {"name": "late"}, "wasm_module": BASE64.encode(guests::example("echo"))});
    refused_for(node.post("/api/v1/agents", &deploy).await, why);
    refused_for(node.delete("/api/v1/agents/counter").await, why);
    let group = json!({"name": "late", "strategy": "one_for_one"});
    refused_for(node.post("/api/v1/supervisors", &group).await, why);
    let suspend = json!({"path": "counter", "action": "suspend"});
    refused_for(node.post("/api/v1/supervision/actions", &suspend).await, why);
}

async fn reads_go_on(node: &TestNode) {
    for path in [
        "/healthz",
        "/metrics",
        "/api/v1/metrics/system",
        "/api/v1/agents",
        "/api/v1/agents/counter",
        "/api/v1/messages?limit=10",
        "/api/v1/supervision/tree",
        "/api/v1/supervision/events",
    ] {
        node.get(path).await.good();
    }
    assert_eq!(node.series("caxton_disk_full", &[]).await, Some(1.0));
}

/// The number of turns, when there was none for half a second. That nothing happens has no event to wait for.
async fn turns_at_rest(node: &TestNode) -> f64 {
    let mut last = (-1.0, 0);
    until("no more turns end", async || {
        let turns = node.series("caxton_turns_total", &[]).await.unwrap_or_default();
        last = if turns > last.0 {
            (turns, 0)
        } else {
            (last.0, last.1 + 1)
        };
        (last.1 >= 40).then_some(turns)
    })
    .await
}

async fn a_disk_gets_full_in_a_flood(config: &str) {
    let mut node = TestNode::start_on_faulty_disk(config, LITTLE, None).await;
    let agents = Flooded::deploy(&node).await;
    node.deploy_as(json!({"name": "slow"}), guests::slow_counter(100)).await;
    let mut alerts = Socket::subscribed(&node, &["system.alert"]).await;
    let ledger = Arc::new(Ledger::default());
    let senders = ledger.flood(&node);
    ledger.until_count(10).await;
    // More messages than the agent can handle before the disk is full.
    for _ in 0..40 {
        let sent = node.post("/api/v1/messages", &request("slow", &Value::Null)).await;
        if sent.status == 503 {
            break;
        }
        sent.good();
    }
    until_full(&node).await;
    let acknowledged = ledger.count();
    writes_are_refused(&node, FULL).await;
    reads_go_on(&node).await;
    alerts
        .until("system.alert", |alert| alert["severity"] == "critical")
        .await;
    turns_at_rest(&node).await;
    let waiting = node.series("caxton_mailbox_messages", &[]).await;
    assert!(
        waiting > Some(0.0),
        "there was nothing left to do, and nothing is shown"
    );

    node.disk().goes_wrong(MUCH);
    until_ready(&node).await;
    alerts.until("system.alert", |alert| alert["severity"] == "info").await;
    ledger.until_count(acknowledged + 50).await;
    ledger.stop();
    senders.join_all().await;
    node.kill_nine();
    node.disk().lose_power(Cut::Nothing);
    node.restart().await;
    ledger.all_there(&node, "after the disk was full").await;
    ledger.all_handled_once(&node, &agents).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_reads_go_on_writes_are_refused_and_it_ends_by_itself() {
    a_disk_gets_full_in_a_flood("limits.disk_reserve = \"4MiB\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_reserve_the_history_waits_for_room_and_loses_nothing() {
    a_disk_gets_full_in_a_flood("limits.disk_reserve = \"0\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_there_is_no_room_for_the_next_segment_what_was_acknowledged_stays_and_the_rest_waits() {
    the_log_cannot_rotate("full *.new", FULL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_descriptor_is_free_for_the_next_segment_the_journal_waits_as_for_room() {
    the_log_cannot_rotate("no-descriptor *.new", NO_DESCRIPTOR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_descriptor_is_free_for_the_folder_of_the_log_the_journal_waits_as_for_room() {
    the_log_cannot_rotate("no-descriptor */journal", NO_DESCRIPTOR).await;
}

async fn the_log_cannot_rotate(faults: &str, why: &str) {
    let mut node = TestNode::start_on_faulty_disk("", "", None).await;
    node.deploy("counter", "counter").await;
    node.disk().goes_wrong(faults);
    // The messages go to a client, so that only the journal and the history have work with them.
    let content = "x".repeat(1_000_000);
    let message = json!({"performative": "inform", "receiver": "client:reader", "content": content});
    let mut acknowledged = Vec::new();
    loop {
        let sent = node.post("/api/v1/messages", &message).await;
        if sent.status == 503 {
            refused_for(sent, why);
            break;
        }
        let id = sent.good()["message_id"].as_str().unwrap().to_owned();
        acknowledged.push(id);
    }
    assert!(acknowledged.len() > 50, "{} fill no segment", acknowledged.len());
    until_short_of(&node, why).await;
    writes_are_refused(&node, why).await;
    reads_go_on(&node).await;
    node.disk().goes_wrong("");
    until_ready(&node).await;
    assert_eq!(node.told("counter", &json!({"add": 1})).await, 1);
    node.kill_nine();
    node.disk().lose_power(Cut::Nothing);
    node.restart().await;
    for id in acknowledged {
        node.get(&format!("/api/v1/messages/{id}")).await.good();
    }
    assert_eq!(node.told("counter", &json!({"add": 1})).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_falls_due_while_the_disk_is_full_fires_when_there_is_room() {
    let node = TestNode::start_on_faulty_disk("limits.disk_reserve = \"50MiB\"", MUCH, None).await;
    node.deploy("timer", "timer").await;
    let began = Instant::now();
    assert_eq!(node.told("timer", &json!(2_000_000)).await, 1);
    node.disk().goes_wrong(LITTLE);
    until_full(&node).await;
    until("it is due", async || {
        (began.elapsed() > Duration::from_millis(2_500)).then_some(())
    })
    .await;
    let fired = async || {
        let mut messages = node.history("").await;
        messages.retain(|message| message["protocol"] == "caxton-timer");
        messages.len()
    };
    assert_eq!(fired().await, 0);
    node.disk().goes_wrong(MUCH);
    until_ready(&node).await;
    until("it fires", async || (fired().await == 1).then_some(())).await;
    assert_eq!(node.told("timer", &json!(null)).await, 1);
}
