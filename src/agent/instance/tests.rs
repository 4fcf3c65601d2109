//! The end of an instance, with a test in the place of the router.

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::*;
use crate::agent::Outbox;
use crate::agent::meter::Meter;
use crate::agent::spec::AgentSpec;
use crate::id::{AgentId, Partition};
use crate::mailbox::{Capacity, Mailbox};
use crate::wasm::Grants;

struct Posted(UnboundedSender<Outcome>);

impl Outbox for Posted {
    fn record(&self, outcome: Outcome) {
        self.0.send(outcome).unwrap();
    }
}

/// State, and nothing else.
struct StateAlone;

impl Grants for StateAlone {
    fn state(&self) -> bool {
        true
    }
}

/// An agent that stores something when it is shut down and then does `last`, its guest, and what it has recorded.
async fn agent(last: &str) -> (Slot, wasm::Instance, UnboundedReceiver<Outcome>) {
    let wat = format!(
        r#"(module
            (import "caxton" "store_data" (func $store (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "caxton_alloc") (param i32) (result i32) (i32.const 0))
            (func (export "handle_message") (param i32 i32) (result i32) (i32.const 0))
            (func (export "agent_shutdown")
              (drop (call $store (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)))
              {last}))"#
    );
    let runtime = wasm::Runtime::new(&wasm::RuntimeConfig::default()).unwrap();
    let module = wat::parse_str(wat).unwrap().into();
    let (outbox, outcomes) = mpsc::unbounded_channel();
    let slot = Slot {
        id: AgentId::new(),
        name: "guest".parse().unwrap(),
        partition: Partition(0),
        spec: AgentSpec::from_json(br#"{"name":"guest"}"#).unwrap(),
        mailbox: Mailbox::new(Capacity {
            messages: 1,
            bytes: 1_024,
        }),
        state: Arc::default(),
        timers: Arc::default(),
        program: runtime.compile(module, false).await.unwrap(),
        grants: Arc::new(StateAlone),
        meter: Arc::new(Meter::new(Arc::default())),
        outbox: Arc::new(Posted(outbox)),
        outcome_kib: Arc::new(Semaphore::new(1)),
        running: parking_lot::Mutex::default(),
    };
    let host = wasm::Host {
        agent: slot.id,
        name: slot.name.clone(),
        state: slot.state.clone(),
        timers: slot.timers.clone(),
        grants: slot.grants.clone(),
    };
    let guest = slot.program.instantiate(host, slot.limits()).await.unwrap();
    (slot, guest, outcomes)
}

#[tokio::test]
async fn an_ordered_end_waits_for_the_record_of_the_last_turn() {
    let (slot, mut guest, mut outcomes) = agent("").await;
    let end = shut_down(&slot, &mut guest);
    tokio::pin!(end);
    let outcome = tokio::select! {
        biased;
        () = &mut end => panic!("it did not wait"),
        outcome = outcomes.recv() => outcome.unwrap(),
    };
    assert_eq!((outcome.writes.len(), outcome.message.is_none()), (1, true));
    outcome.recorded.unwrap().send(()).unwrap();
    end.await;
    assert_eq!(slot.state.read().len(), 1);
}

#[tokio::test]
async fn an_ordered_end_waits_for_no_router_that_has_ended() {
    let (slot, mut guest, mut outcomes) = agent("").await;
    let router = async { drop(outcomes.recv().await) };
    tokio::join!(shut_down(&slot, &mut guest), router);
}

#[tokio::test]
async fn a_last_turn_that_crashes_is_reported_and_records_nothing() {
    let (slot, mut guest, mut outcomes) = agent("(unreachable)").await;
    shut_down(&slot, &mut guest).await;
    assert!(outcomes.try_recv().is_err() && slot.state.read().is_empty());
    assert_eq!(slot.meter.crashes()[0].kind, "trap");
}

#[tokio::test]
async fn who_takes_no_turns_has_no_last_one() {
    let (slot, mut guest, mut outcomes) = agent("").await;
    slot.mailbox.suspend();
    shut_down(&slot, &mut guest).await;
    assert!(outcomes.try_recv().is_err() && slot.state.read().is_empty());
}
