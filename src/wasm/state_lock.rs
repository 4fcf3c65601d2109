//! The lease of an agent's state and timers.
//!
//! Instances of one agent run turns at once. A turn that uses the state or the timers must see all that turns before it have
//! committed, and no other may commit before it ends. So it leases both, at its start or at its first such call ([`Leasing`]), until
//! its outcome has been handed over. Turns that use neither run beside it.
//!
//! A turn waits for the lease in the order of the calls. Each turn before it holds the lease for no longer than its deadline, so
//! with `n` instances a turn waits for `n - 1` deadlines at most. Where nobody else has the lease, which is always so with one
//! instance, it is one look at a lock.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// When a turn leases the state and the timers of its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leasing {
    /// Before the guest is entered, so that no call of the guest has to wait. For a version with one instance: nobody else wants
    /// the lease but instances of another version, while one replaces the other.
    AtStart,
    /// At the first call that needs it, so that turns of other instances that need none run beside it.
    AtFirstUse,
}

impl Leasing {
    /// The better one for a version with this many instances.
    #[must_use]
    pub const fn of(instances: u32) -> Self {
        if instances <= 1 {
            Self::AtStart
        } else {
            Self::AtFirstUse
        }
    }
}

/// One of something for each [`Leasing`].
pub(super) struct ByLeasing<T> {
    pub(super) at_start: T,
    pub(super) at_first_use: T,
}

impl<T> ByLeasing<T> {
    pub(super) const fn get(&self, leasing: Leasing) -> &T {
        match leasing {
            Leasing::AtStart => &self.at_start,
            Leasing::AtFirstUse => &self.at_first_use,
        }
    }

    pub(super) fn try_map<U, E>(&self, make: impl Fn(&T) -> Result<U, E>) -> Result<ByLeasing<U>, E> {
        Ok(ByLeasing {
            at_start: make(&self.at_start)?,
            at_first_use: make(&self.at_first_use)?,
        })
    }
}

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
