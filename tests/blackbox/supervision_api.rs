//! The supervision tree for its operators: actions, past events, metrics, and a WebSocket that resumes.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::client::{Client, request};
use crate::guests;
use crate::harness::{TestNode, until};
use crate::socket::Socket;

async fn verb(node: &Client, agent: &str, verb: &str) -> Value {
    node.post(&format!("/api/v1/agents/{agent}/{verb}"), &json!({}))
        .await
        .good()
}

async fn act(node: &Client, path: &str, action: &str) -> Value {
    let asked = json!({"path": path, "action": action});
    node.post("/api/v1/supervision/actions", &asked).await.good()
}

/// All events of supervisors that match the query, read in pages of this size.
async fn events(node: &Client, query: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut since) = (Vec::new(), 0);
    loop {
        let path = format!("/api/v1/supervision/events?limit={limit}&since_seq={since}{query}");
        let page = node.get(&path).await.good();
        let events = page["events"].as_array().unwrap();
        let next = page["next_seq"].as_u64().unwrap();
        all.extend(events.iter().cloned());
        if events.len() < limit {
            assert!(next >= since, "{page:#}");
            return all;
        }
        assert_eq!(events.last().unwrap()["seq"], next);
        since = next;
    }
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn who_is_suspended_takes_messages_and_no_turns() {
    let node = TestNode::start().await;
    let id = node.deploy("echo", "echo").await;
    let suspended = verb(&node, "echo", "suspend").await;
    let expected = json!({"agent_id": id, "name": "echo", "status": "suspended", "lifecycle_state": "running"});
    assert_eq!(suspended, expected);
    assert_eq!(verb(&node, &id, "suspend").await, expected, "twice is once");
    let asked = node.send("echo", &json!("later")).await;
    let agent = node.agent("echo").await;
    assert_eq!(
        (&agent["status"], &agent["lifecycle_state"]),
        (&json!("suspended"), &json!("running"))
    );
    assert_eq!(
        node.get("/api/v1/agents").await.good()["agents"][0]["status"],
        "suspended"
    );
    assert_eq!(
        node.get(&format!("/api/v1/messages/{asked}")).await.good()["status"],
        "delivered"
    );
    let resumed = verb(&node, "echo", "resume").await;
    assert_eq!(
        (&resumed["status"], &resumed["lifecycle_state"]),
        (&json!("running"), &json!("running"))
    );
    assert_eq!(node.until_settled(&asked).await["status"], "processed");
}

#[tokio::test]
async fn an_agent_is_stopped_started_and_restarted() {
    let node = TestNode::start().await;
    let id = node.deploy("counter", "counter").await;
    assert_eq!(node.told("counter", &json!(null)).await, 1);
    let restarted = verb(&node, "counter", "restart").await;
    let expected = json!({"agent_id": id, "name": "counter", "status": "running", "lifecycle_state": "running"});
    assert_eq!(restarted, expected);
    assert_eq!(node.agent("counter").await["metrics"]["incarnation"], 2);
    assert_eq!(node.told("counter", &json!(null)).await, 2, "its state stays");

    node.post("/api/v1/agents/counter/stop", &json!({})).await.good();
    node.until_status("counter", "stopped").await;
    node.post("/api/v1/agents/counter/suspend", &json!({}))
        .await
        .refused(409, "INVALID_STATE");
    assert_eq!(verb(&node, "counter", "start").await, expected);
    assert_eq!(
        verb(&node, "counter", "start").await,
        expected,
        "who runs is left alone"
    );
    assert_eq!(node.told("counter", &json!(null)).await, 3);

    for word in ["start", "restart", "suspend", "resume"] {
        let path = format!("/api/v1/agents/nobody/{word}");
        node.post(&path, &json!({})).await.refused(404, "AGENT_NOT_FOUND");
        let path = format!("/api/v1/agents/counter/{word}");
        node.post(&path, &json!({"force": true}))
            .await
            .refused(400, "INVALID_REQUEST");
        assert_eq!(node.get(&path).await.status, 405);
    }
    let bare = node.post_text("/api/v1/agents/counter/restart", "text/plain", "").await;
    assert_eq!(bare.good()["status"], "running", "no body is needed");
}

#[tokio::test]
async fn an_agent_is_stopped_and_started_again_and_again() {
    let node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    for n in 1..=30 {
        let at_once = json!({"drain_messages": false});
        node.post("/api/v1/agents/counter/stop", &at_once).await.good();
        node.until_status("counter", "stopped").await;
        verb(&node, "counter", "start").await;
        assert_eq!(node.told("counter", &json!(null)).await, n);
    }
}

#[tokio::test]
async fn who_has_failed_shows_its_last_exits_and_one_call_brings_it_back() {
    let node = TestNode::start().await;
    let supervision = json!({"intensity": 1, "backoff": {"min": "1ms", "max": "5ms"}});
    let config = json!({"name": "hopeless", "supervision": supervision, "delivery": {"max_deliveries": 50}});
    node.deploy_as(config, guests::example("crash")).await;
    let asked = node.send("hopeless", &json!("work")).await;
    let agent = node.until_status("hopeless", "failed").await;
    assert!(
        agent["failure"].as_str().is_some_and(|why| why.contains("trap")),
        "{agent:#}"
    );
    let exits = agent["last_exits"].as_array().unwrap();
    assert_eq!(exits.len(), 2, "{exits:#?}");
    assert_eq!(
        (&exits[0]["reason"], &exits[0]["attempt"]),
        (&json!("trap"), &json!(2)),
        "the newest is first"
    );
    assert_eq!(
        (&exits[0]["message_id"], &exits[1]["attempt"]),
        (&json!(asked), &json!(1))
    );
    assert!(
        exits[0]["at"].is_string() && exits[0]["detail"].is_string(),
        "{exits:#?}"
    );
    assert!(
        exits[0]["backtrace"]
            .as_array()
            .is_some_and(|frames| !frames.is_empty()),
        "{exits:#?}"
    );

    let figures = node.get("/api/v1/metrics/supervision").await.good();
    assert_eq!(figures["totals"], json!({"restarts": 1, "failed": 1}), "{figures:#}");
    let back = verb(&node, "hopeless", "restart").await;
    assert_eq!(back["status"], "running");
    let agent = node.agent("hopeless").await;
    assert!(agent.get("failure").is_none(), "{agent:#}");
    node.post("/api/v1/messages", &request("hopeless", &json!(1)))
        .await
        .good();
}

#[tokio::test]
async fn verbs_act_on_paths_names_and_groups() {
    let node = TestNode::start().await;
    let group = node.post("/api/v1/supervisors", &json!({"name": "shop"})).await.good();
    let path = group["path"].as_str().unwrap();
    for name in ["cart", "till"] {
        let config = json!({"name": name, "supervision": {"group": "shop"}});
        node.deploy_as(config, guests::example("echo")).await;
    }
    let done = act(&node, path, "suspend").await;
    assert_eq!(done, json!({"path": path, "action": "suspend", "status": "done"}));
    for name in ["cart", "till"] {
        assert_eq!(node.agent(name).await["status"], "suspended");
    }
    act(&node, &format!("/{path}/cart"), "resume").await;
    assert_eq!(node.agent("cart").await["status"], "running");
    assert_eq!(node.agent("till").await["status"], "suspended");
    act(&node, "shop", "resume").await;
    assert_eq!(node.agent("till").await["status"], "running");
    act(&node, "shop", "restart").await;
    for name in ["cart", "till"] {
        assert_eq!(node.told(name, &json!(1)).await, 1);
        assert!(
            node.agent(name).await["metrics"]["incarnation"].as_u64() > Some(1),
            "{name}"
        );
    }
    act(&node, "cart", "reset").await;
    act(&node, "till", "terminate").await;
    node.until_status("till", "stopped").await;

    let ask = |path: &str, action: &str| json!({"path": path, "action": action});
    for (asked, status, code) in [
        (ask("nobody", "restart"), 404, "SUPERVISOR_NOT_FOUND"),
        (
            ask("node/core/partitions/0/agents/nobody", "restart"),
            404,
            "SUPERVISOR_NOT_FOUND",
        ),
        (ask("node/core/journal", "restart"), 400, "INVALID_REQUEST"),
        (ask("cart", "explode"), 400, "INVALID_REQUEST"),
        (json!({"path": "cart"}), 400, "INVALID_REQUEST"),
    ] {
        node.post("/api/v1/supervision/actions", &asked)
            .await
            .refused(status, code);
    }
}

#[tokio::test]
async fn events_are_paged_by_sequence_and_found_by_path() {
    let node = TestNode::start().await;
    let id = node.deploy("crasher", "crash_once").await;
    node.deploy("crasher2", "echo").await;
    assert_eq!(node.told("crasher", &json!("first")).await, json!({"ok": true}));
    let path = node.agent("crasher").await["supervision"]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    let restarted = until("the restart is written", async || {
        let below = events(&node, &format!("&path={path}"), 50).await;
        below
            .iter()
            .find(|event| event["type"] == "supervisor.restarted")
            .cloned()
    })
    .await;
    let expected = [
        "path",
        "incarnation",
        "reason",
        "attempt",
        "limit",
        "detail",
        "delay_seconds",
        "recovery_seconds",
    ];
    for member in expected {
        assert!(restarted.get(member).is_some(), "{member}: {restarted:#}");
    }
    assert_eq!(
        (&restarted["agent_id"], &restarted["reason"]),
        (&json!(id), &json!("trap"))
    );
    assert_eq!(
        (&restarted["incarnation"], &restarted["attempt"]),
        (&json!(2), &json!(1))
    );
    assert!(
        restarted["recovery_seconds"].as_f64().is_some_and(|took| took > 0.0),
        "{restarted:#}"
    );

    let all = events(&node, "", 1_000).await;
    assert!(seqs(&all).is_sorted_by(|a, b| a < b));
    assert!(
        all.iter()
            .all(|event| event["type"].as_str().unwrap().starts_with("supervisor."))
    );
    let paged = events(&node, "", 3).await;
    assert_eq!(paged[..all.len()], all[..], "pages have everything once");
    let below = events(&node, &format!("&path={path}"), 1).await;
    let own: Vec<_> = all
        .iter()
        .filter(|event| event["path"] == path.as_str())
        .cloned()
        .collect();
    assert_eq!(below, own, "and nothing of a path that only begins like it");

    let figures = node.get("/api/v1/metrics/supervision").await.good();
    assert_eq!(figures["totals"], json!({"restarts": 1, "failed": 0}));
    assert_eq!(figures["by_reason"], json!({"trap": 1}));
    let row = &figures["by_path"].as_array().unwrap()[0];
    assert_eq!(
        (&row["path"], &row["restarts"], &row["state"]),
        (&json!(path), &json!(1), &json!("running"))
    );
    assert_eq!(
        row["intensity"],
        json!({"used": 1, "limit": 10, "period_seconds": 60.0})
    );
    assert!(
        row["uptime_seconds"].is_f64() && row.get("backoff_remaining_seconds").is_some(),
        "{row:#}"
    );
    let recovery = &figures["recovery_ms"];
    let millis = |name: &str| recovery[name].as_f64().unwrap();
    assert_eq!(recovery["count"], 1);
    assert!(0.0 < millis("p50") && millis("p50") <= millis("p99") && millis("p99") <= millis("max"));

    for (query, field) in [
        ("since_seq=-1", "since_seq"),
        ("limit=0", "limit"),
        ("colour=red", "colour"),
    ] {
        let answer = node.get(&format!("/api/v1/supervision/events?{query}")).await;
        assert_eq!(answer.refused(400, "INVALID_REQUEST")["details"]["field"], field);
    }
}

#[tokio::test]
async fn who_comes_back_hears_every_event_once_and_in_order() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let mut witness = Socket::subscribed(&node, &["message.*"]).await;
    let mut socket = Socket::subscribed(&node, &["message.*"]).await;
    for n in 0..5 {
        node.told("echo", &json!(n)).await;
    }
    for _ in 0..7 {
        socket.next().await;
    }
    let mut heard = socket.heard.clone();
    let since = heard.last().unwrap()["seq"].clone();
    drop(socket);

    // Many events happen while it is disconnected and while it resumes.
    let traffic = {
        let client = node.client();
        tokio::spawn(async move {
            for n in 0..400 {
                client.told("echo", &json!(n)).await;
            }
        })
    };
    until("some of it has happened", async || {
        let processed = node.agent("echo").await["metrics"]["messages_processed"].as_u64()?;
        (processed > 150).then_some(())
    })
    .await;
    let mut socket = Socket::open(&node).await;
    let id = socket
        .subscribe(&json!({"events": ["message.*"], "since_seq": since}))
        .await;
    traffic.await.unwrap();
    let last = node.send("echo", &json!("last")).await;
    for listener in [&mut witness, &mut socket] {
        listener
            .until("message.processed", |event| event["message_id"] == last.as_str())
            .await;
    }
    assert!(
        socket
            .heard
            .iter()
            .all(|event| event["subscription_ids"] == json!([id]))
    );
    heard.extend(socket.heard);
    assert!(
        seqs(&heard).is_sorted_by(|a, b| a < b),
        "in order and once: {:?}",
        seqs(&heard)
    );
    assert_eq!(seqs(&heard), seqs(&witness.heard), "all of it");
    assert!(witness.heard.len() >= 405 * 3, "{}", witness.heard.len());
}

#[tokio::test]
async fn the_whole_past_is_told_also_after_a_kill_and_only_to_who_asked() {
    let mut node = TestNode::start().await;
    let id = node.deploy("echo", "echo").await;
    for n in 0..100 {
        node.told("echo", &json!(n)).await;
    }
    node.kill_nine();
    node.restart().await;
    node.told("echo", &json!("again")).await;

    let mut socket = Socket::open(&node).await;
    let live = socket.subscribe(&json!({"events": ["*"]})).await;
    let past = socket
        .subscribe(&json!({"events": ["agent.*", "message.*"], "since_seq": 0}))
        .await;
    let asked = node.send("echo", &json!("last")).await;
    let of_past = |event: &Value| event["subscription_ids"].as_array().unwrap().contains(&json!(past));
    let ends = |event: &Value| event["message_id"] == asked.as_str() && of_past(event);
    socket.until("message.processed", ends).await;
    let told: Vec<_> = socket.heard.iter().filter(|event| of_past(event)).cloned().collect();
    assert!(seqs(&told).is_sorted_by(|a, b| a < b));
    assert_eq!(
        (&told[0]["type"], &told[0]["agent_id"]),
        (&json!("agent.deployed"), &json!(id))
    );
    let count = |kind: &str| told.iter().filter(|event| event["type"] == kind).count();
    assert_eq!(count("message.processed"), 102);
    let now: Vec<_> = socket
        .heard
        .iter()
        .filter(|event| event["subscription_ids"].as_array().unwrap().contains(&json!(live)))
        .collect();
    let distinct: HashSet<_> = now.iter().map(|event| event["seq"].as_u64()).collect();
    assert_eq!(distinct.len(), now.len(), "the other subscription hears nothing twice");
    assert!(
        !now.iter().any(|event| event["type"] == "agent.deployed"),
        "and nothing of before it began"
    );

    let error = socket
        .answered(&json!({"type": "subscribe", "since_seq": 1_000_000}), "error")
        .await;
    assert_eq!(error["error"]["details"]["field"], "since_seq");
}
