//! Timers while parts of the node are killed.

use super::*;
use crate::fipa::Performative;
use crate::journal::projections::Stored;
use crate::timer;

/// A guest that sets a timer for as many microseconds as a request says, and counts the timers that fired.
const TIMER: &str = include_str!("../../../examples/agents/wat/timer.wat");

impl World {
    async fn informs(&self) -> Vec<Stored> {
        let query = MessageQuery {
            performative: Some(Performative::Inform),
            limit: 1_000,
            ..MessageQuery::default()
        };
        self.messages(query).await.messages
    }

    /// How many timers were set, and how many of them fired and were handled.
    async fn timers(&self) -> (usize, usize) {
        let informs = self.informs().await;
        let (fired, set): (Vec<_>, Vec<_>) = informs
            .iter()
            .partition(|stored| timer::fired(&stored.message).is_some());
        let handled = fired.iter().filter(|stored| stored.status == Status::Processed);
        (set.len(), handled.count())
    }

    async fn set_timers(&self, micros: impl Iterator<Item = u32>) {
        for after in micros {
            let json = serde_json::json!({"performative": "request", "receiver": "counter", "content": after});
            // A send may be refused while the killed part restarts. A refused message sets no timer.
            let _ = self.node.send(&Caller::anonymous(), draft(&json)).await;
        }
    }
}

async fn each_timer_fires_once_whatever_is_killed(durability: Durability) {
    let world = world_of(durability).await;
    let config = serde_json::json!({"name": "counter", "permissions": {"state": true, "timers": true}});
    world.deploy(TIMER, &config).await;
    for round in 0..3 {
        for part in ["router", "agents/counter"] {
            world.set_timers((0..40).map(|n| n * 5_000 + round)).await;
            world.kill(&format!("{}/{part}", home(&world))).await;
        }
    }
    world
        .until("all are set and have fired", async || {
            let query = |performative, status| MessageQuery {
                performative: Some(performative),
                status: Some(status),
                limit: 1,
                ..MessageQuery::default()
            };
            let asked = query(Performative::Request, Status::Delivered);
            let (set, fired) = world.timers().await;
            world.messages(asked).await.total == 0 && set > 0 && fired >= set
        })
        .await;
    let (set, fired) = world.timers().await;
    assert_eq!(set, fired);
    let asked = serde_json::json!({"performative": "request", "receiver": "counter", "content": null});
    let reply = world
        .node
        .send_and_wait(&Caller::anonymous(), draft(&asked), PATIENCE, false)
        .await
        .unwrap();
    let counted = crate::message::Content::Json(set.to_string().into());
    assert_eq!(reply.message.content, counted, "each turn took effect once");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_timer_fires_once_whatever_is_killed_on_disk() {
    each_timer_fires_once_whatever_is_killed(Durability::Durable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_timer_fires_once_whatever_is_killed_in_memory() {
    each_timer_fires_once_whatever_is_killed(Durability::Memory).await;
}
