//! The state that an instance hands over to an instance of the next version.

use super::components::{self, WORLD, component, embedded};
use super::*;
use crate::wasm::{Handover, caps};

const SET: &str = "(call $set (i32.const 256) (i32.const 1) (i32.const 256) (i32.const 2) (i32.const 64))";

/// A component that executes `export` and `change` when it is asked to export or take over state. Results are where [`component`]
/// puts them, and at 320 is an `ok` with the text `kv`.
fn upgradable(export: &str, change: &str) -> Vec<u8> {
    let rest = format!(
        r#"(data (i32.const 256) "kv")
           (data (i32.const 320) "\00\00\00\00\00\01\00\00\02\00\00\00")
           (func (export "caxton:agent/upgrade@1.0.0#export-state") (result i32) {export})
           (func (export "caxton:agent/upgrade@1.0.0#code-change")
             (param $from i32) (param $from_length i32) (param $state i32) (param $length i32) (result i32) {change})"#
    );
    component(
        "upgradable-agent",
        r#"(import "caxton:agent/state@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#,
        components::OK,
        components::OK,
        &rest,
    )
}

async fn start(module: Vec<u8>) -> Instance {
    components::start(module, &ALL).await
}

async fn export(module: Vec<u8>) -> Handover {
    start(module).await.export_state(BUDGET).await
}

fn version() -> semver::Version {
    semver::Version::new(1, 2, 3)
}

#[tokio::test]
async fn what_a_version_exports_is_handed_over_and_nothing_of_the_call_takes_effect() {
    let mut instance = start(upgradable(&format!("{SET} (i32.const 320)"), components::OK)).await;
    for _ in 0..2 {
        let Handover { turn, state } = instance.export_state(BUDGET).await;
        assert_eq!((turn.end, state.as_deref()), (End::Ok, Some(&b"kv"[..])));
        assert!(turn.effects.is_empty());
    }
    assert_eq!(handle(&mut instance).await.end, End::Ok, "it goes on");
}

#[tokio::test]
async fn an_export_that_errs_or_crashes_or_is_too_large_hands_nothing_over() {
    let refused = export(upgradable("(i32.const 32)", components::OK)).await;
    assert_eq!((refused.turn.end, refused.state), (End::Error("no!".to_owned()), None));
    let crashed = export(upgradable("(unreachable)", components::OK)).await;
    assert_eq!((crash(&crashed.turn).kind, crashed.state), (CrashKind::Trap, None));
    // Exports one byte more than may be handed over, from a memory that has grown for it.
    let pages = caps::HANDOVER_BYTES / 65_536;
    let large = format!(
        "(if (i32.lt_s (memory.grow (i32.const {pages})) (i32.const 0)) (then (unreachable)))
         (i32.store (i32.const 324) (i32.const 0))
         (i32.store (i32.const 328) (i32.const {}))
         (i32.const 320)",
        caps::HANDOVER_BYTES + 1
    );
    let program = runtime()
        .compile(upgradable(&large, components::OK).into(), false)
        .await
        .unwrap();
    let limits = Limits {
        memory_bytes: 64 << 20,
        ..LIMITS
    };
    let mut instance = program.instantiate(host(&ALL), limits).await.unwrap();
    let Handover { turn, state } = instance.export_state(BUDGET).await;
    let reason = "export-state gave 8388609 bytes, and may give 8388608".to_owned();
    assert_eq!((turn.end, state), (End::Error(reason), None));
}

#[tokio::test]
async fn a_later_version_takes_over_in_a_turn() {
    // The guest fails with its arguments as the reason.
    let from = "(call $say (local.get $from) (local.get $from_length))";
    let state = "(call $say (local.get $state) (local.get $length))";
    for (change, told) in [(from, "1.2.3"), (state, "known")] {
        let mut instance = start(upgradable("(i32.const 320)", change)).await;
        let turn = instance.code_change(&version(), b"known", BUDGET).await;
        assert_eq!(turn.end, End::Error(told.to_owned()));
    }
    let mut instance = start(upgradable("(i32.const 320)", &format!("{SET} (i32.const 16)"))).await;
    let turn = instance.code_change(&version(), b"", BUDGET).await;
    assert_eq!((turn.end, turn.effects.writes.len()), (End::Ok, 1));
    let spin = "(loop $for_ever (br $for_ever)) (unreachable)";
    let deadline = Duration::from_millis(30);
    let mut instance = start(upgradable("(i32.const 320)", spin)).await;
    let turn = instance
        .code_change(&version(), b"", Budget { deadline, ..BUDGET })
        .await;
    assert_eq!(crash(&turn).kind, CrashKind::Deadline);
}

#[tokio::test]
async fn a_guest_without_the_exports_hands_nothing_over_and_takes_nothing() {
    let plain = component("agent", "", components::OK, components::OK, "");
    for mut instance in [start(plain).await, super::start(&guest("", "(i32.const 0)")).await] {
        let Handover { turn, state } = instance.export_state(BUDGET).await;
        assert_eq!((turn.end, state), (End::Ok, None));
        let turn = instance.code_change(&version(), b"known", BUDGET).await;
        assert!(matches!(turn.end, End::Error(reason) if reason.contains("code-change")));
    }
}

#[tokio::test]
async fn exports_of_another_type_are_refused() {
    let guest = |export: &str, change: &str| {
        format!(
            r#"(module (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "caxton:agent/handler@1.0.0#init") (result i32) (i32.const 16))
                (func (export "caxton:agent/handler@1.0.0#handle") (param i32) (result i32) (i32.const 16))
                (func (export "caxton:agent/upgrade@1.0.0#export-state") {export})
                (func (export "caxton:agent/upgrade@1.0.0#code-change") {change}))"#
        )
    };
    let (export, change) = (
        "(result i32) (i32.const 16)",
        "(param i32 i32 i32 i32) (result i32) (i32.const 16)",
    );
    let cases = [
        ("result<list<u8>, string>", "result<list<u16>, string>", export, change),
        ("state: list<u8>", "state: string", export, change),
    ];
    for (ours, other, export, change) in cases {
        let world = WORLD.replace(ours, other);
        assert_ne!(world, WORLD);
        let found = findings(embedded(&guest(export, change), &world, "upgradable-agent")).await;
        assert_eq!((found.len(), &*found[0].rule), (1, "component-type"), "{found:?}");
    }
}
