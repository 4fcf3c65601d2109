//! A turn leases the state and the timers at its start or at its first use of either. See [`StateLock`](crate::wasm::StateLock).

use super::guest::Guest;
use crate::wasm::state_lock::Leasing;

impl Guest {
    pub(in crate::wasm) const fn leasing(&self) -> Leasing {
        self.host.leasing
    }

    /// Leases state and timers for the turn that begins, if that is when they are leased and the guest may use them.
    pub(in crate::wasm) async fn lease_at_start(&mut self) {
        if self.leasing() == Leasing::AtStart && (self.host.grants.state() || self.host.grants.timers()) {
            self.lease().await;
        }
    }

    /// Leases the state for the rest of the turn, if the guest may use it.
    pub(in crate::wasm) async fn lease_state(&mut self) {
        if self.host.grants.state() {
            self.lease().await;
        }
    }

    /// Leases the timers for the rest of the turn, if the guest may use them. The lease is the same.
    pub(in crate::wasm) async fn lease_timers(&mut self) {
        if self.host.grants.timers() {
            self.lease().await;
        }
    }

    async fn lease(&mut self) {
        if self.state_lease.is_some() {
            return;
        }
        let lease = match self.host.state_lock.try_lease() {
            Some(lease) => lease,
            None => self.pace.suspend(self.host.state_lock.lease()).await,
        };
        self.state_lease = Some(lease);
    }
}
