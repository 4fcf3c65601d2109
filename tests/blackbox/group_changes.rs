//! Changes of groups that run: what is in force afterwards.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::guests;
use crate::harness::{TestNode, until};

/// Creates the group `shop`, and returns its path.
async fn create(node: &Client, declaration: &Value) -> String {
    let group = node.post("/api/v1/supervisors", declaration).await.good();
    group["path"].as_str().unwrap().to_owned()
}

async fn put(node: &Client, changes: &Value) -> Answer {
    let request = node.request(Method::PUT, "/api/v1/supervisors/shop").json(changes);
    Client::try_answer(request).await.expect("the server answers")
}

/// The node of the tree at this path.
async fn at(node: &Client, path: &str) -> Value {
    node.get(&format!("/api/v1/supervision/tree?path={path}")).await.good()
}

#[tokio::test]
async fn a_changed_backoff_of_a_group_is_in_force_at_its_next_restart() {
    let node = TestNode::start().await;
    let backoff = json!({"min": 0, "max": 0, "jitter": 0});
    let path = create(&node, &json!({"name": "shop", "intensity": 0, "backoff": backoff})).await;
    let config = json!({"name": "bomb", "supervision": {"group": "shop"}, "delivery": {"max_deliveries": 1}});
    node.deploy_as(config, guests::example("crash")).await;
    let longer = json!({"backoff": {"min": "10m", "max": "10m"}});
    assert_eq!(put(&node, &longer).await.good()["backoff"]["min"], "10m");
    node.failure("bomb", "crashed").await;
    until(
        "the group is back, because its first restart waits for nothing",
        async || {
            let seen = at(&node, &path).await;
            (seen["state"] == "running" && seen["incarnation"] == 2).then_some(())
        },
    )
    .await;
    node.failure("bomb", "crashed").await;
    let seen = until("the group waits", async || {
        let seen = at(&node, &path).await;
        (seen["state"] == "backoff").then_some(seen)
    })
    .await;
    let wait = seen["backoff_remaining_seconds"].as_f64().unwrap();
    assert!((500.0..=600.0).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_group_that_is_changed_to_end_with_a_member_is_not_restarted_then() {
    let node = TestNode::start().await;
    let path = create(&node, &json!({"name": "shop"})).await;
    put(&node, &json!({"auto_shutdown": "any_significant"})).await.good();
    let config = json!({
        "name": "bomb", "supervision": {"group": "shop", "restart": "temporary", "significant": true},
        "delivery": {"max_deliveries": 1},
    });
    node.deploy_as(config, guests::example("crash")).await;
    let error = put(&node, &json!({"auto_shutdown": "never", "intensity": 3}))
        .await
        .refused(400, "INVALID_REQUEST");
    assert_eq!(error["details"]["field"], "auto_shutdown");
    assert!(error["message"].as_str().unwrap().contains("'bomb'"), "{error:#}");
    let kept = node.get("/api/v1/supervisors/shop").await.good();
    assert_eq!(
        (&kept["auto_shutdown"], &kept["intensity"]),
        (&json!("any_significant"), &json!(10))
    );
    assert_eq!(at(&node, &path).await["intensity"]["limit"], 10);
    node.failure("bomb", "crashed").await;
    until("the group has ended for good", async || {
        let seen = at(&node, &path).await;
        (seen["state"] == "stopped" && seen["incarnation"] == 1).then_some(())
    })
    .await;
}
