//! kill -9 in a flood of acknowledged messages, again and again: nothing acknowledged is lost and nothing happens twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::harness::{TestNode, until};

const ROUNDS: usize = 10;
const SENDERS: usize = 8;
/// `forward` sends on what it gets, to `counter`.
const RECEIVERS: [&str; 2] = ["counter", "forward"];

/// What the clients know: the messages that were acknowledged, by the names under which their answers come.
#[derive(Default)]
struct Ledger {
    acknowledged: Mutex<BTreeMap<String, String>>,
    sent: AtomicUsize,
}

impl Ledger {
    fn acknowledged(&self) -> BTreeMap<String, String> {
        self.acknowledged.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }
}

/// Sends requests one after the other, and notes each acknowledgement, until the server is gone.
async fn flood(client: Client, ledger: Arc<Ledger>, sender: usize) {
    loop {
        let reply_with = format!("q{}", ledger.sent.fetch_add(1, Ordering::Relaxed));
        let message = json!({
            "performative": "request",
            "sender": format!("flooder-{sender}"),
            "receiver": RECEIVERS[sender % RECEIVERS.len()],
            "content": {"add": 1},
            "reply_with": reply_with,
        });
        let request = client.request(Method::POST, "/api/v1/messages").json(&message);
        let Some(answer) = Client::try_answer(request).await else {
            return;
        };
        if answer.status == 429 {
            continue; // the mailbox is full: this one was refused, and another will be taken
        }
        if answer.status == 503 {
            return;
        }
        let sent = answer.good();
        let id = sent["message_id"].as_str().unwrap().to_owned();
        ledger.acknowledged.lock().unwrap().insert(reply_with, id);
    }
}

/// Floods the server and kills it at a moment that the dice choose.
async fn round(node: &mut TestNode, ledger: &Arc<Ledger>, dice: &mut StdRng) {
    let enough = ledger.count() + dice.random_range(5..80);
    let mut floods = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        floods.spawn(flood(node.client(), ledger.clone(), sender));
    }
    until("enough messages are acknowledged", async || {
        (ledger.count() >= enough).then_some(())
    })
    .await;
    // Not for order: the kill should come at any point of what the server does.
    tokio::time::sleep(Duration::from_micros(dice.random_range(0..20_000))).await;
    node.kill_nine();
    while let Some(ended) = floods.join_next().await {
        ended.unwrap();
    }
}

/// All requests in the history: of clients, and those that were sent on.
async fn requests(node: &TestNode) -> Vec<Value> {
    node.history("performative=request").await
}

/// The member of each message, once: a set that is as large as the list.
#[track_caller]
fn distinct<'a>(messages: impl IntoIterator<Item = &'a Value>, member: &str) -> BTreeSet<&'a str> {
    let all: Vec<_> = messages
        .into_iter()
        .map(|message| message[member].as_str().unwrap())
        .collect();
    let distinct: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "a {member} is there twice");
    distinct
}

/// Two sets are the same; if not, only what differs is shown.
#[track_caller]
fn same(what: &str, actual: &BTreeSet<&str>, expected: &BTreeSet<&str>) {
    let missing: Vec<_> = expected.difference(actual).collect();
    let more: Vec<_> = actual.difference(expected).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "not {what}: {missing:?}; {what} and not asked for: {more:?}"
    );
}

#[track_caller]
fn all_there(ledger: &Ledger, history: &[Value], round: usize) {
    distinct(history, "message_id");
    let known: BTreeMap<_, _> = history
        .iter()
        .map(|message| {
            (
                message["message_id"].as_str().unwrap(),
                message["reply_with"].as_str().unwrap(),
            )
        })
        .collect();
    for (reply_with, id) in ledger.acknowledged() {
        let found = known.get(id.as_str());
        assert_eq!(
            found,
            Some(&reply_with.as_str()),
            "round {round}: {id} was acknowledged and is lost"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_nine_every_acknowledged_message_is_there_and_is_handled_once() {
    // Not under CAXTON_: the server takes all of these for its configuration.
    let seed = std::env::var("FLOOD_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random);
    println!("FLOOD_TEST_SEED={seed} repeats the moments of the kills");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut node = TestNode::start().await;
    let counter = node.deploy("counter", "counter").await;
    let forward = node.deploy("forward", "forward").await;
    let ledger = Arc::new(Ledger::default());

    for number in 0..ROUNDS {
        round(&mut node, &ledger, &mut dice).await;
        node.restart().await;
        all_there(&ledger, &requests(&node).await, number);
    }
    until("everything is handled", async || {
        let queued = node.get("/api/v1/messages?status=queued&limit=1").await.good();
        (queued["total"] == 0).then_some(())
    })
    .await;

    let history = requests(&node).await;
    all_there(&ledger, &history, ROUNDS);
    let unhandled: Vec<_> = history
        .iter()
        .filter(|message| message["status"] != "processed")
        .collect();
    assert!(unhandled.is_empty(), "{unhandled:#?}");
    let (to_counter, to_forward): (Vec<_>, Vec<_>) = history
        .iter()
        .partition(|message| message["receiver"] == counter.as_str());

    // What went through `forward` was sent on once for each.
    let from_forward = to_counter
        .iter()
        .copied()
        .filter(|message| message["sender"] == forward.as_str());
    let sent_on = distinct(from_forward, "reply_with");
    let expected: BTreeSet<_> = to_forward
        .iter()
        .map(|message| format!("forward-{}", message["message_id"].as_str().unwrap()))
        .collect();
    same("sent on", &sent_on, &expected.iter().map(String::as_str).collect());

    // Each request is answered once, and the answers are the numbers from 1 on: no effect is missing and none is double.
    let answers = node.history(&format!("sender={counter}")).await;
    assert!(answers.iter().all(|answer| answer["performative"] == "inform"));
    let failures = node.history("performative=failure").await;
    assert!(
        failures.is_empty(),
        "nothing failed, and somebody was told so: {failures:#?}"
    );
    let asked = distinct(to_counter.iter().copied(), "reply_with");
    same("answered", &distinct(&answers, "in_reply_to"), &asked);
    let counts: BTreeSet<_> = answers
        .iter()
        .map(|message| message["content"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, (1..=to_counter.len() as u64).collect::<BTreeSet<_>>());
    let last = node.told("counter", &json!({"add": 1})).await;
    assert_eq!(
        last,
        to_counter.len() + 1,
        "the counter is the number of requests that were handled"
    );
    println!(
        "{ROUNDS} kills: {} acknowledged, {} more had made it, {} sent, {} sent on",
        ledger.count(),
        history.len() - sent_on.len() - ledger.count(),
        ledger.sent.load(Ordering::Relaxed),
        sent_on.len(),
    );
}
