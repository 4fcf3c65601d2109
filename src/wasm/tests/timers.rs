//! Timers in both interfaces: what a turn sets and cancels, and which function gets a timer that fired. And the end of a guest.

use super::components::embedded;
use super::*;
use crate::timer::{self, Timer, TimerChange};

const MONTH: i64 = 30 * 24 * 3_600_000_000;

fn fired(id: u32) -> Message {
    timer::message(AgentId::new(), id, Timestamp::now())
}

fn live(id: u32) -> TimerChange {
    TimerChange::Set(Timer {
        id,
        due: Timestamp::now(),
        every: None,
        set_by: InstanceId::FIRST,
    })
}

/// The timers that a turn set, and those that it cancelled.
fn changed(turn: &Turn) -> (Vec<Timer>, Vec<u32>) {
    let (mut set, mut cancelled) = (Vec::new(), Vec::new());
    for change in turn.effects.timers.values() {
        match change {
            TimerChange::Set(timer) => set.push(*timer),
            TimerChange::Cancel(id) => cancelled.push(*id),
        }
    }
    (set, cancelled)
}

#[tokio::test]
async fn a_timer_that_a_turn_sets_is_an_effect_and_has_a_new_id() {
    let body = format!(
        "(i32.sub (call $set_timer (i64.const {MONTH})) (call $set_timer (i64.const 0))) (i32.ne (i32.const -1))"
    );
    let host = host(&ALL);
    host.timers.apply(&[live(10)]);
    let mut instance = start_with(host.clone(), &guest("", &body)).await;
    for _ in 0..2 {
        let began = Timestamp::now();
        let turn = handle(&mut instance).await;
        assert_eq!(turn.end, End::Ok);
        let (set, cancelled) = changed(&turn);
        assert_eq!(set.iter().map(|timer| timer.id).collect::<Vec<_>>(), [11, 12]);
        let wait = |timer: &Timer| timer.due.micros() - began.micros();
        assert!((MONTH..MONTH + 60_000_000).contains(&wait(&set[0])), "{set:?}");
        assert!(
            (1_000..60_000_000).contains(&wait(&set[1])),
            "at once is a millisecond: {set:?}"
        );
        assert_eq!((set[0].every, cancelled), (None, vec![]));
        assert_eq!(host.timers.len(), 1, "nothing is committed by the guest");
    }
}

#[tokio::test]
async fn a_turn_that_errs_or_crashes_sets_and_cancels_nothing() {
    for end in ["(i32.const 5)", "(unreachable)"] {
        let body = format!("(drop (call $set_timer (i64.const 5))) (drop (call $cancel_timer (i32.const 1))) {end}");
        let host = host(&ALL);
        host.timers.apply(&[live(1)]);
        let turn = handle(&mut start_with(host, &guest("", &body)).await).await;
        assert!(turn.effects.is_empty() && turn.end != End::Ok, "{turn:?}");
    }
}

#[tokio::test]
async fn a_timer_is_cancelled_once_committed_or_not() {
    let expect = |call: &str, code: i32| format!("(if (i32.ne {call} (i32.const {code})) (then (unreachable)))");
    let cancel = |id: i32, code: i32| expect(&format!("(call $cancel_timer (i32.const {id}))"), code);
    let body = [
        cancel(4, 0),
        cancel(4, -1),
        expect("(call $set_timer (i64.const 9))", 5),
        cancel(5, 0),
        cancel(5, -1),
        cancel(0, -1),
        cancel(-7, -1),
        "(i32.const 0)".to_owned(),
    ];
    let host = host(&ALL);
    host.timers.apply(&[live(3), live(4)]);
    let turn = handle(&mut start_with(host, &guest("", &body.concat())).await).await;
    assert_eq!(turn.end, End::Ok);
    assert_eq!(changed(&turn), (vec![], vec![4]));
}

#[tokio::test]
async fn timers_need_a_grant_and_are_limited_in_number_and_time() {
    let set = |after: i64| guest("", &format!("(call $set_timer (i64.const {after}))"));
    let denied = Granted { timers: false, ..ALL };
    for body in ["(call $set_timer (i64.const 9))", "(call $cancel_timer (i32.const 1))"] {
        let mut instance = start_with(host(&denied), &guest("", body)).await;
        assert_eq!(handle(&mut instance).await.end, returned(-2), "{body}");
    }
    let longest = i64::try_from(timer::limits::LONGEST.as_micros()).unwrap();
    for after in [-1, i64::MIN, i64::MAX, longest + 1] {
        assert_eq!(handle(&mut start(&set(after)).await).await.end, returned(-3), "{after}");
    }
    assert_eq!(handle(&mut start(&set(longest)).await).await.end, returned(1));

    // Three timers may be set at one time. Two are committed, and a cancellation makes room for another one.
    let body = "(if (i32.ne (call $set_timer (i64.const 9)) (i32.const 3)) (then (unreachable)))
        (if (i32.ne (call $set_timer (i64.const 9)) (i32.const -3)) (then (unreachable)))
        (if (call $cancel_timer (i32.const 1)) (then (unreachable)))
        (if (i32.ne (call $set_timer (i64.const 9)) (i32.const 4)) (then (unreachable)))
        (i32.ne (call $set_timer (i64.const 9)) (i32.const -3))";
    let host = host(&ALL);
    host.timers.apply(&[live(1), live(2)]);
    assert_eq!(handle(&mut start_with(host, &guest("", body)).await).await.end, End::Ok);
}

#[tokio::test]
async fn a_guest_is_told_at_its_entry_for_timers_or_else_by_the_message() {
    let entry = r#"(func (export "handle_timer") (param i32) (result i32) (local.get 0))"#;
    let mut with = start(&guest(entry, "(i32.const 99)")).await;
    assert_eq!(with.handle(&fired(7), 1, BUDGET).await.end, returned(7));
    assert_eq!(handle(&mut with).await.end, returned(99));
    let mut without = start(&guest("", "(i32.const 99)")).await;
    assert_eq!(without.handle(&fired(7), 1, BUDGET).await.end, returned(99));

    let forged = Message {
        sender: message().sender,
        ..fired(7)
    };
    assert_eq!(with.handle(&forged, 1, BUDGET).await.end, returned(99));
}

#[tokio::test]
async fn an_entry_for_timers_of_another_type_is_refused() {
    let found = findings(binary(&guest(
        r#"(func (export "handle_timer") (result i32) (i32.const 0))"#,
        "(i32.const 0)",
    )))
    .await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].rule, "export-type");
}

/// A component that executes `body` for each message and `timer` for each timer, whose id is `$id`. Results are where [`component`]
/// of `components` puts them.
fn component(body: &str, timer: &str) -> Vec<u8> {
    const IMPORTS: &str = r#"
        (import "caxton:agent/timer@1.0.0" "set-once" (func $once (param i64 i32)))
        (import "caxton:agent/timer@1.0.0" "set-periodic" (func $periodic (param i64 i32)))
        (import "caxton:agent/timer@1.0.0" "cancel" (func $cancel (param i32 i32)))"#;
    let entries = format!(
        r#"(func (export "caxton:agent/lifecycle@1.0.0#timer") (param $id i32) (result i32) {timer})
           (func (export "caxton:agent/lifecycle@1.0.0#shutdown"))"#
    );
    components::component("timed-agent", IMPORTS, components::OK, body, &entries)
}

async fn started(module: Vec<u8>, host: Host) -> Instance {
    let program = runtime().compile(module.into(), false).await.unwrap();
    program.instantiate(host, LIMITS).await.unwrap()
}

#[tokio::test]
async fn a_component_sets_both_kinds_and_cancels() {
    let body = "
        (call $once (i64.const 5000000) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then (unreachable)))
        (if (i32.ne (i32.load (i32.const 68)) (i32.const 2)) (then (unreachable)))
        (call $periodic (i64.const 70000) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then (unreachable)))
        (call $cancel (i32.const 1) (i32.const 64))
        (if (i32.ne (i32.load16_u (i32.const 64)) (i32.const 0x100)) (then (unreachable)))
        (call $cancel (i32.const 1) (i32.const 64))
        (if (i32.load16_u (i32.const 64)) (then (unreachable)))
        (i32.const 16)";
    let host = host(&ALL);
    host.timers.apply(&[live(1)]);
    let turn = handle(&mut started(component(body, "(i32.const 16)"), host).await).await;
    assert_eq!(turn.end, End::Ok);
    let (set, cancelled) = changed(&turn);
    let kinds: Vec<_> = set.iter().map(|timer| (timer.id, timer.every)).collect();
    assert_eq!((kinds, cancelled), (vec![(2, None), (3, Some(70_000))], vec![1]));
}

#[tokio::test]
async fn a_component_is_told_why_a_timer_is_not_set() {
    let once = "(call $once (i64.const -1) (i32.const 64)) (call $said)";
    let periodic = "(call $periodic (i64.const 9999) (i32.const 64)) (call $said)";
    for body in [once, periodic] {
        let module = component(body, "(i32.const 16)");
        let end = |code: &str| End::Error(format!("no{code}"));
        let denied = host(&Granted { timers: false, ..ALL });
        assert_eq!(handle(&mut started(module.clone(), denied).await).await.end, end("0"));
        assert_eq!(handle(&mut started(module, host(&ALL)).await).await.end, end("1"));
    }
}

#[tokio::test]
async fn a_component_is_told_at_its_entry_for_timers() {
    let body = "(select (i32.const 32) (i32.const 16) (i32.eq (local.get $id) (i32.const 7)))";
    let mut instance = started(component("(unreachable)", body), host(&ALL)).await;
    assert_eq!(instance.handle(&fired(6), 1, BUDGET).await.end, End::Ok);
    assert_eq!(
        instance.handle(&fired(7), 1, BUDGET).await.end,
        End::Error("no!".to_owned())
    );
    let turn = handle(&mut instance).await;
    assert_eq!(crash(&turn).kind, CrashKind::Trap, "a message is no timer");
}

/// A component with one function of the interface `lifecycle`, like those that were built when it had no other.
fn part(name: &str, kind: &str, func: &str) -> Vec<u8> {
    let begin = components::WORLD.find("interface lifecycle {").unwrap();
    let end = begin + components::WORLD[begin..].find("\n}").unwrap();
    let lifecycle = format!("interface lifecycle {{ {name}: {kind};");
    let world = [&components::WORLD[..begin], &lifecycle, &components::WORLD[end..]].concat();
    let wat = format!(
        r#"(module
            (import "caxton:agent/log@1.0.0" "write" (func $log (param i32 i32 i32)))
            (import "caxton:agent/state@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "caxton:agent/handler@1.0.0#init") (result i32) (i32.const 16))
            (func (export "caxton:agent/handler@1.0.0#handle") (param i32) (result i32) (i32.const 16))
            (func (export "caxton:agent/lifecycle@1.0.0#{name}") {func}))"#
    );
    embedded(&wat, &world, "timed-agent")
}

#[tokio::test]
async fn each_function_of_the_lifecycle_is_found_by_itself() {
    let timer = part(
        "timer",
        "func(id: u32) -> result<_, string>",
        "(param i32) (result i32) (i32.const 16)",
    );
    let shutdown = part("shutdown", "func()", "");
    let (with_timer, with_shutdown) = (started(timer, host(&ALL)).await, started(shutdown, host(&ALL)).await);
    assert!(with_timer.takes_timers() && !with_timer.takes_shutdown());
    assert!(with_shutdown.takes_shutdown() && !with_shutdown.takes_timers());
}

#[tokio::test]
async fn a_component_is_told_of_its_end_in_a_turn() {
    let set = "(call $set (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 64))";
    for (end, kept) in [("", true), ("(unreachable)", false)] {
        let module = part("shutdown", "func()", &format!("{set} {end}"));
        let mut instance = started(module, host(&ALL)).await;
        let turn = instance.shutdown(BUDGET).await;
        assert_eq!(
            (turn.end == End::Ok, turn.effects.writes.len()),
            (kept, usize::from(kept)),
            "{turn:?}"
        );
    }
}

#[tokio::test]
async fn an_end_of_another_type_is_refused() {
    let found = findings(part("shutdown", "func(why: u32)", "(param i32)")).await;
    assert_eq!((found.len(), &*found[0].rule), (1, "component-type"), "{found:?}");
    assert!(found[0].found.contains("shutdown: func()"), "{found:?}");
}

#[tokio::test]
async fn a_component_with_an_entry_for_timers_of_another_type_is_refused() {
    let world = include_str!("../../../proto/wit/agent.wit");
    let other = world.replace(
        "timer: func(id: u32) -> result<_, string>;",
        "timer: func(id: u64) -> result<_, string>;",
    );
    assert_ne!(world, other);
    let wat = r#"(module (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "caxton:agent/handler@1.0.0#init") (result i32) (i32.const 16))
        (func (export "caxton:agent/handler@1.0.0#handle") (param i32) (result i32) (i32.const 16))
        (func (export "caxton:agent/lifecycle@1.0.0#timer") (param i64) (result i32) (i32.const 16))
        (func (export "caxton:agent/lifecycle@1.0.0#shutdown")))"#;
    let found = findings(embedded(wat, &other, "timed-agent")).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].rule, "component-type");
}
