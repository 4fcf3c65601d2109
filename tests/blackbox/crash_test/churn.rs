//! Agents that come and go: each worker deploys, stops, starts and removes a few agents of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::Rng;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::json;

use super::log::{Act, Answered, Life, Log, Operation};
use super::workloads::{Gone, Worker};
use crate::client::Client;
use crate::guests;
use crate::harness::TestNode;

pub(crate) const WORKERS: usize = 2;
const AGENTS_OF_EACH: usize = 3;

fn name(worker: usize, number: usize) -> String {
    format!("guest-{worker}-{number}")
}

pub(crate) fn any_name(dice: &mut StdRng) -> String {
    name(dice.random_range(0..WORKERS), dice.random_range(0..AGENTS_OF_EACH))
}

/// Requests one operation after the other until the server is gone.
pub(crate) async fn live(mut worker: Worker, number: usize) {
    loop {
        worker.think().await;
        let agent = name(number, worker.dice.random_range(0..AGENTS_OF_EACH));
        // Some operations are invalid in the current status of the agent, and are refused.
        let operation = match worker.dice.random_range(0..8) {
            0..=2 => Operation::Deploy,
            3 | 4 => Operation::Stop,
            5 | 6 => Operation::Start,
            _ => Operation::Remove,
        };
        let (answered, goes_on) = ask(&mut worker, &agent, operation).await;
        worker.log.step(&agent, Act::Asked(operation, answered));
        if goes_on.is_err() {
            return;
        }
    }
}

async fn ask(worker: &mut Worker, agent: &str, operation: Operation) -> (Answered, Result<(), Gone>) {
    let path = format!("/api/v1/agents/{agent}");
    let patient = worker.dice.random_bool(0.5);
    let request = match operation {
        Operation::Deploy => {
            let config = json!({"name": agent, "permissions": {"state": true}});
            let body = json!({"config": config, "wasm_module": BASE64.encode(guests::example("counter"))});
            worker.client.request(Method::POST, "/api/v1/agents").json(&body)
        }
        Operation::Stop => {
            let body = json!({"drain_messages": patient});
            worker.client.request(Method::POST, &format!("{path}/stop")).json(&body)
        }
        Operation::Start => worker.client.request(Method::POST, &format!("{path}/start")),
        Operation::Remove => {
            let force = !patient;
            worker.client.request(Method::DELETE, &format!("{path}?force={force}"))
        }
    };
    let Some(answer) = Client::try_answer(request).await else {
        return (Answered::Unknown, Err(Gone));
    };
    match answer.status {
        200..=202 => (Answered::Done, Ok(())),
        404 | 408 | 409 => (Answered::Refused, Ok(())),
        503 => (Answered::Unknown, Err(Gone)),
        status => {
            worker
                .log
                .surprise(format_args!("{operation:?} {agent}: {status} {}", answer.body));
            (Answered::Unknown, Ok(()))
        }
    }
}

/// Records the status of all these agents, after a start of the server.
pub(crate) async fn look(node: &TestNode, log: &Log) {
    for worker in 0..WORKERS {
        for number in 0..AGENTS_OF_EACH {
            let agent = name(worker, number);
            let answer = node.get(&format!("/api/v1/agents/{agent}")).await;
            let life = match (answer.status, answer.body["status"].as_str()) {
                (404, _) => Life::Absent,
                (200, Some("running")) => Life::Running,
                (200, Some("stopped")) => Life::Stopped,
                _ => {
                    log.surprise(format_args!("{agent} after a restart: {}", answer.body));
                    Life::Else
                }
            };
            log.step(&agent, Act::Found(life));
        }
    }
}
