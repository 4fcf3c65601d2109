//! `/metrics`: every family says what it means, and no client can make up a label.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

use crate::client::Client;
use crate::harness::{TestNode, until};
use crate::socket::Socket;

/// A server that has done something of everything.
async fn busy() -> TestNode {
    let node = TestNode::start().await;
    let group = json!({"name": "shop", "strategy": "one_for_all"});
    node.post("/api/v1/supervisors", &group).await.good();
    node.deploy("echo", "echo").await;
    node.deploy("crasher", "crash_once").await;
    node.told("crasher", &json!("first")).await;
    node.agent("echo").await;
    node.get("/api/v1/agents/nobody").await.refused(404, "AGENT_NOT_FOUND");
    node.get("/api/v1/made-up").await.refused(404, "NOT_FOUND");
    let made_up = node.request(Method::from_bytes(b"BREW").unwrap(), "/api/v1/agents");
    Client::try_answer(made_up)
        .await
        .unwrap()
        .refused(405, "INVALID_REQUEST");
    let channel = Channel::from_shared(node.grpc()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    health.check(HealthCheckRequest::default()).await.unwrap();
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/caxton.v1.MessageService/MadeUp");
    let made_up = client
        .unary::<(), (), _>(Request::new(()), path, ProstCodec::default())
        .await;
    assert_eq!(made_up.unwrap_err().code(), Code::Unimplemented);
    node
}

async fn text(node: &TestNode) -> String {
    node.get("/metrics").await.good().as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_family_has_a_meaning_and_a_kind() {
    let node = busy().await;
    let _socket = Socket::open(&node).await;
    let text = text(&node).await;
    let named = |what: &str| -> BTreeSet<&str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what));
        lines.filter_map(|line| line.split(' ').next()).collect()
    };
    let (helps, types) = (named("# HELP "), named("# TYPE "));
    assert!(types.len() > 30, "{types:?}");
    assert_eq!(helps, types);
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let series = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let family = series.strip_suffix(end)?;
            types.contains(family).then_some(family)
        });
        assert!(types.contains(family.unwrap_or(series)), "{line}");
    }
}

#[tokio::test]
async fn the_figures_that_an_operator_needs_are_measured() {
    let node = busy().await;
    let socket = Socket::open(&node).await;
    let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
    for (series, labels, least) in [
        ("caxton_build_info", version, 1.0),
        ("process_start_time_seconds", "", 1.0),
        ("process_cpu_seconds_total", "", 0.01),
        ("process_resident_memory_bytes", "", 1e6),
        ("process_open_fds", "", 10.0),
        ("process_threads", "", 3.0),
        ("caxton_journal_sync_seconds_count", "", 1.0),
        ("caxton_journal_sync_seconds_sum", "", 1e-9),
        ("caxton_mailbox_wait_seconds_count", "", 2.0),
        ("caxton_history_lag_records", "", 0.0),
        ("caxton_websockets", "", 1.0),
        ("caxton_connections{", "front=\"rest\"", 1.0),
        ("caxton_requests_in_progress", "front=\"rest\"", 1.0),
    ] {
        let value = node.series(series, &[labels]).await;
        assert!(value.is_some_and(|value| value >= least), "{series}: {value:?}");
    }
    drop(socket);
    until("the WebSocket is closed", async || {
        (node.series("caxton_websockets", &[]).await == Some(0.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_are_counted_by_route_and_code_and_no_client_makes_up_a_label() {
    let node = busy().await;
    let rest = async |labels: &[&str]| node.series("caxton_http_requests_total", labels).await;
    let agent = r#"route="/api/v1/agents/{id}""#;
    assert_eq!(rest(&[agent, r#"method="GET""#, r#"code="200""#]).await, Some(1.0));
    assert_eq!(rest(&[agent, r#"method="GET""#, r#"code="404""#]).await, Some(1.0));
    assert_eq!(rest(&[r#"route="none""#, r#"code="404""#]).await, Some(1.0));
    assert_eq!(rest(&[r#"method="other""#, r#"code="405""#]).await, Some(1.0));
    let grpc = async |labels: &[&str]| node.series("caxton_grpc_calls_total", labels).await;
    let check = r#"method="/grpc.health.v1.Health/Check""#;
    assert_eq!(grpc(&[check, r#"code="Ok""#]).await, Some(1.0));
    assert_eq!(grpc(&[r#"method="none""#, r#"code="Unimplemented""#]).await, Some(1.0));
    let text = text(&node).await;
    for made_up in ["nobody", "made-up", "MadeUp", "BREW"] {
        assert!(!text.contains(made_up), "{made_up}");
    }
}
