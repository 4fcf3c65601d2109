//! The functions of the core ABI.

use serde_json::Value;

use super::*;

#[tokio::test]
async fn the_guest_reads_the_message_and_the_attempt() {
    // Stores the message under the key "m".
    let mut instance = start(&guest(
        r#"(data (i32.const 0) "m")"#,
        "(call $store (i32.const 0) (i32.const 1) (local.get $ptr) (local.get $len))",
    ))
    .await;
    let message = message();
    let turn = instance.handle(&message, 3, BUDGET).await;
    assert_eq!(turn.end, End::Ok);
    let json: Value = serde_json::from_slice(turn.effects.writes["m"].as_ref().unwrap()).unwrap();
    assert_eq!(json["message_id"], message.id.to_string());
    assert_eq!(json["sender"], "client:alice");
    assert_eq!(json["delivery_attempt"], 3);
    assert_eq!(json["content"]["a"], 1);
    assert_eq!(turn.usage.memory_bytes, 64 << 10);
    assert_eq!(turn.usage.fuel, None);
}

#[tokio::test]
async fn an_inbox_is_asked_for_once_while_messages_fit() {
    // `caxton_inbox` counts its calls, and the turn returns the count.
    let mut instance = start(&guest(
        r#"(global $asked (mut i32) (i32.const 0))
           (func (export "caxton_inbox") (param i32) (result i32)
             (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
             (i32.const 128))"#,
        "(if (i32.ne (local.get $ptr) (i32.const 128)) (then (unreachable))) (global.get $asked)",
    ))
    .await;
    assert_eq!(handle(&mut instance).await.end, returned(1));
    assert_eq!(handle(&mut instance).await.end, returned(1));
    let mut large = message();
    large.content = Content::json(&"x".repeat(20_000).into());
    assert_eq!(instance.handle(&large, 1, BUDGET).await.end, returned(2));
}

#[tokio::test]
async fn a_guest_with_an_inbox_needs_to_allocate_nothing() {
    let inbox = r#"(func (export "caxton_inbox") (param i32) (result i32) (i32.const 128))"#;
    let with = guest(inbox, "(i32.ne (local.get $ptr) (i32.const 128))");
    let without = |wat: &str| wat.replace(r#"(export "caxton_alloc") "#, "");
    assert_eq!(handle(&mut start(&without(&with)).await).await.end, End::Ok);
    let found = findings(binary(&without(&guest("", "(i32.const 0)")))).await;
    assert_eq!((found.len(), found[0].found.as_str()), (1, "no export `caxton_alloc`"));
    assert!(found[0].expected.contains("caxton_inbox"), "{found:?}");
}

#[tokio::test]
async fn initialize_runs_before_init_and_init_may_say_no() {
    let mut instance = start(&guest(
        r#"(global $ready (mut i32) (i32.const 0))
           (func (export "_initialize") (global.set $ready (i32.const 7)))
           (func (export "agent_init") (result i32) (global.get $ready))"#,
        "(i32.const 0)",
    ))
    .await;
    assert_eq!(instance.init(BUDGET).await.end, returned(7));
    let mut plain = start(&guest("", "(i32.const 0)")).await;
    assert_eq!(plain.init(BUDGET).await.end, End::Ok, "neither export is required");
    assert_eq!(plain.shutdown(BUDGET).await.end, End::Ok);
}

#[tokio::test]
async fn init_and_shutdown_have_effects_like_any_turn() {
    let store = "(drop (call $store (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 2)))";
    let mut instance = start(&guest(
        &format!(
            r#"(data (i32.const 0) "kv")
               (func (export "agent_init") (result i32) {store} (i32.const 0))
               (func (export "agent_shutdown") {store})"#
        ),
        "(i32.const 0)",
    ))
    .await;
    assert_eq!(
        instance.init(BUDGET).await.effects.writes["k"].as_deref(),
        Some(&b"kv"[..])
    );
    assert_eq!(instance.shutdown(BUDGET).await.effects.writes.len(), 1);
}

#[tokio::test]
async fn time_is_in_microseconds() {
    // Returns 0 if the clock is between 2020 and 2100.
    let mut instance = start(&guest(
        "",
        "(i32.or (i64.lt_s (call $now) (i64.const 1577836800000000)) (i64.gt_s (call $now) (i64.const 4102444800000000)))",
    ))
    .await;
    assert_eq!(handle(&mut instance).await.end, End::Ok);
}

#[tokio::test]
async fn random_numbers_differ_and_need_a_grant() {
    let wat = guest("", "(i32.eq (call $random) (call $random))");
    let mut granted = start(&wat).await;
    // Three equal draws of 32 bits would not be random numbers.
    let mut equal = 0;
    for _ in 0..3 {
        equal += usize::from(handle(&mut granted).await.end != End::Ok);
    }
    assert!(equal < 3);
    let mut denied = start_with(host(&Granted { random: false, ..ALL }), &wat).await;
    let turn = handle(&mut denied).await;
    assert_eq!(crash(&turn).kind, CrashKind::Trap);
    assert_eq!(crash(&turn).detail, "not-permitted: random");
}

#[tokio::test]
async fn a_turn_reads_what_it_wrote_over_what_is_committed() {
    // Copies key "a" to "b", deletes "a", and returns 10 * load("a") + load("b") of lengths.
    let mut instance = start(&guest(
        r#"(data (i32.const 0) "ab")"#,
        "(local $n i32)
         (local.set $n (call $load (i32.const 0) (i32.const 1) (i32.const 64) (i32.const 64)))
         (drop (call $store (i32.const 1) (i32.const 1) (i32.const 64) (local.get $n)))
         (drop (call $delete (i32.const 0) (i32.const 1)))
         (i32.add
           (i32.mul (i32.const 10) (call $load (i32.const 0) (i32.const 1) (i32.const 64) (i32.const 64)))
           (call $load (i32.const 1) (i32.const 1) (i32.const 64) (i32.const 2)))",
    ))
    .await;
    // "a" is absent, so `load` returns -1. As a length for `store`, that reaches outside the memory.
    let turn = handle(&mut instance).await;
    assert_eq!(crash(&turn).kind, CrashKind::BadPointer);

    let host = host(&ALL);
    host.state.write().insert("a".to_owned(), Bytes::from_static(b"value"));
    let mut instance = start_with(
        host,
        &guest(
            r#"(data (i32.const 0) "ab")"#,
            "(local $n i32)
             (local.set $n (call $load (i32.const 0) (i32.const 1) (i32.const 64) (i32.const 64)))
             (if (call $store (i32.const 1) (i32.const 1) (i32.const 64) (local.get $n)) (then (unreachable)))
             (if (call $delete (i32.const 0) (i32.const 1)) (then (unreachable)))
             (if (i32.ne (call $delete (i32.const 0) (i32.const 1)) (i32.const -1)) (then (unreachable)))
             (if (i32.ne (call $load (i32.const 0) (i32.const 1) (i32.const 64) (i32.const 64)) (i32.const -1)) (then (unreachable)))
             ;; The buffer has two bytes, and the returned length is still that of the whole value.
             (if (i32.ne (call $load (i32.const 1) (i32.const 1) (i32.const 80) (i32.const 2)) (i32.const 5)) (then (unreachable)))
             (i32.ne (i32.load (i32.const 80)) (i32.const 0x6176))",
        ),
    )
    .await;
    let turn = handle(&mut instance).await;
    assert_eq!(turn.end, End::Ok);
    assert_eq!(turn.effects.writes["a"], None);
    assert_eq!(turn.effects.writes["b"].as_deref(), Some(&b"value"[..]));
}

#[tokio::test]
async fn state_needs_a_grant() {
    let mut instance = start_with(
        host(&Granted { state: false, ..ALL }),
        &guest(
            "",
            "(if (i32.ne (call $store (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)) (i32.const -2)) (then (unreachable)))
             (if (i32.ne (call $load (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)) (i32.const -2)) (then (unreachable)))
             (call $delete (i32.const 0) (i32.const 1))",
        ),
    )
    .await;
    assert_eq!(handle(&mut instance).await.end, returned(-2));
}

#[tokio::test]
async fn state_has_a_quota_that_shrinking_never_meets() {
    let store = |length: u32| {
        guest(
            "",
            &format!("(call $store (i32.const 0) (i32.const 1) (i32.const 8) (i32.const {length}))"),
        )
    };
    let fits = 1_024 - 1;
    assert_eq!(handle(&mut start(&store(fits)).await).await.end, End::Ok);
    assert_eq!(handle(&mut start(&store(fits + 1)).await).await.end, returned(-3));
    let over = host(&ALL);
    over.state.write().insert("\0".to_owned(), Bytes::from(vec![0; 4_000]));
    assert_eq!(
        handle(&mut start_with(over.clone(), &store(3_000)).await).await.end,
        End::Ok,
        "smaller than it was"
    );
    over.state
        .write()
        .insert("other".to_owned(), Bytes::from(vec![0; 4_000]));
    assert_eq!(
        handle(&mut start_with(over.clone(), &store(4_000)).await).await.end,
        End::Ok,
        "no larger than it was"
    );
    assert_eq!(
        handle(&mut start_with(over, &store(4_001)).await).await.end,
        returned(-3)
    );
}

#[tokio::test]
async fn state_has_so_many_keys_and_no_more() {
    let full = host(&ALL);
    for n in 0..LIMITS.state_keys {
        full.state.write().insert(format!("k{n:02}"), Bytes::new());
    }
    let store = |key: &str| {
        guest(
            &format!(r#"(data (i32.const 0) "{key}")"#),
            "(call $store (i32.const 0) (i32.const 3) (i32.const 8) (i32.const 1))",
        )
    };
    assert_eq!(
        handle(&mut start_with(full.clone(), &store("k07")).await).await.end,
        End::Ok
    );
    assert_eq!(
        handle(&mut start_with(full.clone(), &store("new")).await).await.end,
        returned(-3)
    );
    let replace = guest(
        r#"(data (i32.const 0) "k07new")"#,
        "(drop (call $delete (i32.const 0) (i32.const 3)))
         (call $store (i32.const 3) (i32.const 3) (i32.const 8) (i32.const 1))",
    );
    assert_eq!(handle(&mut start_with(full, &replace).await).await.end, End::Ok);
}

#[tokio::test]
async fn a_key_is_text() {
    let wat = guest(
        r#"(data (i32.const 0) "\ff")"#,
        "(call $store (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 1))",
    );
    let turn = handle(&mut start(&wat).await).await;
    assert_eq!(crash(&turn).detail, "store_data: the key is not UTF-8");
    let long = guest(
        "",
        "(call $store (i32.const 0) (i32.const 1025) (i32.const 8) (i32.const 0))",
    );
    assert_eq!(handle(&mut start(&long).await).await.end, returned(-3));
}
