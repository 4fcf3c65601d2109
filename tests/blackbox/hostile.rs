//! Hostile modules: each is refused or fails with its documented code and a sentence, and no other agent is affected.

mod bytes;
mod corpus;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt, stream};
use serde_json::json;

use self::corpus::{Outcome, Row};
use crate::client::{Client, request};
use crate::guests;
use crate::harness::{PATIENCE, TestNode, until};

/// How much the memory of the server may grow. More would mean that it keeps something that it should free.
const MEMORY_GROWTH: u64 = 400 << 20;

/// How much the server may log for the corpus. Each agent may log so many bytes a second, and those that log without end use that up.
const LOG_BYTES: usize = 8 << 20;

/// How many times a message is delivered whose turn crashes.
const DELIVERIES: u32 = 2;

/// How many rows of the corpus are tried at a time.
const AT_A_TIME: usize = 6;

/// Deploys a row, checks its outcome, and removes everything again.
async fn tried(client: Client, row: Row) {
    let (name, outcome) = (row.name, row.outcome);
    println!("{name}: {outcome:?}");
    let mut resources = json!({"memory": "32MiB", "turn_deadline": "20s"});
    let more = row.resources.as_object().cloned().unwrap_or_default();
    resources.as_object_mut().unwrap().extend(more);
    let config = json!({
        "name": name,
        "resources": resources,
        "supervision": {"backoff": {"min": "1ms", "max": "5ms"}, "shutdown": "1s"},
        "delivery": {"max_deliveries": DELIVERIES},
        "permissions": {"message": ["*"], "state": true, "random": true, "timers": true},
    });
    let answer = client.try_deploy(&config, row.module).await;
    match outcome {
        Outcome::Invalid(rule) => {
            let error = answer.refused(400, "INVALID_WASM");
            let findings = error["details"]["findings"].as_array().unwrap();
            assert!(
                findings.iter().any(|finding| finding["rule"] == rule),
                "{name}: {error:#}"
            );
            assert!(
                error.to_string().len() < 32 << 10,
                "{name}: the refusal is too long to be read"
            );
        }
        Outcome::NoStart(words) => {
            let error = answer.refused(500, "DEPLOYMENT_FAILED");
            let sentence = error["message"].as_str().unwrap();
            let lacks = words.iter().find(|word| !sentence.contains(**word));
            assert_eq!(lacks, None, "{name}: {sentence}");
        }
        Outcome::Crashes(..)
        | Outcome::Returns(_)
        | Outcome::Complains(_)
        | Outcome::Answers(_)
        | Outcome::BreaksLater(_)
        | Outcome::Goes => {
            let id = answer.good()["agent_id"].as_str().unwrap().to_owned();
            lived(&client, &name, outcome).await;
            client.delete(&format!("/api/v1/agents/{id}")).await.good();
        }
    }
    let gone = client.get(&format!("/api/v1/agents/{name}")).await;
    gone.refused(404, "AGENT_NOT_FOUND");
}

/// Sends a request to an agent of the corpus, and checks the reply and the status of the agent afterwards.
async fn lived(client: &Client, name: &str, outcome: Outcome) {
    let asked = client
        .post(
            "/api/v1/messages/wait?timeout_seconds=35",
            &request(name, &json!("work")),
        )
        .await;
    assert_eq!(asked.status, 200, "{name}: {:#}", asked.body);
    // Compared as text: some numbers and depths are valid JSON that the parser of this test cannot read.
    let text = asked
        .body
        .as_str()
        .map_or_else(|| asked.body.to_string(), str::to_owned);
    let content = &asked.body["reply"]["content"];
    let (reason, detail) = (&content["reason"], content["detail"].as_str().unwrap_or_default());
    match outcome {
        Outcome::Crashes(kind, words) => {
            assert_eq!(reason, "crashed", "{name}: {text}");
            assert!(detail.starts_with(kind) && detail.contains(words), "{name}: {detail}");
            let delivered = format!("delivered {DELIVERIES} times");
            assert!(detail.contains(&delivered), "{name}: {detail}");
            return;
        }
        Outcome::Returns(number) => {
            let told = format!("the agent returned {number}");
            assert_eq!((reason, detail), (&json!("error"), told.as_str()), "{name}: {text}");
        }
        Outcome::Complains(most) => {
            assert_eq!(reason, "error", "{name}: {text}");
            assert!(
                (most / 2..=most).contains(&detail.len()),
                "{name}: {} bytes",
                detail.len()
            );
        }
        Outcome::Answers(words) => assert!(text.contains("inform") && text.contains(words), "{name}: {text}"),
        Outcome::BreaksLater(kind) => {
            until(&format!("{name} breaks"), async || {
                (client.agent(name).await["last_exits"][0]["reason"] == kind).then_some(())
            })
            .await;
            return;
        }
        Outcome::Goes => {
            assert!(text.contains("inform"), "{name}: {text}");
            return;
        }
        Outcome::Invalid(_) | Outcome::NoStart(_) => unreachable!("it was refused"),
    }
    let agent = client.agent(name).await;
    let unbroken = (&agent["metrics"]["incarnation"], &agent["last_exits"]);
    assert_eq!(unbroken, (&json!(1), &json!([])), "{name}: it goes on as it was");
}

/// Sends requests to the neighbour until it is told to stop. Returns the number of replies, and the longest wait for one.
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

#[tokio::test(flavor = "multi_thread")]
async fn each_hostile_module_comes_to_its_documented_end_and_nobody_else_notices() {
    let mut node = TestNode::start().await;
    node.deploy("neighbour", "echo").await;
    node.told("neighbour", &json!("warm")).await;
    let (agents, before) = (node.agent_ids().await, node.resident_bytes());
    let rows = corpus::rows();
    let names: BTreeSet<_> = rows.iter().map(|row| row.name.clone()).collect();
    assert_eq!(names.len(), rows.len(), "each row has a name of its own");

    let stop = Arc::new(AtomicBool::new(false));
    let probe = tokio::spawn(probe(node.client(), stop.clone()));
    let trials = rows.into_iter().map(|row| {
        let name = row.name.clone();
        // All rows are tried, even if one of them fails.
        let trial = AssertUnwindSafe(tried(node.client(), row)).catch_unwind();
        async { trial.await.err().map(|_| name) }
    });
    let failed: Vec<_> = stream::iter(trials).buffer_unordered(AT_A_TIME).collect().await;
    let failed: Vec<_> = failed.into_iter().flatten().collect();
    assert_eq!(failed, Vec::<String>::new(), "each has said why");
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
    let logged = node.logged();
    assert!(!logged.contains("panicked"), "the server met what it did not expect");
    assert!(logged.len() < LOG_BYTES, "{} bytes of log", logged.len());
    assert!(node.terminate().await.success(), "it is the same process, and sound");
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
