//! The number of instances is limited, because the kernel limits the number of memory maps.

use serde_json::json;

use crate::guests;
use crate::harness::TestNode;

#[tokio::test]
async fn an_agent_beyond_the_last_instance_is_refused_with_the_numbers() {
    // The program counts as one of the three.
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
    // Another program does not fit either.
    let refused = node
        .try_deploy(&json!({"name": "three"}), guests::example("counter"))
        .await;
    refused.refused(429, "RESOURCE_LIMIT_EXCEEDED");
    assert_eq!(node.ask("one", &json!(1)).await["content"], 1);
    node.delete("/api/v1/agents/one").await.good();
    node.deploy("three", "echo").await;
    assert_eq!(node.ask("three", &json!(1)).await["content"], 1);
}

#[tokio::test]
async fn all_agents_together_have_so_much_memory_and_one_that_finds_none_is_refused_with_the_numbers() {
    let node = TestNode::start_with("[wasm]\nmemory = \"256KiB\"").await;
    let used = async || node.series("caxton_guest_memory_bytes", &[]).await.unwrap();
    node.deploy("one", "echo").await;
    let each = used().await;
    let mut count = 1;
    while f64::from(count + 1) * each <= f64::from(256 << 10) {
        node.deploy(&format!("agent-{count}"), "echo").await;
        count += 1;
    }
    let refused = node.try_deploy(&json!({"name": "more"}), guests::example("echo")).await;
    let error = refused.refused(429, "RESOURCE_LIMIT_EXCEEDED");
    let details = &error["details"];
    assert_eq!(
        (&details["resource"], &details["limit"]),
        (&json!("memory_bytes"), &json!(256 << 10))
    );
    let all = f64::from(count) * each;
    assert!((details["used"].as_f64().unwrap() - all).abs() < 1.0, "{error:#}");
    node.get("/api/v1/agents/more").await.refused(404, "AGENT_NOT_FOUND");
    node.delete("/api/v1/agents/one").await.good();
    node.deploy("more", "echo").await;
    assert!((used().await - all).abs() < 1.0);
}

#[tokio::test]
async fn an_agent_that_grows_beyond_what_all_may_have_hears_no_and_takes_nothing_from_the_others() {
    let node = TestNode::start_with("[wasm]\nmemory = \"64MiB\"").await;
    node.deploy("neighbour", "echo").await;
    let config = json!({"name": "grower", "resources": {"memory": "1GiB"}, "supervision": {"backoff": {"min": "1ms", "max": "2ms"}}});
    node.deploy_as(config, guests::example("grow_trap")).await;
    let detail = node.failure("grower", "crashed").await;
    assert!(
        detail.contains("out_of_memory") && detail.contains("all agents of the node"),
        "{detail}"
    );
    node.delete("/api/v1/agents/grower").await.good();
    assert_eq!(node.ask("neighbour", &json!(1)).await["content"], 1);
    assert!(node.series("caxton_guest_memory_bytes", &[]).await.unwrap() < f64::from(1 << 20));
}
