//! Each module is compiled by a process of its own: its time and memory are limited, and its crash affects nobody else.

use serde_json::{Value, json};

use crate::harness::{TestNode, until};

/// An agent that does nothing but takes long to compile, because it has many functions.
pub(crate) fn slow(functions: usize) -> Vec<u8> {
    let one = "(func (param i32 i32) (result i32) (local i32 i32 i32) (loop $l (local.set 2 (i32.mul (local.get 0) (i32.xor \
               (local.get 1) (i32.rotl (local.get 3) (local.get 2))))) (local.set 3 (i32.div_u (local.get 2) (i32.add (local.get 4) \
               (i32.const 7)))) (if (i32.lt_u (local.get 3) (i32.const 9)) (then (local.set 4 (i32.popcnt (local.get 2))) (br $l)))) \
               (i32.add (local.get 3) (local.get 4)))\n";
    agent(&one.repeat(functions))
}

/// An agent with one function of many operations. The compiler has all of them in memory at once.
fn large(operations: usize) -> Vec<u8> {
    let body = "(local.set 0 (i32.add (i32.mul (local.get 0) (local.get 1)) (i32.const 77)))".repeat(operations);
    agent(&format!("(func (param i32 i32) {body})"))
}

fn agent(functions: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") 1) {functions}
            (func (export "caxton_alloc") (param i32) (result i32) i32.const 1024)
            (func (export "handle_message") (param i32 i32) (result i32) i32.const 0))"#
    );
    wat::parse_str(text).unwrap()
}

/// The finding for which the server refused a module.
fn finding(error: &Value) -> (String, String) {
    let finding = &error["details"]["findings"][0];
    let text = |field: &str| finding[field].as_str().unwrap().to_owned();
    (text("rule"), text("found") + "; " + &text("expected"))
}

async fn compiler(node: &TestNode) -> u32 {
    until("a module compiles", async || node.compilers().first().copied()).await
}

#[tokio::test]
async fn a_module_that_compiles_too_long_is_refused_and_others_are_deployed_meanwhile() {
    let node = TestNode::start_with("[wasm]\ncompile_time = \"4s\"\ncompiles = 2").await;
    let config = json!({"name": "slow"});
    let module = slow(150_000);
    let (slow, ()) = tokio::join!(node.try_deploy(&config, module), async {
        compiler(&node).await;
        node.deploy("echo", "echo").await;
        assert_eq!(node.ask("echo", &json!(1)).await["content"], 1);
        assert_eq!(node.compilers().len(), 1, "the slow one still compiles");
    });
    let (rule, text) = finding(&slow.refused(400, "INVALID_WASM"));
    assert_eq!(rule, "compile-time");
    assert!(text.contains("4s") && text.contains("wasm.compile_time"), "{text}");
    assert!(node.compilers().is_empty(), "it was ended, and waited for");
    node.get("/api/v1/agents/slow").await.refused(404, "AGENT_NOT_FOUND");
}

#[tokio::test]
async fn a_module_that_needs_too_much_memory_to_compile_is_refused() {
    let node = TestNode::start_with("[wasm]\ncompile_memory = \"512MiB\"").await;
    let refused = node.try_deploy(&json!({"name": "large"}), large(500_000)).await;
    let (rule, text) = finding(&refused.refused(400, "INVALID_WASM"));
    assert_eq!(rule, "compile-memory", "{text}");
    assert!(
        text.contains("536870912") && text.contains("wasm.compile_memory"),
        "{text}"
    );
    node.deploy("echo", "echo").await;
}

#[tokio::test]
async fn a_compiler_that_is_killed_refuses_its_module_and_nothing_else() {
    let node = TestNode::start_with("[wasm]\ncompiles = 2").await;
    let config = json!({"name": "slow"});
    let module = slow(150_000);
    let (slow, ()) = tokio::join!(node.try_deploy(&config, module), async {
        let compiler = compiler(&node).await;
        let killed = std::process::Command::new("kill")
            .args(["-9", &compiler.to_string()])
            .status();
        assert!(killed.unwrap().success());
    });
    let (rule, text) = finding(&slow.refused(400, "INVALID_WASM"));
    assert!(rule == "compile" && text.contains("signal: 9"), "{rule}: {text}");
    node.deploy("echo", "echo").await;
    assert_eq!(node.ask("echo", &json!(1)).await["content"], 1);
}

#[tokio::test]
async fn a_compiler_ends_with_its_server() {
    let mut node = TestNode::start().await;
    let client = node.client();
    let module = slow(150_000);
    let deploy = tokio::spawn(async move {
        let form = reqwest::multipart::Form::new()
            .part("wasm", reqwest::multipart::Part::bytes(module))
            .text("config", r#"{"name":"slow"}"#);
        let request = client.request(reqwest::Method::POST, "/api/v1/agents").multipart(form);
        crate::client::Client::try_answer(request).await.is_none()
    });
    let compiler = compiler(&node).await;
    node.kill_nine();
    assert!(deploy.await.unwrap(), "nobody answers");
    until("the compiler ends", async || {
        let state = std::fs::read_to_string(format!("/proc/{compiler}/stat")).unwrap_or_default();
        let gone = state
            .rsplit(") ")
            .next()
            .is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'));
        gone.then_some(())
    })
    .await;
    node.restart().await;
    node.deploy("slow", "echo").await;
    assert_eq!(node.ask("slow", &json!(1)).await["content"], 1);
}
