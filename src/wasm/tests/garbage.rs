//! Bytes that are not an agent, and the findings about them.

use proptest::prelude::*;

use super::*;

fn rules(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.rule.as_ref()).collect()
}

#[tokio::test]
async fn what_is_no_wasm_is_refused_at_once() {
    assert_eq!(rules(&findings("").await), ["not-empty"]);
    assert_eq!(rules(&findings("hello").await), ["wasm-binary"]);
    assert_eq!(rules(&findings(vec![0; 20 << 20]).await), ["wasm-binary"]);
    assert_eq!(rules(&findings("\0asm").await), ["valid-wasm"]);
    let text = findings(guest("", "(i32.const 0)")).await;
    assert_eq!(rules(&text), ["wasm-binary"]);
    assert!(text[0].expected.contains("wat2wasm"), "{text:?}");
}

#[tokio::test]
async fn every_fault_of_a_module_is_found() {
    let wat = r#"(module
        (import "env" "open_file" (func (param i32) (result i32)))
        (import "wasi_unstable" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_open" (func (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func (param i64)))
        (import "caxton" "list_data" (func (param i64) (result i32)))
        (import "caxton" "log" (func (param i32)))
        (import "caxton" "random_u32" (global i32))
        (global (export "memory") i32 (i32.const 0))
        (func (export "handle_message") (param i32) (result i64) (i64.const 0))
        (func (export "agent_init"))
        (func (export "of_its_own")))"#;
    let findings = findings(binary(wat)).await;
    let expected = [
        ("unknown-import", "import `env.open_file`: (i32) -> (i32)"),
        (
            "unknown-import",
            "import `wasi_unstable.fd_write`: (i32, i32, i32, i32) -> (i32)",
        ),
        (
            "unknown-import",
            "import `wasi_snapshot_preview1.fd_open`: (i32) -> (i32)",
        ),
        ("import-type", "import `wasi_snapshot_preview1.fd_write`: (i64) -> ()"),
        ("unknown-import", "import `caxton.list_data`: (i64) -> (i32)"),
        ("import-type", "import `caxton.log`: (i32) -> ()"),
        ("import-type", "import `caxton.random_u32`: global"),
        ("export-type", "export `memory`, which is not a memory"),
        ("missing-export", "no export `caxton_alloc`"),
        ("export-type", "export `handle_message`: (i32) -> (i64)"),
        ("export-type", "export `agent_init`: () -> ()"),
    ];
    let found: Vec<_> = findings
        .iter()
        .map(|finding| (finding.rule.as_ref(), finding.found.as_str()))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(findings[9].expected, "`handle_message`: (i32, i32) -> (i32)");
    assert!(findings[1].expected.contains("only preview 1"));
}

#[tokio::test]
async fn proposals_that_are_not_offered_are_refused() {
    for memory in ["i64 1", "1 2 shared"] {
        let wat = guest("", "(i32.const 0)").replace("(export \"memory\") 1", &format!("(export \"memory\") {memory}"));
        // The functions of this guest do not fit a 64-bit memory. That does not matter, because validation stops at the memory.
        let findings = findings(binary(&wat)).await;
        assert_eq!(findings[0].rule, "valid-wasm", "{memory}: {findings:?}");
    }
    for rest in [
        "(memory 1)",
        "(type (struct))",
        "(tag)",
        "(table 1 externref)",
        "(func (param externref))",
        "(func (drop (ref.null extern)))",
        "(global externref (ref.null extern))",
    ] {
        let findings = findings(binary(&guest(rest, "(i32.const 0)"))).await;
        assert_eq!(findings[0].rule, "valid-wasm", "{rest}: {findings:?}");
        assert!(findings[0].expected.contains("`externref`"), "{rest}: {findings:?}");
    }
}

#[tokio::test]
async fn findings_are_few_and_short_however_many_there_are() {
    let import = format!(r#"(import "{}" "f" (func))"#, "m".repeat(5_000));
    let imports = import.repeat(100);
    let findings = findings(binary(&format!("(module {imports})"))).await;
    assert_eq!(findings.len(), 33);
    assert_eq!(findings[32].found, "71 more findings");
    assert!(findings.iter().all(|finding| finding.found.len() < 200));
}

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// `bytes` as the section with the number `id`.
fn section(id: u8, bytes: &[u8]) -> Vec<u8> {
    let mut section = vec![id];
    let mut size = bytes.len();
    while size > 127 {
        section.push(u8::try_from(size & 127).unwrap() | 128);
        size >>= 7;
    }
    section.push(u8::try_from(size).unwrap());
    section.extend_from_slice(bytes);
    section
}

#[tokio::test]
async fn what_nests_is_counted_before_it_costs_memory() {
    let mut deep = COMPONENT.to_vec();
    for _ in 0..1_000 {
        deep = [COMPONENT, &section(4, &deep)].concat();
    }
    assert_eq!(rules(&findings(deep.clone()).await), ["nesting"]);
    assert_eq!(super::super::Demand::of(&deep), super::super::Demand::default());
    let embedded = [MODULE, &section(0, &[&b"\x0ecomponent-type"[..], &deep].concat())].concat();
    assert_eq!(rules(&findings(embedded).await), ["nesting"]);
    let wide = [COMPONENT, &section(4, COMPONENT).repeat(257)].concat();
    assert_eq!(rules(&findings(wide).await), ["nesting"]);
    let few = [COMPONENT, &section(4, COMPONENT).repeat(256)].concat();
    assert_eq!(rules(&findings(few).await), ["missing-export"]);
}

/// The readers of types are recursive and could overflow the stack.
#[tokio::test]
async fn types_within_types_are_counted_before_they_are_read() {
    let types = |depth| section(7, &[&[1][..], &[0x42, 1, 1].repeat(depth), &[0x42, 0]].concat());
    let component = |depth| [COMPONENT, &types(depth)].concat();
    let embedded = |depth| {
        [
            MODULE,
            &section(0, &[&b"\x0ecomponent-type"[..], &component(depth)].concat()),
        ]
        .concat()
    };
    for depth in [257, 100_000] {
        assert_eq!(rules(&findings(component(depth)).await), ["nesting"], "{depth}");
        assert_eq!(rules(&findings(embedded(depth)).await), ["nesting"], "{depth}");
    }
    assert_eq!(rules(&findings(component(255)).await), ["missing-export"]);
    assert_eq!(rules(&findings(embedded(255)).await), ["component-type"]);
}

#[tokio::test]
async fn a_name_that_many_imports_share_is_not_copied_for_each() {
    // The compact form of imports, in which all imports share one name of a module. It is not a feature of ours. A copy of the name
    // for each import would take 400 MB.
    let name = [&[0xa0, 0x8d, 0x06][..], &vec![b'm'; 100_000]].concat();
    let imports = [&[0x80, 0x20][..], &b"\x01f\0\0".repeat(4_096)].concat();
    let group = [&[1][..], &name, &[0, 0x7f], &imports].concat();
    let module = [
        &b"\0asm\x01\0\0\0"[..],
        &section(1, b"\x01\x60\0\0"),
        &section(2, &group),
    ]
    .concat();
    assert_eq!(rules(&findings(module).await), ["valid-wasm"]);
}

#[tokio::test]
async fn extra_exports_are_tolerated_and_a_version_is_read() {
    let wat = guest(
        r#"(func (export "more"))  (@custom "version" "1.2.3")"#,
        "(i32.const 0)",
    );
    let program = runtime().compile(binary(&wat), false).await.unwrap();
    assert_eq!(program.version(), Some(&semver::Version::new(1, 2, 3)));
    assert!(!program.is_component());
    let none = guest(r#"(@custom "version" "one")"#, "(i32.const 0)");
    assert_eq!(runtime().compile(binary(&none), false).await.unwrap().version(), None);
}

#[tokio::test]
async fn a_program_is_compiled_once_and_goes_with_its_last_user() {
    let runtime = runtime();
    let module = binary(&guest("", "(i32.const 0)"));
    let (one, two) = tokio::join!(
        runtime.compile(module.clone(), false),
        runtime.compile(module.clone(), false)
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!(one.size(), module.len());
    let metered = runtime.compile(module.clone(), true).await.unwrap();
    assert!(!Arc::ptr_eq(&one, &metered), "fuel is compiled in");
    let digest = one.digest();
    assert!(runtime.compiled(digest, false).is_some());
    let weak = Arc::downgrade(&one);
    let instance = one.instantiate(host(&ALL), LIMITS).await.unwrap();
    drop((one, two));
    assert!(weak.upgrade().is_some(), "an instance keeps its program");
    drop(instance);
    assert!(weak.upgrade().is_none());
    assert!(runtime.compiled(digest, false).is_none());
}

#[tokio::test]
async fn an_instance_outlives_its_runtime_and_is_still_interrupted() {
    let runtime = runtime();
    let program = runtime
        .compile(binary(&guest("", "(loop $l (br $l)) (unreachable)")), false)
        .await
        .unwrap();
    drop(runtime);
    let mut instance = program.instantiate(host(&ALL), LIMITS).await.unwrap();
    drop(program);
    let turn = instance
        .handle(
            &message(),
            1,
            Budget {
                deadline: Duration::from_millis(20),
                ..BUDGET
            },
        )
        .await;
    assert_eq!(crash(&turn).kind, CrashKind::Deadline);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), core: bool) {
        let mut whole = b"\0asm".to_vec();
        whole.extend_from_slice(if core { &[1, 0, 0, 0] } else { &[13, 0, 1, 0] });
        whole.extend_from_slice(&bytes);
        prop_assert!(super::super::validate::inspect(&bytes).is_err());
        let _ = super::super::validate::inspect(&whole);
    }

    #[test]
    fn no_damage_panics(at in any::<proptest::sample::Index>(), byte: u8, cut in any::<proptest::sample::Index>()) {
        let mut bytes = binary(&guest(r#"(@custom "version" "1.2.3")"#, "(i32.const 0)")).to_vec();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = super::super::validate::inspect(&bytes);
    }
}

/// The engines accept a second memory, because they need it for calls between components. Validation refuses it.
#[tokio::test]
async fn a_second_memory_is_refused_in_a_module_and_in_one_of_a_component() {
    for wat in [
        "(module (memory (export \"memory\") 1) (memory 1))",
        "(component (core module (memory 1) (memory 1)))",
    ] {
        let found = findings(binary(wat)).await;
        assert_eq!(found[0].rule, "valid-wasm", "{found:?}");
    }
}
