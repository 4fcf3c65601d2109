//! The history: in pages, and as a stream.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::harness::TestNode;

/// All messages that match, as the server streams them.
async fn exported(node: &Client, query: &str) -> Vec<Value> {
    let request = node.request(Method::GET, &format!("/api/v1/messages?{query}"));
    let response = request.header("accept", "application/x-ndjson").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_export_is_all_pages_a_message_on_each_line() {
    let node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    node.deploy("echo", "echo").await;
    for n in 1..=20 {
        assert_eq!(node.told("counter", &json!(null)).await, n);
    }
    node.told("echo", &json!("once")).await;
    let pages = node.history("agent=counter").await;
    assert_eq!(pages.len(), 40);
    // The pages have the same messages as the stream.
    assert_eq!(exported(&node, "agent=counter&limit=3").await, pages);
    assert_eq!(exported(&node, "agent=counter").await, pages);
    assert_eq!(exported(&node, "performative=cfp").await, [Value::Null; 0]);
    let request = node.request(Method::GET, "/api/v1/messages?cursor=nonsense");
    let answer = Client::try_answer(request.header("accept", "application/x-ndjson")).await;
    let refused = answer.unwrap().refused(400, "INVALID_REQUEST");
    assert_eq!(refused["details"]["field"], "cursor");
}

#[tokio::test]
async fn a_page_of_large_messages_ends_early_and_the_next_goes_on() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let large = "x".repeat(3 << 20);
    let mut sent = Vec::new();
    for _ in 0..8 {
        sent.push(node.send("echo", &json!(large)).await);
    }
    let first = node.get("/api/v1/messages?performative=request&limit=100").await.good();
    let messages = first["messages"].as_array().unwrap();
    assert!(messages.len() < sent.len(), "{} messages of 3 MiB", messages.len());
    assert!(first["next_cursor"].is_string());
    let all = node.history("performative=request").await;
    let ids: Vec<_> = all
        .iter()
        .map(|message| message["message_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, sent);
}

#[tokio::test]
async fn what_a_client_sent_is_found_by_the_name_that_it_gave() {
    let node = TestNode::start().await;
    let echo = node.deploy("echo", "echo").await;
    for name in ["client_001", "nobody"] {
        for filter in ["sender", "receiver", "agent"] {
            let unknown = node.get(&format!("/api/v1/messages?{filter}={name}")).await;
            unknown.refused(404, "AGENT_NOT_FOUND");
        }
    }
    let message = json!({"performative": "request", "sender": "client_001", "receiver": "echo", "content": 1});
    node.post("/api/v1/messages/wait", &message).await.good();
    for name in ["client_001", "client:client_001"] {
        for (filter, count) in [("sender", 1), ("receiver", 1), ("agent", 2)] {
            let found = node.history(&format!("{filter}={name}")).await;
            assert_eq!(found.len(), count, "{filter}={name}: {found:#?}");
        }
    }
    let both = node.history(&format!("sender=client_001&receiver={echo}")).await;
    assert_eq!(both.len(), 1);
    let unknown = node.get("/api/v1/messages?sender=nobody").await;
    unknown.refused(404, "AGENT_NOT_FOUND");
    assert_eq!(node.history("sender=client:nobody").await.len(), 0);
}
