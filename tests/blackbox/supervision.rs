//! Crashes: which agents are restarted, which senders get a failure, which agents fail, and that no others are affected.

use serde_json::{Value, json};

use crate::client::request;
use crate::guests;
use crate::harness::{TestNode, until};
use crate::socket::Socket;

/// A backoff that is short enough for a test.
fn quick() -> Value {
    json!({"backoff": {"min": "1ms", "max": "5ms"}})
}

#[tokio::test]
async fn a_trap_is_told_counted_and_seen_and_the_next_message_is_answered() {
    let node = TestNode::start().await;
    let crasher = node.deploy("crasher", "crash_once").await;
    node.deploy("neighbour", "counter").await;
    assert_eq!(node.told("neighbour", &json!(null)).await, 1);
    let mut socket = Socket::subscribed(&node, &["supervisor.*", "message.crashed"]).await;

    assert_eq!(node.told("crasher", &json!("first")).await, json!({"ok": true}));

    let told = socket.heard_about("message.crashed", &crasher).await;
    assert_eq!((&told["reason"], &told["attempt"]), (&json!("trap"), &json!(1)));
    let exited = socket.heard_about("supervisor.child_exited", &crasher).await;
    assert_eq!(exited["reason"], "trap");
    let restarted = socket.heard_about("supervisor.restarted", &crasher).await;
    assert_eq!(
        (&restarted["reason"], &restarted["incarnation"]),
        (&json!("trap"), &json!(2))
    );
    assert!(
        restarted["path"].as_str().unwrap().ends_with("/agents/crasher"),
        "{restarted:#}"
    );
    assert!(exited["seq"].as_u64() < restarted["seq"].as_u64());

    let restarts = node.series("supervisor_restarts_total", &[r#"reason="trap""#]).await;
    assert_eq!(restarts, Some(1.0), "/metrics counts restarts by reason");
    let seen = node.in_tree("crasher").await.unwrap();
    assert_eq!((&seen["incarnation"], &seen["state"]), (&json!(2), &json!("running")));
    assert_eq!(
        (&seen["restarts"], &seen["last_exit"]["reason"]),
        (&json!({"trap": 1}), &json!("trap"))
    );
    assert_eq!(node.agent("crasher").await["metrics"]["incarnation"], 2);

    let neighbour = node.in_tree("neighbour").await.unwrap();
    assert_eq!(
        (&neighbour["incarnation"], &neighbour["restarts"]),
        (&json!(1), &json!({}))
    );
    assert_eq!(
        node.told("neighbour", &json!(null)).await,
        2,
        "the neighbour did not notice"
    );
    assert_eq!(
        node.told("crasher", &json!("second")).await,
        json!({"ok": true}),
        "the next message is answered"
    );
}

#[tokio::test]
async fn a_message_that_crashes_each_time_becomes_a_dead_letter_and_its_sender_is_told() {
    let node = TestNode::start().await;
    let config = json!({"name": "poisoned", "supervision": quick()});
    let id = node.deploy_as(config, guests::example("crash")).await;
    let mut socket = Socket::subscribed(&node, &["message.*", "dead_letter"]).await;

    let reply = node.ask("poisoned", &json!("poison")).await;
    assert_eq!(
        (&reply["performative"], &reply["sender"]),
        (&json!("failure"), &json!("platform"))
    );
    assert_eq!(reply["content"]["reason"], "crashed");
    let detail = reply["content"]["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("trap") && detail.contains("delivered 3 times"),
        "{detail}"
    );
    let message = reply["content"]["message_id"].as_str().unwrap();

    let dead = socket.until_about("dead_letter", &id).await;
    assert_eq!(dead["message_id"], message);
    assert_eq!((&dead["reason"], &dead["detail"]), (&json!("crashed"), &json!(detail)));
    let crashes = socket.heard.iter().filter(|event| event["type"] == "message.crashed");
    let attempts: Vec<_> = crashes.map(|event| event["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 2, 3], "the first delivery counts");
    let settled = node.until_settled(message).await;
    assert_eq!(settled["status"], "dead");
    assert_eq!(settled["reason"], format!("crashed: {detail}"));
    assert_eq!(
        node.get("/api/v1/metrics/system").await.good()["messages"]["dead_letters"],
        1
    );
    until("the agent runs again", async || {
        let seen = node.in_tree("poisoned").await?;
        (seen["state"] == "running" && seen["incarnation"] == 4).then_some(())
    })
    .await;
    assert_eq!(node.agent("poisoned").await["status"], "running");
}

#[tokio::test]
async fn an_agent_that_crashes_more_than_its_intensity_allows_fails_alone() {
    let node = TestNode::start().await;
    let mut supervision = quick();
    supervision["intensity"] = 2.into();
    let config = json!({"name": "hopeless", "supervision": supervision, "delivery": {"max_deliveries": 50}});
    let id = node.deploy_as(config, guests::example("crash")).await;
    node.deploy("neighbour", "counter").await;
    let mut socket = Socket::subscribed(&node, &["agent.*", "supervisor.*"]).await;

    let detail = node.failure("hopeless", "gone").await;
    assert!(!detail.is_empty());
    // The tree and the partition each record their events in order, but the two are not ordered with each other.
    let failed = socket.heard_about("agent.failed", &id).await;
    assert!(failed["reason"].is_string(), "{failed:#}");
    socket.heard_about("supervisor.child_failed", &id).await;
    let restarts = socket
        .heard
        .iter()
        .filter(|event| event["type"] == "supervisor.restarted");
    assert_eq!(
        restarts.filter(|event| event["agent_id"] == id).count(),
        2,
        "as many restarts as the intensity allows"
    );

    let agent = node.until_status("hopeless", "failed").await;
    assert!(
        agent["failure"].as_str().is_some_and(|why| why.contains("trap")),
        "{agent:#}"
    );
    let system = node.get("/api/v1/metrics/system").await.good();
    assert_eq!(
        (&system["agents"]["failed"], &system["agents"]["running"]),
        (&json!(1), &json!(1))
    );
    node.post("/api/v1/messages", &request("hopeless", &json!(1)))
        .await
        .refused(409, "INVALID_STATE");
    let neighbour = node.in_tree("neighbour").await.unwrap();
    assert_eq!(
        (&neighbour["incarnation"], &neighbour["state"]),
        (&json!(1), &json!("running"))
    );
    assert_eq!(node.told("neighbour", &json!(null)).await, 1);
    assert_eq!(node.get("/api/v1/agents?status=failed").await.good()["total"], 1);

    node.delete("/api/v1/agents/hopeless").await.good();
    node.deploy("hopeless", "echo").await;
    assert_eq!(node.told("hopeless", &json!("hope")).await, "hope", "the name is free");
}

#[tokio::test]
async fn agents_in_a_crash_loop_take_no_memory_and_leave_the_others_alone() {
    const LOOPING: u64 = 200;
    const TRIES: u64 = 50;
    /// How much the memory may grow. More would mean that the server keeps something of each crash.
    const GROWTH: u64 = 48 << 20;
    let node = TestNode::start().await;
    node.deploy("neighbour", "counter").await;
    for n in 0..LOOPING {
        let config = json!({
            "name": format!("looping-{n}"),
            "supervision": {"intensity": 10_000, "backoff": {"min": "1ms", "max": "20ms"}},
            "delivery": {"max_deliveries": TRIES},
        });
        node.deploy_as(config, guests::example("crash")).await;
        node.send(&format!("looping-{n}"), &json!("work")).await;
    }
    let restarts = async |least: u64| {
        until(&format!("{least} restarts"), async || {
            let figures = node.get("/api/v1/metrics/supervision").await.good();
            (figures["totals"]["restarts"].as_u64()? >= least).then_some(())
        })
        .await;
        node.resident_bytes()
    };
    let early = restarts(LOOPING * TRIES / 5).await;
    assert_eq!(node.told("neighbour", &json!(null)).await, 1);
    let late = restarts(LOOPING * TRIES).await;
    assert!(
        late < early + GROWTH,
        "memory grew from {early} to {late} bytes while the agents crashed"
    );
    assert_eq!(node.told("neighbour", &json!(null)).await, 2);
    let neighbour = node.in_tree("neighbour").await.unwrap();
    assert_eq!(neighbour["incarnation"], 1);
    let all = node.get("/api/v1/agents?status=running").await.good();
    assert_eq!(all["total"], LOOPING + 1, "each message was given up, and no agent");
}

#[tokio::test]
async fn a_turn_that_crashes_has_no_effects() {
    let node = TestNode::start().await;
    let id = node.deploy("careful", "state_on_crash").await;
    for count in 1..=3 {
        assert_eq!(
            node.told("careful", &json!(null)).await,
            count,
            "the crashed turn's store is undone"
        );
    }
    let answers = node.history(&format!("sender={id}")).await;
    assert_eq!(answers.len(), 3, "the crashed turns' sends were not sent: {answers:#?}");
    assert_eq!(node.in_tree("careful").await.unwrap()["restarts"], json!({"trap": 3}));
}

#[tokio::test]
async fn a_turn_that_ends_in_error_is_told_to_the_sender_and_restarts_nothing() {
    let node = TestNode::start().await;
    let id = node.deploy("sulky", "error").await;
    let reply = node.ask("sulky", &json!("please")).await;
    assert_eq!(
        (&reply["performative"], &reply["content"]["reason"]),
        (&json!("failure"), &json!("error"))
    );
    assert!(reply["content"]["detail"].as_str().unwrap().contains('7'), "{reply:#}");
    let asked = reply["content"]["message_id"].as_str().unwrap();
    assert_eq!(node.until_settled(asked).await["status"], "failed");
    let seen = node.in_tree("sulky").await.unwrap();
    assert_eq!((&seen["incarnation"], &seen["restarts"]), (&json!(1), &json!({})));
    let agent = node.agent(&id).await;
    assert_eq!(
        (&agent["status"], &agent["metrics"]["messages_failed"]),
        (&json!("running"), &json!(1))
    );
}

#[tokio::test]
async fn an_agent_learns_that_whom_it_wrote_to_does_not_exist() {
    let node = TestNode::start().await;
    let id = node.deploy("forward", "forward").await;
    let asked = node.send("forward", &json!("hello")).await;
    assert_eq!(node.until_settled(&asked).await["status"], "processed");
    let failures = until("the failure is there", async || {
        let failures = node.history(&format!("receiver={id}&performative=failure")).await;
        (!failures.is_empty()).then_some(failures)
    })
    .await;
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0]["content"]["reason"], "unknown_receiver");
    assert_eq!(
        failures[0]["in_reply_to"],
        format!("forward-{asked}"),
        "it answers the agent's own message"
    );
}

#[tokio::test]
async fn an_agent_writes_to_nobody_unless_it_was_granted() {
    let node = TestNode::start().await;
    let counter = node.deploy("counter", "counter").await;
    let config = json!({"name": "forward", "permissions": {"message": ["somebody-else"]}});
    node.deploy_as(config, guests::example("forward")).await;
    node.failure("forward", "error").await;
    assert_eq!(node.history(&format!("receiver={counter}")).await.len(), 0);

    let config = json!({"name": "granted", "permissions": {"message": ["count*"]}});
    let granted = node.deploy_as(config, guests::example("forward")).await;
    node.send("granted", &json!("hello")).await;
    until("the forwarded request is answered", async || {
        let answers = node.history(&format!("sender={counter}&receiver={granted}")).await;
        (answers.len() == 1).then_some(())
    })
    .await;
    let forwarded = node.history(&format!("receiver={counter}")).await;
    assert_eq!(forwarded[0]["sender"], granted, "the host stamps the sender");
}

#[tokio::test]
async fn an_agent_stores_nothing_unless_it_was_granted() {
    let node = TestNode::start().await;
    node.deploy_as(
        json!({"name": "counter", "permissions": {}}),
        guests::example("counter"),
    )
    .await;
    node.failure("counter", "error").await;
    assert_eq!(node.in_tree("counter").await.unwrap()["incarnation"], 1);
}

#[tokio::test]
async fn an_agent_answers_without_any_permission() {
    let node = TestNode::start().await;
    node.deploy_as(json!({"name": "echo", "permissions": {}}), guests::example("echo"))
        .await;
    assert_eq!(
        node.told("echo", &json!("answering needs none")).await,
        "answering needs none"
    );
}

#[tokio::test]
async fn a_message_that_is_tried_again_is_overtaken_by_none() {
    let node = TestNode::start().await;
    let config = json!({"name": "careful", "supervision": quick()});
    let id = node.deploy_as(config, guests::example("state_on_crash")).await;
    let mut asked = Vec::new();
    for n in 0..6 {
        asked.push(node.send("careful", &json!(n)).await);
    }
    for message in &asked {
        assert_eq!(node.until_settled(message).await["status"], "processed");
    }
    let answers = node.history(&format!("sender={id}")).await;
    assert_eq!(answers.len(), asked.len());
    for (n, message) in asked.iter().enumerate() {
        let answer = answers.iter().find(|answer| answer["in_reply_to"] == message.as_str());
        assert_eq!(answer.unwrap()["content"], n + 1);
    }
}
