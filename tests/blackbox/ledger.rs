//! A flood of requests, and the promises to its senders: checks that no acknowledged request is lost, and that none takes effect twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::harness::{TestNode, until};

const SENDERS: usize = 8;
/// `forward` forwards its requests to `counter`.
const RECEIVERS: [&str; 2] = ["counter", "forward"];
/// How long a sender waits after a refusal.
const PAUSE: Duration = Duration::from_millis(20);

/// The record of the clients: the acknowledged messages, by the `reply_with` that their replies refer to.
#[derive(Default)]
pub(crate) struct Ledger {
    acknowledged: Mutex<BTreeMap<String, String>>,
    sent: AtomicUsize,
    enough: AtomicBool,
}

/// The agents that are flooded.
pub(crate) struct Flooded {
    counter: String,
    forward: String,
}

impl Flooded {
    pub(crate) async fn deploy(node: &TestNode) -> Self {
        Self {
            counter: node.deploy("counter", "counter").await,
            forward: node.deploy("forward", "forward").await,
        }
    }
}

impl Ledger {
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Starts senders, which run until there is no server or [`Self::stop`] is called.
    pub(crate) fn flood(self: &Arc<Self>, node: &TestNode) -> JoinSet<()> {
        self.enough.store(false, Ordering::Relaxed);
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            senders.spawn(send_on(node.client(), self.clone(), sender));
        }
        senders
    }

    pub(crate) fn stop(&self) {
        self.enough.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn until_count(&self, enough: usize) {
        until("enough messages are acknowledged", async || {
            (self.count() >= enough).then_some(())
        })
        .await;
    }

    /// The messages that were acknowledged and are not in the history.
    pub(crate) fn lost(&self, history: &[Value]) -> Vec<String> {
        let known: BTreeSet<_> = history
            .iter()
            .map(|message| (text(message, "reply_with"), text(message, "message_id")))
            .collect();
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged
            .iter()
            .filter(|(reply_with, id)| !known.contains(&(reply_with.as_str(), id.as_str())))
            .map(|(_, id)| id.clone())
            .collect()
    }

    pub(crate) async fn all_there(&self, node: &TestNode, when: &str) {
        let history = requests(node).await;
        distinct(&history, "message_id");
        let lost = self.lost(&history);
        assert!(lost.is_empty(), "{when}: acknowledged and lost: {lost:?}");
    }

    /// Waits until nothing is queued, and checks that each request was handled, forwarded and replied to once.
    pub(crate) async fn all_handled_once(&self, node: &TestNode, agents: &Flooded) {
        until("everything is handled", async || {
            let queued = node.get("/api/v1/messages?status=delivered&limit=1").await.good();
            (queued["total"] == 0).then_some(())
        })
        .await;
        self.all_there(node, "at the end").await;
        let history = requests(node).await;
        let unhandled: Vec<_> = history
            .iter()
            .filter(|message| message["status"] != "processed")
            .collect();
        assert!(unhandled.is_empty(), "{unhandled:#?}");
        let to = |agent: &str| -> Vec<&Value> {
            let received = history.iter().filter(|message| message["receiver"] == agent);
            received.collect()
        };
        let (to_counter, to_forward) = (to(&agents.counter), to(&agents.forward));

        // `forward` forwarded each of its requests once.
        let from_forward = to_counter
            .iter()
            .copied()
            .filter(|message| message["sender"] == agents.forward.as_str());
        let sent_on = distinct(from_forward, "reply_with");
        let expected: BTreeSet<_> = to_forward
            .iter()
            .map(|message| format!("forward-{}", text(message, "message_id")))
            .collect();
        same("sent on", &sent_on, &expected.iter().map(String::as_str).collect());

        // Each request has one reply, and the replies are the numbers from 1 on: no effect is missing, and none happened twice.
        let answers = node.history(&format!("sender={}", agents.counter)).await;
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
            "{} acknowledged, {} more had made it, {} sent, {} sent on",
            self.count(),
            history.len() - sent_on.len() - self.count(),
            self.sent.load(Ordering::Relaxed),
            sent_on.len(),
        );
    }
}

/// Sends requests one after the other, and records each acknowledgement.
async fn send_on(client: Client, ledger: Arc<Ledger>, sender: usize) {
    while !ledger.enough.load(Ordering::Relaxed) {
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
        match answer.status {
            429 => {} // the mailbox is full and this request is refused; a later one can succeed
            503 => tokio::time::sleep(PAUSE).await, // the server accepts nothing now
            _ => {
                let sent = answer.good();
                let id = text(&sent, "message_id").to_owned();
                ledger.acknowledged.lock().unwrap().insert(reply_with, id);
            }
        }
    }
}

/// All requests in the history: those of clients, and those that were forwarded.
pub(crate) async fn requests(node: &TestNode) -> Vec<Value> {
    node.history("performative=request").await
}

#[track_caller]
fn text<'a>(message: &'a Value, member: &str) -> &'a str {
    message[member].as_str().unwrap()
}

/// The values of a member of all messages. Checks that no two messages have the same value.
#[track_caller]
fn distinct<'a>(messages: impl IntoIterator<Item = &'a Value>, member: &str) -> BTreeSet<&'a str> {
    let all: Vec<_> = messages.into_iter().map(|message| text(message, member)).collect();
    let distinct: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "a {member} is there twice");
    distinct
}

/// Checks that two sets are equal, and prints only their differences.
#[track_caller]
fn same(what: &str, actual: &BTreeSet<&str>, expected: &BTreeSet<&str>) {
    let missing: Vec<_> = expected.difference(actual).collect();
    let more: Vec<_> = actual.difference(expected).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "not {what}: {missing:?}; {what} and not asked for: {more:?}"
    );
}
