//! Agents for tests. They are assembled from WebAssembly text, or built by `scripts/build-agents`.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// An agent of `examples/agents/wat`.
pub(crate) fn example(name: &str) -> Vec<u8> {
    assemble(&text(name))
}

/// An agent of `examples/agents/built`, as its tools compiled it.
pub(crate) fn built(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/agents/built/{name}.wasm"));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub(crate) fn text(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/agents/wat")
        .join(name)
        .with_extension("wat");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub(crate) fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// An agent of `examples/agents/wat`, but the messages that it sends have these members too, `{"…": …}` without the braces.
pub(crate) fn sending(name: &str, members: &str) -> Vec<u8> {
    let text = text(name);
    let (begin, put) = ("(data (i32.const 80) \"{", "(call $put (i32.const 80) (i32.const ");
    let (_, rest) = text.split_once(begin).expect("the draft begins at 80");
    let (draft, _) = rest.split_once("\")\n").expect("a line of data ends");
    let (_, length) = text.split_once(put).expect("the draft's beginning is put");
    let (length, _) = length.split_once(')').unwrap();
    let length: usize = length.parse().unwrap();
    let escaped = members
        .bytes()
        .fold(String::new(), |escaped, byte| format!("{escaped}\\{byte:02x}"));
    let longer = format!("(data (i32.const 2048) \"{{{escaped},{draft}\")\n");
    let text = text.replacen(&format!("{begin}{draft}\")\n"), &longer, 1);
    let longer = format!("(call $put (i32.const 2048) (i32.const {})", length + members.len() + 1);
    assemble(&text.replacen(&format!("{put}{length})"), &longer, 1))
}

/// The agent `counter`, but each of its turns works for `millis` milliseconds before it reads the message.
pub(crate) fn slow_counter(millis: u64) -> Vec<u8> {
    let clock = r#"(import "caxton" "current_timestamp" (func $now (result i64)))"#;
    let work = format!(
        "(local $until i64)
         (local.set $until (i64.add (call $now) (i64.const {})))
         (loop $work (br_if $work (i64.lt_s (call $now) (local.get $until))))",
        millis * 1_000
    );
    let first_import = r#"(import "caxton" "send_message""#;
    let first_line = "    (call $open (local.get $len))\n    (if (i32.eqz (call $after";
    let text = text("counter");
    assert!(
        text.contains(first_import) && text.contains(first_line),
        "counter.wat has changed"
    );
    let text = text.replacen(first_import, &format!("{clock}\n  {first_import}"), 1);
    assemble(&text.replacen(first_line, &format!("{work}\n{first_line}"), 1))
}

/// The agent `counter`, but it runs `last` when it is shut down. `(drop (call $add_one))` counts the shutdown too.
pub(crate) fn counter_until(last: &str) -> Vec<u8> {
    let first_export = r#"(func (export "handle_message")"#;
    let text = text("counter");
    assert!(text.contains(first_export), "counter.wat has changed");
    let shutdown = format!(r#"(func (export "agent_shutdown") {last})"#);
    assemble(&text.replacen(first_export, &format!("{shutdown}\n  {first_export}"), 1))
}

/// An agent whose `init` works without end.
pub(crate) fn spins_in_init() -> Vec<u8> {
    let first_export = r#"(func (export "handle_message")"#;
    let text = text("spin");
    assert!(text.contains(first_export), "spin.wat has changed");
    let init = r#"(func (export "agent_init") (result i32) (loop $for_ever (br $for_ever)) (unreachable))"#;
    assemble(&text.replacen(first_export, &format!("{init}\n  {first_export}"), 1))
}

/// The agent `echo` in the form of a WASI program: at each message it prints `line` on standard error and then runs `more`.
pub(crate) fn printing_echo(line: &str, more: &str) -> Vec<u8> {
    let first_import = r#"(import "caxton" "send_message""#;
    let entry = r#"(func (export "handle_message") (param $ptr i32) (param $len i32) (result i32)"#;
    let text = text("echo");
    assert!(
        text.contains(first_import) && text.contains(entry),
        "echo.wat has changed"
    );
    let imports = r#"(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))"#;
    let print = format!(
        "(i32.store (i32.const 3008) (i32.const 3072)) (i32.store (i32.const 3012) (i32.const {}))
         (if (call $fd_write (i32.const 2) (i32.const 3008) (i32.const 1) (i32.const 3016)) (then (unreachable)))
         {more}",
        line.len()
    );
    let data = format!(r#"(data (i32.const 3072) "{line}")"#);
    let text = text.replacen(first_import, &format!("{imports}\n  {first_import}"), 1);
    assemble(&text.replacen(entry, &format!("{data}\n  {entry}\n    {print}"), 1))
}

/// A component that sets a periodic timer at each message, and exports the function for fired timers.
pub(crate) fn periodic(millis: u64) -> Vec<u8> {
    let import = r#"(import "caxton:agent/timer@1.0.0" "set-periodic" (func $set (param i64 i32)))"#;
    let body = format!(
        "(call $set (i64.const {}) (i32.const 64))
         (if (i32.load8_u (i32.const 64)) (then (unreachable)))
         (i32.const 16)",
        millis * 1_000
    );
    let timer = r#"(func (export "caxton:agent/lifecycle@1.0.0#timer") (param i32) (result i32) (i32.const 16))
        (func (export "caxton:agent/lifecycle@1.0.0#shutdown"))"#;
    component("timed-agent", import, &body, timer)
}

/// A component that replies with the value of its variable `TOKEN`, which is JSON, or with null. Its turn ends in error if it may
/// not read variables.
pub(crate) fn variable() -> Vec<u8> {
    let import = r#"(import "caxton:agent/environment@1.0.0" "get" (func $get (param i32 i32 i32)))"#;
    let body = format!(
        "(call $get (i32.const 256) (i32.const 5) (i32.const 64))
         (if (i32.load8_u (i32.const 64)) (then (return (i32.const 32))))
         (if (i32.load8_u (i32.const 68))
           (then {})
           (else {}))
         (if (i32.load8_u (i32.const 64)) (then (unreachable)))
         (i32.const 16)",
        inform("(i32.load (i32.const 72)) (i32.load (i32.const 76))"),
        inform("(i32.const 261) (i32.const 4)")
    );
    component("agent", import, &body, r#"(data (i32.const 256) "TOKENnull")"#)
}

/// A component that replies to each message with the name of the first agent with the capability `tailor`, in quotes, or with null.
/// Its turn ends in error if it may not search.
pub(crate) fn searcher() -> Vec<u8> {
    let import = r#"(import "caxton:agent/directory@1.0.0" "find" (func $find (param i32 i32 i32)))"#;
    let body = format!(
        "(local $length i32)
           (call $find (i32.const 256) (i32.const 6) (i32.const 64))
           (if (i32.load8_u (i32.const 64)) (then (return (i32.const 32))))
           (if (i32.load (i32.const 72))
             (then
               (local.set $length (i32.load offset=12 (i32.load (i32.const 68))))
               (memory.copy (i32.const 301) (i32.load offset=8 (i32.load (i32.const 68))) (local.get $length))
               (i32.store8 (i32.add (i32.const 301) (local.get $length)) (i32.const 34))
               {})
             (else {}))
           (if (i32.load8_u (i32.const 64)) (then (unreachable)))
           (i32.const 16)",
        inform("(i32.const 300) (i32.add (local.get $length) (i32.const 2))"),
        inform("(i32.const 262) (i32.const 4)")
    );
    let data = r#"(data (i32.const 256) "tailornull") (data (i32.const 300) "\22")"#;
    component("agent", import, &body, data)
}

/// A component that, at each message, broadcasts an `inform` of `"hear"` to all agents with the capability `tailor`.
pub(crate) fn announcer() -> Vec<u8> {
    let import = r#"(import "caxton:agent/messaging@1.0.0" "broadcast" (func $broadcast (param i32 i32)))"#;
    let body = "(call $broadcast (i32.const 256) (i32.const 64))
         (if (i32.load8_u (i32.const 64)) (then (return (i32.const 32))))
         (i32.const 16)";
    // Capability, performative and content. All other members, up to 392, are absent.
    let draft = r#"(data (i32.const 256) "\90\01\00\00\06\00\00\00\07\00\00\00\00\00\00\00\96\01\00\00\06\00\00\00")
        (data (i32.const 400) "tailor\22hear\22")"#;
    component("agent", import, body, draft)
}

/// A component whose every turn ends in error, with a reason of this many bytes. It can have up to 40,000.
pub(crate) fn complainer(bytes: u32) -> Vec<u8> {
    let body = format!(
        "(memory.fill (i32.const 20000) (i32.const 120) (i32.const {bytes}))
         (i32.store (i32.const 36) (i32.const 20000))
         (i32.store (i32.const 40) (i32.const {bytes}))
         (i32.const 32)"
    );
    component("agent", "", &body, "")
}

/// Replies to the message of the turn with JSON at this address and of this length.
fn inform(json: &str) -> String {
    format!("(call $reply (i32.const 7) (i32.const 0) {json} (i32.const 0) (i32.const 0) (i32.const 64))")
}

/// A component of Caxton's world that runs `body` at each message. `body` returns the address of the turn's result: zeros at 16
/// are `ok`, and an `err` with the text `no` is at 32. The result of a host call is at 64. `rest` has the other exports, and data
/// from 256 on.
fn component(world: &str, imports: &str, body: &str, rest: &str) -> Vec<u8> {
    let wat = format!(
        r#"(module
            (import "caxton:agent/messaging@1.0.0" "reply" (func $reply (param i32 i32 i32 i32 i32 i32 i32)))
            {imports}
            (memory (export "memory") 1)
            (data (i32.const 32) "\01\00\00\00\30\00\00\00\02\00\00\00")
            (data (i32.const 48) "no")
            (global $top (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
              (global.set $top (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const 0xfff0)))
              (global.get $top)
              (global.set $top (i32.add (global.get $top) (local.get 3))))
            (func (export "caxton:agent/handler@1.0.0#init") (result i32) (i32.const 16))
            (func (export "caxton:agent/handler@1.0.0#handle") (param $m i32) (result i32) {body})
            {rest})"#
    );
    let mut resolve = Resolve::default();
    let wit = include_str!("../../proto/wit/agent.wit");
    let package = resolve.push_str("agent.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = assemble(&wat);
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}
