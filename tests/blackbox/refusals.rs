//! Bad requests: the error has the right status, the published code, and the name of the wrong field.

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::client::request;
use crate::guests;
use crate::harness::TestNode;

const MESSAGES: &str = "/api/v1/messages";
const AGENTS: &str = "/api/v1/agents";

#[track_caller]
fn names(error: &Value, field: &str) {
    let named = error["details"]["field"].as_str().unwrap_or_default();
    assert_eq!(named, field, "{error:#}");
    let last = field.rsplit('.').next().unwrap();
    assert!(
        error["message"].as_str().unwrap().contains(last),
        "the sentence does not name it: {error:#}"
    );
}

#[tokio::test]
async fn a_message_that_is_wrong_is_refused_with_its_field() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    for (message, field) in [
        (json!({"receiver": "echo", "content": 1}), "performative"),
        (json!({"performative": "shout", "receiver": "echo"}), "performative"),
        (json!({"performative": 7, "receiver": "echo"}), "performative"),
        (json!({"performative": null, "receiver": "echo"}), "performative"),
        (json!({"performative": "inform"}), "receiver"),
        (json!({"performative": "inform", "receiver": []}), "receiver"),
        (json!({"performative": "inform", "receiver": 7}), "receiver"),
        (
            json!({"performative": "inform", "receiver": "echo", "colour": "red"}),
            "colour",
        ),
        (
            json!({"performative": "inform", "receiver": "echo", "reply_with": ""}),
            "reply_with",
        ),
        (
            json!({"performative": "inform", "receiver": "echo", "encoding": "rot13", "content": "x"}),
            "encoding",
        ),
        (
            json!({"performative": "cfp", "receiver": "echo", "content": {}}),
            "reply_by",
        ),
    ] {
        for path in [MESSAGES, "/api/v1/messages/wait"] {
            names(&node.post(path, &message).await.refused(400, "INVALID_REQUEST"), field);
        }
    }
    for body in ["nonsense", "[]", "{\"performative\":", ""] {
        let answer = node.post_text(MESSAGES, "application/json", body).await;
        names(&answer.refused(400, "INVALID_REQUEST"), "body");
    }
    let patient = node
        .post(
            "/api/v1/messages/wait?timeout_seconds=soon",
            &request("echo", &json!(1)),
        )
        .await;
    names(&patient.refused(400, "INVALID_REQUEST"), "timeout_seconds");
    assert_eq!(node.history("agent=echo").await.len(), 0, "none of them was sent");
}

#[tokio::test]
async fn a_receiver_that_does_not_exist_is_not_found() {
    let node = TestNode::start().await;
    for receiver in ["nobody", "agent_999", "agent_0192f0c1a2b37c4d8e5f60718293a4b5"] {
        let error = node
            .post(MESSAGES, &request(receiver, &json!(1)))
            .await
            .refused(404, "AGENT_NOT_FOUND");
        assert_eq!(error["details"]["agent_id"], receiver);
    }
    node.get("/api/v1/messages/msg_999")
        .await
        .refused(404, "MESSAGE_NOT_FOUND");
}

#[tokio::test]
async fn nobody_but_an_agent_speaks_as_that_agent() {
    let node = TestNode::start().await;
    let id = node.deploy("echo", "echo").await;
    for sender in [id.as_str(), "echo", "platform"] {
        let message = json!({"performative": "inform", "sender": sender, "receiver": "echo"});
        node.post(MESSAGES, &message).await.refused(403, "FORBIDDEN");
    }
    assert_eq!(
        node.history(&format!("agent={id}")).await.len(),
        0,
        "none of them was sent"
    );
}

#[tokio::test]
async fn a_configuration_that_is_wrong_is_refused_with_its_key() {
    let node = TestNode::start().await;
    for (config, word) in [
        (json!({}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "two words"}), "name"),
        (json!({"name": "a", "colour": "red"}), "colour"),
        (json!({"name": "a", "resources": {"colour": "red"}}), "colour"),
        (json!({"name": "a", "resources": {"memory": "much"}}), "memory"),
        (json!({"name": "a", "resources": {"memory": "900GiB"}}), "memory"),
        (
            json!({"name": "a", "resources": {"turn_deadline": "soon"}}),
            "turn_deadline",
        ),
        (json!({"name": "a", "strategy": "hope"}), "strategy"),
        (json!({"name": "a", "version": "one"}), "version"),
        (json!({"name": "a", "permissions": {"message": "*"}}), "message"),
        (
            json!({"name": "a", "delivery": {"max_deliveries": 0}}),
            "max_deliveries",
        ),
    ] {
        let error = node
            .try_deploy(&config, guests::example("echo"))
            .await
            .refused(400, "INVALID_REQUEST");
        let field = error["details"]["field"].as_str().unwrap();
        assert!(field.starts_with("config"), "{config}: {error:#}");
        let said = format!("{field} {}", error["message"].as_str().unwrap());
        assert!(said.contains(word), "{config}: {error:#}");
    }
    assert_eq!(node.agent_ids().await.len(), 0);
}

#[tokio::test]
async fn a_deploy_without_one_of_its_parts_is_refused_with_the_part() {
    let node = TestNode::start().await;
    let wasm = || Part::bytes(guests::example("echo")).file_name("agent.wasm");
    let config = r#"{"name":"a"}"#;
    for (form, field) in [
        (Form::new().part("wasm", wasm()), "config"),
        (Form::new().text("config", config), "wasm"),
        (Form::new(), "body"),
        (
            Form::new()
                .part("wasm", wasm())
                .text("config", config)
                .text("colour", "red"),
            "colour",
        ),
        (Form::new().part("wasm", wasm()).text("config", "nonsense"), "config"),
    ] {
        names(&node.post_form(form).await.refused(400, "INVALID_REQUEST"), field);
    }
    for (body, field) in [
        (json!({"config": {"name": "a"}}), "wasm_module"),
        (json!({"wasm_module": "AGFzbQ=="}), "config"),
        (
            json!({"wasm_module": "not base64!", "config": {"name": "a"}}),
            "wasm_module",
        ),
    ] {
        names(&node.post(AGENTS, &body).await.refused(400, "INVALID_REQUEST"), field);
    }
    let nothing = node.post_text(AGENTS, "text/plain", "hello").await;
    assert!((400..500).contains(&nothing.status), "{}", nothing.body);
    let reversed = Form::new().text("config", config).part("wasm", wasm());
    node.post_form(reversed).await.good();
}

#[tokio::test]
async fn a_name_is_used_once() {
    let node = TestNode::start().await;
    let id = node.deploy("echo", "echo").await;
    let again = node
        .try_deploy(&json!({"name": "echo"}), guests::example("counter"))
        .await;
    let error = again.refused(409, "AGENT_ALREADY_EXISTS");
    assert_eq!(
        (&error["details"]["agent_id"], &error["details"]["name"]),
        (&json!(id), &json!("echo"))
    );
    assert_eq!(node.told("echo", &json!(1)).await, 1, "the first one is untouched");
}

#[tokio::test]
async fn query_parameters_that_are_wrong_are_refused_with_their_name() {
    let node = TestNode::start().await;
    for (path, field) in [
        ("/api/v1/agents?limit=0", "limit"),
        ("/api/v1/agents?limit=-1", "limit"),
        ("/api/v1/agents?limit=1001", "limit"),
        ("/api/v1/agents?limit=ten", "limit"),
        ("/api/v1/agents?offset=-1", "offset"),
        ("/api/v1/agents?status=asleep", "status"),
        ("/api/v1/agents?colour=red", "colour"),
        ("/api/v1/messages?limit=0", "limit"),
        ("/api/v1/messages?cursor=cursor_abc", "cursor"),
        ("/api/v1/messages?performative=shout", "performative"),
        ("/api/v1/messages?since=yesterday", "since"),
    ] {
        names(&node.get(path).await.refused(400, "INVALID_REQUEST"), field);
    }
    node.deploy("echo", "echo").await;
    let error = node
        .get("/api/v1/metrics/agents/echo?period=1y2")
        .await
        .refused(400, "INVALID_REQUEST");
    names(&error, "period");
    for (stop, field) in [
        (json!({"grace_period_seconds": -1}), "grace_period_seconds"),
        (json!({"grace": 1}), "grace"),
    ] {
        let error = node
            .post("/api/v1/agents/echo/stop", &stop)
            .await
            .refused(400, "INVALID_REQUEST");
        names(&error, field);
    }
    assert_eq!(node.agent("echo").await["status"], "running");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_has_its_methods() {
    let node = TestNode::start().await;
    for path in ["/", "/api/v1", "/api/v2/agents", "/api/v1/agents/a/b/c"] {
        node.get(path).await.refused(404, "NOT_FOUND");
    }
    for (method, path, allowed) in [
        (Method::PATCH, "/api/v1/agents", "POST"),
        (Method::DELETE, "/api/v1/messages", "POST"),
        (Method::GET, "/api/v1/messages/wait", "POST"),
        (Method::POST, "/healthz", "GET"),
    ] {
        let answer = node.call(method, path).await;
        let allow = answer
            .headers
            .get("allow")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        answer.refused(405, "INVALID_REQUEST");
        assert!(allow.contains(allowed), "{path}: allow: {allow:?}");
    }
    for path in ["/api/v1/agents/nobody", "/api/v1/metrics/agents/nobody"] {
        node.get(path).await.refused(404, "AGENT_NOT_FOUND");
    }
    node.post("/api/v1/agents/nobody/stop", &json!({}))
        .await
        .refused(404, "AGENT_NOT_FOUND");
    node.delete("/api/v1/agents/nobody")
        .await
        .refused(404, "AGENT_NOT_FOUND");
    node.get("/api/v1/supervision/tree?path=node/nowhere")
        .await
        .refused(404, "SUPERVISOR_NOT_FOUND");
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit() {
    let node = TestNode::start_with("[limits]\nmodule = \"1MiB\"\n").await;
    node.deploy("echo", "echo").await;
    let large = json!("x".repeat(7 << 20));
    let error = node
        .post(MESSAGES, &request("echo", &large))
        .await
        .refused(413, "PAYLOAD_TOO_LARGE");
    assert!(
        error["details"]["limit_bytes"]
            .as_u64()
            .is_some_and(|limit| limit >= 4 << 20),
        "{error:#}"
    );

    // The first is too large for a module only, the second already too large for a form.
    for (bytes, limit) in [((1 << 20) + 1, 1 << 20..=1 << 20), (2 << 20, 1 << 20..=2 << 20)] {
        let error = node
            .try_deploy(&json!({"name": "large"}), vec![0; bytes])
            .await
            .refused(413, "PAYLOAD_TOO_LARGE");
        assert!(
            limit.contains(&error["details"]["limit_bytes"].as_u64().unwrap()),
            "{error:#}"
        );
    }
    assert_eq!(node.told("echo", &json!("small")).await, "small");
}

#[tokio::test]
async fn an_error_is_a_problem_for_who_asks_for_problems() {
    let node = TestNode::start().await;
    let request = node
        .request(Method::GET, "/api/v1/agents/nobody")
        .header("accept", "application/problem+json");
    let answer = crate::client::Client::try_answer(request).await.unwrap();
    assert_eq!(
        (answer.status, answer.headers["content-type"].to_str().unwrap()),
        (404, "application/problem+json")
    );
    assert_eq!(
        (&answer.body["status"], &answer.body["code"]),
        (&json!(404), &json!("AGENT_NOT_FOUND"))
    );
}

#[tokio::test]
async fn a_member_that_is_given_twice_is_named() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    for (path, body, field) in [
        (
            MESSAGES,
            r#"{"performative":"inform","receiver":"echo","performative":"request"}"#,
            "performative",
        ),
        (
            MESSAGES,
            r#"{"performative":"inform","receiver":"echo","content":1,"content":2}"#,
            "content",
        ),
        (
            "/api/v1/supervisors",
            r#"{"name":"a","backoff":{"min":1,"min":1}}"#,
            "backoff.min",
        ),
        (
            "/api/v1/supervision/actions",
            r#"{"path":"echo","action":"reset","path":"node"}"#,
            "path",
        ),
        (
            "/api/v1/agents/echo/stop",
            r#"{"drain_messages":true,"drain_messages":false}"#,
            "drain_messages",
        ),
        (AGENTS, r#"{"wasm_module":"","wasm_module":""}"#, "wasm_module"),
    ] {
        let answer = node.post_text(path, "application/json", body).await;
        names(&answer.refused(400, "INVALID_REQUEST"), field);
    }
    let deploy = |config: &'static str| {
        let wasm = Part::bytes(guests::example("echo"));
        node.post_form(Form::new().part("wasm", wasm).text("config", config))
    };
    let twice = deploy(r#"{"name":"a","resources":{"memory":"1MiB","memory":"2MiB"}}"#).await;
    names(&twice.refused(400, "INVALID_REQUEST"), "config.resources.memory");
    assert_eq!(node.agent_ids().await.len(), 1);
}

#[tokio::test]
async fn half_of_a_character_is_named() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    for (path, body, field) in [
        (
            MESSAGES,
            r#"{"performative":"inform","receiver":"echo","content":{"a":["\ud800"]}}"#,
            "content",
        ),
        (
            MESSAGES,
            r#"{"performative":"inform","receiver":"echo","x_a":{"\udc00":1}}"#,
            "x_a",
        ),
        (
            MESSAGES,
            r#"{"performative":"inform","receiver":"echo","ontology":"\ud800"}"#,
            "ontology",
        ),
        (
            "/api/v1/supervisors",
            r#"{"name":"a","backoff":{"min":"\ud800"}}"#,
            "backoff.min",
        ),
        (
            "/api/v1/supervision/actions",
            r#"{"path":"\ud800","action":"reset"}"#,
            "path",
        ),
    ] {
        let answer = node.post_text(path, "application/json", body).await;
        let error = answer.refused(400, "INVALID_REQUEST");
        names(&error, field);
        assert!(error["message"].as_str().unwrap().contains("surrogate"), "{error:#}");
    }
}

#[tokio::test]
async fn content_a_little_too_large_is_refused_like_content_far_too_large() {
    const LIMIT: usize = 4 << 20;
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    // Two of the bytes are the quotes.
    node.post(MESSAGES, &request("echo", &json!("x".repeat(LIMIT - 2))))
        .await
        .good();
    let bytes = |size: usize| {
        let base64 = "AAAA".repeat(size / 3) + ["", "AA==", "AAA="][size % 3];
        json!({"performative": "inform", "receiver": "echo", "encoding": "base64", "content": base64})
    };
    node.post(MESSAGES, &bytes(LIMIT)).await.good();
    for message in [
        request("echo", &json!("x".repeat(LIMIT - 1))),
        request("echo", &json!("x".repeat(LIMIT))),
        bytes(LIMIT + 1),
    ] {
        let error = node.post(MESSAGES, &message).await.refused(413, "PAYLOAD_TOO_LARGE");
        assert_eq!(error["details"]["limit_bytes"], LIMIT);
    }
}

#[tokio::test]
async fn every_time_of_rfc_3339_is_taken_and_no_other() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let asked = |reply_by: &str| json!({"performative": "request", "receiver": "echo", "reply_by": reply_by});
    let last = node.post(MESSAGES, &asked("9999-12-31T23:59:59Z")).await.good();
    let sent = node.until_settled(last["message_id"].as_str().unwrap()).await;
    assert_eq!(sent["reply_by"], "9999-12-31T23:59:59.000000Z");
    let again = node.post(MESSAGES, &asked(sent["reply_by"].as_str().unwrap())).await;
    again.good();
    for bad in [
        "yesterday",
        "2030-01-15",
        "2030-01-15T10:30:00",
        "+010000-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
    ] {
        names(
            &node.post(MESSAGES, &asked(bad)).await.refused(400, "INVALID_REQUEST"),
            "reply_by",
        );
    }
    let page = node
        .get("/api/v1/messages?since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59.999999Z")
        .await;
    assert_eq!(page.good()["total"], 4);
    let wrong = node.get("/api/v1/messages?since=0000-01-01T00:00:00Z").await;
    names(&wrong.refused(400, "INVALID_REQUEST"), "since");
}
