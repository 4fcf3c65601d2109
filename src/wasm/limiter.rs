//! Limits the memories and tables of one instance, and counts them in what all instances have together.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::capacity::{MemoryBudget, Occupancy};

/// Bytes of one element of a table, which is a pointer.
pub(super) const TABLE_ELEMENT: u64 = 8;
/// Core instances in one component. Components made from Python or JavaScript have one for each library and adapter.
const INSTANCES: usize = 256;
/// Memories in one component.
const MEMORIES: usize = 8;
/// Tables in one component.
const TABLES: usize = 64;

/// Counts what an instance has, and denies more than its limit. For the guest, a growth that is denied fails and returns -1.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: u64,
    /// What all instances of the node have together.
    shared: Arc<MemoryBudget>,
    /// Whether the growth in `denied` was within the instance's own limit, and all instances together had no more.
    node_is_full: bool,
    /// Bytes of all memories of the instance.
    memory: u64,
    /// Bytes of all tables of the instance.
    tables: u64,
    /// The growth that was denied last since [`Limiter::forget`], as a sentence.
    denied: Option<String>,
}

impl Limiter {
    pub(super) const fn new(limit: u64, shared: Arc<MemoryBudget>) -> Self {
        Self {
            limit,
            shared,
            node_is_full: false,
            memory: 0,
            tables: 0,
            denied: None,
        }
    }

    /// Bytes of linear memory.
    pub(super) const fn memory_bytes(&self) -> u64 {
        self.memory
    }

    /// The growth that was denied last in this turn. If the guest then traps, it ran out of memory: most languages trap when they
    /// get no memory.
    pub(super) fn denied(&self) -> Option<&str> {
        self.denied.as_deref()
    }

    /// Forgets the growth that was denied. Called at the begin of each turn.
    pub(super) fn forget(&mut self) {
        self.denied = None;
        self.node_is_full = false;
    }

    /// Whether a growth was denied because all instances of the node together have no more memory to take.
    pub(super) const fn node_is_full(&self) -> bool {
        self.node_is_full
    }

    /// Whether a memory or table, which `what` names, may grow from `current` to `desired` bytes. `maximum` is the limit of its own
    /// type or of the engine. If it may, the bytes are taken from the budget of all instances.
    fn fits(&mut self, what: &str, current: u64, desired: u64, maximum: Option<u64>) -> bool {
        let total = (self.memory + self.tables)
            .saturating_sub(current)
            .saturating_add(desired);
        if total > self.limit {
            self.denied = Some(format!(
                "{what} was to grow from {current} to {desired} bytes, which makes {total} bytes in all; the limit is {}",
                self.limit
            ));
            false
        } else if maximum.is_some_and(|maximum| desired > maximum) {
            // Wasmtime would refuse this growth too, but only after it was counted here. Its report of the failure does not say
            // which memory failed to grow, so the bytes could not be given back.
            self.denied = Some(format!(
                "{what} was to grow to {desired} bytes, beyond the maximum that its module or the server sets"
            ));
            false
        } else if !self.shared.take(desired.saturating_sub(current)) {
            let Occupancy { limit, used, .. } = self.shared.occupancy();
            self.denied = Some(format!(
                "{what} was to grow from {current} to {desired} bytes; all agents together use {used} of {limit} bytes"
            ));
            self.node_is_full = true;
            false
        } else {
            true
        }
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.shared.give(self.memory + self.tables);
    }
}

fn bytes(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let (current, desired) = (bytes(current), bytes(desired));
        let fits = self.fits("a memory", current, desired, maximum.map(bytes));
        if fits {
            self.memory = self.memory.saturating_sub(current) + desired;
        }
        Ok(fits)
    }

    /// The kernel gave no memory. The bytes stay counted: the machine is out of memory, and this guest is about to crash.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.denied = Some(format!("a memory could not grow: {error}"));
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let size = |elements| bytes(elements).saturating_mul(TABLE_ELEMENT);
        let (current, desired) = (size(current), size(desired));
        let fits = self.fits("a table", current, desired, maximum.map(size));
        if fits {
            self.tables = self.tables.saturating_sub(current) + desired;
        }
        Ok(fits)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.denied = Some(format!("a table could not grow: {error}"));
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }

    fn tables(&self) -> usize {
        TABLES
    }
}
