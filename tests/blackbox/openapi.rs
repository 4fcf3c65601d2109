//! The OpenAPI document and the server agree. Each client of the suite checks its requests and responses (`contract.rs`). The tests
//! here send a request for every operation in the document.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client, request};
use crate::contract::Contract;
use crate::guests;
use crate::harness::TestNode;
use crate::socket::Socket;

/// The names of the operations for which a request was sent.
#[derive(Default)]
struct Round(BTreeSet<String>);

impl Round {
    /// Records the operation of a response, which must be successful.
    #[track_caller]
    fn good(&mut self, answer: Answer) -> Value {
        self.0.extend(answer.operation.clone());
        answer.good()
    }

    async fn ask(&mut self, node: &TestNode, method: Method, path: &str, body: Option<Value>) -> Value {
        let asked = node.request(method, path);
        let asked = match &body {
            Some(body) => asked.json(body),
            None => asked,
        };
        self.good(Client::try_answer(asked).await.expect("the server answers"))
    }
}

#[tokio::test]
async fn everything_in_the_document_answers_as_it_says() {
    let node = TestNode::start().await;
    let mut round = Round::default();
    let document = round.ask(&node, Method::GET, "/openapi.json", None).await;
    assert_eq!(document["openapi"], "3.1.0");

    let group = json!({"name": "shop", "strategy": "rest_for_one", "period": "10s", "backoff": {"max": 9}});
    let (post, get, put, delete) = (Method::POST, Method::GET, Method::PUT, Method::DELETE);
    round.ask(&node, post.clone(), "/api/v1/supervisors", Some(group)).await;
    let change = json!({"intensity": 3, "backoff": {"factor": 3}});
    round.ask(&node, put, "/api/v1/supervisors/shop", Some(change)).await;
    let module = BASE64.encode(guests::example("echo"));
    let config = json!({
        "name": "echo", "version": "1.2.0", "strategy": "canary", "capabilities": ["echoing"],
        "environment": {"GREETING": "hello"},
        "resources": {"memory": "32MiB", "cpu": "100m", "turn_deadline": 2, "timers": 7},
        "permissions": {"message": ["*"], "state": true, "environment": true},
        "supervision": {"group": "shop", "shutdown": "infinity", "heartbeat": "10s", "backoff": {"jitter": 0.5}},
        "delivery": {"max_deliveries": 2},
    });
    let deploy = json!({"wasm_module": module, "config": config});
    round.ask(&node, post.clone(), "/api/v1/agents", Some(deploy)).await;
    let valid = json!({"wasm_module": module});
    round
        .ask(&node, post.clone(), "/api/v1/agents/validate", Some(valid))
        .await;

    for verb in ["suspend", "resume", "restart"] {
        let path = format!("/api/v1/agents/echo/{verb}");
        round.ask(&node, post.clone(), &path, None).await;
    }
    let message = json!({
        "performative": "request", "sender": "tester", "receiver": ["echo"], "content": {"a": [1, null]},
        "conversation_id": "c", "reply_with": "r", "protocol": "fipa-request", "x_tag": 7, "durability": "memory",
    });
    let sent = round.ask(&node, post.clone(), "/api/v1/messages", Some(message)).await;
    let one = format!("/api/v1/messages/{}", sent["message_id"].as_str().unwrap());
    let question = Some(request("echo", &json!("hi")));
    let wait = "/api/v1/messages/wait?timeout_seconds=20&until=first";
    round.ask(&node, post.clone(), wait, question).await;
    for path in [
        one.as_str(),
        "/api/v1/messages?agent=echo&performative=inform&since=2024-01-15T10:30:00Z&status=processed&limit=2",
        "/api/v1/agents?status=running&limit=10&offset=0",
        "/api/v1/agents/echo",
        "/api/v1/metrics/agents/echo?period=30m",
        "/api/v1/metrics/system",
        "/api/v1/metrics/supervision",
        "/api/v1/supervision/tree",
        "/api/v1/supervision/tree?path=node/core",
        "/api/v1/supervision/events?limit=10&since_seq=0&path=node",
        "/api/v1/supervisors",
        "/api/v1/supervisors/shop",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        round.ask(&node, get.clone(), path, None).await;
    }
    let lines = node
        .request(get, "/api/v1/messages")
        .header("accept", "application/x-ndjson");
    round.good(Client::try_answer(lines).await.unwrap());

    let action = json!({"path": "shop", "action": "reset"});
    round
        .ask(&node, post.clone(), "/api/v1/supervision/actions", Some(action))
        .await;
    let stop = json!({"grace_period_seconds": 0.5, "drain_messages": true});
    round
        .ask(&node, post.clone(), "/api/v1/agents/echo/stop", Some(stop))
        .await;
    node.until_status("echo", "stopped").await;
    round
        .ask(&node, post.clone(), "/api/v1/agents/echo/start", Some(json!({})))
        .await;
    round
        .ask(&node, delete.clone(), "/api/v1/agents/echo?force=true", None)
        .await;
    round.ask(&node, delete, "/api/v1/supervisors/shop", None).await;
    let backup = json!({"to": node.data_dir().with_file_name("backup")});
    round.ask(&node, post, "/api/v1/system/backup", Some(backup)).await;

    for path in ["/ws", "/api/v1/ws"] {
        Socket::open_at(&node, path).await.until("hello", |_| true).await;
        round.0.insert(format!("GET {path}"));
    }
    let http = reqwest::Client::new();
    let contract = Contract::of(&http, &node.base().parse().unwrap()).await.unwrap();
    let documented: BTreeSet<_> = contract.operations().into_iter().collect();
    assert_eq!(
        round.0, documented,
        "each operation was asked, and each is in the document"
    );
}
