//! The report about a module before it is deployed is the same over REST, over gRPC and on the command line.

use std::process::Output;

use caxton::api::grpc::proto::ValidateAgentRequest;
use caxton::api::grpc::proto::agent_service_client::AgentServiceClient;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::guests;
use crate::harness::{TestNode, caxton};

async fn validate(node: &Client, module: Vec<u8>, config: Option<Value>) -> Answer {
    let mut form = Form::new().part("wasm", Part::bytes(module).file_name("agent.wasm"));
    if let Some(config) = config {
        form = form.text("config", config.to_string());
    }
    let request = node.request(Method::POST, "/api/v1/agents/validate");
    Client::try_answer(request.multipart(form))
        .await
        .expect("the server answers")
}

/// Runs `caxton agent validate` with the module and further arguments.
fn validate_offline(module: &[u8], arguments: &[&str]) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), module).unwrap();
    let mut command = caxton();
    command.args(["agent", "validate"]).arg(file.path()).args(arguments);
    command.output().unwrap()
}

fn broken() -> Vec<u8> {
    guests::assemble(
        r#"(module
            (import "env" "abort" (func))
            (import "caxton" "log" (func (param i64)))
            (memory (export "memory") 2000)
            (func (export "handle_message") (param i32) (result i32) (i32.const 0)))"#,
    )
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once_and_everywhere_the_same() {
    let node = TestNode::start().await;
    let told = validate(&node, broken(), None).await.good();
    let rules: Vec<_> = told["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["rule"].as_str().unwrap())
        .collect();
    let expected = [
        "memory-limit",
        "unknown-import",
        "import-type",
        "missing-export",
        "export-type",
    ];
    assert_eq!(rules, expected, "{told:#}");
    assert_eq!((&told["valid"], &told["kind"]), (&json!(false), &json!(null)));
    assert_eq!(told["memory_bytes"], 2_000 * 65_536);

    let refused = node.try_deploy(&json!({"name": "broken"}), broken()).await;
    let error = refused.refused(400, "INVALID_WASM");
    assert_eq!(error["details"]["findings"], told["findings"]);

    let offline = validate_offline(&broken(), &["--json"]);
    assert_eq!(offline.status.code(), Some(1));
    assert_eq!(serde_json::from_slice::<Value>(&offline.stdout).unwrap(), told);

    let mut client = AgentServiceClient::connect(node.grpc()).await.unwrap();
    let asked = ValidateAgentRequest {
        wasm_module: broken().into(),
        config: None,
    };
    let over_grpc = client.validate_agent(asked).await.unwrap().into_inner();
    let rules: Vec<_> = over_grpc.findings.iter().map(|finding| finding.rule.as_str()).collect();
    assert_eq!((over_grpc.valid, rules), (false, expected.to_vec()));
    assert_eq!(node.agent_ids().await, [""; 0], "nothing is deployed");
}

#[tokio::test]
async fn an_import_that_is_not_granted_is_a_warning() {
    let node = TestNode::start().await;
    let counter = guests::example("counter");
    let told = validate(&node, counter.clone(), None).await.good();
    assert_eq!((&told["valid"], &told["kind"]), (&json!(true), &json!("core")));
    let warning = &told["warnings"][0];
    assert_eq!(warning["rule"], "not-granted", "{told:#}");
    assert!(
        warning["expected"].as_str().unwrap().contains("permissions.state"),
        "{told:#}"
    );

    let granted = json!({"name": "counter", "permissions": {"state": true}});
    let told = validate(&node, counter.clone(), Some(granted.clone())).await.good();
    assert_eq!(told["warnings"], json!([]));
    let deployed = node.try_deploy(&granted, counter.clone()).await.good();
    assert_eq!(deployed.get("warnings"), None);
    let deployed = node.try_deploy(&json!({"name": "poor"}), counter.clone()).await.good();
    assert_eq!(deployed["warnings"][0], *warning);

    let small = json!({"name": "small", "resources": {"memory": "1KiB"}});
    let told = validate(&node, counter.clone(), Some(small)).await.good();
    assert_eq!(told["findings"][0]["rule"], "memory-limit", "{told:#}");
    let wrong = json!({"name": "wrong", "resources": {"memory": "1PB"}});
    let error = validate(&node, counter.clone(), Some(wrong))
        .await
        .refused(400, "INVALID_REQUEST");
    assert_eq!(error["details"]["field"], "config.resources.memory", "{error:#}");

    let offline = validate_offline(&counter, &[]);
    let said = String::from_utf8(offline.stdout).unwrap();
    assert!(
        offline.status.success() && said.contains("a core module that can be deployed"),
        "{said}"
    );
    assert!(said.contains("warning not-granted"), "{said}");
    let missing = caxton()
        .args(["agent", "validate", "/nowhere/agent.wasm"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("cannot read /nowhere/agent.wasm"));
}
