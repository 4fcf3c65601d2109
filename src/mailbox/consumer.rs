//! The consumers of a mailbox, and which of them is woken.
//!
//! A consumer falls asleep when there is no message for it to lease, and stays asleep until it is woken. A consumer that is awake
//! and has no lease will ask for a message. When a message becomes available, another consumer is woken only if there are
//! fewer of those than available messages. So each message wakes at most one consumer, and no message waits while a consumer
//! sleeps.

use std::sync::Arc;

use super::{Lease, Mailbox, Waker};

/// An instance at its agent's mailbox. It is woken for messages until it is detached or dropped.
#[derive(Debug)]
pub struct Consumer {
    mailbox: Arc<Mailbox>,
    id: u64,
}

impl Consumer {
    /// Leases a message. None: there is none to be leased, and the consumer will be woken when there is.
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

    /// The consumer will ask for no more messages. It is woken no more, and others are woken in its stead.
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
    /// Adds a consumer, and wakes it for the first time.
    pub fn attach(self: &Arc<Self>, waker: Waker) -> Consumer {
        let wake = waker.clone();
        let id = self.inner.lock().consumers.sit(waker);
        wake();
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
    /// It was woken since it last found no message.
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
        let (mut coming, mut sleeper) = (0, None);
        for seat in self.seats.iter_mut().filter(|seat| seat.leases == 0) {
            if seat.awake {
                coming += 1;
            } else {
                sleeper = sleeper.or(Some(seat));
            }
        }
        let sleeper = sleeper.filter(|_| coming < available)?;
        sleeper.awake = true;
        Some(sleeper.waker.clone())
    }
}
