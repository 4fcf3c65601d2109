//! Requests that are no HTTP/1.1. The parser of actix answers those whose head it cannot read, before any code of this server runs:
//! its response is a status without a body, and nothing lets a server give it one. What holds is that the status is right, that it
//! is complete, and that the connection closes in order. Everything after the head has the envelope.

use serde_json::Value;

use crate::harness::TestNode;
use crate::raw::Connection;

/// The response to these bytes, and whatever comes after it until the connection closes.
async fn answer(node: &TestNode, bytes: &str) -> String {
    let mut connection = Connection::open(node).await;
    connection.write(bytes).await;
    String::from_utf8(connection.read_to_end().await).unwrap()
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn a_head_that_cannot_be_read_gets_a_complete_response_and_the_connection_closes() {
    let node = TestNode::start().await;
    let large = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    for (bytes, status) in [
        ("nonsense\r\n\r\n", "400 Bad Request"),
        ("GET /healthz HTTP/9.9\r\n\r\n", "400 Bad Request"),
        ("GET /healthz HTTP/1.1\r\nno header\r\n\r\n", "400 Bad Request"),
        ("GET /healthz HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (
            &post("Content-Length: 1\r\nContent-Length: 2\r\n", "{}"),
            "400 Bad Request",
        ),
        (
            &post("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "{}"),
            "400 Bad Request",
        ),
        (&post("Transfer-Encoding: gzip\r\n", "{}"), "400 Bad Request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 Bad Request"),
        (&large, "431 Request Header Fields Too Large"),
    ] {
        let response = answer(&node, bytes).await.to_lowercase();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("http/1.1 {}", status.to_lowercase())),
            "{response}"
        );
        assert!(
            head.contains("content-length: 0") && head.contains("connection: close"),
            "{response}"
        );
        assert_eq!(body, "", "one response, and nothing after it");
    }
}

#[tokio::test]
async fn a_body_that_is_broken_has_the_envelope() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    for (request, problem) in [
        (post("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"), "chunk"),
        (post("Transfer-Encoding: chunked\r\n", "2\r\n{}x\r\n0\r\n\r\n"), "chunk"),
    ] {
        let response = answer(&node, &request).await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{response}");
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {response}"));
        assert_eq!(body["error"]["code"], "INVALID_REQUEST");
        assert_eq!(body["error"]["details"]["field"], "body");
        assert!(body["error"]["message"].as_str().unwrap().contains(problem), "{body:#}");
    }
    assert_eq!(node.history("agent=echo").await.len(), 0);
}

#[tokio::test]
async fn a_path_that_is_no_text_is_not_there() {
    let node = TestNode::start().await;
    let response = answer(
        &node,
        "GET /api/v1/agents/%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 404 "), "{response}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(
        ["NOT_FOUND", "AGENT_NOT_FOUND"].contains(&body["error"]["code"].as_str().unwrap()),
        "{body:#}"
    );
}
