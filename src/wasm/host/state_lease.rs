//! A turn leases the state and the timers at its first use of either. See [`StateLock`](crate::wasm::StateLock).

use super::guest::Guest;

impl Guest {
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
