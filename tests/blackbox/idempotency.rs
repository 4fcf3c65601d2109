//! Requests that are sent again with their key: they take effect once, and have the same answer each time.

use caxton::api::grpc::proto::message_service_client::MessageServiceClient;
use caxton::api::grpc::proto::{FipaMessage, SendMessageRequest};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Answer, Client, request};
use crate::guests;
use crate::harness::TestNode;

async fn post(node: &Client, path: &str, key: &str, body: &Value) -> Answer {
    let request = node.request(Method::POST, path).header("Idempotency-Key", key);
    Client::try_answer(request.json(body))
        .await
        .expect("the server answers")
}

async fn deploy(node: &Client, key: &str, name: &str) -> Answer {
    // Each form has another boundary, but the same parts.
    let wasm = Part::bytes(guests::example("counter")).file_name("counter.wasm");
    let config = json!({"name": name, "permissions": {"state": true}, "environment": {"TOKEN": "s3cret"}}).to_string();
    let request = node
        .request(Method::POST, "/api/v1/agents")
        .header("Idempotency-Key", key);
    let form = Form::new().part("wasm", wasm).text("config", config);
    Client::try_answer(request.multipart(form))
        .await
        .expect("the server answers")
}

#[tokio::test]
async fn a_message_that_comes_again_is_handled_once_also_after_kill_nine() {
    let mut node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    let message = request("counter", &json!(null));
    let first = post(&node, "/api/v1/messages", "\"order-1\"", &message).await.good();
    let again = post(&node, "/api/v1/messages", "order-1", &message).await.good();
    assert_eq!(again, first);
    node.kill_nine();
    node.restart().await;
    let again = post(&node, "/api/v1/messages", "order-1", &message).await.good();
    assert_eq!(again, first);
    assert_eq!(node.told("counter", &json!(null)).await, 2, "the three were one");
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    let message = request("counter", &json!(null));
    let path = "/api/v1/messages";
    post(&node, path, "k", &message).await.good();
    let other = post(&node, path, "k", &request("counter", &json!("else"))).await;
    let error = other.refused(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(error["details"]["key"], "k", "{error:#}");
    post(&node, "/api/v1/messages/wait", "k", &message)
        .await
        .refused(422, "IDEMPOTENCY_KEY_REUSED");
    for bad in ["two words", "", &"x".repeat(256)] {
        let error = post(&node, path, bad, &message).await.refused(400, "INVALID_REQUEST");
        assert_eq!(error["details"]["field"], "Idempotency-Key", "{error:#}");
    }
    assert_eq!(
        node.told("counter", &json!(null)).await,
        2,
        "only the first took effect"
    );
}

#[tokio::test]
async fn what_was_refused_may_be_tried_again_with_its_key() {
    let node = TestNode::start().await;
    let message = request("counter", &json!(null));
    let early = post(&node, "/api/v1/messages", "k", &message).await;
    early.refused(404, "AGENT_NOT_FOUND");
    node.deploy("counter", "counter").await;
    post(&node, "/api/v1/messages", "k", &message).await.good();
    post(&node, "/api/v1/messages", "k", &message).await.good();
    assert_eq!(node.told("counter", &json!(null)).await, 2);
}

#[tokio::test]
async fn a_wait_that_was_cut_off_goes_on_and_has_the_answer_again_and_again() {
    let mut node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    node.post("/api/v1/agents/counter/suspend", &json!({})).await.good();
    let message = request("counter", &json!(null));
    let path = "/api/v1/messages/wait";
    let late = post(&node, &format!("{path}?timeout_seconds=0.1"), "k", &message).await;
    let late = late.refused(504, "TIMEOUT");

    // Two requests at once: the one that arrives second is told that the first is being answered.
    let mut waits = JoinSet::new();
    for _ in 0..2 {
        let (client, asked) = (node.client(), message.clone());
        waits.spawn(async move { post(&client, path, "k", &asked).await });
    }
    waits.join_next().await.unwrap().unwrap().refused(409, "CONFLICT");
    node.post("/api/v1/agents/counter/resume", &json!({})).await.good();
    let answer = waits.join_next().await.unwrap().unwrap().good();
    assert_eq!(answer["reply"]["content"], 1, "{answer:#}");
    assert_eq!(answer["message_id"], late["details"]["message_id"]);

    node.kill_nine();
    node.restart().await;
    let again = post(&node, path, "k", &message).await.good();
    assert_eq!(again["reply"]["message_id"], answer["reply"]["message_id"], "{again:#}");
    assert_eq!(node.told("counter", &json!(null)).await, 2);
}

#[tokio::test]
async fn a_deploy_that_comes_again_is_one_agent() {
    let mut node = TestNode::start().await;
    let first = deploy(&node, "k", "counter").await;
    assert_eq!(first.status, 201, "{:#}", first.body);
    let location = first.headers["location"].clone();
    let again = deploy(&node, "k", "counter").await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.headers["location"], location);
    deploy(&node, "other", "counter")
        .await
        .refused(409, "AGENT_ALREADY_EXISTS");
    deploy(&node, "k", "other").await.refused(422, "IDEMPOTENCY_KEY_REUSED");
    node.kill_nine();
    node.restart().await;
    assert_eq!(deploy(&node, "k", "counter").await.good(), first.body);
    assert_eq!(node.agent_ids().await.len(), 1);
}

#[tokio::test]
async fn the_other_posts_take_keys_as_well() {
    let node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    let group = json!({"name": "shop", "strategy": "one_for_all"});
    let made = post(&node, "/api/v1/supervisors", "group", &group).await;
    assert_eq!(made.status, 201, "{:#}", made.body);
    let again = post(&node, "/api/v1/supervisors", "group", &group).await;
    assert_eq!((again.status, again.body), (201, made.body));

    let incarnation = async || node.agent("counter").await["metrics"]["incarnation"].clone();
    let restart = "/api/v1/agents/counter/restart";
    for (key, then) in [("r1", 2), ("r1", 2), ("r2", 3)] {
        post(&node, restart, key, &json!({})).await.good();
        assert_eq!(incarnation().await, then, "{key}");
    }
    let act = json!({"path": "counter", "action": "restart"});
    for (key, then) in [("a1", 4), ("a1", 4)] {
        post(&node, "/api/v1/supervision/actions", key, &act).await.good();
        assert_eq!(incarnation().await, then, "{key}");
    }
    let folder = tempfile::tempdir().unwrap();
    let to = json!({"to": folder.path().join("backup")});
    let taken = post(&node, "/api/v1/system/backup", "b", &to).await.good();
    assert_eq!(post(&node, "/api/v1/system/backup", "b", &to).await.good(), taken);
    for verb in ["suspend", "resume", "stop", "start"] {
        let path = format!("/api/v1/agents/counter/{verb}");
        let first = post(&node, &path, verb, &json!({})).await;
        if verb == "stop" {
            node.until_status("counter", "stopped").await;
        }
        let again = post(&node, &path, verb, &json!({})).await;
        assert_eq!((first.status, first.body), (again.status, again.body), "{verb}");
    }
}

#[tokio::test]
async fn a_call_over_grpc_takes_its_key_from_the_metadata() {
    let node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    let mut client = MessageServiceClient::connect(node.grpc()).await.unwrap();
    let asked = |key: &str, performative: &str| {
        let message = FipaMessage {
            performative: performative.to_owned(),
            receiver: vec!["counter".to_owned()],
            ..FipaMessage::default()
        };
        let mut request = tonic::Request::new(SendMessageRequest {
            message: Some(message),
            options: None,
        });
        request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
        request
    };
    let first = client.send_message(asked("k", "request")).await.unwrap().into_inner();
    let again = client.send_message(asked("k", "request")).await.unwrap().into_inner();
    assert_eq!(again, first);
    let refused = client.send_message(asked("k", "inform")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");
    assert_eq!(node.told("counter", &json!(null)).await, 2);
}
