//! Modules that nobody here wrote: each gets its documented code and a sentence, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::guests;
use crate::harness::{PATIENCE, TestNode, until};

/// More than this and the server keeps what it should have thrown away.
const MEMORY_GROWTH: u64 = 400 << 20;

/// Deploys what must not run, and checks that the refusal has this code and its sentence these words.
async fn refused(client: Client, name: &'static str, module: Vec<u8>, (status, code): (u16, &str), words: &[&str]) {
    let answer = client.try_deploy(&json!({"name": name}), module).await;
    let error = answer.refused(status, code);
    let sentence = error["message"].as_str().unwrap().to_lowercase();
    assert!(
        words.iter().all(|word| sentence.contains(word)),
        "{name}: `{sentence}` lacks one of {words:?}"
    );
    // The agent was never there, and its name is free.
    client
        .get(&format!("/api/v1/agents/{name}"))
        .await
        .refused(404, "AGENT_NOT_FOUND");
    let id = client.deploy(name, "echo").await;
    client.delete(&format!("/api/v1/agents/{id}")).await.good();
}

/// Deploys what misbehaves when it is asked, asks it, checks what its sender is told, and removes it.
async fn tamed(client: Client, guest: &'static str, kind: &str) {
    let config = json!({
        "name": guest,
        "resources": {"turn_deadline": "200ms", "memory": "32MiB"},
        "supervision": {"backoff": {"min": "1ms", "max": "5ms"}},
        "permissions": {"message": ["*"]},
    });
    let id = client.deploy_as(config, guests::example(guest)).await;
    let detail = client.failure(guest, "crashed").await;
    assert!(detail.starts_with(kind), "{guest}: {detail}");
    assert!(detail.contains("delivered 3 times"), "{guest}: {detail}");
    client.delete(&format!("/api/v1/agents/{id}")).await.good();
    client
        .get(&format!("/api/v1/agents/{id}"))
        .await
        .refused(404, "AGENT_NOT_FOUND");
    client
        .get(&format!("/api/v1/agents/{guest}"))
        .await
        .refused(404, "AGENT_NOT_FOUND");
    let again = client.deploy(guest, "echo").await;
    assert_eq!(client.told(guest, &json!("fine")).await, "fine");
    client.delete(&format!("/api/v1/agents/{again}")).await.good();
}

/// Asks the neighbour again and again until it is told to stop: how many answers, and the longest wait.
async fn probe(client: Client, stop: Arc<AtomicBool>) -> (u32, Duration) {
    let (mut answers, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        assert_eq!(
            client.told("neighbour", &json!({"n": answers})).await,
            json!({"n": answers})
        );
        longest = longest.max(began.elapsed());
        answers += 1;
    }
    (answers, longest)
}

async fn all_at_once(client: &Client) {
    const INVALID: (u16, &str) = (400, "INVALID_WASM");
    const FAILED: (u16, &str) = (500, "DEPLOYMENT_FAILED");
    let c = || client.clone();
    tokio::join!(
        refused(
            c(),
            "garbage",
            b"\x7fELF, or so it says".to_vec(),
            INVALID,
            &["webassembly"]
        ),
        refused(
            c(),
            "cut-short",
            guests::example("echo")[..60].to_vec(),
            INVALID,
            &["webassembly"]
        ),
        refused(c(), "empty", Vec::new(), INVALID, &["empty"]),
        refused(
            c(),
            "text",
            guests::text("echo").into_bytes(),
            INVALID,
            &["text format", "wat2wasm"]
        ),
        refused(c(), "zeros", vec![0; 20 << 20], INVALID, &["webassembly"]),
        refused(c(), "no-exports", guests::example("no_exports"), INVALID, &["memory"]),
        refused(
            c(),
            "bad-import",
            guests::example("bad_import"),
            INVALID,
            &["env", "open_file"]
        ),
        refused(
            c(),
            "init-trap",
            guests::example("init_trap"),
            FAILED,
            &["start", "unreachable"]
        ),
        refused(
            c(),
            "spin-init",
            guests::example("spin_init"),
            FAILED,
            &["start", "10s"]
        ),
        tamed(c(), "crash", "trap"),
        tamed(c(), "spin", "deadline"),
        tamed(c(), "grow", "deadline"),
        tamed(c(), "grow_trap", "out_of_memory"),
        tamed(c(), "deep_recursion", "trap"),
        tamed(c(), "bad_pointer", "bad_pointer"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_modules_get_a_code_and_a_sentence_and_nobody_else_notices() {
    let node = TestNode::start().await;
    node.deploy("neighbour", "echo").await;
    node.told("neighbour", &json!("warm")).await;
    let (agents, before) = (node.agent_ids().await, node.resident_bytes());

    let stop = Arc::new(AtomicBool::new(false));
    let probe = tokio::spawn(probe(node.client(), stop.clone()));
    Box::pin(all_at_once(&node.client())).await;
    stop.store(true, Ordering::Relaxed);
    let (answers, longest) = probe.await.unwrap();
    println!("the neighbour answered {answers} times meanwhile, at worst after {longest:?}");
    assert!(
        answers > 10 && longest < PATIENCE / 4,
        "{answers} answers, the slowest after {longest:?}"
    );

    assert_eq!(node.agent_ids().await, agents, "the list of agents is what it was");
    let after = until("memory is given back", async || {
        let now = node.resident_bytes();
        (now < before + MEMORY_GROWTH).then_some(now)
    })
    .await;
    println!(
        "memory: {} MB before, {} MB after",
        before / 1_000_000,
        after / 1_000_000
    );
    let agent = node.agent("neighbour").await;
    assert_eq!(
        (&agent["metrics"]["incarnation"], &agent["metrics"]["messages_failed"]),
        (&json!(1), &json!(0))
    );
}

#[tokio::test]
async fn hostile_modules_leave_no_memory_behind_however_often_they_come() {
    let node = TestNode::start().await;
    let mut sizes = Vec::new();
    for round in 0..40 {
        let config = json!({"name": "grow", "resources": {"memory": "64MiB"}, "delivery": {"max_deliveries": 1}});
        let id = node.deploy_as(config, guests::example("grow_trap")).await;
        node.failure("grow", "crashed").await;
        node.delete(&format!("/api/v1/agents/{id}?force=true")).await.good();
        node.try_deploy(&json!({"name": "zeros"}), vec![0; 1 << 20])
            .await
            .refused(400, "INVALID_WASM");
        if round % 10 == 9 {
            sizes.push(node.resident_bytes());
        }
    }
    println!("memory after each ten rounds: {sizes:?}");
    assert!(
        sizes[3] < sizes[0] + (64 << 20),
        "memory grows with each round: {sizes:?}"
    );
    assert_eq!(node.agent_ids().await, Vec::<String>::new());
}

#[tokio::test]
async fn every_finding_says_what_is_there_and_what_would_be_right() {
    let node = TestNode::start().await;
    for guest in ["no_exports", "bad_import"] {
        let answer = node.try_deploy(&json!({"name": "a"}), guests::example(guest)).await;
        let error = answer.refused(400, "INVALID_WASM");
        let findings = error["details"]["findings"].as_array().unwrap();
        assert!(!findings.is_empty());
        for finding in findings {
            for part in ["rule", "found", "expected"] {
                assert!(
                    finding[part].as_str().is_some_and(|text| !text.is_empty()),
                    "{part} of {finding:#}"
                );
            }
        }
    }
    let signature = r#"(module (memory (export "memory") 1)
        (func (export "caxton_alloc") (param i32) (result i32) i32.const 0)
        (func (export "handle_message") (param i64)))"#;
    let error = node
        .try_deploy(&json!({"name": "a"}), guests::assemble(signature))
        .await
        .refused(400, "INVALID_WASM");
    assert!(
        error["message"].as_str().unwrap().contains("handle_message"),
        "{error:#}"
    );
}

#[tokio::test]
async fn fuel_bounds_a_turn() {
    let node = TestNode::start().await;
    let config = json!({"name": "spin", "resources": {"cpu": "100000"}, "delivery": {"max_deliveries": 1}});
    node.deploy_as(config, guests::example("spin")).await;
    assert!(node.failure("spin", "crashed").await.starts_with("out_of_fuel"));
    let agent: Value = node.agent("spin").await;
    assert_eq!(agent["metrics"]["messages_failed"], 1);
}
