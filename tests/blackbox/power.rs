//! Power cuts: everything that was not synced is lost. kill -9 alone cannot show that, because the kernel keeps what the process wrote.

use std::sync::Arc;

use rand::Rng;
use reqwest::Method;
use serde_json::json;

use crate::client::{Client, request};
use crate::faults::Cut;
use crate::harness::{TestNode, dice, until};
use crate::ledger::{Flooded, Ledger, requests};

const ROUNDS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn after_power_cuts_every_acknowledged_message_is_there_and_is_handled_once() {
    let mut dice = dice();
    let mut node = TestNode::start_on_faulty_disk("", "", None).await;
    let agents = Flooded::deploy(&node).await;
    let ledger = Arc::new(Ledger::default());
    for number in 0..ROUNDS {
        let enough = ledger.count() + dice.random_range(5..80);
        let senders = ledger.flood(&node);
        ledger.until_count(enough).await;
        node.kill_nine();
        senders.join_all().await;
        let cut = if number % 2 == 1 {
            Cut::Sectors(&mut dice)
        } else {
            Cut::Nothing
        };
        node.disk().lose_power(cut);
        node.restart().await;
        ledger.all_there(&node, &format!("power cut {number}")).await;
    }
    ledger.all_handled_once(&node, &agents).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_never_synced_loses_what_it_acknowledged_and_these_tests_see_it() {
    let mut node = TestNode::start_on_faulty_disk("", "", Some("*.log")).await;
    Flooded::deploy(&node).await;
    let ledger = Arc::new(Ledger::default());
    let senders = ledger.flood(&node);
    ledger.until_count(20).await;
    node.kill_nine();
    senders.join_all().await;
    node.disk().lose_power(Cut::Nothing);
    node.restart().await;
    let lost = ledger.lost(&requests(&node).await);
    assert!(lost.len() >= 20, "only {} were lost", lost.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_ends_the_server_and_takes_nothing_that_was_acknowledged() {
    let mut node = TestNode::start_on_faulty_disk("", "", None).await;
    let agents = Flooded::deploy(&node).await;
    let ledger = Arc::new(Ledger::default());
    let senders = ledger.flood(&node);
    ledger.until_count(20).await;
    node.disk().goes_wrong("fail-sync *.log");
    assert_eq!(node.until_it_ended().await.code(), Some(70));
    senders.join_all().await;
    assert!(node.logged().contains("cannot be synced"), "{}", node.logged());
    node.disk().lose_power(Cut::Nothing);
    node.disk().goes_wrong("");
    node.restart().await;
    ledger.all_handled_once(&node, &agents).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_the_history_ends_the_server_as_well() {
    let mut node = TestNode::start_on_faulty_disk("", "", None).await;
    node.disk().goes_wrong("fail-sync *.db-wal");
    // So many messages that the write-ahead log of the history is checkpointed into its file, and the file is synced.
    let content = "x".repeat(1_000_000);
    let message = json!({"performative": "inform", "receiver": "client:reader", "content": content});
    let mut acknowledged = Vec::new();
    loop {
        let sending = node.request(Method::POST, "/api/v1/messages").json(&message);
        let Some(sent) = Client::try_answer(sending).await else {
            break;
        };
        acknowledged.push(sent.good()["message_id"].as_str().unwrap().to_owned());
        assert!(acknowledged.len() < 200, "it goes on although a sync has failed");
    }
    assert_eq!(node.until_it_ended().await.code(), Some(70));
    node.disk().lose_power(Cut::Nothing);
    node.disk().goes_wrong("");
    node.restart().await;
    for id in acknowledged {
        node.get(&format!("/api/v1/messages/{id}")).await.good();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_the_power_cut_tore_is_cut_off_and_said() {
    let mut node = TestNode::start_on_faulty_disk("", "", None).await;
    node.deploy("counter", "counter").await;
    let acknowledged = node.send("counter", &json!({"add": 1})).await;
    node.until_settled(&acknowledged).await;
    // When nothing else is in flight, only the next message can cause the next sync.
    until("everything is synced", async || {
        (node.disk().unsynced_bytes(".log") == 0).then_some(())
    })
    .await;
    node.disk().goes_wrong("block-sync *.log");
    let body = request("counter", &json!({"add": 1}));
    let sending = node.client().request(Method::POST, "/api/v1/messages").json(&body);
    let sending = tokio::spawn(Client::try_answer(sending));
    until("the message is written and not synced", async || {
        (node.disk().unsynced_bytes(".log") > 0).then_some(())
    })
    .await;
    node.kill_nine();
    assert!(sending.await.unwrap().is_none(), "acknowledged before it was synced");
    node.disk().lose_power(Cut::HalfOfTheLast);
    node.disk().goes_wrong("");
    node.restart().await;
    assert!(
        node.logged().contains("cut off a write that a crash had interrupted"),
        "{}",
        node.logged()
    );
    let history = requests(&node).await;
    assert_eq!((history.len(), &history[0]["message_id"]), (1, &json!(acknowledged)));
    assert_eq!(node.told("counter", &json!({"add": 1})).await, 2);
}

#[tokio::test]
async fn a_start_syncs_what_it_finds_before_it_calls_it_durable() {
    let mut node = TestNode::start_on_faulty_disk("", "", None).await;
    node.deploy("counter", "counter").await;
    node.kill_nine();
    node.disk().goes_wrong("fail-sync *.log");
    assert_eq!(node.restart_in_vain().await.code(), Some(1));
    assert!(node.logged().contains("cannot be synced"), "{}", node.logged());
    node.disk().goes_wrong("");
    node.restart().await;
    assert_eq!(node.told("counter", &json!({"add": 1})).await, 1);
}
