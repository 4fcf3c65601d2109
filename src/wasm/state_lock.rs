//! The lease of an agent's state and timers.
//!
//! Instances of one agent run turns at once. A turn that uses the state or the timers must see all that turns before it have
//! committed, and no other may commit before it ends. So it leases both from its first such call until its outcome has been
//! handed over. Turns that use neither run beside it.
//!
//! A turn waits for the lease in the order of the calls. Each turn before it holds the lease for no longer than its deadline, so
//! with `n` instances a turn waits for `n - 1` deadlines at most. Where nobody else has the lease, which is always so with one
//! instance, it is one look at a lock.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Gives the lease of one agent's state and timers to one turn at a time.
#[derive(Clone, Debug, Default)]
pub struct StateLock(Arc<Mutex<()>>);

/// The lease of an agent's state and timers. Dropped, it is the next turn's.
#[derive(Debug)]
pub struct StateLease {
    _guard: OwnedMutexGuard<()>,
}

impl StateLock {
    pub(super) fn try_lease(&self) -> Option<StateLease> {
        let guard = Arc::clone(&self.0).try_lock_owned().ok()?;
        Some(StateLease { _guard: guard })
    }

    pub(super) async fn lease(&self) -> StateLease {
        let guard = Arc::clone(&self.0).lock_owned().await;
        StateLease { _guard: guard }
    }
}
