//! Environment variables: only the agent that they are declared for can read them.

use serde_json::{Value, json};

use crate::guests;
use crate::harness::TestNode;
use crate::socket::Socket;

const SECRET: &str = "correct-horse-battery-staple";

fn config(permissions: &Value) -> Value {
    json!({
        "name": "keeper",
        "environment": {"TOKEN": format!("\"{SECRET}\""), "REGION": "eu"},
        "permissions": permissions,
    })
}

#[tokio::test]
async fn an_agent_has_its_variables_over_a_restart_and_nothing_else_shows_their_values() {
    let mut node = TestNode::start().await;
    let mut socket = Socket::subscribed(&node, &["*"]).await;
    let deployed = node
        .try_deploy(&config(&json!({"environment": true})), guests::variable())
        .await
        .good();
    assert_eq!(node.told("keeper", &json!(null)).await, SECRET);
    let event = socket.until("agent.deployed", |_| true).await;
    node.kill_nine();
    node.restart().await;
    let details = node.agent("keeper").await;
    assert_eq!(
        details["config"]["environment"],
        json!({"TOKEN": "********", "REGION": "********"})
    );
    assert_eq!(node.told("keeper", &json!(null)).await, SECRET);
    // The agent itself may send the value: its reply is in the history. Nothing else that can be read has it.
    let mut shown = vec![deployed, event, details];
    for path in [
        "/api/v1/agents",
        "/api/v1/supervision/tree",
        "/api/v1/supervision/events",
    ] {
        shown.push(node.get(path).await.good());
    }
    for answer in shown {
        assert!(!answer.to_string().contains(SECRET), "{answer:#}");
    }
    assert!(!node.logged().contains(SECRET));
}

#[tokio::test]
async fn variables_need_the_permission() {
    let node = TestNode::start().await;
    node.try_deploy(&config(&json!({})), guests::variable()).await.good();
    let reply = node.ask("keeper", &json!(null)).await;
    assert_eq!(reply["performative"], "failure", "{reply:#}");
    let other = json!({"name": "other", "permissions": {"environment": true}});
    node.try_deploy(&other, guests::variable()).await.good();
    assert_eq!(node.told("other", &json!(null)).await, Value::Null, "it has none");
}

#[tokio::test]
async fn what_is_wrong_with_a_variable_is_told_without_its_value() {
    let node = TestNode::start().await;
    let wrong = [
        json!({"TO KEN": SECRET}),
        json!({"TOKEN": [SECRET]}),
        json!({"TOKEN": SECRET.repeat(3_000)}),
    ];
    for environment in wrong {
        let config = json!({"name": "keeper", "environment": environment});
        let answer = node.try_deploy(&config, guests::variable()).await;
        let error = answer.refused(400, "INVALID_REQUEST");
        assert_eq!(error["details"]["field"], "config.environment", "{error:#}");
        assert!(!error.to_string().contains(SECRET), "{error:#}");
    }
    assert_eq!(node.agent_ids().await, [""; 0]);
    assert!(!node.logged().contains(SECRET));
}
