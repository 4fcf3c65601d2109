//! What others wrote is carried as it is written: content and extension parameters, over every front and through every door of guests.

use reqwest::Method;
use serde_json::{Value, json};

use crate::guests;
use crate::harness::TestNode;

const MESSAGES: &str = "/api/v1/messages";

/// JSON that does not survive being read and written again.
const WRITTEN: &str = r#"{"wei": 123456789012345678901234567890, "price":1.10,"huge":1e400,"b":1,"a":2,"b":-0, "text":"\ud83d\ude00\u0041"}"#;

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// The text of a successful response.
async fn text(node: &TestNode, method: Method, path: &str, body: String) -> String {
    let response = node.request(method, path).body(body).send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert!(status.is_success(), "{status} {text}");
    text
}

fn message(members: &str) -> String {
    format!(r#"{{"performative":"request","receiver":"echo",{members}}}"#)
}

#[tokio::test]
async fn content_and_extensions_come_back_as_they_were_written() {
    for (guest, module) in [
        ("core ABI", guests::example("echo")),
        ("component", guests::built("echo")),
    ] {
        let node = TestNode::start().await;
        node.deploy_as(json!({"name": "echo"}), module).await;
        let sent = message(&format!(r#""x_b":{WRITTEN},"content": {WRITTEN} "#));
        let answer = text(&node, Method::POST, "/api/v1/messages/wait", sent).await;
        assert!(answer.contains(&format!(r#""content":{WRITTEN}"#)), "{guest}: {answer}");

        let history = text(&node, Method::GET, MESSAGES, String::new()).await;
        assert_eq!(
            history.matches(&format!(r#""content":{WRITTEN}"#)).count(),
            2,
            "{guest}: {history}"
        );
        assert_eq!(
            history.matches(&format!(r#""x_b":{WRITTEN}"#)).count(),
            1,
            "{guest}: {history}"
        );
    }
}

#[tokio::test]
async fn an_extension_of_an_agent_is_carried_as_it_is_written() {
    let node = TestNode::start().await;
    let echo = guests::sending("echo", &format!(r#""x_b":{WRITTEN}"#));
    node.deploy_as(json!({"name": "echo"}), echo).await;
    let answer = text(&node, Method::POST, "/api/v1/messages/wait", message(r#""content":1"#)).await;
    assert!(answer.contains(&format!(r#""x_b":{WRITTEN}"#)), "{answer}");
}

#[tokio::test]
async fn what_nests_deeper_than_readers_read_is_refused_with_the_limit() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    for name in ["content", "x_deep"] {
        for depth in [101, 2_000, 1_000_000] {
            let body = message(&format!(r#""{name}":{}"#, nested(depth)));
            let answer = node.post_text(MESSAGES, "application/json", body).await;
            let error = answer.refused(400, "INVALID_REQUEST");
            assert_eq!(error["details"]["field"], name);
            assert!(error["message"].as_str().unwrap().contains("100"), "{error:#}");
        }
    }
    let deepest = nested(100);
    let members = format!(r#""x_deep":{deepest},"content":{deepest}"#);
    let answer = text(&node, Method::POST, "/api/v1/messages/wait", message(&members)).await;
    assert!(answer.contains(&format!(r#""content":{deepest}"#)), "{answer}");
    let page = text(&node, Method::GET, MESSAGES, String::new()).await;
    assert!(page.contains(&deepest), "{page}");
    for body in [answer, page] {
        serde_json::from_str::<Value>(&body).expect("a common reader reads it");
    }

    for (path, body) in [
        (
            "/api/v1/supervisors",
            format!(r#"{{"name":"a","period":{}}}"#, nested(2_000)),
        ),
        (
            "/api/v1/supervision/actions",
            format!(r#"{{"path":{},"action":"reset"}}"#, nested(2_000)),
        ),
    ] {
        let answer = node.post_text(path, "application/json", body).await;
        let error = answer.refused(400, "INVALID_REQUEST");
        assert!(error["message"].as_str().unwrap().contains("100"), "{error:#}");
    }
    let config = format!(r#"{{"name":"a","resources":{}}}"#, nested(2_000));
    let form = reqwest::multipart::Form::new()
        .part("wasm", reqwest::multipart::Part::bytes(guests::example("echo")))
        .text("config", config);
    let error = node.post_form(form).await.refused(400, "INVALID_REQUEST");
    assert_eq!(error["details"]["field"], "config");
}
