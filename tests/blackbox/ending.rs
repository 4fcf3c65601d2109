//! The end of the server by SIGTERM: whoever waits is answered, the agents have their last turn, and nothing is out of order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use caxton::api::grpc::proto::DESCRIPTORS;
use futures_util::stream;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{FILE_DESCRIPTOR_SET, HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_types::StatusExt as _;

use crate::client::{Client, request};
use crate::guests;
use crate::harness::{TestNode, until};
use crate::socket::Socket;

/// The whole server has ten seconds for its stop, and does not use them up.
const IN_TIME: Duration = Duration::from_secs(8);

/// The path and the HTTP method of every operation with a body, with parameters that name the agent `counter`.
async fn uploads(node: &TestNode) -> Vec<(String, String)> {
    let document = node.get("/openapi.json").await.good();
    let mut uploads = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if !operation["requestBody"].is_null() {
                let path = path.replace("{id}", "counter").replace("{name}", "shop");
                uploads.push((method.to_uppercase(), path));
            }
        }
    }
    assert!(uploads.len() > 10, "{uploads:?}");
    uploads
}

/// The paths of all methods of all services.
fn methods() -> Vec<String> {
    let reflection = tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET;
    let mut paths = Vec::new();
    for set in [DESCRIPTORS, FILE_DESCRIPTOR_SET, reflection] {
        for file in FileDescriptorSet::decode(set).unwrap().file {
            for service in &file.service {
                let methods = service
                    .method
                    .iter()
                    .map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                paths.extend(methods);
            }
        }
    }
    paths
}

/// Sends the head of a request and a part of its body, and then waits for the answer.
async fn upload(address: String, method: String, path: String) -> (String, String) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{{\"");
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut sent = String::new();
    let _ = connection.read_to_string(&mut sent).await; // after its answer the server may reset the connection
    (format!("{method} {path}"), sent)
}

/// Calls a method, and never sends its message.
async fn call(channel: Channel, path: String) -> (String, Status) {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let to = PathAndQuery::try_from(path.clone()).unwrap();
    let asked = Request::new(stream::pending::<()>());
    let answered = client.streaming::<_, (), (), _>(asked, to, ProstCodec::default()).await;
    let status = match answered {
        Err(status) => status,
        Ok(answer) => last(answer.into_inner()).await.1,
    };
    (path, status)
}

/// All messages of a stream, and the status with which it ends.
async fn last<T>(mut stream: Streaming<T>) -> (Vec<T>, Status) {
    let mut messages = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, Status::ok("")),
            Err(status) => return (messages, status),
        }
    }
}

#[track_caller]
fn is_unavailable(what: &str, status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{what}: {status:?}");
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    assert_eq!(reason.as_deref(), Some("UNAVAILABLE"), "{what}: {status:?}");
    assert!(details.retry_info().is_some(), "{what}: {status:?}");
}

/// An agent that counts its requests and its ordered ends, and one that answers nobody.
async fn deploy(node: &TestNode) {
    let module = guests::counter_until("(drop (call $add_one))");
    node.deploy_as(json!({"name": "counter"}), module).await;
    assert_eq!(node.told("counter", &json!(null)).await, 1);
    node.deploy("sleeper", "echo").await;
    node.post("/api/v1/agents/sleeper/suspend", &json!({})).await.good();
}

/// Ends the server, and checks that this was in order.
/// Tells `scripts/stop-times` how long the stop took.
fn tell(began: Instant) {
    let test = std::thread::current();
    let test = test
        .name()
        .unwrap_or_default()
        .rsplit("::")
        .next()
        .unwrap_or_default()
        .to_owned();
    eprintln!("stop: {:>5} ms  {test}", began.elapsed().as_millis());
}

async fn ends_in_order(mut node: TestNode) -> TestNode {
    let began = Instant::now();
    assert!(node.terminate().await.success());
    tell(began);
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    let log = node.logged();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    node.restart().await;
    assert_eq!(node.told("counter", &json!(null)).await, 3, "2 was its last turn");
    node
}

fn wait(client: &Client, key: Option<&str>) -> reqwest::RequestBuilder {
    let asked = client
        .request(Method::POST, "/api/v1/messages/wait?timeout_seconds=60")
        .json(&request("sleeper", &json!("are you there?")));
    match key {
        Some(key) => asked.header("idempotency-key", key),
        None => asked,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_upload_and_every_call_in_progress_is_answered_and_the_agents_have_their_last_turn() {
    let node = TestNode::start().await;
    deploy(&node).await;
    let mut requests = JoinSet::new();
    for (method, path) in uploads(&node).await {
        let address = node.base().trim_start_matches("http://").to_owned();
        requests.spawn(upload(address, method, path));
    }
    let channel = Channel::from_shared(node.grpc()).unwrap().connect().await.unwrap();
    let mut calls = JoinSet::new();
    for path in methods() {
        calls.spawn(call(channel.clone(), path));
    }
    let (uploads, methods) = (requests.len(), calls.len());
    until("all are in progress", async || {
        let busy = node.series("caxton_requests_in_progress", &["front=\"rest\""]).await?;
        let calls = node.series("caxton_requests_in_progress", &["front=\"grpc\""]).await?;
        // The request for the metrics is one as well.
        (busy > uploads as f64 && calls >= methods as f64).then_some(())
    })
    .await;
    let _node = ends_in_order(node).await;
    for (what, sent) in requests.join_all().await {
        assert!(sent.starts_with("HTTP/1.1 503"), "{what}: {sent}");
        let body: Value = serde_json::from_str(sent.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "UNAVAILABLE", "{what}: {sent}");
        assert!(
            sent.contains("retry-after") && sent.contains("connection: close"),
            "{what}: {sent}"
        );
    }
    for (path, status) in calls.join_all().await {
        is_unavailable(&path, &status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_reply_or_an_event_hears_of_the_stop_at_once() {
    let node = TestNode::start().await;
    deploy(&node).await;
    let mut socket = Socket::subscribed(&node, &["*"]).await;
    let channel = Channel::from_shared(node.grpc()).unwrap().connect().await.unwrap();
    let health = HealthClient::new(channel.clone())
        .watch(HealthCheckRequest::default())
        .await;
    let health = health.unwrap().into_inner();
    let asked = stream::pending::<ServerReflectionRequest>();
    let reflection = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(asked)
        .await;
    let reflection = reflection.unwrap().into_inner();
    let idle = TcpStream::connect(node.base().trim_start_matches("http://"))
        .await
        .unwrap();

    let mut waits = JoinSet::new();
    for key in [None, Some("again")] {
        waits.spawn(Client::try_answer(wait(&node, key)));
    }
    until("both wait", async || {
        let queued = node.series("caxton_mailbox_messages", &[]).await?;
        (queued >= 2.0).then_some(())
    })
    .await;
    let removal = node.client();
    waits.spawn(async move { Client::try_answer(removal.request(Method::DELETE, "/api/v1/agents/sleeper")).await });
    node.until_status("sleeper", "draining").await;

    let node = ends_in_order(node).await;
    for answer in waits.join_all().await {
        let error = answer.expect("it is answered").refused(503, "UNAVAILABLE");
        assert!(
            error["message"].as_str().unwrap().contains("the server is stopping"),
            "{error:#}"
        );
    }
    assert_eq!(socket.close_code().await, Some(1001));
    let (statuses, status) = last(health).await;
    let statuses: Vec<_> = statuses.iter().map(HealthCheckResponse::status).collect();
    assert_eq!(statuses, [ServingStatus::Serving, ServingStatus::NotServing]);
    is_unavailable("the watch of the health", &status);
    is_unavailable("the reflection", &last(reflection).await.1);
    drop((idle, node));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_delay_the_end() {
    let node = TestNode::start().await;
    deploy(&node).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut kept = TcpStream::connect(node.base().trim_start_matches("http://"))
            .await
            .unwrap();
        kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        assert!(kept.read(&mut [0; 1_000]).await.unwrap() > 0);
        idle.push(kept);
        idle.push(
            TcpStream::connect(node.base().trim_start_matches("http://"))
                .await
                .unwrap(),
        );
        idle.push(
            TcpStream::connect(node.grpc().trim_start_matches("http://"))
                .await
                .unwrap(),
        );
    }
    let channel = Channel::from_shared(node.grpc()).unwrap().connect().await.unwrap();
    HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    let began = Instant::now();
    ends_in_order(node).await;
    tell(began);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_in_progress_do_not_delay_the_end() {
    let node = TestNode::start().await;
    deploy(&node).await;
    // An agent that spins in its `init`, and one whose stop waits for its queue.
    let spins = json!({"name": "spins", "resources": {"turn_deadline": "60s"}});
    let client = node.client();
    let deploying = tokio::spawn(async move { client.try_deploy(&spins, guests::spins_in_init()).await });
    node.send("sleeper", &json!(null)).await;
    let stop = json!({"grace_period_seconds": 60, "drain_messages": true});
    node.post("/api/v1/agents/sleeper/stop", &stop).await.good();
    until("both are in progress", async || {
        let tree = node.get("/api/v1/supervision/tree?path=node/operations").await.good();
        let children = tree["children"].as_array().unwrap();
        let names: BTreeSet<_> = children
            .iter()
            .map(|child| child["name"].as_str().unwrap().split('-').next().unwrap())
            .collect();
        (names == BTreeSet::from(["deploy", "stop"])).then_some(())
    })
    .await;
    ends_in_order(node).await;
    deploying.abort();
}
