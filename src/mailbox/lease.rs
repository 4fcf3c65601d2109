//! A message in the hands of an instance, as a value.

use std::sync::Arc;
use std::time::Instant;

use super::lanes::Ticket;
use super::{Delivery, Mailbox};
use crate::message::Message;

/// A message whose turn goes on. While it is leased, no other message of its lane is.
///
/// The message stays in the mailbox meanwhile, at its position and with its reservation. A lease that is dropped gives it back
/// as it was: the instance was killed, and the turn never happened. A lease is void when the mailbox was closed or restored
/// since it was given: what it was for is somebody else's by then, so its turn must not take effect.
#[derive(Debug)]
#[must_use = "a lease that is dropped gives its message back"]
pub struct Lease {
    pub(super) mailbox: Arc<Mailbox>,
    /// The consumer that has the lease.
    pub(super) consumer: u64,
    /// None: the lease was ended.
    pub(super) ticket: Option<Ticket>,
    pub(super) message: Arc<Message>,
    pub(super) attempt: u32,
    pub(super) admitted: Instant,
}

impl Lease {
    pub const fn message(&self) -> &Arc<Message> {
        &self.message
    }

    /// Which try this is, from 1.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the mailbox admitted the message.
    pub const fn admitted(&self) -> Instant {
        self.admitted
    }

    /// The turn is over, and the message leaves the mailbox. None: the lease is void.
    #[must_use = "a turn whose lease is void must not take effect"]
    pub fn finish(mut self) -> Option<Delivery> {
        let ticket = self.ticket.take()?;
        self.mailbox.end_lease(self.consumer, |lanes| lanes.finish(ticket))
    }

    /// The turn crashed: the message goes back to its position for one more try. False: the lease is void.
    #[must_use = "a turn whose lease is void must not take effect"]
    pub fn retry(mut self) -> bool {
        let Some(ticket) = self.ticket.take() else {
            return false;
        };
        self.mailbox.end_lease(self.consumer, |lanes| {
            let delivery = lanes.give_back(ticket);
            delivery.map(|delivery| delivery.attempt += 1).is_some()
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.mailbox.end_lease(self.consumer, |lanes| {
                lanes.give_back(ticket);
            });
        }
    }
}
