//! Agents for tests, assembled from text.

use std::path::Path;

/// An agent of `examples/agents/wat`.
pub(crate) fn example(name: &str) -> Vec<u8> {
    assemble(&text(name))
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

/// The agent `counter`, which in addition works for `millis` on each message before it looks at it.
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
