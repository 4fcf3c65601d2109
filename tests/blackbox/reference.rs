//! Sends each example of the API reference as printed, but with valid ids. The response must have every field of the printed one,
//! with the same type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::guests;
use crate::harness::TestNode;

/// Checks that `actual` has every field of the example, with the same JSON type.
#[track_caller]
fn has_shape(actual: &Value, example: &str) {
    let printed: Value = serde_json::from_str(example).unwrap();
    if let Err(problem) = compare("", actual, &printed) {
        panic!("{problem}\nin {actual:#}");
    }
}

fn compare(path: &str, actual: &Value, printed: &Value) -> Result<(), String> {
    match (actual, printed) {
        (Value::Object(actual), Value::Object(printed)) => printed.iter().try_for_each(|(name, printed)| {
            let path = format!("{path}.{name}");
            let actual = actual.get(name).ok_or_else(|| format!("{path} is missing"))?;
            compare(&path, actual, printed)
        }),
        (Value::Array(actual), Value::Array(printed)) => {
            if actual.is_empty() {
                return Err(format!("{path} is empty, so that its shape cannot be seen"));
            }
            let compare = |(i, actual)| compare(&format!("{path}[{i}]"), actual, &printed[0]);
            actual.iter().enumerate().try_for_each(compare)
        }
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_)) => Ok(()),
        _ => Err(format!("{path} is {actual}, and is printed as {printed}")),
    }
}

/// The `config` of the deploy in the reference.
const CONFIG: &str = r#"{"name":"my-agent","strategy":"immediate","resources":{"memory":"50MB","cpu":"100000"}}"#;

const DEPLOYED: &str = r#"{
  "agent_id": "agent_123", "name": "my-agent", "status": "running", "deployed_at": "2024-01-15T10:30:00Z",
  "version": "1.0.0", "deployment_id": "deploy_456", "lifecycle_state": "running",
  "resource_limits": {"memory": "50MB", "cpu_fuel": 100000}
}"#;

async fn deploy_my_agent(node: &TestNode) -> Value {
    let config: Value = serde_json::from_str(CONFIG).unwrap();
    node.try_deploy(&config, guests::example("echo")).await.good()
}

#[tokio::test]
async fn a_deploy_by_form_answers_as_printed() {
    let node = TestNode::start().await;
    let agent = deploy_my_agent(&node).await;
    has_shape(&agent, DEPLOYED);
    assert_eq!(
        (&agent["name"], &agent["status"]),
        (&json!("my-agent"), &json!("running"))
    );
    assert_eq!(agent["resource_limits"]["memory"], "50MB");
    assert_eq!(agent["resource_limits"]["cpu_fuel"], 100_000);
    assert_eq!(agent["version"], "1.0.0");
    assert!(agent["agent_id"].as_str().unwrap().starts_with("agent_"));
    assert!(agent["deployment_id"].as_str().unwrap().starts_with("deploy_"));
}

#[tokio::test]
async fn a_deploy_in_json_answers_as_printed() {
    let node = TestNode::start().await;
    let config: Value = serde_json::from_str(CONFIG).unwrap();
    let body = json!({"wasm_module": BASE64.encode(guests::example("echo")), "config": config});
    let answer = node.post("/api/v1/agents", &body).await;
    assert_eq!(answer.status, 201);
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let agent = answer.good();
    has_shape(&agent, DEPLOYED);
    assert_eq!(node.get(&location).await.good()["agent_id"], agent["agent_id"]);
    assert_eq!(node.told("my-agent", &json!({"a": 1})).await, json!({"a": 1}));
}

#[tokio::test]
async fn null_means_absent() {
    let node = TestNode::start().await;
    let config =
        json!({"name": "echo", "version": null, "resources": {"memory": null, "cpu": null}, "permissions": null});
    let agent = node.try_deploy(&config, guests::example("echo")).await.good();
    assert_eq!(agent["version"], "1.0.0");
    let message = json!({"performative": "request", "sender": null, "receiver": "echo", "content": {"kept": null},
        "conversation_id": null, "reply_with": null, "protocol": null, "language": null});
    let answer = node.post("/api/v1/messages/wait", &message).await.good();
    assert_eq!(
        answer["reply"]["content"],
        json!({"kept": null}),
        "content is the sender's own"
    );
    assert_eq!(answer["reply"]["receiver"], "client:anonymous");
    let stop = json!({"grace_period_seconds": null, "drain_messages": null});
    node.post("/api/v1/agents/echo/stop", &stop).await.good();
}

#[tokio::test]
async fn a_list_answers_as_printed() {
    let node = TestNode::start().await;
    for n in 0..12 {
        node.deploy(&format!("agent-{n}"), "echo").await;
    }
    let page = node.get("/api/v1/agents?status=running&limit=10&offset=0").await.good();
    has_shape(
        &page,
        r#"{
          "agents": [{
            "agent_id": "agent_123", "name": "my-agent", "status": "running", "created_at": "2024-01-15T10:30:00Z",
            "resources": {"memory_used": "25MB", "cpu_usage": 0.15}
          }],
          "total": 42, "next_offset": 10
        }"#,
    );
    assert_eq!((&page["total"], &page["next_offset"]), (&json!(12), &json!(10)));
    assert_eq!(page["agents"].as_array().unwrap().len(), 10);

    let last = node
        .get("/api/v1/agents?status=running&limit=10&offset=10")
        .await
        .good();
    assert_eq!(
        (last["agents"].as_array().unwrap().len(), &last["next_offset"]),
        (2, &Value::Null)
    );
    let both = page["agents"]
        .as_array()
        .unwrap()
        .iter()
        .chain(last["agents"].as_array().unwrap());
    let names: std::collections::BTreeSet<_> = both.map(|agent| agent["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 12, "each agent is on one page");
    let beyond = node.get("/api/v1/agents?offset=500").await.good();
    assert_eq!((&beyond["agents"], &beyond["total"]), (&json!([]), &json!(12)));
    assert_eq!(node.get("/api/v1/agents?status=failed").await.good()["total"], 0);
}

#[tokio::test]
async fn the_details_of_an_agent_are_as_printed() {
    let node = TestNode::start().await;
    let deployed = deploy_my_agent(&node).await;
    let id = deployed["agent_id"].as_str().unwrap();
    node.told(id, &json!("hello")).await;
    let agent = node.agent(id).await;
    has_shape(
        &agent,
        r#"{
          "agent_id": "agent_123", "name": "my-agent", "status": "running", "version": "1.0.0",
          "deployment": {"strategy": "direct", "deployed_at": "2024-01-15T10:30:00Z", "deployed_by": "user@example.com"},
          "resources": {"limits": {"memory": "50MB", "cpu": "100m"}, "usage": {"memory": "25MB", "cpu": "50m"}},
          "metrics": {"messages_processed": 1542, "messages_failed": 3, "average_latency_ms": 12.5, "uptime_seconds": 3600}
        }"#,
    );
    assert_eq!(agent["deployment"]["strategy"], "direct");
    assert_eq!(
        (
            &agent["metrics"]["messages_processed"],
            &agent["metrics"]["messages_failed"]
        ),
        (&json!(1), &json!(0))
    );
    assert_eq!(
        node.agent("my-agent").await["agent_id"],
        id,
        "a name does as well as an id"
    );
}

#[tokio::test]
async fn a_stop_and_a_removal_answer_as_printed() {
    let node = TestNode::start().await;
    let id = node.deploy("my-agent", "echo").await;
    let stop = json!({"grace_period_seconds": 30, "drain_messages": true});
    let answer = node.post(&format!("/api/v1/agents/{id}/stop"), &stop).await.good();
    has_shape(
        &answer,
        r#"{"agent_id": "agent_123", "status": "draining", "estimated_completion": "2024-01-15T10:31:00Z"}"#,
    );
    assert_eq!(answer["status"], "draining");
    node.until_status(&id, "stopped").await;

    let answer = node.delete(&format!("/api/v1/agents/{id}")).await.good();
    has_shape(
        &answer,
        r#"{"agent_id": "agent_123", "status": "removed", "removed_at": "2024-01-15T10:35:00Z"}"#,
    );
    assert_eq!(
        (&answer["agent_id"], &answer["status"]),
        (&json!(id), &json!("removed"))
    );
    node.get(&format!("/api/v1/agents/{id}"))
        .await
        .refused(404, "AGENT_NOT_FOUND");
    node.delete(&format!("/api/v1/agents/{id}"))
        .await
        .refused(404, "AGENT_NOT_FOUND");
}

/// The message in the reference, to `receiver`.
fn printed_message(receiver: &str) -> Value {
    json!({
        "performative": "request",
        "sender": "client_001",
        "receiver": receiver,
        "content": {"action": "process", "data": {"key": "value"}},
        "conversation_id": "conv_789",
        "reply_with": "msg_001"
    })
}

#[tokio::test]
async fn a_send_answers_as_printed() {
    let node = TestNode::start().await;
    let id = node.deploy("my-agent", "echo").await;
    let sent = node.post("/api/v1/messages", &printed_message(&id)).await.good();
    has_shape(
        &sent,
        r#"{"message_id": "msg_abc123", "status": "delivered", "delivered_at": "2024-01-15T10:30:00.123Z"}"#,
    );
    assert_eq!(sent["status"], "delivered");
    let message = node.until_settled(sent["message_id"].as_str().unwrap()).await;
    assert_eq!(
        (&message["status"], &message["receiver"]),
        (&json!("processed"), &json!(id))
    );
    assert_eq!(
        (&message["sender"], &message["reply_with"]),
        (&json!("client:client_001"), &json!("msg_001"))
    );
}

#[tokio::test]
async fn a_send_that_waits_answers_with_the_reply() {
    let node = TestNode::start().await;
    let id = node.deploy("my-agent", "echo").await;
    let answer = node
        .post("/api/v1/messages/wait?timeout_seconds=10", &printed_message(&id))
        .await
        .good();
    let expected = json!({"message_id": "", "status": "", "reply": {
        "message_id": "", "timestamp": "", "performative": "", "sender": "", "receiver": "", "content": {},
        "conversation_id": "", "in_reply_to": ""}});
    has_shape(&answer, &expected.to_string());
    let reply = &answer["reply"];
    assert_eq!(
        (&reply["performative"], &reply["sender"]),
        (&json!("inform"), &json!(id))
    );
    assert_eq!(
        (&reply["conversation_id"], &reply["in_reply_to"]),
        (&json!("conv_789"), &json!("msg_001"))
    );
    assert_eq!(reply["content"], json!({"action": "process", "data": {"key": "value"}}));

    // The agent `echo` does not reply to an inform.
    let inform = json!({"performative": "inform", "receiver": id, "content": "no question"});
    let late = node
        .post("/api/v1/messages/wait?timeout_seconds=0.2", &inform)
        .await
        .refused(504, "TIMEOUT");
    let message_id = late["details"]["message_id"].as_str().unwrap();
    assert_eq!(node.until_settled(message_id).await["status"], "processed");
}

#[tokio::test]
async fn the_history_of_a_conversation_is_as_printed_and_in_pages() {
    let node = TestNode::start().await;
    let id = node.deploy("my-agent", "echo").await;
    for _ in 0..3 {
        node.post("/api/v1/messages/wait", &printed_message(&id)).await.good();
    }
    node.told(&id, &json!("another conversation")).await;
    let page = node
        .get("/api/v1/messages?conversation_id=conv_789&limit=5")
        .await
        .good();
    has_shape(
        &page,
        r#"{
          "messages": [{
            "message_id": "msg_001", "performative": "request", "sender": "agent_123", "receiver": "agent_456",
            "content": {}, "timestamp": "2024-01-15T10:30:00Z"
          }],
          "total": 150, "next_cursor": "cursor_abc"
        }"#,
    );
    assert_eq!(
        (page["messages"].as_array().unwrap().len(), &page["total"]),
        (5, &json!(6))
    );
    let cursor = page["next_cursor"].as_str().unwrap();
    let last = node
        .get(&format!(
            "/api/v1/messages?conversation_id=conv_789&limit=5&cursor={cursor}"
        ))
        .await
        .good();
    assert_eq!(
        (last["messages"].as_array().unwrap().len(), &last["next_cursor"]),
        (1, &Value::Null)
    );

    let all = node.history("conversation_id=conv_789").await;
    let acts: Vec<_> = all
        .iter()
        .map(|message| message["performative"].as_str().unwrap())
        .collect();
    let (asked, told) = (
        acts.iter().filter(|act| **act == "request"),
        acts.iter().filter(|act| **act == "inform"),
    );
    assert_eq!((asked.count(), told.count()), (3, 3));
    let informs = node.history(&format!("conversation_id=conv_789&sender={id}")).await;
    assert!(informs.len() == 3 && informs.iter().all(|message| message["performative"] == "inform"));
}

#[tokio::test]
async fn the_systems_metrics_are_as_printed() {
    let node = TestNode::start().await;
    node.deploy("my-agent", "echo").await;
    node.told("my-agent", &json!(1)).await;
    let metrics = node.get("/api/v1/metrics/system").await.good();
    has_shape(
        &metrics,
        r#"{
          "timestamp": "2024-01-15T10:30:00Z",
          "agents": {"total": 42, "running": 40, "failed": 2},
          "messages": {"total_processed": 1000000, "rate_per_second": 1500, "queue_size": 250},
          "resources": {"cpu_usage_percent": 45.2, "memory_used_mb": 2048, "memory_available_mb": 6144, "disk_used_gb": 10.5},
          "performance": {"message_latency_p50": 10.5, "message_latency_p99": 125.3, "agent_spawn_time_ms": 85.2}
        }"#,
    );
    assert_eq!(metrics["agents"]["running"], 1);
    assert!(metrics["resources"]["memory_used_mb"].as_u64().unwrap() > 0);
    assert!(metrics["performance"]["message_latency_p99"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn an_agents_metrics_are_as_printed() {
    let node = TestNode::start().await;
    let id = node.deploy("my-agent", "error").await;
    node.failure(&id, "error").await;
    let metrics = node.get(&format!("/api/v1/metrics/agents/{id}?period=1h")).await.good();
    has_shape(
        &metrics,
        r#"{
          "agent_id": "agent_123", "period": "1h",
          "metrics": {
            "messages_processed": 5432, "messages_failed": 12, "average_latency_ms": 15.3,
            "cpu_usage": {"average": 0.25, "peak": 0.85}, "memory_usage": {"average_mb": 32, "peak_mb": 48},
            "errors": [{"timestamp": "2024-01-15T10:15:00Z", "error": "timeout", "count": 3}]
          }
        }"#,
    );
    assert_eq!((&metrics["agent_id"], &metrics["period"]), (&json!(id), &json!("1h")));
    assert_eq!(metrics["metrics"]["messages_failed"], 1);
}

#[tokio::test]
async fn an_error_is_as_printed() {
    let node = TestNode::start().await;
    let answer = node.get("/api/v1/agents/agent_999").await;
    has_shape(
        &answer.body,
        r#"{"error": {
          "code": "AGENT_NOT_FOUND", "message": "Agent with ID 'agent_999' not found",
          "details": {"agent_id": "agent_999", "searched_at": "2024-01-15T10:30:00Z"}, "trace_id": "trace_abc123"
        }}"#,
    );
    let error = answer.refused(404, "AGENT_NOT_FOUND");
    assert_eq!(error["message"], "Agent with ID 'agent_999' not found");
    assert_eq!(error["details"]["agent_id"], "agent_999");
}
