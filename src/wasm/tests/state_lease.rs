//! Turns of several instances of one agent that use its state.

use std::time::Instant;

use super::*;

const STORE: &str = "(drop (call $store (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)))";
const WAIT: Duration = Duration::from_millis(400);
const SHORT: Budget = Budget {
    deadline: Duration::from_millis(200),
    ..BUDGET
};

/// The lease of a turn that has used the state of an agent and is not committed.
async fn leased(host: &Host) -> StateLease {
    let mut instance = start_with(host.clone(), &guest("", &format!("{STORE} (i32.const 0)"))).await;
    handle(&mut instance).await;
    instance.take_state_lease().unwrap()
}

/// The same, and another instance of the agent.
async fn held(body: &str) -> (StateLease, Instance) {
    let host = host(&ALL);
    let lease = leased(&host).await;
    (lease, start_with(host, &guest("", body)).await)
}

/// The turn that `instance` ends when the first one is committed after a while.
async fn after(held: StateLease, instance: &mut Instance) -> (Turn, Duration) {
    let since = Instant::now();
    let message = message();
    let commit = async {
        tokio::time::sleep(WAIT).await;
        drop(held);
    };
    let (turn, ()) = tokio::join!(instance.handle(&message, 1, SHORT), commit);
    (turn, since.elapsed())
}

#[tokio::test]
async fn a_turn_waits_for_the_state_and_the_wait_is_not_its_time() {
    for body in [
        format!("{STORE} (i32.const 0)"),
        "(drop (call $load (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1))) (i32.const 0)".to_owned(),
        "(drop (call $delete (i32.const 0) (i32.const 1))) (i32.const 0)".to_owned(),
        "(drop (call $set_timer (i64.const 1000000))) (i32.const 0)".to_owned(),
        "(drop (call $cancel_timer (i32.const 1))) (i32.const 0)".to_owned(),
    ] {
        let (held, mut other) = held(&body).await;
        let (turn, took) = after(held, &mut other).await;
        assert_eq!(turn.end, End::Ok, "{body}");
        assert!(took >= WAIT, "{body}: {took:?}");
        assert!(turn.usage.guest_time < SHORT.deadline, "{:?}", turn.usage);
    }
}

#[tokio::test]
async fn a_turn_that_leases_at_its_start_waits_for_the_state_even_if_it_uses_none() {
    let alone = Host {
        leasing: Leasing::AtStart,
        ..host(&ALL)
    };
    let held = leased(&alone).await;
    let mut other = start_with(alone, &guest("", "(i32.const 0)")).await;
    let (turn, took) = after(held, &mut other).await;
    assert_eq!(turn.end, End::Ok);
    assert!(took >= WAIT, "{took:?}");
    assert!(turn.usage.guest_time < SHORT.deadline, "{:?}", turn.usage);
    assert!(
        other.take_state_lease().is_some(),
        "it is kept until the turn is committed"
    );
}

#[tokio::test]
async fn a_turn_that_has_waited_for_the_state_ends_at_its_deadline() {
    let (held, mut other) = held(&format!("{STORE} (loop $for_ever (br $for_ever)) (unreachable)")).await;
    let (turn, took) = after(held, &mut other).await;
    assert_eq!(crash(&turn).kind, CrashKind::Deadline);
    assert!(took >= WAIT + SHORT.deadline, "{took:?}");
}

#[tokio::test]
async fn a_turn_that_uses_no_state_waits_for_none() {
    let (_held, mut other) = held("(i32.const 0)").await;
    let turn = handle(&mut other).await;
    assert_eq!(turn.end, End::Ok);
    assert!(other.take_state_lease().is_none());
}

#[tokio::test]
async fn a_guest_without_the_permission_waits_for_none() {
    let host = host(&ALL);
    let _held = leased(&host).await;
    let host = Host {
        grants: Arc::new(Granted::default()),
        ..host
    };
    let call = "(call $store (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1))";
    let mut other = start_with(host, &guest("", call)).await;
    assert_eq!(handle(&mut other).await.end, returned(-2));
}

#[tokio::test]
async fn a_turn_that_is_dropped_while_it_waits_leaves_the_state_to_the_next() {
    let host = host(&ALL);
    let held = leased(&host).await;
    let store = guest("", &format!("{STORE} (i32.const 0)"));
    let (mut dropped, mut next) = (start_with(host.clone(), &store).await, start_with(host, &store).await);
    let waited = tokio::time::timeout(Duration::from_millis(50), handle(&mut dropped)).await;
    assert!(waited.is_err());
    drop(held);
    assert_eq!(handle(&mut next).await.end, End::Ok);
}

#[tokio::test]
async fn the_next_turn_of_an_instance_releases_what_the_last_one_leased() {
    let mut instance = start(&guest("", &format!("{STORE} (i32.const 0)"))).await;
    assert_eq!(handle(&mut instance).await.end, End::Ok);
    assert_eq!(handle(&mut instance).await.end, End::Ok);
}
