//! Where a message is: one table of words, in the response to a send, in the history, and in its filters.

use serde_json::{Value, json};

use crate::client::request;
use crate::guests;
use crate::harness::TestNode;

const MESSAGES: &str = "/api/v1/messages";

/// The ids of the messages with this status.
async fn with_status(node: &TestNode, status: &str) -> Vec<String> {
    let messages = node.history(&format!("status={status}")).await;
    assert!(
        messages.iter().all(|message| message["status"] == status),
        "{messages:#?}"
    );
    messages
        .iter()
        .map(|message| message["message_id"].as_str().unwrap().to_owned())
        .collect()
}

async fn status_of(node: &TestNode, id: &str) -> Value {
    node.get(&format!("{MESSAGES}/{id}")).await.good()["status"].clone()
}

#[tokio::test]
async fn a_message_is_where_the_response_to_its_send_says() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    node.post("/api/v1/agents/echo/suspend", &json!({})).await.good();
    let sent = node.post(MESSAGES, &request("echo", &json!(1))).await.good();
    let id = sent["message_id"].as_str().unwrap();
    assert_eq!(
        (&sent["status"], &status_of(&node, id).await),
        (&json!("delivered"), &json!("delivered"))
    );
    assert_eq!(with_status(&node, "delivered").await, [id]);

    node.post("/api/v1/agents/echo/resume", &json!({})).await.good();
    assert_eq!(node.until_settled(id).await["status"], "processed");
    assert!(with_status(&node, "processed").await.contains(&id.to_owned()));
    // Nobody waits for the reply.
    let replies = node.history("performative=inform").await;
    assert_eq!((replies.len(), &replies[0]["status"]), (1, &json!("queued")));
}

#[tokio::test]
async fn a_message_that_no_client_has_read_is_queued() {
    let node = TestNode::start().await;
    let sent = node.post(MESSAGES, &request("client:me", &json!(1))).await.good();
    assert_eq!(sent["status"], "queued");
    let id = sent["message_id"].as_str().unwrap();
    let stored = node.get(&format!("{MESSAGES}/{id}")).await.good();
    assert_eq!((&stored["status"], &stored["attempts"]), (&json!("queued"), &json!(0)));
    assert_eq!(with_status(&node, "queued").await, [id]);

    node.deploy("echo", "echo").await;
    let both = json!({"performative": "inform", "receiver": ["client:me", "echo"], "content": 1});
    let sent = node.post(MESSAGES, &both).await.good();
    assert_eq!(sent["status"], "delivered");
    let receivers = sent["receivers"].as_array().unwrap();
    let statuses: Vec<_> = receivers.iter().map(|receiver| &receiver["status"]).collect();
    assert_eq!(statuses, ["queued", "delivered"]);
    let settled = node.until_settled(sent["message_id"].as_str().unwrap()).await;
    assert_eq!(settled["status"], "queued", "the client has not read it");
}

#[tokio::test]
async fn the_reply_that_a_caller_waits_for_is_processed() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let reply = node.ask("echo", &json!(1)).await;
    assert_eq!(reply["status"], "processed");
    assert_eq!(
        status_of(&node, reply["message_id"].as_str().unwrap()).await,
        "processed"
    );
}

#[tokio::test]
async fn what_fails_and_what_dies_are_told_apart_after_a_crash_too() {
    let mut node = TestNode::start().await;
    node.deploy("sulky", "error").await;
    node.failure("sulky", "error").await;
    let config = json!({"name": "poisoned", "supervision": {"backoff": {"min": "1ms", "max": "1ms"}}});
    node.deploy_as(config, guests::example("crash")).await;
    node.failure("poisoned", "crashed").await;
    for _ in 0..2 {
        let (failed, dead) = (with_status(&node, "failed").await, with_status(&node, "dead").await);
        assert_eq!((failed.len(), dead.len()), (1, 1));
        node.kill_nine();
        node.restart().await;
    }
}

#[tokio::test]
async fn a_message_whose_reply_by_is_past_is_refused() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let mut late = request("echo", &json!(1));
    late["reply_by"] = "2020-01-01T00:00:00Z".into();
    for path in [MESSAGES, "/api/v1/messages/wait"] {
        let error = node.post(path, &late).await.refused(400, "INVALID_REQUEST");
        assert_eq!(
            (&error["details"]["field"], &error["details"]["reason"]),
            (&json!("reply_by"), &json!("expired"))
        );
        assert!(error["message"].as_str().unwrap().contains("2020-01-01"), "{error:#}");
    }
    assert_eq!(node.history("agent=echo").await.len(), 0, "it was not sent");
    late["reply_by"] = "2120-01-01T00:00:00Z".into();
    node.post(MESSAGES, &late).await.good();
}

#[tokio::test]
async fn an_agent_whose_message_has_expired_hears_of_it() {
    let node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    let late = guests::sending("forward", r#""reply_by":"2020-01-01T00:00:00Z""#);
    node.deploy_as(json!({"name": "late"}), late).await;
    let asked = node.send("late", &json!(1)).await;
    node.until_settled(&asked).await;
    let expired = node.history("status=expired").await;
    assert_eq!(expired.len(), 1, "{expired:#?}");
    let failures = node.history("performative=failure&sender=platform").await;
    let about = expired[0]["message_id"].as_str().unwrap();
    assert!(
        failures
            .iter()
            .any(|failure| failure["content"]["reason"] == "expired" && failure["content"]["message_id"] == about),
        "{failures:#?}"
    );
}
