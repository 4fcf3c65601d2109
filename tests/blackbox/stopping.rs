//! Agents that have queued messages are stopped and removed.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Client, request};
use crate::guests;
use crate::harness::{TestNode, until};
use crate::socket::Socket;

/// Ten clients that wait for the reply of an agent, which needs 60 ms for each.
async fn ten_who_wait(node: &TestNode) -> JoinSet<Value> {
    node.deploy_as(json!({"name": "slow"}), guests::slow_counter(60)).await;
    let mut waiting = JoinSet::new();
    for n in 0..10 {
        let client = node.client();
        waiting.spawn(async move { client.ask("slow", &json!({"n": n})).await });
    }
    until_queued(node, 8.0).await;
    waiting
}

async fn until_queued(client: &Client, messages: f64) {
    until("the messages are queued", async || {
        let queued = client.series("caxton_mailbox_messages", &[]).await?;
        (queued >= messages).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_drains_handles_what_it_has_and_takes_no_more() {
    let node = TestNode::start().await;
    let waiting = ten_who_wait(&node).await;
    let mut socket = Socket::subscribed(&node, &["agent.*"]).await;
    let stop = json!({"grace_period_seconds": 30, "drain_messages": true});
    let stopping = node.post("/api/v1/agents/slow/stop", &stop).await;
    assert_eq!(stopping.status, 202);
    assert_eq!(stopping.good()["status"], "draining");
    assert_eq!(node.agent("slow").await["lifecycle_state"], "draining");
    node.post("/api/v1/messages", &request("slow", &json!("late")))
        .await
        .refused(409, "INVALID_STATE");

    let replies = waiting.join_all().await;
    assert!(
        replies.iter().all(|reply| reply["performative"] == "inform"),
        "{replies:#?}"
    );
    let agent = node.until_status("slow", "stopped").await;
    socket
        .heard_about("agent.draining", agent["agent_id"].as_str().unwrap())
        .await;
    socket
        .heard_about("agent.stopped", agent["agent_id"].as_str().unwrap())
        .await;
    let again = node.post("/api/v1/agents/slow/stop", &stop).await;
    assert_eq!(
        (again.status, &again.body["status"]),
        (200, &json!("stopped")),
        "stopping twice changes nothing"
    );
}

#[tokio::test]
async fn an_agent_that_does_not_drain_tells_the_senders_of_what_is_left() {
    let node = TestNode::start().await;
    let waiting = ten_who_wait(&node).await;
    let stop = json!({"grace_period_seconds": 30, "drain_messages": false});
    node.post("/api/v1/agents/slow/stop", &stop).await.good();
    let replies = waiting.join_all().await;
    let (answers, failures): (Vec<&Value>, Vec<&Value>) =
        replies.iter().partition(|reply| reply["performative"] == "inform");
    assert!(
        failures.iter().all(|reply| reply["content"]["reason"] == "gone"),
        "{failures:#?}"
    );
    assert!(failures.len() >= 5, "{} were handled all the same", answers.len());
    node.until_status("slow", "stopped").await;
    for failure in failures {
        let id = failure["content"]["message_id"].as_str().unwrap();
        assert_eq!(node.until_settled(id).await["status"], "dead");
    }
    let dead = node.get("/api/v1/metrics/system").await.good()["messages"]["dead_letters"]
        .as_u64()
        .unwrap();
    assert_eq!(usize::try_from(dead).unwrap(), replies.len() - answers.len());
}

#[tokio::test]
async fn when_the_grace_is_over_what_is_left_becomes_dead_letters() {
    let node = TestNode::start().await;
    let waiting = ten_who_wait(&node).await;
    let stop = json!({"grace_period_seconds": 0.1, "drain_messages": true});
    node.post("/api/v1/agents/slow/stop", &stop).await.good();
    let replies = waiting.join_all().await;
    let failures = replies.iter().filter(|reply| reply["performative"] == "failure");
    assert!(failures.count() >= 3, "{replies:#?}");
    node.until_status("slow", "stopped").await;
}

#[tokio::test]
async fn a_removal_drains_first_unless_it_is_forced() {
    let node = TestNode::start().await;
    let waiting = ten_who_wait(&node).await;
    node.delete("/api/v1/agents/slow").await.good();
    let replies = waiting.join_all().await;
    assert!(
        replies.iter().all(|reply| reply["performative"] == "inform"),
        "{replies:#?}"
    );

    let waiting = ten_who_wait(&node).await;
    node.delete("/api/v1/agents/slow?force=true").await.good();
    let replies = waiting.join_all().await;
    let failures = replies.iter().filter(|reply| reply["content"]["reason"] == "gone");
    assert!(failures.count() >= 5, "{replies:#?}");
    node.get("/api/v1/agents/slow").await.refused(404, "AGENT_NOT_FOUND");
}

#[tokio::test]
async fn a_full_mailbox_says_no() {
    let node = TestNode::start().await;
    let config = json!({"name": "slow", "resources": {"mailbox_messages": 3}});
    node.deploy_as(config, guests::slow_counter(300)).await;
    let mut taken = Vec::new();
    let refused = loop {
        let answer = node.post("/api/v1/messages", &request("slow", &json!(null))).await;
        match answer.status {
            200 => taken.push(answer.body["message_id"].as_str().unwrap().to_owned()),
            _ => break answer,
        }
        assert!(taken.len() < 10, "the mailbox has no end");
    };
    assert!(refused.headers.contains_key("retry-after"));
    let error = refused.refused(429, "MAILBOX_FULL");
    assert!(error["details"]["retry_after_seconds"].is_number(), "{error:#}");
    assert!(taken.len() >= 3);
    for id in taken {
        assert_eq!(
            node.until_settled(&id).await["status"],
            "processed",
            "what was acknowledged is handled"
        );
    }
    node.told("slow", &json!(null)).await;
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_its_grace_for_a_guest_that_spins() {
    let node = TestNode::start().await;
    let config = json!({"name": "spin", "resources": {"turn_deadline": "30s"}, "supervision": {"shutdown": "200ms"}});
    node.deploy_as(config, guests::example("spin")).await;
    node.send("spin", &json!(null)).await;
    until_queued(&node, 1.0).await;
    let began = std::time::Instant::now();
    node.post("/api/v1/agents/spin/stop", &json!({"grace_period_seconds": 0.2}))
        .await
        .good();
    node.until_status("spin", "stopped").await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    until("the guest is gone", async || {
        let state = node.in_tree("spin").await.map(|seen| seen["state"].clone());
        state.is_none_or(|state| state == "stopped").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_is_told_of_an_ordered_end_and_its_last_turn_takes_effect() {
    let mut node = TestNode::start().await;
    let module = guests::counter_until("(drop (call $add_one))");
    node.deploy_as(json!({"name": "counter"}), module).await;
    assert_eq!(node.told("counter", &json!(null)).await, 1);
    node.post("/api/v1/agents/counter/restart", &json!({})).await.good();
    assert_eq!(
        node.told("counter", &json!(null)).await,
        3,
        "2 was the end of the first instance"
    );
    node.post("/api/v1/agents/counter/stop", &json!({})).await.good();
    node.until_status("counter", "stopped").await;
    node.post("/api/v1/agents/counter/start", &json!({})).await.good();
    assert_eq!(node.told("counter", &json!(null)).await, 5);
    assert!(node.terminate().await.success());
    node.restart().await;
    assert_eq!(node.told("counter", &json!(null)).await, 7);
    node.kill_nine();
    node.restart().await;
    assert_eq!(node.told("counter", &json!(null)).await, 8, "nobody is told of a kill");
    node.post("/api/v1/agents/counter/suspend", &json!({})).await.good();
    assert!(node.terminate().await.success());
    node.restart().await;
    node.post("/api/v1/agents/counter/resume", &json!({})).await.good();
    assert_eq!(
        node.told("counter", &json!(null)).await,
        9,
        "who is suspended takes no turns"
    );
}

#[tokio::test]
async fn a_last_turn_that_goes_wrong_holds_nothing_up() {
    let node = TestNode::start().await;
    for (name, last) in [("traps", "(unreachable)"), ("spins", "(loop $for_ever (br $for_ever))")] {
        let last = format!("(drop (call $add_one)) {last}");
        let config = json!({"name": name, "resources": {"turn_deadline": "100ms"}});
        node.deploy_as(config, guests::counter_until(&last)).await;
        assert_eq!(node.told(name, &json!(null)).await, 1);
        let agent = format!("/api/v1/agents/{name}");
        node.post(&format!("{agent}/stop"), &json!({})).await.good();
        node.until_status(name, "stopped").await;
        node.post(&format!("{agent}/start"), &json!({})).await.good();
        assert_eq!(node.told(name, &json!(null)).await, 2, "nothing of it took effect");
        assert_eq!(node.agent(name).await["last_exits"].as_array().unwrap().len(), 1);
    }
}
