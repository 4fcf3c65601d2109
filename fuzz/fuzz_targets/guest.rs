//! Valid modules that wasm-smith makes from the fuzzer's bytes: they have the exports of an agent, and functions that do anything.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use wasm_smith::{Config, Module};

/// What an agent exports, and what it may import.
const EXPORTS: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "caxton_alloc") (param i32) (result i32) (i32.const 0))
    (func (export "handle_message") (param i32 i32) (result i32) (i32.const 0))
    (func (export "agent_init") (result i32) (i32.const 0))
    (func (export "agent_shutdown")))"#;
const IMPORTS: &str = r#"(module
    (import "caxton" "send_message" (func (param i32 i32) (result i32)))
    (import "caxton" "log" (func (param i32 i32 i32)))
    (import "caxton" "current_timestamp" (func (result i64)))
    (import "caxton" "random_u32" (func (result i32)))
    (import "caxton" "store_data" (func (param i32 i32 i32 i32) (result i32)))
    (import "caxton" "load_data" (func (param i32 i32 i32 i32) (result i32)))
    (import "caxton" "delete_data" (func (param i32 i32) (result i32)))
    (import "caxton" "set_timer" (func (param i64) (result i32)))
    (import "caxton" "cancel_timer" (func (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32))))"#;

static CONFIG: LazyLock<Config> = LazyLock::new(|| Config {
    exports: Some(wat::parse_str(EXPORTS).expect("it is a module")),
    available_imports: Some(wat::parse_str(IMPORTS).expect("it is a module")),
    max_memories: 1,
    memory64_enabled: false,
    threads_enabled: false,
    gc_enabled: false,
    exceptions_enabled: false,
    custom_page_sizes_enabled: false,
    wide_arithmetic_enabled: false,
    ..Config::default()
});

/// The environment variable that names a file for the module of a finding. The file belongs in `fuzz/cases/guest`.
const KEEP: &str = "FUZZ_MODULE";

fuzz_target!(|bytes: &[u8]| {
    let Ok(module) = Module::new(CONFIG.clone(), &mut Unstructured::new(bytes)) else {
        return;
    };
    let module = module.to_bytes();
    if let Some(file) = std::env::var_os(KEEP) {
        std::fs::write(file, &module).expect("it can be written");
    }
    caxton_fuzz::guest(&module);
});
