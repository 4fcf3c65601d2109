//! Requests that are no HTTP/1.1: the status is right, the response has the envelope, and the connection closes in order.

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
async fn a_head_that_cannot_be_read_gets_the_envelope_and_the_connection_closes() {
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
        let response = answer(&node, bytes).await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{response}");
        assert!(head.contains("\r\nconnection: close"), "{response}");
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {response}"));
        assert_eq!(body["error"]["code"], "INVALID_REQUEST");
        let trace = body["error"]["trace_id"].as_str().unwrap();
        assert!(head.contains(&format!("traceparent: 00-{trace}-")), "{response}");
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
