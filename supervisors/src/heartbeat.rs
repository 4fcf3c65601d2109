//! Signs of life from a child, for those that can hang without ending.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How often a child must show that it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heartbeat {
    /// The longest silence, unless the child is busy.
    pub every: Duration,
    /// The longest time a child may stay busy with one handler.
    pub busy_for: Duration,
    /// How long after its start the first look is.
    pub grace: Duration,
}

/// A child's sign of life. It beats when it is idle, and is busy while a handler runs: the two together tell a slow child
/// from a dead one.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    epoch: Instant,
    /// Milliseconds since the epoch.
    last: AtomicU64,
    busy: AtomicUsize,
}

/// Says that its holder is busy until it is dropped.
#[derive(Debug)]
pub struct Busy(Arc<Beats>);

/// A pulse that nobody watches, for a child that is started without a supervisor.
impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Beats {
            epoch: Instant::now(),
            last: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
        }))
    }

    /// Says that the child lives.
    pub fn beat(&self) {
        self.0.beat();
    }

    /// Says that a handler is running, until the guard is dropped.
    #[must_use]
    pub fn busy(&self) -> Busy {
        self.0.beat();
        self.0.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.0))
    }

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
