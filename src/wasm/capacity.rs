//! How many instances may exist at one time, and how much memory they may have together.
//!
//! The kernel limits the memory maps of a process, and agents reach that limit before they use up the memory. Most code aborts
//! when it gets no map. Therefore each instance and each program takes maps from a budget, which leaves some thousand maps to the
//! rest of the process.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// Instances by default, if the kernel's limit of maps has room for them: 10,000 agents, and some instances that replace others.
const INSTANCES: usize = 10_240;
/// Maps of an instance with one memory in the pool.
const POOLED_MAPS: u32 = 4;
/// Maps of a stack in the pool. They are there from the start on.
const STACK_MAPS: usize = 2;
/// Maps of an instance that is made on demand, with its stack.
const ON_DEMAND_MAPS: u32 = 5;
/// Maps of the machine code of a program.
const PROGRAM_MAPS: u32 = 4;
/// Maps that are left to everything else in the process.
const OTHER_MAPS: usize = 4_500;

/// The number of instances for which the kernel's limit of memory maps has room, and [`INSTANCES`] at most.
pub(super) fn instances() -> usize {
    // Linux has this limit unless its administrator sets another one.
    const USUAL: usize = 65_530;
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    let maps = limit.and_then(|limit| limit.trim().parse().ok()).unwrap_or(USUAL);
    instances_in(maps)
}

fn instances_in(maps: usize) -> usize {
    (maps.saturating_sub(OTHER_MAPS) / (POOLED_MAPS as usize + STACK_MAPS)).clamp(1, INSTANCES)
}

/// The memory maps that instances and programs may take.
pub(super) struct MapBudget {
    maps: Arc<Semaphore>,
    instances: u32,
    /// Maps of an instance without metering.
    each: u32,
}

/// The maps of one instance or program. They go back to the budget when this is dropped.
pub(super) type MapPermit = OwnedSemaphorePermit;

/// How much of a budget is in use. As an error: there is too little left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// `instances`, of which a program counts as one and a metered instance as more than one; or `memory_bytes`.
    pub resource: &'static str,
    pub limit: u64,
    pub used: u64,
}

/// The bytes that the memories and tables of all instances may have together.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    limit: u64,
    used: AtomicU64,
}

impl MemoryBudget {
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Takes `bytes` if so many are left, and returns whether they were.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    pub(super) fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        Occupancy {
            resource: "memory_bytes",
            limit: self.limit,
            used: self.used.load(Relaxed),
        }
    }
}

impl From<Occupancy> for Error {
    fn from(occupancy: Occupancy) -> Self {
        Self::NoRoom {
            resource: occupancy.resource,
            limit: occupancy.limit,
            used: occupancy.used,
        }
    }
}

impl MapBudget {
    /// The budget of a runtime for `instances` instances, which are `pooled` or made on demand.
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

    /// Takes the maps of one instance.
    pub(super) fn instance(&self, pooled: bool) -> Result<MapPermit, Occupancy> {
        self.take(if pooled { POOLED_MAPS } else { ON_DEMAND_MAPS })
    }

    /// Takes the maps of one program.
    pub(super) fn program(&self) -> Result<MapPermit, Occupancy> {
        self.take(PROGRAM_MAPS)
    }

    fn take(&self, maps: u32) -> Result<MapPermit, Occupancy> {
        Arc::clone(&self.maps)
            .try_acquire_many_owned(maps)
            .map_err(|_| self.occupancy())
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        let left = u32::try_from(self.maps.available_permits()).unwrap_or(u32::MAX) / self.each;
        Occupancy {
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
        let instances = |limit, used| Occupancy {
            resource: "instances",
            limit,
            used,
        };
        let capacity = MapBudget::new(3, true);
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
        let memory = MemoryBudget::new(100);
        assert!(memory.take(60) && memory.take(40) && !memory.take(1));
        memory.give(60);
        assert!(!memory.take(61) && memory.take(60) && !memory.take(u64::MAX));
        assert_eq!(memory.occupancy().used, 100);
    }
}
