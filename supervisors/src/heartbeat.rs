//! Heartbeats: how a supervisor detects a child that hangs without ending.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How often a child must show that it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heartbeat {
    /// The longest time between two beats while the child is not busy.
    pub every: Duration,
    /// The longest time that the child may be busy without a beat.
    pub busy_for: Duration,
    /// The time after the start of the child before the first check.
    pub grace: Duration,
}

/// The sign of life of a child. The child beats while it is idle, and says that it is busy while a handler runs, so that a slow
/// child is distinguished from a dead one.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    epoch: Instant,
    /// When the last beat was, in milliseconds since `epoch`.
    last: AtomicU64,
    /// The number of `Busy` guards.
    busy: AtomicUsize,
}

/// The child counts as busy until this guard is dropped.
#[derive(Debug)]
pub struct Busy(Arc<Beats>);

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Beats {
            epoch: Instant::now(),
            last: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
        }))
    }

    /// Shows that the child is alive.
    pub fn beat(&self) {
        self.0.beat();
    }

    /// Shows that the child is alive, and that it is busy with a handler until the guard is dropped.
    #[must_use]
    pub fn busy(&self) -> Busy {
        self.0.beat();
        self.0.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.0))
    }

    /// Whether the last beat was too long ago.
    pub(crate) fn is_lost(&self, rules: &Heartbeat) -> bool {
        let allowed = if self.0.busy.load(Ordering::Relaxed) > 0 {
            rules.busy_for
        } else {
            rules.every
        };
        let last = Duration::from_millis(self.0.last.load(Ordering::Relaxed));
        self.0.epoch.elapsed().saturating_sub(last) > allowed
    }
}

impl Beats {
    fn beat(&self) {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.beat();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
