//! The settings of wasmtime's engines, and the features of WebAssembly that they accept.

use std::num::NonZeroUsize;

use wasmparser::WasmFeatures;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::caps;

/// Bytes of the stack on which a call of a guest runs, for the frames of the guest and of the host together.
const STACK: usize = 256 << 10;
/// Bytes of that stack that the guest may use. A guest that needs more traps. The rest is for host calls, of which parsing a draft
/// goes deepest. It must be enough: a host call that overflows the stack would kill the process.
const GUEST_STACK: usize = 160 << 10;

/// Tables in the pool for each instance. A component can have more than this, as long as others have fewer.
const TABLES: u32 = 8;
/// Tables that one core module may have.
const TABLES_PER_MODULE: u32 = 8;
/// Elements that a table in the pool may have. A module with a larger table is refused, and a table cannot grow beyond it.
const TABLE_ELEMENTS: usize = 64 << 10;
/// Bytes of the engine's own data for one component, without memories and tables. They grow with the number of its functions and
/// inner instances.
const COMPONENT_BYTES: usize = 16 << 20;
/// The same for one core module.
const MODULE_BYTES: usize = 4 << 20;

/// Bytes at the begin of a memory that stay resident when its instance is gone: they are zeroed for the next instance. All further
/// bytes go back to the kernel, which takes longer, both now and when they are used again. With no resident bytes it takes a
/// fifth longer from a crash to the next reply. Twice as many bytes make no measurable difference and hold more memory
/// (`cargo bench --bench recover`, raw).
const MEMORY_RESIDENT: usize = 64 << 10;
/// The same for a table.
const TABLE_RESIDENT: usize = 16 << 10;

/// The features that a guest may use: WebAssembly 2.0 and what has been standardised since. Left out are threads, because the
/// limiter cannot count shared memories; further memories, because each costs memory maps; and garbage collection, with `externref`, which needs it. Validation
/// refuses everything else. Keep this and [`config`] alike; only further memories differ.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::COMPONENT_MODEL)
    .difference(WasmFeatures::GC_TYPES);

/// The settings of an engine. [`super::validate`] checks a module against [`FEATURES`] first, so that a refusal has a finding.
pub(super) fn config(memory_reservation: u64, metered: bool) -> Config {
    let mut settings = Config::new();
    settings
        .consume_fuel(metered)
        .epoch_interruption(true)
        .async_stack_size(STACK)
        .max_wasm_stack(GUEST_STACK)
        .memory_init_cow(true)
        .memory_reservation(memory_reservation)
        .wasm_backtrace_max_frames(NonZeroUsize::new(caps::BACKTRACE_FRAMES))
        // No guest is called while another call of it runs.
        .concurrency_support(false)
        // Calls between the components inside a component go through modules that wasmtime generates. These import the memories
        // of both. The modules of guests have one memory each, because `FEATURES` allows no second one.
        .wasm_multi_memory(true)
        .wasm_memory64(false)
        // There is no garbage collector. A guest allocates in its linear memory only, where the limiter counts it.
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .gc_support(false);
    settings
}

/// Makes the engine allocate instances from a pool. The slots of the pool are made once, so that a new instance takes a fraction of
/// the time. A slot that was used before still has the image of its module's memory mapped.
pub(super) fn pooled(settings: &mut Config, instances: usize, memory_reservation: u64) {
    let instances = u32::try_from(instances).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(instances)
        .max_memory_size(usize::try_from(memory_reservation).unwrap_or(usize::MAX))
        .total_stacks(instances)
        .total_tables(instances.saturating_mul(TABLES))
        .max_tables_per_module(TABLES_PER_MODULE)
        .table_elements(TABLE_ELEMENTS)
        // These numbers reserve nothing. The numbers of memories and stacks are the limit.
        .total_component_instances(instances)
        .total_core_instances(u32::MAX)
        .max_component_instance_size(COMPONENT_BYTES)
        .max_core_instance_size(MODULE_BYTES)
        .linear_memory_keep_resident(MEMORY_RESIDENT)
        .table_keep_resident(TABLE_RESIDENT);
    settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
}
