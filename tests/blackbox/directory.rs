//! Agents find each other by capability.

use serde_json::{Value, json};

use crate::guests;
use crate::harness::TestNode;

#[tokio::test]
async fn an_agent_finds_those_who_run_and_have_the_capability() {
    let node = TestNode::start().await;
    let config = json!({"name": "seeker", "permissions": {"directory": true}});
    node.deploy_as(config, guests::searcher()).await;
    assert_eq!(node.told("seeker", &json!(null)).await, Value::Null);
    for (name, capability) in [("zoe", "tailor"), ("yan", "tailor"), ("abe", "smith")] {
        let config = json!({"name": name, "capabilities": ["any", capability]});
        node.deploy_as(config, guests::example("echo")).await;
    }
    assert_eq!(node.told("seeker", &json!(null)).await, "yan");
    node.post("/api/v1/agents/yan/stop", &json!({})).await.good();
    node.until_status("yan", "stopped").await;
    assert_eq!(node.told("seeker", &json!(null)).await, "zoe");
    node.post("/api/v1/agents/zoe/suspend", &json!({})).await.good();
    assert_eq!(node.told("seeker", &json!(null)).await, Value::Null);
}

#[tokio::test]
async fn a_search_needs_the_permission() {
    let node = TestNode::start().await;
    let config = json!({"name": "seeker", "permissions": {"message": ["*"]}});
    node.deploy_as(config, guests::searcher()).await;
    let reply = node.ask("seeker", &json!(null)).await;
    assert_eq!(reply["performative"], "failure", "{reply:#}");
}

#[tokio::test]
async fn a_broadcast_reaches_all_who_have_the_capability() {
    let node = TestNode::start().await;
    let mut tailors = Vec::new();
    for name in ["zoe", "yan"] {
        let config = json!({"name": name, "capabilities": ["tailor"]});
        tailors.push(node.deploy_as(config, guests::example("echo")).await);
    }
    node.deploy("abe", "echo").await;
    let config = json!({"name": "crier", "permissions": {"message": ["cap:tailor"]}});
    node.deploy_as(config, guests::announcer()).await;
    let asked = node.send("crier", &json!(null)).await;
    assert_eq!(node.until_settled(&asked).await["status"], "processed");
    let mut heard = node.history("agent=crier").await;
    heard.retain(|message| message["content"] == "hear");
    assert_eq!(heard.len(), 1, "{heard:#?}");
    assert_eq!(heard[0]["receiver"], json!(tailors));

    let config = json!({"name": "mute", "permissions": {"message": ["zoe"]}});
    node.deploy_as(config, guests::announcer()).await;
    let reply = node.ask("mute", &json!(null)).await;
    assert_eq!(reply["performative"], "failure", "{reply:#}");
}
