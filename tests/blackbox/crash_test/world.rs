//! The result of a run: the history, and the replies of the agents about their state, read over the API when nothing is in flight.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::workloads::{ACCOUNTS, ALARMS, CHAINS, COUNTERS, LINKS, RING, account, alarm, counter, link, ring};
use crate::client::Client;
use crate::harness::until;

/// A message of the history.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub id: String,
    /// Here and in `receiver`, an agent that exists has its name; anybody else has the address that the server writes.
    pub sender: String,
    pub receiver: String,
    /// The address of the receiver that the server writes. It differs between two agents that had the same name one after the other.
    pub receiver_id: String,
    pub performative: String,
    pub conversation: String,
    pub tag: Option<String>,
    pub answers: Option<String>,
    /// The message whose turn sent this one.
    pub cause: Option<String>,
    pub status: String,
    pub content: Value,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    /// Oldest first.
    pub history: Vec<Told>,
    /// The number of each counter.
    pub counts: BTreeMap<String, u64>,
    pub balances: BTreeMap<String, u64>,
    /// How many tokens each member of the ring counted.
    pub passed: BTreeMap<String, u64>,
    pub links: BTreeMap<String, Link>,
    /// How many fired timers each agent counted.
    pub fired: BTreeMap<String, u64>,
    /// How many messages were delivered more than once.
    pub tried_again: usize,
}

/// The state of a link of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub last: u64,
    pub count: u64,
    /// How many numbers were not greater than the one before.
    pub back: u64,
}

/// The client that asks the agents at the end. Its messages are not part of the test.
pub(crate) const READER: &str = "client:reader";

/// Waits until nothing is in flight, and reads everything.
pub(crate) async fn read(client: &Client) -> World {
    until("everything is handled", async || {
        let queued = client.get("/api/v1/messages?status=delivered&limit=1").await.good();
        (queued["total"] == 0).then_some(())
    })
    .await;
    for name in (0..ALARMS).map(alarm) {
        let answers = client.history(&format!("sender={name}&performative=inform")).await;
        let for_client = answers.iter().filter(|answer| answer["receiver"] != READER);
        let set = for_client.filter(|answer| is_timer(&answer["content"])).count() as u64;
        until("each timer that was set has fired", async || {
            (ask(client, "request", &name).await.as_u64()? >= set).then_some(())
        })
        .await;
    }
    let page = client.get("/api/v1/agents?limit=1000").await.good();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let names: BTreeMap<_, _> = page["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| (text(&agent["agent_id"]).unwrap(), text(&agent["name"]).unwrap()))
        .collect();
    let address = |value: &Value| {
        let written = text(value).unwrap();
        names.get(&written).cloned().unwrap_or(written)
    };
    let history = client.history("").await;
    let told = |message: &Value| Told {
        id: text(&message["message_id"]).unwrap(),
        sender: address(&message["sender"]),
        receiver: address(&message["receiver"]),
        receiver_id: text(&message["receiver"]).unwrap(),
        performative: text(&message["performative"]).unwrap(),
        conversation: text(&message["conversation_id"]).unwrap(),
        tag: text(&message["reply_with"]),
        answers: text(&message["in_reply_to"]),
        cause: text(&message["causation_id"]),
        status: text(&message["status"]).unwrap(),
        content: message["content"].clone(),
    };
    let mut world = World {
        history: history.iter().map(told).collect(),
        tried_again: history
            .iter()
            .filter(|told| told["attempts"].as_u64() > Some(1))
            .count(),
        ..World::default()
    };
    for name in (0..COUNTERS).map(counter) {
        // The counter counts this request too.
        let count = ask(client, "request", &name).await.as_u64().unwrap() - 1;
        world.counts.insert(name, count);
    }
    for name in (0..ACCOUNTS).map(account) {
        let balance = ask(client, "query_ref", &name).await.as_u64().unwrap();
        world.balances.insert(name, balance);
    }
    for name in (0..ALARMS).map(alarm) {
        let count = ask(client, "request", &name).await.as_u64().unwrap();
        world.fired.insert(name, count);
    }
    for name in (0..RING as u64).map(ring) {
        let count = ask(client, "query_ref", &name).await.as_u64().unwrap();
        world.passed.insert(name, count);
    }
    for name in (0..CHAINS).flat_map(|chain| (0..LINKS).map(move |n| link(chain, n))) {
        let said = ask(client, "query_ref", &name).await;
        let number = |member: &str| said[member].as_u64().unwrap();
        let says = Link {
            last: number("last"),
            count: number("count"),
            back: number("back"),
        };
        world.links.insert(name, says);
    }
    world
}

/// Whether the reply of an alarm is the id of a timer, and not an error code of the host.
pub(crate) fn is_timer(answer: &Value) -> bool {
    answer.as_i64().is_some_and(|id| id > 0)
}

pub(crate) async fn ask(client: &Client, act: &str, agent: &str) -> Value {
    let sender = READER.strip_prefix("client:");
    let question = json!({"performative": act, "sender": sender, "receiver": agent});
    let answer = client.post("/api/v1/messages/wait", &question).await.good();
    assert_eq!(answer["reply"]["performative"], "inform", "{answer:#}");
    answer["reply"]["content"].clone()
}
