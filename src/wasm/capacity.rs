//! How many instances there may be at a time, the slots that they take, and the memory that they have together.
//!
//! The kernel's limit of memory maps ends it before memory does, and where a map is missing most code aborts. So maps are counted:
//! what an instance and a program may take is taken from a budget that stops some thousand maps before the limit.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::error::Error;

/// Instances by default, where the kernel's limit of maps has room for them: 10,000 agents, and room for what is being replaced.
const INSTANCES: usize = 10_240;
/// Maps of a pooled instance with one memory.
const POOLED_MAPS: u32 = 4;
/// Maps of a stack in the pool, which are there from the start on.
const STACK_MAPS: usize = 2;
/// Maps of an instance on demand, its stack included.
const ON_DEMAND_MAPS: u32 = 5;
/// Maps of the code of a program.
const PROGRAM_MAPS: u32 = 4;
/// Maps that are left to everything else in the process.
const OTHER_MAPS: usize = 4_500;

/// Tables for each instance, on average over all; a component has some.
const TABLES: u32 = 8;
/// Tables that one core module may define.
const TABLES_PER_MODULE: u32 = 8;
/// Elements that a table may have. A larger one is refused, and one that would grow beyond cannot.
const TABLE_ELEMENTS: usize = 64 << 10;
/// Bytes of what the engine keeps beside a component's memories and tables. It grows with its functions and instances.
const COMPONENT_BYTES: usize = 16 << 20;
const MODULE_BYTES: usize = 4 << 20;

/// Bytes of a memory, and of a table, that are wiped when its instance is gone. The rest is given back to the kernel, which takes
/// longer, here and when it is used again. Without any, a crash takes a fifth longer to the next answer; twice as much gains
/// nothing that shows, and holds more memory (`cargo bench --bench recover`, raw).
const MEMORY_WIPED: usize = 64 << 10;
const TABLE_WIPED: usize = 16 << 10;

/// What the kernel's limit of memory maps has room for, and at most what is usual.
pub(super) fn instances() -> usize {
    const USUAL: usize = 65_530;
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    let maps = limit.and_then(|limit| limit.trim().parse().ok()).unwrap_or(USUAL);
    instances_in(maps)
}

fn instances_in(maps: usize) -> usize {
    (maps.saturating_sub(OTHER_MAPS) / (POOLED_MAPS as usize + STACK_MAPS)).clamp(1, INSTANCES)
}

/// Has instances live in slots that are made once: a new one takes a fraction of the time, and a used slot still has the memory's
/// image mapped.
pub(super) fn pooled(settings: &mut Config, instances: usize, memory_reservation: u64) {
    let instances = u32::try_from(instances).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(instances)
        .max_memory_size(usize::try_from(memory_reservation).unwrap_or(usize::MAX))
        .total_stacks(instances)
        .total_tables(instances.saturating_mul(TABLES))
        .max_tables_per_module(TABLES_PER_MODULE)
        .table_elements(TABLE_ELEMENTS)
        // Counted, and nothing else: the memories and stacks are what there is a limit of.
        .total_component_instances(instances)
        .total_core_instances(u32::MAX)
        .max_component_instance_size(COMPONENT_BYTES)
        .max_core_instance_size(MODULE_BYTES)
        .linear_memory_keep_resident(MEMORY_WIPED)
        .table_keep_resident(TABLE_WIPED);
    settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
}

/// The budget of maps.
pub(super) struct Capacity {
    maps: Arc<Semaphore>,
    instances: u32,
    /// Maps of an instance that is not metered.
    each: u32,
}

/// A part of the budget, until it is dropped.
pub(super) type Admission = OwnedSemaphorePermit;

/// A budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// `instances`: pooled ones; a metered one counts for more, and a program for one. Or `memory_bytes`, of all instances.
    pub resource: &'static str,
    pub limit: u64,
    pub used: u64,
}

/// Bytes that the memories and tables of all instances take together.
#[derive(Debug)]
pub(super) struct Memory {
    limit: u64,
    used: AtomicU64,
}

impl Memory {
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Whether there were so many more, which are then taken.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    pub(super) fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn no_room(&self) -> NoRoom {
        NoRoom {
            resource: "memory_bytes",
            limit: self.limit,
            used: self.used.load(Relaxed),
        }
    }
}

impl From<NoRoom> for Error {
    fn from(room: NoRoom) -> Self {
        Self::NoRoom {
            resource: room.resource,
            limit: room.limit,
            used: room.used,
        }
    }
}

impl Capacity {
    /// Of a runtime with a pool for so many instances, or without one.
    pub(super) fn new(instances: usize, pooled: bool) -> Self {
        let each = if pooled { POOLED_MAPS } else { ON_DEMAND_MAPS };
        let most = Semaphore::MAX_PERMITS / each as usize;
        let instances = u32::try_from(instances.min(most)).unwrap_or(u32::MAX / each);
        Self {
            maps: Arc::new(Semaphore::new(instances as usize * each as usize)),
            instances,
            each,
        }
    }

    /// Room for one more instance.
    pub(super) fn instance(&self, pooled: bool) -> Result<Admission, NoRoom> {
        self.take(if pooled { POOLED_MAPS } else { ON_DEMAND_MAPS })
    }

    /// Room for the code of one more program.
    pub(super) fn program(&self) -> Result<Admission, NoRoom> {
        self.take(PROGRAM_MAPS)
    }

    fn take(&self, maps: u32) -> Result<Admission, NoRoom> {
        Arc::clone(&self.maps)
            .try_acquire_many_owned(maps)
            .map_err(|_| self.no_room())
    }

    pub(super) fn no_room(&self) -> NoRoom {
        let left = u32::try_from(self.maps.available_permits()).unwrap_or(u32::MAX) / self.each;
        NoRoom {
            resource: "instances",
            limit: self.instances.into(),
            used: self.instances.saturating_sub(left).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limit_of_maps_has_room_for_ten_thousand_agents() {
        let instances = instances_in(65_530);
        assert!((10_000..INSTANCES).contains(&instances), "{instances}");
        assert!(instances * 6 + OTHER_MAPS <= 65_530);
        assert_eq!(instances_in(1 << 20), INSTANCES);
        assert_eq!(instances_in(0), 1);
    }

    #[test]
    fn programs_and_instances_share_the_budget() {
        let instances = |limit, used| NoRoom {
            resource: "instances",
            limit,
            used,
        };
        let capacity = Capacity::new(3, true);
        let program = capacity.program().unwrap();
        let pooled = capacity.instance(true).unwrap();
        assert_eq!(capacity.instance(false).unwrap_err(), instances(3, 2));
        let last = capacity.instance(true).unwrap();
        assert_eq!(capacity.program().unwrap_err(), instances(3, 3));
        drop((program, pooled));
        assert!(capacity.instance(false).is_ok());
        drop(last);
    }

    #[test]
    fn memory_is_taken_and_given_back_and_never_more_than_there_is() {
        let memory = Memory::new(100);
        assert!(memory.take(60) && memory.take(40) && !memory.take(1));
        memory.give(60);
        assert!(!memory.take(61) && memory.take(60) && !memory.take(u64::MAX));
        assert_eq!(memory.no_room().used, 100);
    }
}
