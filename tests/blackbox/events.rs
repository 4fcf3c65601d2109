//! The WebSocket: subscribers get events in order.

use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::TestNode;
use crate::socket::Socket;

#[tokio::test]
async fn events_come_by_glob_in_the_order_of_their_sequence() {
    let node = TestNode::start().await;
    let mut socket = Socket::subscribed(&node, &["agent.*", "message.*"]).await;
    let id = node.deploy("echo", "echo").await;
    for n in 0..20 {
        node.told("echo", &json!(n)).await;
    }
    node.delete("/api/v1/agents/echo").await.good();
    socket.until_about("agent.removed", &id).await;

    let seqs: Vec<_> = socket
        .heard
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    for event in &socket.heard {
        assert!(
            event["id"].is_string() && event["timestamp"].is_string() && event["type"].is_string(),
            "{event:#}"
        );
    }
    let kinds: Vec<_> = socket
        .heard
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds[0], "agent.deployed");
    let count = |kind: &str| kinds.iter().filter(|k| **k == kind).count();
    assert_eq!(
        (count("message.sent"), count("message.processed")),
        (40, 20),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn events_are_as_printed() {
    let node = TestNode::start().await;
    let mut socket = Socket::subscribed(&node, &["agent.deployed", "message.sent"]).await;
    let id = node.deploy("echo", "echo").await;
    let deployed = socket.next().await;
    assert_eq!(
        (&deployed["type"], &deployed["agent_id"]),
        (&json!("agent.deployed"), &json!(id))
    );
    assert!(deployed["timestamp"].is_string());

    let asked = node.send("echo", &json!("hello")).await;
    let sent = socket.next().await;
    assert_eq!(
        (&sent["type"], &sent["message_id"]),
        (&json!("message.sent"), &json!(asked))
    );
    for (from, to) in [("from", "to"), ("sender", "receiver")] {
        assert_eq!(
            (&sent[from], &sent[to]),
            (&json!("client:tester"), &json!(id)),
            "{sent:#}"
        );
    }
    assert_eq!(sent["performative"], "request");
    let answer = socket.next().await;
    assert_eq!((&answer["from"], &answer["to"]), (&json!(id), &json!("client:tester")));
    assert_eq!(answer["performative"], "inform");
}

#[tokio::test]
async fn a_subscription_to_messages_filters_by_agent_and_performative_as_printed() {
    let node = TestNode::start().await;
    let (first, _) = (node.deploy("first", "echo").await, node.deploy("second", "echo").await);
    let mut socket = Socket::open(&node).await;
    socket
        .subscribe(&json!({"filter": {"agents": [first, "second"], "performatives": ["inform"]}}))
        .await;
    let mut only_first = Socket::open(&node).await;
    only_first
        .subscribe(&json!({"filter": {"agents": ["first"], "performatives": ["inform", "request"]}}))
        .await;
    node.told("second", &json!(2)).await;
    node.told("first", &json!(1)).await;

    for _ in 0..2 {
        let event = socket.next().await;
        assert_eq!(
            (&event["type"], &event["performative"]),
            (&json!("message.sent"), &json!("inform"))
        );
    }
    let (asked, told) = (only_first.next().await, only_first.next().await);
    assert_eq!((&asked["to"], &told["from"]), (&json!(first), &json!(first)));
}

#[tokio::test]
async fn a_subscription_to_events_filters_by_agent_as_printed() {
    let node = TestNode::start().await;
    let (first, second) = (node.deploy("first", "echo").await, node.deploy("second", "echo").await);
    let mut socket = Socket::open(&node).await;
    socket
        .subscribe(&json!({"events": ["agent.*", "task.completed"], "filters": {"agent_ids": [second]}}))
        .await;
    node.delete(&format!("/api/v1/agents/{first}")).await.good();
    node.delete(&format!("/api/v1/agents/{second}")).await.good();
    socket.until_about("agent.removed", &second).await;
    assert!(
        socket.heard.iter().all(|event| event["agent_id"] == second.as_str()),
        "{:#?}",
        socket.heard
    );
}

#[tokio::test]
async fn an_event_comes_once_with_every_subscription_that_wants_it() {
    let node = TestNode::start().await;
    let mut socket = Socket::open(&node).await;
    let agents = socket.subscribe(&json!({"events": ["agent.*"]})).await;
    let all = socket.subscribe(&json!({"events": ["*"]})).await;
    let id = node.deploy("echo", "echo").await;
    let event = socket.until_about("agent.deployed", &id).await;
    let ids: Vec<&str> = event["subscription_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect();
    assert!(
        ids.len() == 2 && ids.contains(&agents.as_str()) && ids.contains(&all.as_str()),
        "{event:#}"
    );
    node.told("echo", &json!(1)).await;
    let event = socket.until("message.sent", |_| true).await;
    assert_eq!(event["subscription_ids"], json!([all]));
}

#[tokio::test]
async fn who_unsubscribes_hears_no_more() {
    let node = TestNode::start().await;
    let mut socket = Socket::open(&node).await;
    let messages = socket.subscribe(&json!({"events": ["message.*"]})).await;
    socket.subscribe(&json!({"events": ["agent.*"]})).await;
    node.deploy("echo", "echo").await;
    let done = socket
        .answered(
            &json!({"type": "unsubscribe", "subscription_id": messages}),
            "unsubscribed",
        )
        .await;
    assert_eq!(done["subscription_id"], messages.as_str());
    node.told("echo", &json!(1)).await;
    let id = node.agent("echo").await["agent_id"].as_str().unwrap().to_owned();
    node.delete("/api/v1/agents/echo").await.good();
    socket.until_about("agent.removed", &id).await;
    assert!(
        socket
            .heard
            .iter()
            .all(|event| event["type"].as_str().unwrap().starts_with("agent.")),
        "{:#?}",
        socket.heard
    );
}

#[tokio::test]
async fn a_message_that_cannot_be_done_is_answered_with_an_error_and_the_connection_stays() {
    let node = TestNode::start().await;
    let mut socket = Socket::open(&node).await;
    let hello = socket.next().await;
    assert_eq!(hello["type"], "hello");
    assert!(
        hello["heartbeat_interval_seconds"]
            .as_u64()
            .is_some_and(|seconds| seconds > 0),
        "{hello:#}"
    );
    for (message, field) in [
        ("nonsense", "body"),
        (r#"{"type":"shout"}"#, "type"),
        (r#"{"type":"subscribe","colour":"red"}"#, "colour"),
        (r#"{"type":"subscribe","events":[]}"#, "events"),
        (r#"{"type":"subscribe","events":["[a"]}"#, "events"),
        (
            r#"{"type":"subscribe","filter":{"agents":["nobody"]}}"#,
            "filter.agents",
        ),
        (
            r#"{"type":"subscribe","filter":{"performatives":["shout"]}}"#,
            "filter.performatives[0]",
        ),
        (
            r#"{"type":"unsubscribe","subscription_id":"sub_123"}"#,
            "subscription_id",
        ),
    ] {
        socket.say(message).await;
        let answer = socket.next().await;
        assert_eq!(
            (&answer["type"], &answer["error"]["code"]),
            (&json!("error"), &json!("INVALID_REQUEST")),
            "{message}"
        );
        assert_eq!(answer["error"]["details"]["field"], field, "{message}: {answer:#}");
        assert!(answer["error"]["message"].is_string() && answer["error"]["trace_id"].is_string());
    }
    assert_eq!(socket.answered(&json!({"type": "ping"}), "pong").await["type"], "pong");
}

#[tokio::test]
async fn a_web_page_of_another_machine_is_refused() {
    let node = TestNode::start().await;
    for (origin, expected) in [
        ("https://evil.example", Some(403)),
        ("null", Some(403)),
        ("http://localhost:3000", None),
    ] {
        for path in ["/ws", "/api/v1/ws"] {
            let mut request = node.websocket_url(path).into_client_request().unwrap();
            request.headers_mut().insert("origin", origin.parse().unwrap());
            let status = match connect_async(request).await {
                Ok(_) => None,
                Err(Error::Http(response)) => Some(response.status().as_u16()),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(status, expected, "{origin} at {path}");
        }
    }
}

#[tokio::test]
async fn the_sequence_goes_on_after_a_restart() {
    let mut node = TestNode::start().await;
    let mut socket = Socket::subscribed(&node, &["*"]).await;
    node.deploy("echo", "echo").await;
    node.told("echo", &json!(1)).await;
    let last = socket.until("message.processed", |_| true).await["seq"]
        .as_u64()
        .unwrap();
    node.kill_nine();
    node.restart().await;
    let mut socket = Socket::subscribed(&node, &["message.*"]).await;
    node.told("echo", &json!(2)).await;
    let next: Value = socket.until("message.sent", |_| true).await;
    assert!(next["seq"].as_u64().unwrap() > last, "{last}, then {next:#}");
}

#[tokio::test]
async fn events_of_messages_have_their_content_for_those_who_ask() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let mut without = Socket::subscribed(&node, &["message.sent"]).await;
    let mut with = Socket::open(&node).await;
    with.subscribe(&json!({"events": ["message.*"], "content": true})).await;
    // The second is larger than what an event carries.
    let contents = [json!({"small": 1}), json!("x".repeat(1 << 20)), json!(3)];
    for content in &contents {
        node.send("echo", content).await;
    }
    let bytes = json!({"performative": "inform", "receiver": "echo", "encoding": "base64", "content": "AP8="});
    node.post("/api/v1/messages", &bytes).await.good();
    let mut seen = Vec::new();
    while seen.len() < contents.len() {
        let event = with
            .until("message.sent", |event| event["performative"] == "request")
            .await;
        seen.push(event["content"].clone());
    }
    assert_eq!(seen, contents, "in their order");
    let event = with.until("message.sent", |event| event["encoding"] == "base64").await;
    assert_eq!(
        (&event["content"], &event["content_type"]),
        (&json!("AP8="), &json!("application/octet-stream"))
    );
    assert!(
        with.heard
            .iter()
            .all(|event| (event["type"] == "message.sent") == event.get("content").is_some())
    );

    // The same from the journal.
    let mut again = Socket::open(&node).await;
    again
        .subscribe(&json!({"events": ["message.sent"], "content": true, "since_seq": 0}))
        .await;
    for content in &contents {
        let event = again
            .until("message.sent", |event| event["performative"] == "request")
            .await;
        assert_eq!(&event["content"], content);
    }
    let event = without.until("message.sent", |_| true).await;
    assert!(event.get("content").is_none(), "{event:#}");
}

#[tokio::test]
async fn the_content_of_an_event_is_as_it_was_written() {
    let node = TestNode::start().await;
    let mut socket = Socket::open(&node).await;
    socket
        .subscribe(&json!({"filter": {"agents": ["client:me"]}, "content": true}))
        .await;
    let written = r#"{"wei": 123456789012345678901234567890,"b":1.10,"a":1,"b":2}"#;
    let message = format!(r#"{{"performative":"inform","receiver":"client:me","content":{written}}}"#);
    node.post_text("/api/v1/messages", "application/json", message)
        .await
        .good();
    let text = socket.next_text().await;
    assert!(text.ends_with(&format!(r#","content":{written}}}"#)), "{text}");
}

#[tokio::test]
async fn a_client_can_be_the_party_that_a_subscription_is_about() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    node.send("echo", &json!(1)).await;
    let mut socket = Socket::open(&node).await;
    // `tester` is the client that sent the message.
    socket
        .subscribe(&json!({"filter": {"agents": ["tester"], "performatives": ["request"]}}))
        .await;
    let other = json!({"performative": "request", "sender": "other", "receiver": "echo", "content": 2});
    node.post("/api/v1/messages", &other).await.good();
    let asked = node.send("echo", &json!(3)).await;
    assert_eq!(socket.until("message.sent", |_| true).await["message_id"], asked);
}
