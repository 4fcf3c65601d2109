//! The cap over all memories and tables of one instance, and its share of what all instances have together.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::capacity::{Memory, NoRoom};

/// What a table's element costs: a pointer.
pub(super) const TABLE_ELEMENT: u64 = 8;
/// Core instances of one component. Python's and JavaScript's have one for each library and adapter.
const INSTANCES: usize = 256;
const MEMORIES: usize = 8;
const TABLES: usize = 64;

/// Counts what an instance has, and says no beyond its limit. To the guest, no is a growth that fails.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: u64,
    /// Of all instances.
    shared: Arc<Memory>,
    /// The last growth that was denied since [`Limiter::forget`] was within the instance's own limit.
    node_is_full: bool,
    memory: u64,
    tables: u64,
    /// The last growth that was denied since [`Limiter::forget`], as a sentence.
    denied: Option<String>,
}

impl Limiter {
    pub(super) const fn new(limit: u64, shared: Arc<Memory>) -> Self {
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

    /// A trap that follows a denied growth is the guest's way to say that it ran out of memory.
    pub(super) fn denied(&self) -> Option<&str> {
        self.denied.as_deref()
    }

    pub(super) fn forget(&mut self) {
        self.denied = None;
        self.node_is_full = false;
    }

    /// Whether a growth was denied because all instances together have all that there is.
    pub(super) const fn node_is_full(&self) -> bool {
        self.node_is_full
    }

    /// Whether `desired` bytes in place of `current` fit, beside `others`.
    fn fits(&mut self, what: &str, current: u64, desired: u64, maximum: Option<u64>) -> bool {
        let total = (self.memory + self.tables)
            .saturating_sub(current)
            .saturating_add(desired);
        if total > self.limit {
            self.denied = Some(format!(
                "{what} was to grow from {current} to {desired} bytes, which makes {total} in all; the limit is {}",
                self.limit
            ));
            false
        } else if maximum.is_some_and(|maximum| desired > maximum) {
            // Said here because a growth that is allowed here and then fails would have to be given back, and the report
            // of a failure does not say whose it is.
            self.denied = Some(format!(
                "{what} was to grow to {desired} bytes, beyond the maximum that its module or the engine has for it"
            ));
            false
        } else if !self.shared.take(desired.saturating_sub(current)) {
            let NoRoom { limit, used, .. } = self.shared.no_room();
            self.denied = Some(format!(
                "{what} was to grow from {current} to {desired} bytes; all agents of the node have {used}, and may have {limit}"
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

    /// The system said no. What was counted stays counted: the machine is out of memory, and this guest is about to crash.
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
