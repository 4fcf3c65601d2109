//! kill -9 during a flood of acknowledged messages, several times: no acknowledged message is lost, and none takes effect twice.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::harness::{TestNode, dice};
use crate::ledger::{Flooded, Ledger};

const ROUNDS: usize = 10;

/// Floods the server, and kills it at a random time.
async fn round(node: &mut TestNode, ledger: &Arc<Ledger>, dice: &mut StdRng) {
    let enough = ledger.count() + dice.random_range(5..80);
    let senders = ledger.flood(node);
    ledger.until_count(enough).await;
    // This sleep is not for order: the kill should come at a random point of the server's work.
    tokio::time::sleep(Duration::from_micros(dice.random_range(0..20_000))).await;
    node.kill_nine();
    senders.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_nine_every_acknowledged_message_is_there_and_is_handled_once() {
    let mut dice = dice();
    let mut node = TestNode::start().await;
    let agents = Flooded::deploy(&node).await;
    let ledger = Arc::new(Ledger::default());
    for number in 0..ROUNDS {
        round(&mut node, &ledger, &mut dice).await;
        node.restart().await;
        ledger.all_there(&node, &format!("round {number}")).await;
    }
    ledger.all_handled_once(&node, &agents).await;
}
