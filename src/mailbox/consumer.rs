//! Those who lease messages, and who of them is woken.
//!
//! A consumer is asleep from the moment in which a lease was refused to it until it is woken. One that is awake and leases
//! nothing will ask for a message. So when a message becomes available, a consumer is woken only if there are fewer of those
//! than messages: each message wakes one consumer at most, and none waits while a consumer sleeps.

use std::sync::Arc;

use super::{Lease, Mailbox, Waker};

/// An instance at its agent's mailbox. It is woken for messages until it is detached or dropped.
#[derive(Debug)]
pub struct Consumer {
    mailbox: Arc<Mailbox>,
    id: u64,
}

impl Consumer {
    /// A message whose turn it is. None: there is none for now, and the consumer will be woken when there is.
    pub fn lease(&self) -> Option<Lease> {
        let mut inner = self.mailbox.inner.lock();
        let inner = &mut *inner;
        let leased = if inner.paused.is() { None } else { inner.lanes.lease() };
        let seat = inner.consumers.seat(self.id);
        let Some((ticket, delivery)) = leased else {
            if let Some(seat) = seat {
                seat.awake = false;
            }
            return None;
        };
        if let Some(seat) = seat {
            seat.leases += 1;
        }
        Some(Lease {
            mailbox: self.mailbox.clone(),
            consumer: self.id,
            ticket: Some(ticket),
            message: delivery.message.clone(),
            attempt: delivery.attempt,
            admitted: delivery.admitted,
        })
    }

    /// Ends its waking. Others are woken for the messages that it will not ask for now.
    pub fn detach(&self) {
        let waker = {
            let mut inner = self.mailbox.inner.lock();
            inner.consumers.seats.retain(|seat| seat.id != self.id);
            inner.next_to_wake()
        };
        if let Some(waker) = waker {
            waker();
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.detach();
    }
}

impl Mailbox {
    /// A consumer comes, and is woken for the first time.
    pub fn attach(self: &Arc<Self>, waker: Waker) -> Consumer {
        let id = self.inner.lock().consumers.sit(waker.clone());
        waker();
        Consumer {
            mailbox: self.clone(),
            id,
        }
    }
}

/// The consumers of a mailbox.
#[derive(Default)]
pub(super) struct Consumers {
    seats: Vec<Seat>,
    next_id: u64,
}

struct Seat {
    id: u64,
    waker: Waker,
    /// It was woken since a lease was refused to it.
    awake: bool,
    leases: u32,
}

impl Consumers {
    fn sit(&mut self, waker: Waker) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.seats.push(Seat {
            id,
            waker,
            awake: true,
            leases: 0,
        });
        id
    }

    fn seat(&mut self, id: u64) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.id == id)
    }

    /// A lease has ended.
    pub(super) fn returned(&mut self, id: u64) {
        if let Some(seat) = self.seat(id) {
            seat.leases -= 1;
        }
    }

    /// The consumer to be woken next while `available` messages could be leased.
    pub(super) fn next_to_wake(&mut self, available: usize) -> Option<Waker> {
        if available == 0 {
            return None;
        }
        let idle = || self.seats.iter().filter(|seat| seat.leases == 0);
        if idle().filter(|seat| seat.awake).count() >= available {
            return None;
        }
        let is_sleeper = |seat: &&mut Seat| seat.leases == 0 && !seat.awake;
        let sleeper = self.seats.iter_mut().find(is_sleeper)?;
        sleeper.awake = true;
        Some(sleeper.waker.clone())
    }
}
