//! Components. The guests are core modules in which the layouts of the canonical ABI are written by hand. The encoder that the
//! tools of authors use makes components of them.

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;

pub(super) const WORLD: &str = include_str!("../../../proto/wit/agent.wit");
const SPIN: &str = "(loop $for_ever (br $for_ever)) (unreachable)";

/// A core module with the world embedded in a custom section, like the output of `cargo build` for a crate that uses wit-bindgen.
pub(super) fn embedded(wat: &str, wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("agent.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = binary(wat).to_vec();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

fn encoded(module: &[u8]) -> Vec<u8> {
    ComponentEncoder::default().module(module).unwrap().encode().unwrap()
}

/// A module that has all imports and all exports of a world.
fn whole(world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("agent.wit", WORLD).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = wit_component::dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

#[tokio::test]
async fn every_import_is_linked_whatever_is_granted_and_every_export_is_found() {
    for (world, entries) in [("agent", false), ("timed-agent", true), ("upgradable-agent", false)] {
        let instance = start(whole(world), &Granted::default()).await;
        assert_eq!(
            (instance.takes_timers(), instance.takes_shutdown()),
            (entries, entries),
            "{world}"
        );
    }
}

/// A guest of one of our worlds that executes `body` for the message at `$m`. The body returns the address of the result: at 16 are
/// zeros, which mean `ok`, and at 32 is an `err` with the text at 48. Calls of the host write their result to 64. `rest` are
/// further exports, and data from 256 on.
pub(super) fn component(world: &str, imports: &str, init: &str, body: &str, rest: &str) -> Vec<u8> {
    let wat = format!(
        r#"(module
            {imports}
            (memory (export "memory") 8)
            (data (i32.const 32) "\01\00\00\00\30\00\00\00\03\00\00\00")
            (data (i32.const 48) "no!")
            (global $top (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
              (global.set $top (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
              (global.get $top)
              (global.set $top (i32.add (global.get $top) (local.get 3))))
            ;; Returns what the host said, as the reason's last letter.
            (func $said (result i32)
              (i32.store8 (i32.const 50) (i32.add (i32.const 48) (i32.load8_u (i32.const 68))))
              (select (i32.const 32) (i32.const 16) (i32.load8_u (i32.const 64))))
            ;; Returns an `err` with a text of the guest's.
            (func $say (param $at i32) (param $length i32) (result i32)
              (i32.store (i32.const 36) (local.get $at))
              (i32.store (i32.const 40) (local.get $length))
              (i32.const 32))
            (func (export "caxton:agent/handler@1.0.0#init") (result i32) {init})
            (func $handle (export "caxton:agent/handler@1.0.0#handle") (param $m i32) (result i32) {body})
            {rest})"#
    );
    embedded(&wat, WORLD, world)
}

fn guest(init: &str, body: &str) -> Vec<u8> {
    const IMPORTS: &str = r#"
            (import "caxton:agent/messaging@1.0.0" "reply" (func $reply (param i32 i32 i32 i32 i32 i32 i32)))
            (import "caxton:agent/state@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))
            (import "caxton:agent/state@1.0.0" "get" (func $get (param i32 i32 i32)))
            (import "caxton:agent/state@1.0.0" "list" (func $list (param i32 i32 i32)))
            (import "caxton:agent/random@1.0.0" "get-bytes" (func $random (param i32 i32)))
            (import "caxton:agent/clock@1.0.0" "now" (func $now (result i64)))
            (import "caxton:agent/clock@1.0.0" "monotonic" (func $monotonic (result i64)))
            (import "caxton:agent/log@1.0.0" "write" (func $log (param i32 i32 i32)))"#;
    component("agent", IMPORTS, init, body, "")
}

pub(super) const OK: &str = "(i32.const 16)";
const ECHO: &str =
    "(call $reply (i32.const 7) (i32.const 0) (i32.load offset=44 (local.get $m)) (i32.load offset=48 (local.get $m))
    (i32.const 0) (i32.const 0) (i32.const 64)) (call $said)";

pub(super) async fn start(module: Vec<u8>, grants: &Granted) -> Instance {
    let program = runtime().compile(module.into(), false).await.unwrap();
    assert!(program.is_component());
    program.instantiate(host(grants), LIMITS).await.unwrap()
}

#[tokio::test]
async fn an_echo_answers_whoever_is_to_be_answered() {
    for module in [guest(OK, ECHO), encoded(&guest(OK, ECHO))] {
        let mut instance = start(module, &Granted::default()).await;
        assert_eq!(instance.init(BUDGET).await.end, End::Ok);
        for _ in 0..3 {
            let turn = handle(&mut instance).await;
            assert_eq!(turn.end, End::Ok);
            let [draft] = turn.effects.sends.as_slice() else {
                panic!("{:?}", turn.effects)
            };
            assert_eq!(draft.performative, Some(Performative::Inform));
            assert_eq!(draft.receivers, ["desk"]);
            assert_eq!(draft.content, Content::Json(r#"{"a":1}"#.into()));
            assert_eq!(draft.conversation_id.as_deref(), Some("talk"));
            assert_eq!(draft.protocol.as_deref(), Some("fipa-request"));
            assert_eq!(draft.in_reply_to.as_deref(), Some("r1"));
            assert_eq!(turn.usage.memory_bytes, 8 << 16);
        }
    }
}

#[tokio::test]
async fn an_err_is_an_error_with_its_reason() {
    let mut instance = start(guest("(i32.const 32)", "(i32.const 32)"), &ALL).await;
    assert_eq!(instance.init(BUDGET).await.end, End::Error("no!".to_owned()));
    assert_eq!(handle(&mut instance).await.end, End::Error("no!".to_owned()));
}

#[tokio::test]
async fn there_is_nothing_to_reply_to_in_init() {
    let reply = "(call $reply (i32.const 7) (i32.const 0) (i32.const 48) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64)) (call $said)";
    let mut instance = start(guest(reply, reply), &ALL).await;
    // Both calls return `malformed`, the error with the number 0: in `init` there is no message, and later the empty text is not
    // JSON.
    assert_eq!(instance.init(BUDGET).await.end, End::Error("no0".to_owned()));
    assert_eq!(handle(&mut instance).await.end, End::Error("no0".to_owned()));
}

#[tokio::test]
async fn what_was_not_granted_and_what_is_too_much_is_told() {
    let set = "(call $set (i32.const 48) (i32.const 2) (i32.const 0) (i32.const 1500) (i32.const 64)) (i32.store8 (i32.const 68) (i32.load8_u (i32.const 65))) (call $said)";
    let random = "(call $random (i32.const 2000000) (i32.const 64)) (call $said)";
    for body in [set, random] {
        let end = |code: &str| End::Error(format!("no{code}"));
        assert_eq!(
            handle(&mut start(guest(OK, body), &Granted::default()).await).await.end,
            end("0"),
            "not-permitted"
        );
        assert_eq!(
            handle(&mut start(guest(OK, body), &ALL).await).await.end,
            end("1"),
            "over-limit"
        );
    }
    let sends = Budget { sends: 0, ..BUDGET };
    let turn = start(guest(OK, ECHO), &ALL).await.handle(&message(), 1, sends).await;
    assert_eq!(turn.end, End::Error("no2".to_owned()), "over-limit");
}

#[tokio::test]
async fn state_clocks_random_and_log_work() {
    let body = "
        (call $set (i32.const 48) (i32.const 2) (i32.const 48) (i32.const 3) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then (unreachable)))
        ;; get: ok, some, three bytes
        (call $get (i32.const 48) (i32.const 2) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then (unreachable)))
        (if (i32.ne (i32.load8_u (i32.const 68)) (i32.const 1)) (then (unreachable)))
        (if (i32.ne (i32.load (i32.const 76)) (i32.const 3)) (then (unreachable)))
        ;; list: ok, of two, the committed one and this one
        (call $list (i32.const 48) (i32.const 1) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then (unreachable)))
        (if (i32.ne (i32.load (i32.const 72)) (i32.const 2)) (then (unreachable)))
        (call $random (i32.const 8) (i32.const 64))
        (if (i32.ne (i32.load (i32.const 72)) (i32.const 8)) (then (unreachable)))
        (if (i64.lt_u (call $now) (i64.const 1577836800000000)) (then (unreachable)))
        (if (i64.gt_u (call $monotonic) (call $monotonic)) (then (unreachable)))
        (call $log (i32.const 2) (i32.const 48) (i32.const 3))
        (i32.const 16)";
    let host = host(&ALL);
    host.state
        .write()
        .extend([("nn".to_owned(), Bytes::new()), ("other".to_owned(), Bytes::new())]);
    let program = runtime().compile(guest(OK, body).into(), false).await.unwrap();
    let turn = handle(&mut program.instantiate(host, LIMITS).await.unwrap()).await;
    assert_eq!(turn.end, End::Ok);
    assert_eq!(turn.effects.writes["no"].as_deref(), Some(&b"no!"[..]));
}

#[tokio::test]
async fn components_crash_like_modules() {
    let turn = handle(&mut start(guest(OK, "(unreachable)"), &ALL).await).await;
    assert_eq!(crash(&turn).kind, CrashKind::Trap);
    assert!(
        crash(&turn).backtrace[0].contains("handle"),
        "{:?}",
        crash(&turn).backtrace
    );
    let mut spinner = start(guest(OK, SPIN), &ALL).await;
    let turn = spinner
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
    assert_eq!(crash(&handle(&mut spinner).await).kind, CrashKind::Deadline);
    // A text that is outside the memory.
    let outside = "(call $log (i32.const 2) (i32.const 524288) (i32.const 8)) (i32.const 16)";
    let turn = handle(&mut start(guest(OK, outside), &ALL).await).await;
    assert_eq!(crash(&turn).kind, CrashKind::BadPointer, "{:?}", turn.end);
}

#[tokio::test]
async fn a_component_of_another_world_is_refused_by_name() {
    let wat = r#"(module (import "other:thing/door@1.0.0" "open" (func)))"#;
    let wit = "package other:thing@1.0.0; interface door { open: func(); } world w { import door; }";
    let found = findings(embedded(wat, wit, "w")).await;
    assert_eq!(found[0].rule, "unknown-import");
    assert_eq!(found[0].found, "import `other:thing/door@1.0.0.open`: () -> ()");
    let found = findings(encoded(&embedded(wat, wit, "w"))).await;
    let rules: Vec<_> = found
        .iter()
        .map(|finding| (finding.rule.as_ref(), finding.found.as_str()))
        .collect();
    assert_eq!(
        rules,
        [
            ("unknown-import", "import `other:thing/door@1.0.0`"),
            ("missing-export", "a component without exports")
        ]
    );
}

#[tokio::test]
async fn a_component_with_wasi_is_told_how_to_do_without() {
    let wat = r#"(module (import "wasi:cli/environment@0.2.6" "get" (func)))"#;
    let wit = "package wasi:cli@0.2.6; interface environment { get: func(); } world w { import environment; }";
    let found = findings(encoded(&embedded(wat, wit, "w"))).await;
    assert_eq!(found[0].found, "import `wasi:cli/environment@0.2.6`");
    assert!(found[0].expected.contains("--stub-wasi"), "{found:?}");
    let wat = r#"(module (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32))))"#;
    let found = findings(embedded(wat, WORLD, "agent")).await;
    assert!(found[0].expected.contains("wasm32-unknown-unknown"), "{found:?}");
}

#[tokio::test]
async fn a_component_with_the_names_but_not_the_types_is_refused() {
    let wit = "package caxton:agent@1.0.0; interface handler { init: func(); } world agent { export handler; }";
    let wat = r#"(module (memory (export "memory") 1) (func (export "caxton:agent/handler@1.0.0#init")))"#;
    let found = findings(embedded(wat, wit, "agent")).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].rule, "component-type");
}

/// A guest that broadcasts `[1]` to the agents with a capability.
fn announcer(capability: &str) -> Vec<u8> {
    // The capability, the communicative act and the content. The fields after them, up to 392, are absent.
    let draft = format!(
        r#"(data (i32.const 256) "\90\01\00\00\{:02x}\00\00\00\07\00\00\00\00\00\00\00\b0\01\00\00\03\00\00\00")
           (data (i32.const 400) "{capability}")
           (data (i32.const 432) "[1]")"#,
        capability.len()
    );
    component(
        "agent",
        r#"(import "caxton:agent/messaging@1.0.0" "broadcast" (func $broadcast (param i32 i32)))"#,
        OK,
        "(call $broadcast (i32.const 256) (i32.const 64)) (call $said)",
        &draft,
    )
}

#[tokio::test]
async fn a_broadcast_is_a_send_to_all_who_can() {
    let granted = Granted {
        receivers: &["all:tailor", "all:"],
        ..Granted::default()
    };
    let turn = handle(&mut start(announcer("tailor"), &granted).await).await;
    assert_eq!(turn.end, End::Ok);
    let [draft] = turn.effects.sends.as_slice() else {
        panic!("{:?}", turn.effects)
    };
    assert_eq!(
        (draft.receivers.as_slice(), draft.performative),
        (&["all:tailor".to_owned()][..], Some(Performative::Inform))
    );
    assert_eq!(draft.content, Content::Json("[1]".into()));
    let refused = |code: &str| End::Error(format!("no{code}"));
    let mut empty = start(announcer(""), &granted).await;
    assert_eq!(handle(&mut empty).await.end, refused("0"), "malformed");
    let mut denied = start(announcer("smith"), &granted).await;
    assert_eq!(handle(&mut denied).await.end, refused("1"), "not-permitted");
    let sends = Budget { sends: 0, ..BUDGET };
    let turn = start(announcer("tailor"), &granted)
        .await
        .handle(&message(), 1, sends)
        .await;
    assert_eq!(turn.end, refused("2"), "over-limit");
}
