//! WASI preview 1, as runtimes of compiled languages call it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::effects::logged;
use super::*;
use crate::wasm::{caps, wasi};

/// A guest as [`guest`] makes them, with some calls of WASI. Texts lie at 16, and what WASI answers at 64.
fn wasi_guest(rest: &str, body: &str) -> String {
    const IMPORTS: &str = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
          (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_send" (func $sock_send (param i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))"#;
    guest(rest, body).replacen("(module", IMPORTS, 1)
}

/// A check: the guest traps unless `call` answers `code`.
fn expect(call: &str, code: i32) -> String {
    format!("(if (i32.ne ({call}) (i32.const {code})) (then (unreachable)))")
}

#[tokio::test]
async fn everything_that_is_offered_is_linked() {
    let types = |types: &[wasmparser::ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let import = |offered: &super::super::abi::Signature| {
        let (module, name) = (wasi::abi::MODULE, offered.name);
        let (params, results) = (types(offered.params), types(offered.results));
        format!(r#"(import "{module}" "{name}" (func (param {params}) (result {results})))"#)
    };
    let imports = wasi::abi::imports().map(import).collect::<Vec<_>>().concat();
    let wat = guest("", "(i32.const 0)").replacen("(module", &format!("(module {imports}"), 1);
    assert_eq!(handle(&mut start(&wat).await).await.end, End::Ok);
}

#[tokio::test]
async fn what_a_guest_prints_are_lines_of_its_log() {
    let print = |fd: i32, from: i32, length: i32| {
        let list =
            format!("(i32.store (i32.const 0) (i32.const {from})) (i32.store (i32.const 4) (i32.const {length}))");
        list + &expect(
            &format!("call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 64)"),
            0,
        ) + &expect("i32.load (i32.const 64)", length)
    };
    // "one\r\ntwo" and then "\nthree"; on the other stream "no end".
    let body = [
        print(1, 16, 8),
        print(2, 30, 6),
        print(1, 24, 6),
        "(i32.const 0)".to_owned(),
    ]
    .concat();
    let lines = logged(&wasi_guest(
        r#"(data (i32.const 16) "one\0d\0atwo\0athreeno end")"#,
        &body,
    ))
    .await;
    let heard: Vec<_> = lines
        .iter()
        .map(|line| {
            let mut words = line.split_whitespace();
            (
                words.next().unwrap(),
                line.rsplit("guest: ").next().unwrap().split(" agent=").next().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        heard,
        [("INFO", "one"), ("INFO", "two"), ("INFO", "three"), ("WARN", "no end")],
        "{lines:#?}"
    );
}

#[tokio::test]
async fn a_guest_prints_no_more_than_it_may_log() {
    // A buffer of 60,000 bytes without an end of a line, named 1,200 times: so many are taken of the list, and so many bytes.
    let body = format!(
        "(local $n i32)
         (memory.fill (i32.const 0) (i32.const 120) (i32.const 60000))
         (loop $next
           (i32.store (i32.mul (local.get $n) (i32.const 8)) (i32.const 9600))
           (i32.store offset=4 (i32.mul (local.get $n) (i32.const 8)) (i32.const 50000))
           (br_if $next (i32.lt_s (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1200))))
         {}
         (i32.ne (i32.load (i32.const 60000)) (i32.const 65536))",
        expect(
            "call $fd_write (i32.const 1) (i32.const 0) (i32.const 1200) (i32.const 60000)",
            0
        )
    );
    let mut instance = start(&wasi_guest("", &body)).await;
    assert_eq!(handle(&mut instance).await.end, End::Ok);
    let lines = logged(&wasi_guest("", &body)).await;
    assert_eq!(lines.len(), 1, "what has no end is one line");
    assert!(lines[0].len() < caps::LOG_LINE_BYTES + 200);
}

#[tokio::test]
async fn there_is_no_file_no_network_no_argument_and_no_variable() {
    const BADF: i32 = 8;
    const NOTSUP: i32 = 58;
    const SPIPE: i32 = 70;
    let body = [
        expect("call $fd_prestat_get (i32.const 3) (i32.const 64)", BADF),
        expect(
            "call $path_open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 0)
              (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 64)",
            BADF,
        ),
        expect(
            "call $sock_send (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64)",
            BADF,
        ),
        expect("call $fd_close (i32.const 3)", BADF),
        expect("call $fd_close (i32.const 1)", NOTSUP),
        expect(
            "call $fd_seek (i32.const 1) (i64.const 0) (i32.const 1) (i32.const 64)",
            SPIPE,
        ),
        expect(
            "call $fd_write (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)",
            BADF,
        ),
        expect(
            "call $fd_write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 64)",
            BADF,
        ),
        // Standard input is at its end; the others are devices to which lines are written.
        "(i32.store (i32.const 64) (i32.const 7))".to_owned(),
        expect(
            "call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)",
            0,
        ),
        expect("i32.load (i32.const 64)", 0),
        expect("call $fd_fdstat_get (i32.const 1) (i32.const 64)", 0),
        expect("i32.load8_u (i32.const 64)", 2),
        "(i64.store (i32.const 64) (i64.const -1))".to_owned(),
        expect("call $args_sizes_get (i32.const 64) (i32.const 68)", 0),
        expect("i64.eqz (i64.load (i32.const 64))", 1),
        "(i64.store (i32.const 64) (i64.const -1))".to_owned(),
        expect("call $environ_sizes_get (i32.const 64) (i32.const 68)", 0),
        expect("i64.eqz (i64.load (i32.const 64))", 1),
        "(call $sched_yield)".to_owned(),
    ];
    let granted = Granted {
        environment: Some([("TOKEN".to_owned(), "s3cret".to_owned())].into()),
        ..ALL
    };
    let mut instance = start_with(host(&granted), &wasi_guest("", &body.concat())).await;
    assert_eq!(handle(&mut instance).await.end, End::Ok);
}

#[tokio::test]
async fn a_runtime_has_its_clocks_and_its_entropy_without_a_grant() {
    let body = [
        expect("call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 64)", 0),
        "(if (i64.lt_u (i64.load (i32.const 64)) (i64.const 1577836800000000000)) (then (unreachable)))".to_owned(),
        expect("call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 64)", 0),
        expect("call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 72)", 0),
        "(if (i64.gt_u (i64.load (i32.const 64)) (i64.load (i32.const 72))) (then (unreachable)))".to_owned(),
        expect("call $clock_time_get (i32.const 9) (i64.const 1) (i32.const 64)", 28),
        expect("call $random_get (i32.const 64) (i32.const 16)", 0),
        "(i64.eq (i64.load (i32.const 64)) (i64.load (i32.const 72)))".to_owned(),
    ];
    let mut instance = start_with(host(&Granted::default()), &wasi_guest("", &body.concat())).await;
    assert_eq!(handle(&mut instance).await.end, End::Ok);
    // In pieces of 64,000 bytes, until the turn has had its share.
    let body = "(loop $next (br_if $next (i32.eqz (call $random_get (i32.const 0) (i32.const 64000))))) (i32.const 0)";
    let turn = handle(&mut start(&wasi_guest("", body)).await).await;
    assert_eq!(crash(&turn).detail, "over-limit: random_get");
}

#[tokio::test]
async fn an_exit_is_a_crash_whatever_its_code() {
    for code in [0, 3] {
        let body = format!("(call $proc_exit (i32.const {code})) (i32.const 0)");
        let turn = handle(&mut start(&wasi_guest("", &body)).await).await;
        let crash = crash(&turn);
        assert_eq!(
            (crash.kind, crash.detail.as_str()),
            (CrashKind::Trap, format!("the agent exited, with code {code}").as_str())
        );
    }
}

#[tokio::test]
async fn a_place_outside_the_memory_is_a_crash() {
    for call in [
        "call $fd_write (i32.const 1) (i32.const 65530) (i32.const 1) (i32.const 64)",
        "call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 65534)",
        "call $random_get (i32.const 65535) (i32.const 2)",
        "call $clock_time_get (i32.const 0) (i64.const 0) (i32.const -1)",
        "call $args_sizes_get (i32.const 65534) (i32.const 0)",
        "call $poll_oneoff (i32.const 65500) (i32.const 0) (i32.const 1) (i32.const 64)",
        "call $poll_oneoff (i32.const 0) (i32.const 65510) (i32.const 1) (i32.const 64)",
    ] {
        let turn = handle(&mut start(&wasi_guest("", &format!("({call})"))).await).await;
        assert_eq!(crash(&turn).kind, CrashKind::BadPointer, "{call}");
    }
}

/// A guest that does `before` and then sleeps by one subscription, with the number 7, to the monotonic clock.
fn sleeper(before: &str, nanos: i64) -> String {
    let body = format!(
        "{before}
         (i64.store (i32.const 1024) (i64.const 7))
         (i32.store (i32.const 1040) (i32.const 1))
         (i64.store (i32.const 1048) (i64.const {nanos}))
         {}
         {}
         (i64.ne (i64.load (i32.const 2048)) (i64.const 7))",
        expect(
            "call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 64)",
            0
        ),
        expect("i32.load (i32.const 64)", 1),
    );
    wasi_guest("", &body)
}

#[tokio::test]
async fn a_sleep_is_time_of_the_turn_and_no_work() {
    let began = std::time::Instant::now();
    let turn = handle(&mut start(&sleeper("", 300_000_000)).await).await;
    assert_eq!(turn.end, End::Ok);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(turn.usage.guest_time < Duration::from_millis(300), "{:?}", turn.usage);
    for nanos in [3_600_000_000_000, -1] {
        let deadline = Duration::from_millis(50);
        let mut instance = start(&sleeper("", nanos)).await;
        let turn = instance.handle(&message(), 1, Budget { deadline, ..BUDGET }).await;
        assert_eq!(crash(&turn).kind, CrashKind::Deadline);
    }
}

#[tokio::test]
async fn who_sleeps_has_no_place_in_the_slow_lane() {
    // Work of some slices, so that the turn is in the lane, which has one place.
    let work = |body: &str| {
        format!(
            "(local $n i64)
             (loop $next (br_if $next (i64.lt_s (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const 60000000))))
             {body}"
        )
    };
    let runtime = runtime();
    let made = async |wat: &str| {
        let program = runtime.compile(binary(wat), false).await.unwrap();
        program.instantiate(host(&ALL), LIMITS).await.unwrap()
    };
    let mut sleeper = made(&sleeper(&work(""), 3_600_000_000_000)).await;
    let mut worker = made(&guest("", &work("(i32.const 0)"))).await;
    let awake = AtomicBool::new(false);
    let message = message();
    let asleep = async {
        let deadline = Duration::from_secs(3);
        let turn = sleeper.handle(&message, 1, Budget { deadline, ..BUDGET }).await;
        awake.store(true, Ordering::Relaxed);
        turn
    };
    let at_work = async {
        // Turn after turn while the other sleeps: each passes through the lane.
        for _ in 0..3 {
            assert_eq!(worker.handle(&message, 1, BUDGET).await.end, End::Ok);
        }
        assert!(!awake.load(Ordering::Relaxed), "the worker waited for the sleeper");
    };
    let (turn, ()) = tokio::join!(asleep, at_work);
    assert_eq!(crash(&turn).kind, CrashKind::Deadline);
}

#[tokio::test]
async fn what_is_ready_is_told_at_once_and_what_is_wrong_too() {
    // Standard output to write to, descriptor 5 to read from, and an hour of sleep.
    let subscription = |at: i32, userdata: i32, kind: i32, subject: i32, nanos: i64| {
        format!(
            "(i64.store (i32.const {at}) (i64.const {userdata})) (i32.store8 (i32.const {}) (i32.const {kind}))
             (i32.store (i32.const {}) (i32.const {subject})) (i64.store (i32.const {}) (i64.const {nanos}))",
            at + 8,
            at + 16,
            at + 24
        )
    };
    let body = [
        subscription(1_024, 1, 0, 1, 3_600_000_000_000),
        subscription(1_072, 2, 2, 1, 0),
        subscription(1_120, 3, 1, 5, 0),
        expect(
            "call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 3) (i32.const 64)",
            0,
        ),
        expect("i32.load (i32.const 64)", 2),
        expect("i32.load (i32.const 2048)", 2),
        expect("i32.load16_u (i32.const 2056)", 0),
        expect("i32.load8_u (i32.const 2058)", 2),
        expect("i32.load (i32.const 2080)", 3),
        expect("i32.load16_u (i32.const 2088)", 8),
        expect(
            "call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 0) (i32.const 64)",
            28,
        ),
        expect(
            "call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 257) (i32.const 64)",
            28,
        ),
        "(i32.const 0)".to_owned(),
    ];
    let turn = handle(&mut start(&wasi_guest("", &body.concat())).await).await;
    assert_eq!(turn.end, End::Ok);
}
