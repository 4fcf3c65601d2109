//! Compiled modules are cached on the disk: the same bytes are compiled once, even if the server crashes or restarts.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::guests;
use crate::harness::{TestNode, caxton, until};

/// How many modules the server compiled since its start, and how many compiled ones it loaded.
async fn compiled_and_loaded(node: &TestNode) -> (u64, u64) {
    let answer = node.request(reqwest::Method::GET, "/metrics").send().await.unwrap();
    let text = answer.text().await.unwrap();
    let counter = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.trim().parse().unwrap())
    };
    (
        counter("caxton_modules_compiled_total"),
        counter("caxton_modules_loaded_total"),
    )
}

fn kept(node: &TestNode) -> Vec<PathBuf> {
    let folder = fs::read_dir(node.data_dir().join("compiled")).unwrap();
    folder.map(|file| file.unwrap().path()).collect()
}

#[tokio::test]
async fn a_module_is_compiled_once_for_all_agents_and_starts() {
    let mut node = TestNode::start().await;
    node.deploy("one", "echo").await;
    node.deploy("two", "echo").await;
    assert_eq!(compiled_and_loaded(&node).await, (1, 0), "the second finds it in use");
    node.deploy("counter", "counter").await;
    for name in ["one", "two"] {
        node.delete(&format!("/api/v1/agents/{name}")).await.good();
    }
    node.deploy("three", "echo").await;
    assert_eq!(compiled_and_loaded(&node).await.0, 2);
    node.kill_nine();
    node.restart().await;
    assert_eq!(node.ask("three", &json!(1)).await["content"], 1);
    assert_eq!(compiled_and_loaded(&node).await, (0, 2));
}

#[tokio::test]
async fn damaged_code_is_compiled_again() {
    let mut node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    node.kill_nine();
    let file = kept(&node).pop().unwrap();
    let mut code = fs::read(&file).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    fs::write(&file, code).unwrap();
    node.restart().await;
    assert_eq!(node.ask("echo", &json!(1)).await["content"], 1);
    assert_eq!(compiled_and_loaded(&node).await, (1, 0));
    assert!(node.logged().contains("a compiled module is damaged"));
    node.kill_nine();
    node.restart().await;
    assert_eq!(compiled_and_loaded(&node).await, (0, 1));
}

#[tokio::test]
async fn a_kill_while_a_module_compiles_leaves_nothing_broken() {
    let mut node = TestNode::start().await;
    let client = node.client();
    let deploy = tokio::spawn(async move {
        let form = reqwest::multipart::Form::new()
            .part("wasm", reqwest::multipart::Part::bytes(crate::compiling::slow(60_000)))
            .text("config", r#"{"name":"slow"}"#);
        let request = client.request(reqwest::Method::POST, "/api/v1/agents").multipart(form);
        crate::client::Client::try_answer(request).await.is_none()
    });
    until("it compiles", async || (!node.compilers().is_empty()).then_some(())).await;
    node.kill_nine();
    assert!(deploy.await.unwrap(), "nobody answers");
    node.restart().await;
    assert!(kept(&node).is_empty());
    node.deploy("slow", "echo").await;
    assert_eq!(node.ask("slow", &json!(1)).await["content"], 1);
    assert_eq!(kept(&node).len(), 1);
}

#[tokio::test]
async fn without_a_cache_and_in_memory_the_data_folder_has_no_code() {
    for config in ["[wasm]\ncache = 0", "durability = \"memory\""] {
        let node = TestNode::start_with(config).await;
        node.deploy_as(json!({"name": "echo"}), guests::example("echo")).await;
        assert_eq!(node.ask("echo", &json!(1)).await["content"], 1);
        assert!(!node.data_dir().join("compiled").exists(), "{config}");
    }
}

#[tokio::test]
async fn a_backup_leaves_code_out_and_the_doctor_does_not_ask_for_it() {
    let mut node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let backup = tempfile::tempdir().unwrap();
    let to = backup.path().join("backup");
    node.post("/api/v1/system/backup", &json!({"to": to})).await.good();
    assert!(to.join("modules").exists() && !to.join("compiled").exists());
    node.terminate().await;
    let data = node.data_dir();
    for there in [true, false] {
        assert_eq!(data.join("compiled").exists(), there);
        let doctor = caxton().arg("doctor").arg("--data-dir").arg(&data).output().unwrap();
        assert!(doctor.status.success(), "{doctor:?}");
        if there {
            fs::remove_dir_all(data.join("compiled")).unwrap();
        }
    }
    node.restart().await;
    assert_eq!(node.ask("echo", &json!(1)).await["content"], 1);
}
