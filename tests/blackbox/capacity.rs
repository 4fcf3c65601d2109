//! Instances are counted, for the kernel has room for so many.

use serde_json::json;

use crate::guests;
use crate::harness::TestNode;

#[tokio::test]
async fn an_agent_beyond_the_last_instance_is_refused_with_the_numbers() {
    // One of the three is the program's.
    let node = TestNode::start_with("[wasm]\ninstances = 3").await;
    node.deploy("one", "echo").await;
    node.deploy("two", "echo").await;
    let refused = node
        .try_deploy(&json!({"name": "three"}), guests::example("echo"))
        .await;
    let error = refused.refused(429, "RESOURCE_LIMIT_EXCEEDED");
    assert_eq!(
        error["details"],
        json!({"resource": "instances", "limit": 3, "used": 3})
    );
    node.get("/api/v1/agents/three").await.refused(404, "AGENT_NOT_FOUND");
    // Nor is there room for another program.
    let refused = node
        .try_deploy(&json!({"name": "three"}), guests::example("counter"))
        .await;
    refused.refused(429, "RESOURCE_LIMIT_EXCEEDED");
    assert_eq!(node.ask("one", &json!(1)).await["content"], 1);
    node.delete("/api/v1/agents/one").await.good();
    node.deploy("three", "echo").await;
    assert_eq!(node.ask("three", &json!(1)).await["content"], 1);
}
