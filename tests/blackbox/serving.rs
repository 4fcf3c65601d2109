//! `caxton serve` for an operator: addresses, health, and refusals to start.

use std::process::Output;

use reqwest::Method;
use serde_json::json;

use crate::client::Client;
use crate::harness::{TestNode, caxton};

async fn ended(mut command: std::process::Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_second_server_on_the_same_data_folder_refuses_to_start() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let mut second = caxton();
    second
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(node.data_dir());
    let output = ended(second).await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(node.data_dir().to_str().unwrap()),
        "it does not name the folder: {said}"
    );
    assert_eq!(
        node.told("echo", &json!("unharmed")).await,
        "unharmed",
        "the first goes on"
    );
}

#[tokio::test]
async fn a_public_address_is_refused_as_long_as_there_are_no_tokens() {
    let folder = tempfile::tempdir().unwrap();
    for (option, other) in [("--listen", "--grpc-listen"), ("--grpc-listen", "--listen")] {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let mut public = caxton();
            public
                .args(["serve", option, address, other, "127.0.0.1:0", "--data-dir"])
                .arg(folder.path().join("data"));
            let output = ended(public).await;
            assert!(!output.status.success(), "{option} {address}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.contains("listen") && said.contains("tokens"),
                "{option} {address}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn a_configuration_that_is_wrong_is_refused_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("caxton.toml");
    std::fs::write(&file, "colour = \"red\"\n").unwrap();
    let mut command = caxton();
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--grpc-listen",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    command.arg(folder.path().join("data")).arg("--config").arg(&file);
    let output = ended(command).await;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("colour"));
}

#[tokio::test]
async fn health_and_metrics_are_there() {
    let node = TestNode::start().await;
    assert_eq!(node.get("/healthz").await.good()["status"], "ok");
    assert_eq!(node.get("/readyz").await.good()["status"], "ready");
    node.deploy("echo", "echo").await;
    node.told("echo", &json!(1)).await;
    let answer = node.get("/metrics").await;
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    assert_eq!(node.series("caxton_agents", &[r#"state="running""#]).await, Some(1.0));
    assert!(
        node.series("caxton_turns_total", &[r#"end="ok""#])
            .await
            .is_some_and(|turns| turns >= 1.0)
    );
}

#[tokio::test]
async fn the_supervision_tree_shows_the_whole_node_or_a_part() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let tree = node.get("/api/v1/supervision/tree").await.good();
    assert_eq!(
        (&tree["path"], &tree["kind"], &tree["strategy"]),
        (&json!("node"), &json!("supervisor"), &json!("one_for_one"))
    );
    let names: Vec<_> = tree["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| child["name"].as_str().unwrap())
        .collect();
    for name in ["core", "modules", "operations", "events", "api"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let agent = node.in_tree("echo").await.unwrap();
    for member in [
        "path",
        "kind",
        "name",
        "state",
        "incarnation",
        "uptime_seconds",
        "restarts",
        "children",
    ] {
        assert!(!agent[member].is_null(), "{member} of {agent:#}");
    }
    let path = agent["path"].as_str().unwrap();
    let part = node.get(&format!("/api/v1/supervision/tree?path={path}")).await.good();
    assert_eq!(part["path"], path);
}

#[tokio::test]
async fn a_name_that_was_made_to_lead_here_is_refused() {
    let node = TestNode::start().await;
    let request = node
        .request(Method::GET, "/api/v1/agents")
        .header("host", "evil.example");
    Client::try_answer(request).await.unwrap().refused(403, "FORBIDDEN");
    let request = node
        .request(Method::GET, "/api/v1/agents")
        .header("origin", "https://evil.example");
    Client::try_answer(request).await.unwrap().refused(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_trace_that_came_in_goes_out() {
    let node = TestNode::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = node
        .request(Method::GET, "/api/v1/agents/nobody")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = Client::try_answer(request).await.unwrap();
    assert!(answer.headers["traceparent"].to_str().unwrap().contains(trace));
    assert_eq!(answer.refused(404, "AGENT_NOT_FOUND")["trace_id"], trace);
}
