//! Verbs on agents and groups in states in which they were not meant: what is refused, what comes back, and what the tree shows.

use serde_json::{Value, json};

use crate::client::{Answer, Client, request};
use crate::guests;
use crate::harness::{TestNode, until};

async fn acted(node: &Client, path: &str, action: &str) -> Answer {
    let asked = json!({"path": path, "action": action});
    node.post("/api/v1/supervision/actions", &asked).await
}

async fn group(node: &Client, declaration: &Value) -> String {
    let group = node.post("/api/v1/supervisors", declaration).await.good();
    group["path"].as_str().unwrap().to_owned()
}

async fn deploy_into(node: &Client, group: &str, name: &str, guest: &str) -> String {
    let config = json!({"name": name, "supervision": {"group": group}});
    node.deploy_as(config, guests::example(guest)).await
}

/// The node of the tree at this path.
async fn at(node: &Client, path: &str) -> Value {
    node.get(&format!("/api/v1/supervision/tree?path={path}")).await.good()
}

async fn path_of(node: &Client, agent: &str) -> String {
    let agent = node.agent(agent).await;
    agent["supervision"]["path"].as_str().unwrap().to_owned()
}

/// An agent that is busy with a message for some seconds, and then drains.
async fn draining(node: &TestNode) -> String {
    let id = node
        .deploy_as(json!({"name": "slow"}), guests::slow_counter(2_000))
        .await;
    node.send("slow", &json!(null)).await;
    let drain = json!({"grace_period_seconds": 30, "drain_messages": true});
    let stopping = node.post("/api/v1/agents/slow/stop", &drain).await.good();
    assert_eq!(stopping["status"], "draining");
    id
}

#[tokio::test]
async fn an_agent_that_drains_is_not_restarted() {
    let node = TestNode::start().await;
    let id = draining(&node).await;
    for answer in [
        node.post("/api/v1/agents/slow/restart", &json!({})).await,
        acted(&node, "slow", "restart").await,
        node.post("/api/v1/agents/slow/start", &json!({})).await,
        node.post("/api/v1/agents/slow/suspend", &json!({})).await,
    ] {
        let error = answer.refused(409, "INVALID_STATE");
        assert_eq!(error["details"], json!({"agent_id": id, "state": "draining"}));
    }
    let agent = node.until_status("slow", "stopped").await;
    assert_eq!(agent["metrics"]["messages_processed"], 1, "what it had was handled");
}

#[tokio::test]
async fn a_sender_to_an_agent_that_drains_learns_what_helps() {
    let node = TestNode::start().await;
    draining(&node).await;
    let error = node
        .post("/api/v1/messages", &request("slow", &json!("late")))
        .await
        .refused(409, "INVALID_STATE");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("start it again") && !message.contains("deploy"),
        "{message}"
    );
    node.until_status("slow", "stopped").await;
    node.post("/api/v1/agents/slow/start", &json!({})).await.good();
    assert_eq!(node.told("slow", &json!("late")).await, 2);
}

#[tokio::test]
async fn an_agent_that_drains_goes_on_when_its_group_restarts() {
    let node = TestNode::start().await;
    group(&node, &json!({"name": "shop"})).await;
    let config = json!({"name": "slow", "supervision": {"group": "shop", "shutdown": "brutal_kill"}});
    node.deploy_as(config, guests::slow_counter(300)).await;
    let mut asked = Vec::new();
    for n in 0..3 {
        asked.push(node.send("slow", &json!(n)).await);
    }
    node.post("/api/v1/agents/slow/stop", &json!({"grace_period_seconds": 30}))
        .await
        .good();
    acted(&node, "shop", "restart").await.good();
    for message in asked {
        assert_eq!(node.until_settled(&message).await["status"], "processed");
    }
    node.until_status("slow", "stopped").await;
}

#[tokio::test]
async fn a_terminate_is_done_when_it_answers_and_cuts_a_drain_short() {
    let node = TestNode::start().await;
    draining(&node).await;
    acted(&node, "slow", "terminate").await.good();
    assert_eq!(node.agent("slow").await["status"], "stopped");
    acted(&node, "slow", "restart").await.good();
    assert_eq!(node.agent("slow").await["status"], "running");
}

#[tokio::test]
async fn a_groups_restart_brings_back_the_members_that_its_terminate_stopped() {
    let mut node = TestNode::start().await;
    let path = group(&node, &json!({"name": "shop", "strategy": "rest_for_one"})).await;
    group(&node, &json!({"name": "cellar", "parent": "shop"})).await;
    for (home, name) in [("shop", "cart"), ("shop", "till"), ("cellar", "wine")] {
        deploy_into(&node, home, name, "counter").await;
        assert_eq!(node.told(name, &json!(null)).await, 1);
    }
    acted(&node, "till", "terminate").await.good();
    acted(&node, "shop", "terminate").await.good();
    for name in ["cart", "till", "wine"] {
        assert_eq!(node.agent(name).await["status"], "stopped");
        assert_eq!(at(&node, &path_of(&node, name).await).await["state"], "stopped");
    }
    node.kill_nine();
    node.restart().await;
    assert_eq!(node.agent("cart").await["status"], "stopped", "also after a kill");

    acted(&node, "shop", "restart").await.good();
    for name in ["cart", "wine"] {
        assert_eq!(node.told(name, &json!(null)).await, 2, "with its state");
        assert_eq!(at(&node, &path_of(&node, name).await).await["state"], "running");
    }
    assert_eq!(
        node.agent("till").await["status"],
        "stopped",
        "it was stopped by itself"
    );
    let children: Vec<_> = at(&node, &path).await["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| child["name"].clone())
        .collect();
    assert_eq!(children, ["cellar", "cart", "till"], "in the order of their creation");

    acted(&node, "shop", "restart").await.good();
    assert_eq!(node.told("cart", &json!(null)).await, 3);
    node.kill_nine();
    node.restart().await;
    assert_eq!(node.told("cart", &json!(null)).await, 4, "it came back for good");
}

#[tokio::test]
async fn who_is_suspended_is_so_in_the_tree_too() {
    let node = TestNode::start().await;
    let path = group(&node, &json!({"name": "shop"})).await;
    for name in ["cart", "till"] {
        deploy_into(&node, "shop", name, "echo").await;
    }
    let states = async || {
        let seen = at(&node, &path).await;
        let children = seen["children"].as_array().unwrap();
        let children: Vec<_> = children.iter().map(|child| child["state"].clone()).collect();
        (seen["state"].clone(), children)
    };
    acted(&node, "cart", "suspend").await.good();
    assert_eq!(
        states().await,
        (json!("running"), vec![json!("suspended"), json!("running")])
    );
    assert_eq!(at(&node, &path_of(&node, "cart").await).await["state"], "suspended");
    acted(&node, "shop", "suspend").await.good();
    assert_eq!(
        states().await,
        (json!("suspended"), vec![json!("suspended"), json!("suspended")])
    );
    acted(&node, "till", "resume").await.good();
    assert_eq!(
        states().await,
        (json!("running"), vec![json!("suspended"), json!("running")])
    );
    acted(&node, "shop", "resume").await.good();
    assert_eq!(
        states().await,
        (json!("running"), vec![json!("running"), json!("running")])
    );
}

#[tokio::test]
async fn a_member_that_its_groups_strategy_restarts_is_counted_as_a_sibling() {
    let node = TestNode::start().await;
    group(
        &node,
        &json!({"name": "shop", "strategy": "one_for_all", "backoff": {"min": 0, "max": 0}}),
    )
    .await;
    let config = json!({
        "name": "bomb", "supervision": {"group": "shop", "backoff": {"min": 0, "max": 0}}, "delivery": {"max_deliveries": 1},
    });
    node.deploy_as(config, guests::example("crash")).await;
    deploy_into(&node, "shop", "cart", "echo").await;
    let cart = path_of(&node, "cart").await;
    for crash in 1..=3 {
        node.failure("bomb", "crashed").await;
        until("the group has restarted", async || {
            let seen = at(&node, &cart).await;
            (seen["incarnation"] == crash + 1 && seen["state"] == "running").then_some(())
        })
        .await;
    }
    assert_eq!(
        at(&node, &path_of(&node, "bomb").await).await["restarts"],
        json!({"trap": 3})
    );
    assert_eq!(at(&node, &cart).await["restarts"], json!({"sibling": 3}));
    let figures = node.get("/api/v1/metrics/supervision").await.good();
    assert_eq!(figures["by_reason"], json!({"trap": 3, "sibling": 3}));
    assert_eq!(figures["totals"]["restarts"], 6);
}

#[tokio::test]
async fn the_first_cause_of_an_automatic_shutdown_stays_visible() {
    let node = TestNode::start().await;
    let path = group(&node, &json!({"name": "shop", "auto_shutdown": "any_significant"})).await;
    let config = json!({
        "name": "bomb", "supervision": {"group": "shop", "restart": "temporary", "significant": true},
        "delivery": {"max_deliveries": 1},
    });
    node.deploy_as(config, guests::example("crash")).await;
    deploy_into(&node, "shop", "cart", "echo").await;
    node.failure("bomb", "crashed").await;
    let bomb = node.until_status("bomb", "failed").await;
    let why = bomb["failure"].as_str().unwrap();
    assert!(why.starts_with("trap"), "{why}");
    let cart = node.until_status("cart", "failed").await;
    let why = cart["failure"].as_str().unwrap();
    assert!(why.contains("bomb") && why.contains("trap"), "{why}");
    let seen = at(&node, &path).await;
    let exit = &seen["last_exit"];
    assert_eq!(exit["reason"], "auto_shutdown", "{seen:#}");
    assert!(exit["detail"].as_str().unwrap().contains("trap"), "{seen:#}");
    assert_eq!(at(&node, &path_of(&node, "bomb").await).await["state"], "failed");

    acted(&node, "shop", "restart").await.good();
    assert_eq!(node.told("cart", &json!(1)).await, 1);
}

#[tokio::test]
async fn the_own_path_of_an_agent_that_is_down_is_in_the_tree() {
    let node = TestNode::start().await;
    group(&node, &json!({"name": "shop"})).await;
    let restart = |name: &str, group: Option<&str>| {
        let mut config = json!({
            "name": name, "supervision": {"restart": "temporary"}, "delivery": {"max_deliveries": 1},
        });
        if let Some(group) = group {
            config["supervision"]["group"] = group.into();
        }
        config
    };
    for (name, home) in [("alone", None), ("member", Some("shop"))] {
        let id = node.deploy_as(restart(name, home), guests::example("crash")).await;
        let path = path_of(&node, name).await;
        node.failure(name, "crashed").await;
        node.until_status(name, "failed").await;
        let seen = at(&node, &path).await;
        assert_eq!(
            (&seen["state"], &seen["agent_id"], &seen["name"], &seen["kind"]),
            (&json!("failed"), &json!(id), &json!(name), &json!("worker"))
        );
        assert_eq!(seen["last_exits"][0]["reason"], "trap");
        let (above, _) = path.rsplit_once('/').unwrap();
        let siblings = at(&node, above).await;
        assert_eq!(siblings["children"].as_array().unwrap().last(), Some(&seen));
        acted(&node, &path, "restart").await.good();
        assert_eq!(at(&node, &path).await["state"], "running");
        acted(&node, &path, "terminate").await.good();
        assert_eq!(at(&node, &path).await["state"], "stopped");
    }
}

#[tokio::test]
async fn both_of_two_removals_at_once_succeed() {
    let node = TestNode::start().await;
    for force in ["", "?force=true"] {
        node.deploy_as(json!({"name": "slow"}), guests::slow_counter(1_000))
            .await;
        node.send("slow", &json!(null)).await;
        let (first, second) = (node.client(), node.client());
        let removal = tokio::spawn(async move { first.delete("/api/v1/agents/slow").await });
        node.until_status("slow", "draining").await;
        let other = second.delete(&format!("/api/v1/agents/slow{force}")).await;
        assert_eq!((removal.await.unwrap().status, other.status), (200, 200));
        node.delete("/api/v1/agents/slow").await.refused(404, "AGENT_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_path_that_does_not_exist_stops_nobody() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    for path in [
        "node/core/partitions/0/agents/no-such-group/echo",
        "node/core/partitions/9999/agents/echo",
        "agents/echo",
        "node/core/no-such-part",
    ] {
        let error = acted(&node, path, "terminate")
            .await
            .refused(404, "SUPERVISOR_NOT_FOUND");
        assert_eq!(error["details"], json!({"path": path}));
    }
    assert_eq!(node.told("echo", &json!(1)).await, 1);
}

#[tokio::test]
async fn a_restart_intensity_is_published_only_where_it_means_something() {
    let node = TestNode::start().await;
    for (name, intensity) in [("lax", 9), ("strict", 1)] {
        group(&node, &json!({"name": name, "intensity": intensity})).await;
    }
    node.delete("/api/v1/supervisors/strict").await.good();
    let text = node.get("/metrics").await.good();
    let published: Vec<_> = text
        .as_str()
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("supervisor_intensity_limit"))
        .collect();
    assert!(
        published.iter().any(|line| line.contains(r#"supervisor="core""#)),
        "{published:#?}"
    );
    let shared = |line: &&str| {
        ["agents", "partition"]
            .iter()
            .any(|name| line.contains(&format!(r#"supervisor="{name}"#)))
    };
    assert!(!published.iter().any(shared), "{published:#?}");
}
