//! Tests of how an instance ends. A test takes the place of the router.

mod rates;
mod several;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::*;

use crate::agent::spec::AgentSpec;
use crate::agent::{Document, Outbox, Outcome, Standing};
use crate::id::{AgentId, DeploymentId};
use crate::wasm::Grants;

struct Posted(UnboundedSender<Outcome>);

impl Outbox for Posted {
    fn commit(&self, outcome: Outcome) {
        self.0.send(outcome).unwrap();
    }

    fn sweep(&self) {}
}

/// Grants the agent its state, and nothing else.
struct StateAlone;

impl Grants for StateAlone {
    fn state(&self) -> bool {
        true
    }
}

/// Makes an agent that stores a value when it is shut down and then does `last`. Returns its guest and the outcomes
/// that it hands over, too.
async fn agent_with(last: &str) -> (Arc<Agent>, Arc<Version>, wasm::Instance, UnboundedReceiver<Outcome>) {
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
    let (agent, version, outcomes) = agent(&wat, Arc::new(StateAlone)).await;
    let host = wasm::Host {
        agent: agent.id,
        name: agent.name.clone(),
        instance: InstanceId::FIRST,
        state: agent.state.clone(),
        timers: agent.timers.clone(),
        state_lock: agent.state_lock.clone(),
        leasing: wasm::Leasing::AtStart,
        log_rate: agent.rates.log.clone(),
        grants: version.grants.clone(),
    };
    let guest = version.program.instantiate(host, version.limits()).await.unwrap();
    (agent, version, guest, outcomes)
}

/// Makes an agent without an instance, and a channel with the outcomes that it hands over.
async fn agent(wat: &str, grants: Arc<dyn Grants>) -> (Arc<Agent>, Arc<Version>, UnboundedReceiver<Outcome>) {
    declared(br#"{"name":"guest"}"#, wat, grants).await
}

/// Makes an agent with this declaration.
async fn declared(
    declaration: &[u8],
    wat: &str,
    grants: Arc<dyn Grants>,
) -> (Arc<Agent>, Arc<Version>, UnboundedReceiver<Outcome>) {
    let runtime = wasm::Runtime::new(&wasm::RuntimeConfig::default()).unwrap();
    let module = wat::parse_str(wat).unwrap().into();
    let (outbox, outcomes) = mpsc::unbounded_channel();
    let spec = AgentSpec::from_json(declaration).unwrap();
    let version = Arc::new(Version {
        revision: 1,
        spec: spec.clone(),
        program: runtime.compile(module, false).await.unwrap(),
        grants,
    });
    let id = AgentId::new();
    let now = Timestamp::now();
    let document = Document {
        id,
        spec,
        sealed: std::collections::BTreeMap::new(),
        version: semver::Version::new(1, 0, 0),
        revision: 1,
        instances: 1,
        digest: version.program.digest(),
        deployment_id: DeploymentId::new(),
        created_at: now,
        deployed_at: now,
        deployed_by: "tester".to_owned(),
        stopped_at: None,
        stopped_with_group: false,
        suspended_at: None,
        placement: None,
    };
    let outbox = Arc::new(Posted(outbox));
    let permits = Arc::new(Semaphore::new(OUTCOME_KIB));
    let agent = Arc::new(Agent::new(document, 1, outbox, permits, Arc::default()));
    agent.enter(Standing::Running);
    (agent, version, outcomes)
}

#[tokio::test]
async fn an_ordered_end_waits_for_the_record_of_the_last_turn() {
    let (agent, version, mut guest, mut outcomes) = agent_with("").await;
    let end = shut_down(&agent, &version, InstanceId::FIRST, &mut guest);
    tokio::pin!(end);
    let outcome = tokio::select! {
        biased;
        () = &mut end => panic!("it did not wait"),
        outcome = outcomes.recv() => outcome.unwrap(),
    };
    assert_eq!((outcome.writes.len(), outcome.message.is_none()), (1, true));
    outcome.recorded.unwrap().send(()).unwrap();
    end.await;
    assert_eq!(agent.state.read().len(), 1);
}

#[tokio::test]
async fn an_ordered_end_waits_for_no_router_that_has_ended() {
    let (agent, version, mut guest, mut outcomes) = agent_with("").await;
    let router = async { drop(outcomes.recv().await) };
    tokio::join!(shut_down(&agent, &version, InstanceId::FIRST, &mut guest), router);
}

#[tokio::test]
async fn a_last_turn_that_crashes_is_reported_and_records_nothing() {
    let (agent, version, mut guest, mut outcomes) = agent_with("(unreachable)").await;
    shut_down(&agent, &version, InstanceId::FIRST, &mut guest).await;
    assert!(outcomes.try_recv().is_err() && agent.state.read().is_empty());
    assert_eq!(agent.meter.crashes()[0].kind, "trap");
}

#[tokio::test]
async fn who_takes_no_turns_has_no_last_one() {
    let (agent, version, mut guest, mut outcomes) = agent_with("").await;
    agent.mailbox.suspend();
    shut_down(&agent, &version, InstanceId::FIRST, &mut guest).await;
    assert!(outcomes.try_recv().is_err() && agent.state.read().is_empty());
}
