//! Headers that say what a body is: what is not read here is refused by name, and nothing is taken for something else.

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::guests;
use crate::harness::TestNode;

const MESSAGES: &str = "/api/v1/messages";

const MESSAGE: &str = r#"{"performative":"inform","receiver":"echo"}"#;

async fn post(node: &TestNode, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let request = node.request(Method::POST, path).body(body.to_owned());
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    Client::try_answer(request).await.unwrap()
}

#[track_caller]
fn names(error: &Value, field: &str, given: &str) {
    assert_eq!(error["details"]["field"], field, "{error:#}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(field) && message.contains(given), "{error:#}");
}

#[tokio::test]
async fn a_body_of_another_media_type_is_refused_by_name() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    for media in ["application/xml", "text/plain", "application/cbor", "json"] {
        for (path, body) in [
            (MESSAGES, MESSAGE),
            ("/api/v1/messages/wait", MESSAGE),
            ("/api/v1/supervisors", r#"{"name":"shop"}"#),
            ("/api/v1/supervision/actions", r#"{"path":"echo","action":"reset"}"#),
            ("/api/v1/agents/echo/suspend", "{}"),
            ("/api/v1/agents", r#"{"wasm_module":""}"#),
        ] {
            let error = post(&node, path, &[("content-type", media)], body).await;
            names(&error.refused(415, "INVALID_REQUEST"), "Content-Type", media);
        }
    }
    let mixed = post(
        &node,
        "/api/v1/agents",
        &[("content-type", "multipart/mixed; boundary=x")],
        "",
    )
    .await;
    names(
        &mixed.refused(415, "INVALID_REQUEST"),
        "Content-Type",
        "multipart/mixed",
    );
    let utf16 = post(
        &node,
        MESSAGES,
        &[("content-type", "application/json; charset=utf-16")],
        MESSAGE,
    )
    .await;
    names(&utf16.refused(415, "INVALID_REQUEST"), "Content-Type", "utf-16");
    let two = [("content-type", "application/json"), ("content-type", "text/plain")];
    let two = post(&node, MESSAGES, &two, MESSAGE).await;
    names(&two.refused(400, "INVALID_REQUEST"), "Content-Type", "more than once");
}

#[tokio::test]
async fn json_is_read_in_every_spelling_and_where_nothing_is_said() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    node.post_text(MESSAGES, "Application/JSON; Charset=UTF-8", MESSAGE)
        .await
        .good();
    // What `curl -d` says if nobody tells it otherwise, and a request that says nothing.
    for headers in [&[("content-type", "application/x-www-form-urlencoded")][..], &[]] {
        let request = node.request(Method::POST, MESSAGES).body(MESSAGE);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        assert_eq!(request.send().await.unwrap().status(), 200, "{headers:?}");
    }
}

#[tokio::test]
async fn a_coded_body_is_refused_by_the_name_of_its_coding() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    for (path, body) in [
        (MESSAGES, MESSAGE),
        ("/api/v1/supervisors", r#"{"name":"shop"}"#),
        ("/api/v1/agents", r#"{"wasm_module":""}"#),
    ] {
        let answer = post(&node, path, &[("content-encoding", "gzip")], body).await;
        assert_eq!(answer.headers["accept-encoding"], "identity");
        names(&answer.refused(415, "INVALID_REQUEST"), "Content-Encoding", "gzip");
        let part = post(&node, path, &[("content-range", "bytes 0-9/20")], body).await;
        names(&part.refused(400, "INVALID_REQUEST"), "Content-Range", "part");
    }
    post(&node, MESSAGES, &[("content-encoding", "identity")], MESSAGE)
        .await
        .good();
    let expects = post(&node, MESSAGES, &[("expect", "miracles")], MESSAGE).await;
    names(&expects.refused(417, "INVALID_REQUEST"), "Expect", "miracles");
    assert_eq!(node.history("agent=echo").await.len(), 1, "the others were not sent");
}

#[tokio::test]
async fn a_coded_part_of_a_form_is_refused_by_the_name_of_its_coding() {
    let node = TestNode::start().await;
    for (header, value) in [("content-transfer-encoding", "base64"), ("content-encoding", "gzip")] {
        let headers = [(header.parse().unwrap(), value.parse().unwrap())]
            .into_iter()
            .collect();
        let wasm = Part::bytes(guests::example("echo")).headers(headers);
        let form = Form::new().part("wasm", wasm).text("config", r#"{"name":"a"}"#);
        let error = node.post_form(form).await.refused(415, "INVALID_REQUEST");
        assert_eq!(error["details"]["given"], json!(value));
        let message = error["message"].as_str().unwrap().to_lowercase();
        assert!(message.contains(header) && message.contains("wasm"), "{error:#}");
    }
    let headers = [("content-transfer-encoding".parse().unwrap(), "binary".parse().unwrap())];
    let wasm = Part::bytes(guests::example("echo")).headers(headers.into_iter().collect());
    let form = Form::new().part("wasm", wasm).text("config", r#"{"name":"a"}"#);
    node.post_form(form).await.good();
}
