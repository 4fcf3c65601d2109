//! The life of an agent, from its deploy to its removal.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::guests;
use crate::harness::TestNode;
use crate::socket::Socket;

#[tokio::test]
async fn a_life_is_told_event_by_event() {
    let node = TestNode::start().await;
    let mut socket = Socket::subscribed(&node, &["agent.*"]).await;
    let id = node.deploy("echo", "echo").await;
    node.post("/api/v1/agents/echo/stop", &json!({})).await.good();
    node.until_status("echo", "stopped").await;
    node.delete("/api/v1/agents/echo").await.good();
    socket.until_about("agent.removed", &id).await;
    let kinds: Vec<_> = socket
        .heard
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    let told = ["agent.deployed", "agent.draining", "agent.stopped", "agent.removed"];
    let first = |kind: &str| kinds.iter().position(|k| *k == kind);
    let order: Vec<_> = told
        .iter()
        .map(|kind| first(kind).unwrap_or_else(|| panic!("{kind}: {kinds:?}")))
        .collect();
    assert!(order.is_sorted(), "{kinds:?}");
}

#[tokio::test]
async fn of_two_deploys_of_one_name_one_wins() {
    let node = TestNode::start().await;
    let mut deploys = JoinSet::new();
    for _ in 0..8 {
        let client = node.client();
        deploys.spawn(async move {
            client
                .try_deploy(&json!({"name": "echo"}), guests::example("echo"))
                .await
                .status
        });
    }
    let mut statuses = deploys.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(node.agent_ids().await.len(), 1);
    assert_eq!(node.told("echo", &json!(1)).await, 1);
}

#[tokio::test]
async fn many_agents_of_one_module_live_apart() {
    let node = TestNode::start().await;
    for n in 0..20 {
        node.deploy(&format!("counter-{n}"), "counter").await;
    }
    let mut asking = JoinSet::new();
    for n in 0..20 {
        let client = node.client();
        asking.spawn(async move {
            for count in 1..=5 {
                assert_eq!(client.told(&format!("counter-{n}"), &json!(null)).await, count);
            }
        });
    }
    while let Some(ended) = asking.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn messages_of_one_sender_are_handled_in_their_order() {
    let node = TestNode::start().await;
    let id = node.deploy("counter", "counter").await;
    let mut asked = Vec::new();
    for n in 0..50 {
        asked.push(node.send("counter", &json!(n)).await);
    }
    for message in &asked {
        node.until_settled(message).await;
    }
    let answers = node.history(&format!("sender={id}")).await;
    for (n, message) in asked.iter().enumerate() {
        let answer = answers
            .iter()
            .find(|answer| answer["in_reply_to"] == message.as_str())
            .unwrap();
        assert_eq!(answer["content"], n + 1);
    }
}

#[tokio::test]
async fn a_message_to_several_reaches_each_and_says_who_refused() {
    let node = TestNode::start().await;
    let (one, two) = (node.deploy("one", "counter").await, node.deploy("two", "counter").await);
    let message = json!({"performative": "request", "receiver": ["one", "two", "nobody"], "content": 1});
    let sent = node.post("/api/v1/messages", &message).await.good();
    let receivers = sent["receivers"].as_array().unwrap();
    let refused: Vec<&Value> = receivers
        .iter()
        .filter(|receiver| receiver["status"] != "delivered")
        .collect();
    assert!(receivers.len() == 3 && refused.len() == 1, "{sent:#}");
    assert_eq!(
        (&refused[0]["receiver"], &refused[0]["reason"]),
        (&json!("nobody"), &json!("unknown_receiver"))
    );
    node.until_settled(sent["message_id"].as_str().unwrap()).await;
    for agent in [one, two] {
        assert_eq!(node.history(&format!("sender={agent}")).await.len(), 1);
    }
}

#[tokio::test]
async fn a_component_in_rust_answers_too() {
    let node = TestNode::start().await;
    node.deploy_as(json!({"name": "echo"}), guests::built("echo")).await;
    let content = json!({"text": "grüße", "numbers": [1, 2.5, 18_446_744_073_709_551_615_u64]});
    assert_eq!(node.told("echo", &content).await, content);
}

#[tokio::test]
async fn content_arrives_as_it_was_sent_however_large_and_odd() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    for content in [
        json!(null),
        json!([]),
        json!(18_446_744_073_709_551_615_u64),
        json!("quotes \" and \\ and \n and \u{0} and 😀"),
        json!({"sender": "\"sender\":\"x\"", "content": {"content": [1, {"conversation_id": "c"}]}}),
        json!("x".repeat(3 << 20)),
    ] {
        assert_eq!(node.told("echo", &content).await, content);
    }
    let message = json!({"performative": "request", "sender": "a\"b\\c", "receiver": "echo", "content": 1,
        "conversation_id": "conv \"odd\" \\ ü", "reply_with": "r\"\\\n"});
    let reply = node.post("/api/v1/messages/wait", &message).await.good()["reply"].clone();
    assert_eq!(reply["in_reply_to"], message["reply_with"]);
    assert_eq!(reply["conversation_id"], message["conversation_id"]);
    assert_eq!(reply["receiver"], "client:a\"b\\c");
}

#[tokio::test]
async fn a_strategy_is_a_text_or_an_object_and_what_is_not_built_is_named() {
    let node = TestNode::start().await;
    for (name, strategy) in [("one", json!("canary")), ("two", json!({"type": "canary"}))] {
        let config = json!({"name": name, "strategy": strategy});
        node.try_deploy(&config, guests::example("echo")).await.good();
        assert_eq!(node.agent(name).await["config"]["strategy"], "canary");
    }
    for (strategy, field) in [
        (json!({"type": "hope"}), "config.strategy.type"),
        (json!({}), "config.strategy.type"),
        (
            json!({"type": "canary", "stages": [{"percentage": 10}]}),
            "config.strategy.stages",
        ),
        (
            json!({"type": "canary", "rollback_on_error": true}),
            "config.strategy.rollback_on_error",
        ),
        (json!({"type": "canary", "colour": "red"}), "config.strategy.colour"),
    ] {
        let config = json!({"name": "three", "strategy": strategy});
        let error = node
            .try_deploy(&config, guests::example("echo"))
            .await
            .refused(400, "INVALID_REQUEST");
        assert_eq!(error["details"]["field"], field, "{error:#}");
    }
}
