//! Time slices: busy guests and their neighbours on one thread.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const SPIN: &str = "(loop $for_ever (br $for_ever)) (unreachable)";

async fn two(runtime: &Runtime, first: &str, second: &str) -> (Instance, Instance) {
    let mut instances = Vec::new();
    for body in [first, second] {
        let program = runtime.compile(binary(&guest("", body)), false).await.unwrap();
        instances.push(program.instantiate(host(&ALL), LIMITS).await.unwrap());
    }
    let second = instances.pop().unwrap();
    (instances.pop().unwrap(), second)
}

#[tokio::test]
async fn a_spinner_is_ended_at_its_deadline_while_others_answer() {
    let (mut spinner, mut answering) = two(&runtime(), SPIN, "(i32.const 0)").await;
    let ended = AtomicBool::new(false);
    let spin = async {
        let turn = spinner
            .handle(
                &message(),
                1,
                Budget {
                    deadline: Duration::from_millis(200),
                    ..BUDGET
                },
            )
            .await;
        ended.store(true, Ordering::Relaxed);
        turn
    };
    let answer = async {
        let mut answers = 0;
        while !ended.load(Ordering::Relaxed) {
            assert_eq!(handle(&mut answering).await.end, End::Ok);
            answers += 1;
            tokio::task::yield_now().await;
        }
        answers
    };
    let (turn, answers) = tokio::join!(spin, answer);
    assert_eq!(crash(&turn).kind, CrashKind::Deadline);
    assert!(answers > 5, "{answers}");
}

#[tokio::test]
async fn spinners_wait_for_each_other_and_their_waits_are_not_their_time() {
    let runtime = runtime();
    let (mut a, mut b) = two(&runtime, SPIN, SPIN).await;
    let (mut c, mut d) = two(&runtime, SPIN, SPIN).await;
    let budget = Budget {
        deadline: Duration::from_millis(400),
        ..BUDGET
    };
    let (message, since) = (message(), std::time::Instant::now());
    let turns = tokio::join!(
        a.handle(&message, 1, budget),
        b.handle(&message, 1, budget),
        c.handle(&message, 1, budget),
        d.handle(&message, 1, budget)
    );
    let elapsed = since.elapsed();
    let turns = [turns.0, turns.1, turns.2, turns.3];
    for turn in &turns {
        assert_eq!(crash(turn).kind, CrashKind::Deadline);
        assert!(turn.usage.guest_time > Duration::ZERO);
    }
    let busy: Duration = turns.iter().map(|turn| turn.usage.guest_time).sum();
    assert!(busy <= elapsed, "one thread ran them all: {busy:?} in {elapsed:?}");
}

#[tokio::test]
async fn a_turn_that_outlives_its_slice_goes_on_where_it_was() {
    // Counts for some tens of milliseconds. The sum is right only if nothing is lost between the slices.
    let body = "(local $n i64)
        (loop $next (br_if $next (i64.lt_s (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const 60000000))))
        (i64.ne (local.get $n) (i64.const 60000000))";
    let (mut one, mut other) = two(&runtime(), body, body).await;
    let (one, other) = tokio::join!(handle(&mut one), handle(&mut other));
    assert_eq!((one.end, other.end), (End::Ok, End::Ok));
}

#[tokio::test]
async fn the_slow_lane_is_free_again_after_a_turn_that_was_dropped() {
    let (mut spinner, mut slow) = two(
        &runtime(),
        SPIN,
        "(local $n i64)
         (loop $next (br_if $next (i64.lt_s (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const 60000000))))
         (i32.const 0)",
    )
    .await;
    assert!(
        tokio::time::timeout(Duration::from_millis(60), handle(&mut spinner))
            .await
            .is_err()
    );
    // The spinner still exists, but holds no permit.
    assert_eq!(handle(&mut slow).await.end, End::Ok);
    drop(spinner);
}

#[tokio::test]
async fn there_is_a_last_instance_and_then_a_clear_no() {
    let config = RuntimeConfig {
        instances: 2, // one for the program
        ..RuntimeConfig::default()
    };
    let program = Runtime::new(&config)
        .unwrap()
        .compile(binary(&guest("", "(i32.const 0)")), false)
        .await
        .unwrap();
    let first = program.instantiate(host(&ALL), LIMITS).await.unwrap();
    let refused = program.instantiate(host(&ALL), LIMITS).await.err().unwrap();
    assert_eq!(refused.kind, CrashKind::NoRoom);
    assert!(
        refused.detail.contains("2 of 2") && refused.detail.contains("wasm.instances"),
        "{}",
        refused.detail
    );
    drop(first);
    assert!(program.instantiate(host(&ALL), LIMITS).await.is_ok());
}
