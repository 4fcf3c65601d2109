//! Tests of rates that several instances share, and that a restart does not forget.

use super::several::Several;
use super::*;

/// A guest that computes for some milliseconds in each turn.
const COMPUTES: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "caxton_alloc") (param i32) (result i32) (i32.const 4096))
    (func (export "handle_message") (param i32 i32) (result i32) (local $n i32)
      (loop $again
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 20000000))))
      (i32.const 0)))"#;

/// A guest that sends eight messages in each turn.
const SENDS: &str = r#"(module
    (import "caxton" "send_message" (func $send (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "{\22performative\22:\22inform\22,\22receiver\22:\22client:a\22}")
    (func (export "caxton_alloc") (param i32) (result i32) (i32.const 4096))
    (func (export "handle_message") (param i32 i32) (result i32) (local $n i32)
      (loop $again
        (drop (call $send (i32.const 0) (i32.const 47)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 8))))
      (i32.const 0)))"#;

const TENTH_OF_A_CORE: &[u8] = br#"{"name":"guest","resources":{"cpu":"100m"}}"#;
const TEN_SENDS: &[u8] = br#"{"name":"guest","resources":{"sends_per_second":10}}"#;

/// Grants the agent all messages.
struct Messages;

impl Grants for Messages {
    fn may_message(&self, _: &str) -> bool {
        true
    }
}

async fn start(declaration: &[u8], wat: &str, instances: u32) -> Several {
    Several::of(declared(declaration, wat, Arc::new(Messages)).await, instances).await
}

/// The next turns that were recorded.
async fn ended(several: &mut Several, turns: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    while outcomes.len() < turns {
        outcomes.push(several.outcomes.recv().await.unwrap());
    }
    outcomes
}

fn guest_time(outcomes: &[Outcome]) -> Duration {
    outcomes
        .iter()
        .map(|outcome| Duration::from_micros(outcome.guest_micros))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_instances_together_use_no_more_guest_time_than_the_rate() {
    let mut several = start(TENTH_OF_A_CORE, COMPUTES, 2).await;
    let began = Instant::now();
    for sender in 0..6 {
        several.send(&sender.to_string(), "c");
    }
    let outcomes = ended(&mut several, 6).await;
    // The last turn began when all before it had been paid for, except one that ran beside it.
    let (paid, took) = (10 * guest_time(&outcomes[..4]), began.elapsed());
    assert!(took >= paid, "took {took:?}, and the rate asks for {paid:?}");
    several.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_forgets_no_guest_time() {
    let mut several = start(TENTH_OF_A_CORE, COMPUTES, 1).await;
    let began = Instant::now();
    several.send("a", "c");
    let first = ended(&mut several, 1).await;
    several.restart_first().await;
    several.send("a", "c");
    ended(&mut several, 1).await;
    let (paid, took) = (10 * guest_time(&first), began.elapsed());
    assert!(took >= paid, "took {took:?}, and the rate asks for {paid:?}");
    several.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_instances_together_send_no_more_messages_than_the_rate() {
    let mut several = start(TEN_SENDS, SENDS, 2).await;
    let began = Instant::now();
    for sender in 0..4 {
        several.send(&sender.to_string(), "c");
    }
    let sends: usize = ended(&mut several, 4)
        .await
        .iter()
        .map(|outcome| outcome.sends.len())
        .sum();
    assert_eq!(sends, 32);
    // When the last turn begins, at least two others have ended, for one can run beside it. Ten of their sixteen messages are
    // free, and it waits for the rest.
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    several.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_forgets_no_sends() {
    let mut several = start(TEN_SENDS, SENDS, 1).await;
    let began = Instant::now();
    several.send("a", "c");
    several.send("a", "c");
    ended(&mut several, 2).await;
    several.restart_first().await;
    several.send("a", "c");
    ended(&mut several, 1).await;
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    several.end().await;
}
