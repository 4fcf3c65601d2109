//! The corpus: each row is a module that attacks its host in one way, and the expected outcome.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::bytes::{self, Agent};
use crate::guests;

/// The expected outcome of a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// The deploy is refused with `INVALID_WASM`, and this rule is among the findings.
    Invalid(&'static str),
    /// The deploy is refused with `DEPLOYMENT_FAILED`, and the message has these words.
    NoStart(&'static [&'static str]),
    /// The sender of a request gets a failure: a crash of this kind, with these words.
    Crashes(&'static str, &'static str),
    /// The turn ends in an error of this number, and the agent goes on. Rows return the error code of a host call in this way.
    Returns(i32),
    /// The turn ends in an error with a reason of this many bytes at most, and the agent goes on.
    Complains(usize),
    /// The agent replies with JSON that contains this, and goes on.
    Answers(&'static str),
    /// The agent replies, and then crashes in this way without another message.
    BreaksLater(&'static str),
    /// The agent replies, and can be removed whatever it does in its last turn.
    Goes,
}

use Outcome::{Answers, BreaksLater, Complains, Crashes, Goes, Invalid, NoStart, Returns};

pub(super) struct Row {
    pub name: String,
    pub module: Vec<u8>,
    /// Members of the deploy's `resources` that differ from those of all rows.
    pub resources: Value,
    pub outcome: Outcome,
}

impl Row {
    fn with(mut self, resources: Value) -> Self {
        self.resources = resources;
        self
    }
}

fn row(name: &str, module: Vec<u8>, outcome: Outcome) -> Row {
    Row {
        name: name.to_owned(),
        module,
        resources: json!({}),
        outcome,
    }
}

/// An agent that runs `body` for each message. `rest` has further definitions. Messages are on its second page.
fn guest(rest: &str, body: &str) -> Vec<u8> {
    let alloc = r#"(func (export "caxton_alloc") (param i32) (result i32) (i32.const 65536))"#;
    guest_with(2, &format!("{alloc} {rest}"), body)
}

fn guest_with(pages: u32, rest: &str, body: &str) -> Vec<u8> {
    guests::assemble(&format!(
        r#"(module
            (import "caxton" "send_message" (func $send (param i32 i32) (result i32)))
            (import "caxton" "log" (func $log (param i32 i32 i32)))
            (import "caxton" "random_u32" (func $random (result i32)))
            (import "caxton" "store_data" (func $store (param i32 i32 i32 i32) (result i32)))
            (import "caxton" "load_data" (func $load (param i32 i32 i32 i32) (result i32)))
            (import "caxton" "delete_data" (func $delete (param i32 i32) (result i32)))
            (import "caxton" "set_timer" (func $set_timer (param i64) (result i32)))
            (import "caxton" "cancel_timer" (func $cancel_timer (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_filestat_get" (func $filestat (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
            (memory (export "memory") {pages})
            {rest}
            (func $handle (export "handle_message") (param $ptr i32) (param $len i32) (result i32) {body}))"#
    ))
}

/// Runs `work`, and then returns 7.
fn and_lives(work: &str) -> String {
    format!("{work} (i32.const 7)")
}

const SPIN: &str = "(loop $for_ever (br $for_ever)) (unreachable)";

/// Repeats a call until it returns an error code, and returns that code.
fn until_no(call: &str) -> String {
    format!(
        "(local $n i32) (local $code i32)
         (loop $more
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $more (i32.ge_s (local.tee $code {call}) (i32.const 0))))
         (local.get $code)"
    )
}

/// Repeats an instruction that grows something, until it fails.
fn grow(instruction: &str) -> String {
    format!("(loop $more (br_if $more (i32.ne {instruction} (i32.const -1))))")
}

/// A data segment in the text format.
fn data(at: u32, bytes: impl AsRef<[u8]>) -> String {
    let mut escaped = String::new();
    for byte in bytes.as_ref() {
        write!(escaped, "\\{byte:02x}").unwrap();
    }
    format!(r#"(data (i32.const {at}) "{escaped}")"#)
}

/// An agent that sends these bytes, and returns the result of that call: the error code, or 7 for success.
fn told_of(draft: impl AsRef<[u8]>) -> Vec<u8> {
    sends(draft.as_ref(), draft.as_ref().len(), 7)
}

/// An agent that sends these bytes, and whose turn then ends well.
fn answers(draft: impl AsRef<[u8]>) -> Vec<u8> {
    sends(draft.as_ref(), draft.as_ref().len(), 0)
}

fn sends(draft: &[u8], length: usize, done: i32) -> Vec<u8> {
    let pages = u32::try_from(draft.len().max(length) / 65_536 + 2).unwrap();
    let last = (pages - 1) * 65_536;
    let alloc = format!(r#"(func (export "caxton_alloc") (param i32) (result i32) (i32.const {last}))"#);
    let body = format!(
        "(local $code i32)
         (local.set $code (call $send (i32.const 0) (i32.const {length})))
         (if (local.get $code) (then (return (local.get $code))))
         (i32.const {done})"
    );
    guest_with(pages, &format!("{alloc} {}", data(0, draft)), &body)
}

/// A draft of a reply to the test's client, with further members.
fn draft(members: &str) -> String {
    format!(r#"{{"performative":"inform","receiver":"client:tester",{members}}}"#)
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

pub(super) fn rows() -> Vec<Row> {
    [
        no_modules(),
        shapes(),
        starts(),
        memories(),
        stacks(),
        limits(),
        drafts(),
        pointers(),
        allocations(),
        ends(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Bytes that are not a module, and modules that are refused.
fn no_modules() -> Vec<Row> {
    let name = "n".repeat(1 << 20);
    vec![
        row("garbage", b"\x7fELF, or so it says".to_vec(), Invalid("wasm-binary")),
        row(
            "cut-short",
            guests::example("echo")[..60].to_vec(),
            Invalid("valid-wasm"),
        ),
        row("empty", Vec::new(), Invalid("not-empty")),
        row("text", guests::text("echo").into_bytes(), Invalid("wasm-binary")),
        row("zeros", vec![0; 20 << 20], Invalid("wasm-binary")),
        row("no-exports", guests::example("no_exports"), Invalid("missing-export")),
        row("bad-import", guests::example("bad_import"), Invalid("unknown-import")),
        row(
            "unknown-imports-by-the-thousand",
            guests::assemble(&format!("(module {})", r#"(import "env" "f" (func))"#.repeat(5_000))),
            Invalid("unknown-import"),
        ),
        row(
            "a-name-for-many-imports",
            bytes::shared_name(100_000, 20_000),
            Invalid("valid-wasm"),
        ),
        row(
            "an-import-with-a-name-of-a-megabyte",
            Agent {
                imports: vec![bytes::import("caxton", &name)],
                ..Agent::default()
            }
            .bytes(),
            Invalid("valid-wasm"),
        ),
        row(
            "an-export-with-a-name-of-a-megabyte",
            Agent {
                exports: vec![name],
                ..Agent::default()
            }
            .bytes(),
            Invalid("valid-wasm"),
        ),
        row("components-in-components", bytes::components(1_000), Invalid("nesting")),
        row("types-in-types", bytes::types(100_000), Invalid("nesting")),
        row(
            "types-in-types-in-a-section",
            Agent::default().with_section("component-type", &bytes::types(100_000)),
            Invalid("nesting"),
        ),
        row(
            "component-type-of-garbage",
            Agent::default().with_section("component-type", &[0xff; 1_000]),
            Invalid("component-type"),
        ),
        row(
            "too-many-locals",
            Agent {
                locals: 50_001,
                ..Agent::default()
            }
            .bytes(),
            Invalid("valid-wasm"),
        ),
    ]
}

/// Valid modules of unusual shapes.
fn shapes() -> Vec<Row> {
    let agent = Agent::default;
    vec![
        row(
            "imports-by-the-thousand",
            Agent {
                imports: vec![bytes::import_of_log(); 5_000],
                ..agent()
            }
            .bytes(),
            Returns(7),
        ),
        row(
            "exports-by-the-thousand",
            Agent {
                exports: (0..50_000).map(|n| format!("f{n}")).collect(),
                ..agent()
            }
            .bytes(),
            Returns(7),
        ),
        row(
            "a-hundred-thousand-functions",
            Agent {
                more_functions: 100_000,
                ..agent()
            }
            .bytes(),
            Returns(7),
        ),
        row(
            "as-many-locals-as-may-be",
            Agent {
                // The two parameters count as locals too.
                locals: 49_998,
                ..agent()
            }
            .bytes(),
            Returns(7),
        ),
        row(
            "a-large-jump-table",
            Agent {
                body: bytes::jump_table(50_000),
                ..agent()
            }
            .bytes(),
            Returns(7),
        ),
        row(
            "a-huge-jump-table",
            Agent {
                body: bytes::jump_table(1_000_000),
                ..agent()
            }
            .bytes(),
            Invalid("compile"),
        ),
        row(
            "blocks-in-blocks",
            Agent {
                body: bytes::blocks(20_000),
                ..agent()
            }
            .bytes(),
            Returns(7),
        ),
        row(
            "a-version-of-garbage",
            agent().with_section("version", &[0xff; 1 << 20]),
            Returns(7),
        ),
        row(
            "sections-by-the-thousand",
            [agent().bytes(), bytes::custom("of-no-use", b"x").repeat(10_000)].concat(),
            Returns(7),
        ),
    ]
}

/// Agents that fail before their first message.
fn starts() -> Vec<Row> {
    let init = |body: &str| {
        guest(
            &format!(r#"(func (export "agent_init") (result i32) {body})"#),
            "(i32.const 7)",
        )
    };
    let start = |body: &str| guest(&format!("(func $start {body}) (start $start)"), "(i32.const 7)");
    vec![
        row(
            "init-trap",
            guests::example("init_trap"),
            NoStart(&["start", "unreachable"]),
        ),
        row("init-spin", guests::example("spin_init"), NoStart(&["start", "10s"])).with(soon()),
        row("init-error", init("(i32.const 9)"), NoStart(&["start", "returned 9"])),
        row(
            "init-bad-pointer",
            init("(call $send (i32.const -1) (i32.const 9))"),
            NoStart(&["start", "outside"]),
        ),
        row("start-trap", start("(unreachable)"), NoStart(&["start", "unreachable"])),
        row("start-spin", start(SPIN), NoStart(&["start", "5s"])),
        row(
            "start-bad-pointer",
            start("(call $log (i32.const 2) (i32.const -1) (i32.const 9))"),
            NoStart(&["outside"]),
        ),
        row(
            "data-outside-of-memory",
            guest(&data(131_070, "over"), "(i32.const 7)"),
            NoStart(&["out of bounds"]),
        ),
    ]
}

fn memories() -> Vec<Row> {
    let memory = grow("(memory.grow (i32.const 16))");
    let table = "(table $t 1 funcref)";
    let tables = grow("(table.grow $t (ref.null func) (i32.const 100000))");
    vec![
        row("memory-at-its-limit", guest("", &and_lives(&memory)), Returns(7)),
        row(
            "memory-over-its-limit",
            guests::example("grow_trap"),
            Crashes("out_of_memory", "limit"),
        ),
        row("memory-storm", guests::example("grow"), Crashes("deadline", "")).with(soon()),
        row("tables-at-their-limit", guest(table, &and_lives(&tables)), Returns(7)),
        row(
            "tables-over-their-limit",
            guest(table, &format!("{tables} (unreachable)")),
            Crashes("out_of_memory", "table"),
        ),
        row(
            "table-storm",
            guest(
                table,
                "(loop $l (drop (table.grow $t (ref.null func) (i32.const 100000))) (br $l)) (unreachable)",
            ),
            Crashes("deadline", ""),
        )
        .with(soon()),
        row(
            "a-huge-table",
            Agent {
                table: Some(9_000_000),
                ..Agent::default()
            }
            .bytes(),
            Invalid("memory-limit"),
        ),
        row(
            "a-table-without-end",
            Agent {
                table: Some(0xffff_ffff),
                ..Agent::default()
            }
            .bytes(),
            Invalid("memory-limit"),
        ),
        row(
            "a-huge-memory",
            Agent {
                pages: 65_536,
                ..Agent::default()
            }
            .bytes(),
            Invalid("memory-limit"),
        ),
        row(
            "a-large-memory",
            Agent {
                pages: 513,
                ..Agent::default()
            }
            .bytes(),
            Invalid("memory-limit"),
        ),
        row(
            "giant-data",
            Agent {
                pages: 200,
                data: vec![0xa5; 12 << 20],
                ..Agent::default()
            }
            .bytes(),
            Returns(7),
        ),
        row(
            "giant-data-outside-of-memory",
            Agent {
                data: vec![0xa5; 12 << 20],
                ..Agent::default()
            }
            .bytes(),
            NoStart(&["out of bounds"]),
        ),
    ]
}

fn stacks() -> Vec<Row> {
    const EXHAUSTED: Outcome = Crashes("trap", "call stack exhausted");
    let mutual = "(func $a (result i32) (i32.add (call $b) (i32.const 1))) (func $b (result i32) (i32.add (call $a) (i32.const 1)))";
    let indirect = "(type $f (func (result i32))) (table 1 funcref) (elem (i32.const 0) $self)
        (func $self (type $f) (i32.add (call_indirect (type $f) (i32.const 0)) (i32.const 1)))";
    let asking = "(func $down (result i32) (i32.add (call $random) (call $down)))";
    vec![
        row("recursion", guests::example("deep_recursion"), EXHAUSTED),
        row("mutual-recursion", guest(mutual, "(call $a)"), EXHAUSTED),
        row("indirect-recursion", guest(indirect, "(call $self)"), EXHAUSTED),
        row("recursion-with-host-calls", guest(asking, "(call $down)"), EXHAUSTED),
    ]
}

/// Agents that exceed one limit each.
fn limits() -> Vec<Row> {
    let inform = draft(r#""content":1"#);
    let sent = data(0, &inform);
    let sending = |length: usize| format!("(call $send (i32.const 0) (i32.const {length}))");
    let key = |length: u32| format!("(call $store (i32.const 0) (i32.const {length}) (i32.const 0) (i32.const 1))");
    let megabyte = draft(&format!(r#""content":"{}""#, "x".repeat(1 << 20)));
    let alloc = r#"(func (export "caxton_alloc") (param i32) (result i32) (i32.const 65536))"#;
    let vast = |pages, length| {
        guest_with(
            pages,
            alloc,
            &format!("(call $send (i32.const 0) (i32.const {length}))"),
        )
    };
    let log = "(call $log (i32.const 2) (i32.const 0) (i32.const 4000))";
    let large_sends = {
        let rest = format!(
            r#"(func (export "caxton_alloc") (param i32) (result i32) (i32.const 1179648)) {}"#,
            data(0, &megabyte)
        );
        guest_with(20, &rest, &until_no(&sending(megabyte.len())))
    };
    vec![
        row("fuel", guests::example("spin"), Crashes("out_of_fuel", "")).with(json!({"cpu": "100000"})),
        row("deadline", guests::example("spin"), Crashes("deadline", "200ms")).with(soon()),
        row("sends-per-turn", guest(&sent, &until_no(&sending(inform.len()))), Returns(-3)).with(json!({"sends_per_turn": 3})),
        row("effect-bytes", large_sends, Returns(-3)),
        row("draft-bytes", vast(100, (6 << 20) + 1), Returns(-3)),
        row("a-draft-of-a-hundred-megabytes", vast(1_600, 100_000_000), Returns(-3)).with(json!({"memory": "128MiB"})),
        row(
            "state-bytes",
            guest("", "(call $store (i32.const 0) (i32.const 9) (i32.const 0) (i32.const 1016))"),
            Returns(-3),
        )
        .with(json!({"state_bytes": 1_024})),
        row("state-keys", guest("", &until_no("(call $store (i32.const 0) (local.get $n) (i32.const 0) (i32.const 1))")), Returns(-3))
            .with(json!({"state_keys": 5})),
        // The first key is as long as allowed, the second one byte longer.
        row("key-length", guest("", &format!("(i32.add (i32.mul {} (i32.const 100)) {})", key(1_024), key(1_025))), Returns(-3)),
        row("timers", guest("", &until_no("(call $set_timer (i64.const 3600000000))")), Returns(-3)).with(json!({"timers": 3})),
        row("a-timer-too-far", guest("", "(call $set_timer (i64.const 9223372036854775807))"), Returns(-3)),
        row("a-timer-in-the-past", guest("", "(call $set_timer (i64.const -1))"), Returns(-3)),
        row("a-timer-of-nobody", guest("", "(call $cancel_timer (i32.const -5))"), Returns(-1)),
        row(
            "log-bytes",
            guest(
                "",
                &and_lives(&format!(
                    "(local $n i32) (loop $l {log} (br_if $l (i32.lt_s (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10000))))"
                )),
            ),
            Returns(7),
        ),
        row("log-without-end", guest("", &format!("(loop $l {log} (br $l)) (unreachable)")), Crashes("deadline", "")).with(soon()),
        row(
            "print-without-end",
            guest(&data(0, [8, 0, 0, 0, 0, 0, 1, 0]), "(loop $l (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))) (br $l)) (unreachable)"),
            Crashes("deadline", ""),
        )
        .with(soon()),
        row("random-bytes", guest("", "(loop $l (drop (call $random)) (br $l)) (unreachable)"), Crashes("trap", "over-limit: random")),
        row(
            "random-bytes-of-wasi",
            guest("", "(loop $l (drop (call $random_get (i32.const 0) (i32.const 65536))) (br $l)) (unreachable)"),
            Crashes("trap", "over-limit: random_get"),
        ),
        row("reason-length", guests::complainer(40_000), Complains(4_096)),
        row("exit", guest("", "(call $proc_exit (i32.const 0)) (i32.const 7)"), Crashes("trap", "exited, with code 0")),
    ]
}

/// Bytes that are not a draft, and extreme drafts.
fn drafts() -> Vec<Row> {
    let fine = draft(r#""content":1"#);
    let members: Vec<_> = (0..10_000).map(|n| format!(r#""x_{n}":{n}"#)).collect();
    let members = members.join(",");
    let text = |text: &[u8]| {
        [
            br#"{"performative":"inform","receiver":"client:tester","content":"#,
            text,
            b"}",
        ]
        .concat()
    };
    vec![
        row("draft-not-utf8", told_of(text(b"\"\xff\xfe\"")), Returns(-1)),
        row("draft-not-utf8-in-a-name", told_of(b"{\"\xff\":1}"), Returns(-1)),
        row("draft-nan", told_of(draft(r#""content":NaN"#)), Returns(-1)),
        row("draft-infinity", told_of(draft(r#""content":-Infinity"#)), Returns(-1)),
        row(
            "draft-huge-number",
            answers(draft(r#""content":1e999"#)),
            Answers("1e999"),
        ),
        row(
            "draft-long-number",
            answers(draft(&format!(r#""content":{}"#, "9".repeat(5_000)))),
            Answers("99999999999999999999"),
        ),
        row(
            "draft-huge-number-in-an-extension",
            told_of(draft(r#""x_n":1e999"#)),
            Returns(7), // it is carried as it is written
        ),
        row(
            "draft-deep-content",
            told_of(draft(&format!(r#""content":{}"#, nested(100_000)))),
            Returns(-1),
        ),
        row(
            "draft-deep-extension",
            told_of(draft(&format!(r#""x_deep":{}"#, nested(129)))),
            Returns(-1),
        ),
        row(
            "draft-bottomless-extension",
            told_of(draft(&format!(r#""x_deep":{}"#, nested(100_000)))),
            Returns(-1),
        ),
        row(
            "draft-bottomless-receiver",
            told_of(format!(r#"{{"performative":"inform","receiver":{}}}"#, nested(100_000))),
            Returns(-1),
        ),
        row(
            "draft-bottomless-time",
            told_of(draft(&format!(r#""reply_by":{}"#, nested(100_000)))),
            Returns(-1),
        ),
        row("draft-bottomless", told_of("[".repeat(1 << 20)), Returns(-1)),
        row(
            "draft-twice-the-same",
            told_of(draft(r#""content":1,"content":"the last""#)),
            Returns(-1),
        ),
        row(
            "draft-cut-short",
            told_of(&fine.as_bytes()[..fine.len() - 1]),
            Returns(-1),
        ),
        row(
            "draft-with-a-lying-length",
            sends(fine.as_bytes(), fine.len() + 100, 7),
            Returns(-1),
        ),
        row("draft-without-a-byte", sends(fine.as_bytes(), 0, 7), Returns(-1)),
        row(
            "draft-with-a-performative-of-a-megabyte",
            told_of(format!(r#"{{"performative":"{}"}}"#, "p".repeat(1 << 20))),
            Returns(-1),
        ),
        row(
            "draft-with-a-receiver-of-a-megabyte",
            told_of(format!(
                r#"{{"performative":"inform","receiver":"{}"}}"#,
                "r".repeat(1 << 20)
            )),
            Returns(-1),
        ),
        row(
            "draft-with-a-million-receivers",
            told_of(format!(
                r#"{{"performative":"inform","receiver":[{}"a"]}}"#,
                r#""a","#.repeat(1_000_000)
            )),
            Returns(-1),
        ),
        row(
            "draft-with-members-by-the-thousand",
            told_of(draft(&members)),
            Returns(-1),
        ),
    ]
}

/// Host calls with pointers and lengths beyond the memory, or with buffers that overlap.
fn pointers() -> Vec<Row> {
    // The name, and a call with the pointer `P` and the length `L`.
    const CALLS: &[(&str, &str)] = &[
        ("send", "(drop (call $send P L))"),
        ("log", "(call $log (i32.const 2) P L)"),
        ("store-key", "(drop (call $store P L (i32.const 0) (i32.const 1)))"),
        ("store-value", "(drop (call $store (i32.const 0) (i32.const 1) P L))"),
        ("load-key", "(drop (call $load P L (i32.const 0) (i32.const 1)))"),
        ("load-buffer", "(drop (call $load (i32.const 0) (i32.const 1) P L))"),
        ("delete", "(drop (call $delete P L))"),
        ("random-get", "(drop (call $random_get P L))"),
        (
            "fd-write",
            "(i32.store (i32.const 0) P) (i32.store (i32.const 4) L)
             (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))",
        ),
    ];
    // In a memory of two pages: behind the end, across the end, and two whose sum exceeds 2^32.
    const PLACES: &[(&str, i64, i64)] = &[
        ("behind", 131_072, 1),
        ("over", 131_071, 2),
        ("around", 0xffff_ffff, 2),
        ("around-and-back", 16, 0xffff_fff8),
    ];
    // Calls with a pointer and without a length.
    const FIXED: &[(&str, &str)] = &[
        (
            "fd-write-buffers",
            "(call $fd_write (i32.const 1) (i32.const 131070) (i32.const 1) (i32.const 16))",
        ),
        (
            "fd-write-many-buffers",
            "(call $fd_write (i32.const 1) (i32.const 131000) (i32.const -1) (i32.const 16))",
        ),
        (
            "fd-write-answer",
            "(call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const -2))",
        ),
        (
            "fd-read-answer",
            "(call $fd_read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 131070))",
        ),
        ("fdstat", "(call $fdstat (i32.const 1) (i32.const 131060))"),
        ("filestat", "(call $filestat (i32.const 1) (i32.const 131060))"),
        ("clock", "(call $clock (i32.const 0) (i64.const 0) (i32.const -4))"),
        ("clock-resolution", "(call $clock_res (i32.const 0) (i32.const -4))"),
        ("args", "(call $args (i32.const 131070) (i32.const 0))"),
        ("environ", "(call $environ (i32.const 0) (i32.const 131070))"),
        (
            "poll-subscriptions",
            "(call $poll (i32.const 131070) (i32.const 0) (i32.const 1) (i32.const 0))",
        ),
        (
            "poll-events",
            "(call $poll (i32.const 0) (i32.const 131070) (i32.const 1) (i32.const 0))",
        ),
    ];
    const OUTSIDE: Outcome = Crashes("bad_pointer", "outside the guest's memory of 131072 bytes");
    let mut rows = Vec::new();
    for (index, (call, text)) in CALLS.iter().enumerate() {
        let (place, pointer, length) = PLACES[index % PLACES.len()];
        let text = text.replace('P', &format!("(i32.const {pointer})"));
        let text = text.replace('L', &format!("(i32.const {length})"));
        rows.push(row(&format!("{call}-{place}"), guest("", &and_lives(&text)), OUTSIDE));
    }
    for (call, text) in FIXED {
        rows.push(row(
            &format!("{call}-outside"),
            guest("", &and_lives(&format!("(drop {text})"))),
            OUTSIDE,
        ));
    }
    let store = "(call $store (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 4))";
    rows.extend([
        row("bad-pointer", guests::example("bad_pointer"), Crashes("bad_pointer", "")),
        row("key-and-value-in-one", guest("", &format!("(i32.add {store} (i32.const 7))")), Returns(7)),
        // The value is written over its key.
        row(
            "buffer-over-its-key",
            guest("", &format!("(drop {store}) (call $load (i32.const 0) (i32.const 4) (i32.const 2) (i32.const 4))")),
            Returns(4),
        ),
        row(
            "answer-over-its-question",
            guest("", "(i32.store (i32.const 4) (i32.const 9)) (i32.add (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 0)) (i32.load (i32.const 0)))"),
            Returns(9),
        ),
        row("log-not-utf8", guest(&data(0, [0xff; 99]), &and_lives("(call $log (i32.const 9) (i32.const 0) (i32.const 99))")), Returns(7)),
        row("key-not-utf8", guest(&data(0, [0xff; 9]), "(call $delete (i32.const 0) (i32.const 9))"), Crashes("trap", "the key is not UTF-8")),
    ]);
    rows
}

/// Agents whose `caxton_alloc` does something other than allocate.
fn allocations() -> Vec<Row> {
    let alloc = |body: &str| {
        let alloc = format!(r#"(func (export "caxton_alloc") (param i32) (result i32) {body})"#);
        guest_with(2, &alloc, "(i32.const 7)")
    };
    vec![
        row(
            "alloc-outside",
            alloc("(i32.const 131071)"),
            Crashes("bad_pointer", "caxton_alloc"),
        ),
        row(
            "alloc-negative",
            alloc("(i32.const -1)"),
            Crashes("bad_pointer", "caxton_alloc"),
        ),
        row("alloc-trap", alloc("(unreachable)"), Crashes("trap", "unreachable")),
        row("alloc-spin", alloc(SPIN), Crashes("deadline", "")).with(soon()),
        row("alloc-always-the-same", alloc("(i32.const 0)"), Returns(7)),
        row(
            "inbox-too-small",
            guest(
                r#"(func (export "caxton_inbox") (param i32) (result i32) (i32.const 131071))"#,
                "(i32.const 7)",
            ),
            Crashes("bad_pointer", "caxton_inbox"),
        ),
    ]
}

/// Agents that trap in turns without a request.
fn ends() -> Vec<Row> {
    let answer = draft(r#""content":"set""#);
    let send = format!("(call $send (i32.const 0) (i32.const {}))", answer.len());
    let then = |rest: &str, first: &str| guest(&format!("{} {rest}", data(0, &answer)), &format!("{first} {send}"));
    let timed = |body: &str| {
        let rest = format!(r#"(func (export "handle_timer") (param i32) (result i32) {body})"#);
        then(&rest, "(drop (call $set_timer (i64.const 1000)))")
    };
    let last = |body: &str| then(&format!(r#"(func (export "agent_shutdown") {body})"#), "");
    vec![
        row("crash", guests::example("crash"), Crashes("trap", "unreachable")),
        row("timer-trap", timed("(unreachable)"), BreaksLater("trap")),
        row("timer-spin", timed(SPIN), BreaksLater("deadline")).with(soon()),
        row("shutdown-trap", last("(unreachable)"), Goes),
        row("shutdown-spin", last(SPIN), Goes).with(soon()),
        row(
            "shutdown-bad-pointer",
            last("(call $log (i32.const 2) (i32.const -1) (i32.const 9))"),
            Goes,
        ),
    ]
}

/// A short deadline, for turns that do not end by themselves.
fn soon() -> Value {
    json!({"turn_deadline": "200ms"})
}
