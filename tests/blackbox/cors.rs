//! Browsers: a page whose origin the server allows can use it, and no other can.

use reqwest::{Method, Response};

use crate::client::request;
use crate::harness::TestNode;

const PAGE: &str = "http://localhost:3000";

async fn preflight(node: &TestNode, path: &str, origin: &str, method: &str) -> Response {
    let asked = node
        .request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "content-type,idempotency-key");
    asked.send().await.unwrap()
}

#[track_caller]
fn lists(response: &Response, header: &str, wanted: &[&str]) {
    let value = response.headers()[header].to_str().unwrap().to_lowercase();
    let entries: Vec<_> = value.split(',').map(str::trim).collect();
    for entry in wanted {
        assert!(entries.contains(entry), "{header} is {value}, without {entry}");
    }
}

#[tokio::test]
async fn a_page_that_is_allowed_is_told_what_it_may_send_and_read() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    for (path, method) in [
        ("/api/v1/messages", "POST"),
        ("/api/v1/supervisors/shop", "PUT"),
        ("/api/v1/agents/echo", "DELETE"),
    ] {
        let told = preflight(&node, path, PAGE, method).await;
        assert_eq!(told.status(), 204, "{path}");
        assert_eq!(told.headers()["access-control-allow-origin"], PAGE);
        lists(&told, "access-control-allow-methods", &[&method.to_lowercase()]);
        lists(
            &told,
            "access-control-allow-headers",
            &[
                "content-type",
                "idempotency-key",
                "authorization",
                "x-caxton-token",
                "traceparent",
            ],
        );
        lists(&told, "vary", &["origin"]);
    }
    let sent = node
        .request(Method::POST, "/api/v1/messages")
        .header("origin", PAGE)
        .json(&request("echo", &serde_json::json!(1)));
    let sent = sent.send().await.unwrap();
    assert_eq!(sent.status(), 200);
    assert_eq!(sent.headers()["access-control-allow-origin"], PAGE);
    lists(
        &sent,
        "access-control-expose-headers",
        &["location", "retry-after", "traceparent"],
    );

    let missing = node
        .request(Method::GET, "/nothing")
        .header("origin", PAGE)
        .send()
        .await
        .unwrap();
    assert_eq!(missing.status(), 404);
    assert_eq!(
        missing.headers()["access-control-allow-origin"],
        PAGE,
        "a page can read errors too"
    );
}

#[tokio::test]
async fn a_page_that_is_not_allowed_is_told_nothing() {
    let node = TestNode::start().await;
    for origin in ["https://evil.example", "null"] {
        let told = preflight(&node, "/api/v1/messages", origin, "POST").await;
        assert_eq!(told.status(), 403, "{origin}");
        assert!(!told.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
    // No browser: there is nothing to share, and OPTIONS is a method like any other.
    let options = node.request(Method::OPTIONS, "/api/v1/messages").send().await.unwrap();
    assert_eq!(options.status(), 405);
    let plain = node.request(Method::GET, "/healthz").send().await.unwrap();
    assert!(!plain.headers().contains_key("access-control-allow-origin"));
    lists(&plain, "vary", &["origin"]);
}
