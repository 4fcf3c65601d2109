//! The ways in which a guest crashes.

use super::*;
use crate::json::limits::DEPTH;

async fn metered(wat: &str, fuel: u64) -> Turn {
    let program = runtime().compile(binary(wat), true).await.unwrap();
    let mut instance = program.instantiate(host(&ALL), LIMITS).await.unwrap();
    instance
        .handle(
            &message(),
            1,
            Budget {
                fuel: Some(fuel),
                ..BUDGET
            },
        )
        .await
}

const SPIN: &str = "(loop $for_ever (br $for_ever)) (unreachable)";

#[tokio::test]
async fn a_trap_is_told_with_its_frames() {
    let mut instance = start(&guest(
        "(func $_ZN5guest5inner17h0123456789abcdefE (unreachable))",
        "(call $_ZN5guest5inner17h0123456789abcdefE) (i32.const 0)",
    ))
    .await;
    let turn = handle(&mut instance).await;
    let first = crash(&turn);
    assert_eq!(first.kind, CrashKind::Trap);
    assert_eq!(first.detail, "wasm trap: wasm `unreachable` instruction executed");
    assert_eq!(first.backtrace.len(), 2, "{:?}", first.backtrace);
    assert!(
        first.backtrace[0].contains("!guest::inner"),
        "demangled: {:?}",
        first.backtrace
    );
    assert!(first.backtrace[1].ends_with("!handle"), "{:?}", first.backtrace);

    let again = handle(&mut instance).await;
    assert_eq!(crash(&again).kind, CrashKind::Trap);
    assert_eq!(
        crash(&again).detail,
        "this instance has crashed before; it must be replaced"
    );
    assert_eq!(crash(&instance.init(BUDGET).await).kind, CrashKind::Trap);
}

#[tokio::test]
async fn deep_recursion_is_a_trap() {
    let wat = guest(
        "(func $down (param i32) (result i32) (i32.add (call $down (local.get 0)) (i32.const 1)))",
        "(call $down (i32.const 0))",
    );
    let turn = handle(&mut start(&wat).await).await;
    assert_eq!(crash(&turn).kind, CrashKind::Trap);
    assert_eq!(crash(&turn).detail, "wasm trap: call stack exhausted");
    assert_eq!(crash(&turn).backtrace.len(), 32);
}

/// The host's part of the stack is enough for the deepest host call, even if the guest has used up its own part.
#[tokio::test]
async fn a_host_call_at_the_bottom_of_the_stack_finds_room() {
    let nested = |depth| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let (content, deep, flat) = (nested(DEPTH), nested(DEPTH), "{},".repeat(50));
    let draft = format!(
        r#"{{"performative":"inform","receiver":["friend"],"content":{content},"x_deep":{deep},"x_flat":[{flat}1]}}"#
    );
    let wat = sender(&draft).replace(
        "(func $handle",
        &format!(
            "(func $down (result i32)
               (drop (call $send (i32.const 0) (i32.const {})))
               (drop (call $store (i32.const 0) (i32.const 9) (i32.const 0) (i32.const 9)))
               (drop (call $load (i32.const 0) (i32.const 9) (i32.const 0) (i32.const 0)))
               (call $log (i32.const 4) (i32.const 0) (i32.const 500))
               (i32.add (call $down) (i32.const 1)))
             (func $handle",
            draft.len()
        ),
    );
    let wat = wat.replace(
        "(param $len i32) (result i32) (call $send",
        "(param $len i32) (result i32) (drop (call $down)) (call $send",
    );
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(std::io::sink)
        .finish();
    let _subscriber = tracing::subscriber::set_default(subscriber);
    let turn = start(&wat)
        .await
        .handle(
            &message(),
            1,
            Budget {
                sends: 1_000_000,
                ..BUDGET
            },
        )
        .await;
    assert_eq!(crash(&turn).detail, "wasm trap: call stack exhausted");
}

#[tokio::test]
async fn what_nests_too_deep_is_malformed() {
    for (name, depth) in [
        ("x_deep", DEPTH + 1),
        ("\\u0078_deep", DEPTH + 1),
        ("content", DEPTH + 1),
        ("content", 10_000),
        ("sender", 10_000),
    ] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let draft = format!(r#"{{"performative":"inform","receiver":"friend","{name}":{deep}}}"#);
        let wat = sender(&draft.replace('\\', "\\\\")).replace(
            &format!("(i32.const {})", draft.len() + draft.matches('\\').count()),
            &format!("(i32.const {})", draft.len()),
        );
        assert_eq!(handle(&mut start(&wat).await).await.end, returned(-1), "{name}");
    }
}

#[tokio::test]
async fn fuel_ends_a_turn() {
    let turn = metered(&guest("", SPIN), 100_000).await;
    assert_eq!(crash(&turn).kind, CrashKind::OutOfFuel);
    assert_eq!(turn.usage.fuel, Some(100_000));
    let turn = metered(&guest("", "(i32.const 0)"), 100_000).await;
    assert_eq!(turn.end, End::Ok);
    assert!((1..100).contains(&turn.usage.fuel.unwrap()), "{:?}", turn.usage);
}

#[tokio::test]
async fn the_deadline_ends_a_spinner() {
    let mut instance = start(&guest("", SPIN)).await;
    let turn = instance
        .handle(
            &message(),
            1,
            Budget {
                deadline: Duration::from_millis(30),
                ..BUDGET
            },
        )
        .await;
    assert_eq!(crash(&turn).kind, CrashKind::Deadline);
    assert_eq!(crash(&turn).detail, "the call was not done after 30ms");
    assert!(
        crash(&turn).backtrace[0].ends_with("!handle"),
        "{:?}",
        crash(&turn).backtrace
    );
    assert_eq!(crash(&handle(&mut instance).await).kind, CrashKind::Deadline);
}

#[tokio::test]
async fn the_deadline_ends_a_start_function_and_an_init() {
    let config = RuntimeConfig {
        start: Budget {
            deadline: Duration::from_millis(30),
            ..BUDGET
        },
        instances: 64,
        ..RuntimeConfig::default()
    };
    let wat = guest(&format!("(func $spin {SPIN}) (start $spin)"), "(i32.const 0)");
    let program = Runtime::new(&config)
        .unwrap()
        .compile(binary(&wat), false)
        .await
        .unwrap();
    let crash = program.instantiate(host(&ALL), LIMITS).await.err().unwrap();
    assert_eq!(crash.kind, CrashKind::Deadline);

    let mut instance = start(&guest(
        &format!(r#"(func (export "agent_init") (result i32) {SPIN})"#),
        "(i32.const 0)",
    ))
    .await;
    let turn = instance
        .init(Budget {
            deadline: Duration::from_millis(30),
            ..BUDGET
        })
        .await;
    assert_eq!(super::crash(&turn).kind, CrashKind::Deadline);
}

#[tokio::test]
async fn a_guest_that_grows_until_it_may_not_and_traps_is_out_of_memory() {
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 8)) (i32.const -1))))";
    let mut instance = start(&guest("", &format!("{grow} (unreachable)"))).await;
    let turn = handle(&mut instance).await;
    assert_eq!(crash(&turn).kind, CrashKind::OutOfMemory);
    assert!(
        crash(&turn).detail.contains("the limit is 4194304"),
        "{}",
        crash(&turn).detail
    );
    // A guest can go on after a denied growth. A trap in a later turn then has nothing to do with memory.
    let mut calm = start(&guest(
        "(global $turns (mut i32) (i32.const 0))",
        &format!(
            "(if (global.get $turns) (then (unreachable))) (global.set $turns (i32.const 1)) {grow} (i32.const 0)"
        ),
    ))
    .await;
    let turn = handle(&mut calm).await;
    assert_eq!(turn.end, End::Ok);
    assert!(
        turn.usage.memory_bytes <= LIMITS.memory_bytes && turn.usage.memory_bytes > LIMITS.memory_bytes - (8 << 16)
    );
    assert_eq!(crash(&handle(&mut calm).await).kind, CrashKind::Trap);
}

#[tokio::test]
async fn tables_count_as_memory() {
    let turn = handle(
        &mut start(&guest(
            "(table $t 1 funcref)",
            "(if (i32.eq (table.grow $t (ref.null func) (i32.const 600000)) (i32.const -1)) (then (unreachable))) (i32.const 0)",
        ))
        .await,
    )
    .await;
    assert_eq!(crash(&turn).kind, CrashKind::OutOfMemory);
    assert!(crash(&turn).detail.contains("table"), "{}", crash(&turn).detail);
}

#[tokio::test]
async fn a_module_that_starts_above_its_limit_does_not_start() {
    let wat = guest("", "(i32.const 0)").replace("(export \"memory\") 1", "(export \"memory\") 65");
    let program = runtime().compile(binary(&wat), false).await.unwrap();
    let crash = program.instantiate(host(&ALL), LIMITS).await.err().unwrap();
    assert_eq!(crash.kind, CrashKind::OutOfMemory);
    assert_eq!(
        crash.detail,
        "a memory was to grow from 0 to 4259840 bytes, which makes 4259840 bytes in all; the limit is 4194304"
    );
}

#[tokio::test]
async fn pointers_outside_memory_are_told_apart_from_other_traps() {
    let calls = [
        "(call $send (i32.const 65536) (i32.const 1))",
        "(call $send (i32.const -1) (i32.const -1))",
        "(call $send (i32.const 8) (i32.const -8))",
        "(call $send (i32.const 65530) (i32.const 2147483647))",
        "(call $log (i32.const 2) (i32.const -16) (i32.const 32)) (i32.const 0)",
        "(call $store (i32.const 0) (i32.const 70000) (i32.const 0) (i32.const 0))",
        "(call $store (i32.const 0) (i32.const 1) (i32.const 65535) (i32.const 2))",
        "(call $load (i32.const 0) (i32.const 1) (i32.const 0) (i32.const -1))",
        "(call $delete (i32.const 65537) (i32.const 0))",
    ];
    for call in calls {
        let turn = handle(&mut start(&guest("", call)).await).await;
        assert_eq!(crash(&turn).kind, CrashKind::BadPointer, "{call}: {:?}", turn.end);
        assert!(
            crash(&turn)
                .detail
                .contains("outside the guest's memory of 65536 bytes"),
            "{}",
            crash(&turn).detail
        );
    }
    // An empty range at the end of the memory is not outside it.
    let edge = "(call $log (i32.const 2) (i32.const 65536) (i32.const 0)) (i32.const 0)";
    assert_eq!(handle(&mut start(&guest("", edge)).await).await.end, End::Ok);
}

#[tokio::test]
async fn a_bad_allocation_is_a_bad_pointer() {
    for pointer in ["65535", "-1", "2147483647"] {
        let wat = guest("", "(i32.const 0)").replace(
            "(result i32) i32.const 4096",
            &format!("(result i32) i32.const {pointer}"),
        );
        let turn = handle(&mut start(&wat).await).await;
        assert_eq!(crash(&turn).kind, CrashKind::BadPointer);
        assert!(
            crash(&turn).detail.starts_with("caxton_alloc: "),
            "{}",
            crash(&turn).detail
        );
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_midway_leaves_an_instance_that_refuses() {
    let mut instance = start(&guest("", SPIN)).await;
    let dropped = tokio::time::timeout(Duration::from_millis(30), handle(&mut instance)).await;
    assert!(dropped.is_err());
    assert!(crash(&handle(&mut instance).await).detail.contains("abandoned"));
}
