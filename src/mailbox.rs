//! The mailbox of an agent. It belongs to the agent and not to an instance, so it outlives crashes and restarts.
//!
//! It is bounded in messages and bytes, and refuses a message instead of growing. Each message holds a reservation. An ordinary
//! message takes *room*. A reply takes a *reply slot*, which its receiver reserved when it asked, so a reply or a failure always
//! finds one. Both are in the same lanes, so that nothing overtakes an earlier message of the same sender.
//!
//! Instances lease messages. Room, reply slots, consumers and leases are values: each gives back what it holds when it is
//! dropped. Nothing here reads a clock or needs a runtime: the caller hands the time in, and wakers tell those who wait.

mod consumer;
mod gauge;
mod lanes;
mod lease;
mod questions;
mod reservation;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Instant;

use indexmap::IndexMap;
use parking_lot::{Mutex, MutexGuard};

pub use consumer::Consumer;
pub use lanes::Order;
pub use lease::Lease;
pub use questions::{Question, REPLY_SLOTS};
pub use reservation::{ReplySlot, Reservation, Room};

use consumer::Consumers;
use lanes::Lanes;

use crate::fipa::Performative;
use crate::id::Seq;
use crate::message::{Address, Message};

/// The capacity of a mailbox.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    pub messages: u32,
    pub bytes: u64,
}

/// Why a message cannot enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Messages,
    Bytes,
    /// The agent takes no more messages: it is stopping, stopped, failed or removed.
    Closed,
}

/// A message of a mailbox, from its admission to the end of its turn.
#[derive(Debug)]
pub struct Delivery {
    pub message: Arc<Message>,
    /// The number of this try, from 1. Only a crash in the message's own turn makes a further try.
    pub attempt: u32,
    pub admitted: Instant,
    /// The end of the batch that brought the message.
    pub seq: Seq,
    /// What the message takes of the mailbox until its turn has been recorded.
    pub reservation: Reservation,
}

/// Tells a consumer that there may be messages.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What the mailbox does with messages that come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Open,
    /// It admits none. What was admitted before still comes in, and what is queued can be handled.
    Draining,
    /// As [`Self::Draining`], but nothing will be handled: what still comes in has to be given up.
    Closed,
}

/// Where a message is after [`Mailbox::push`].
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// In its lane, or the restoration had brought it before.
    Queued,
    /// Behind the closed gate. The owner of the agent must take it out with [`Mailbox::take_stranded`].
    Stranded,
}

/// Why messages are admitted and none is leased. It goes on while one of the reasons holds.
#[derive(Default)]
struct Paused {
    /// An operator has suspended the agent.
    suspended: bool,
    /// The disk of the node is full.
    held: bool,
}

impl Paused {
    const fn is(&self) -> bool {
        self.suspended || self.held
    }
}

#[derive(Default)]
struct Inner {
    lanes: Lanes,
    consumers: Consumers,
    used_messages: u32,
    used_bytes: u64,
    /// Free slots. Below zero when turns have overdrawn them; see [`Mailbox::reserve_promised_reply`].
    reply_slots: i64,
    /// Open questions, in the order in which they were asked.
    questions: IndexMap<Question, (Performative, ReplySlot)>,
    gate: Gate,
    paused: Paused,
    /// The mailbox was restored from the journal up to this record: what came by then is in the lanes or was handled.
    restored: Seq,
    /// The tasks that wait until there is no message.
    idle: Vec<task::Waker>,
}

pub struct Mailbox {
    inner: Mutex<Inner>,
    capacity: Capacity,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl Mailbox {
    pub fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                reply_slots: i64::from(REPLY_SLOTS),
                ..Inner::default()
            }),
            capacity,
        })
    }

    /// Reserves what `message` will occupy: the reply slot of the question that it answers, or else room.
    pub fn admit(self: &Arc<Self>, message: &Message) -> Result<Reservation, Refusal> {
        self.admit_failure(message, &message.sender)
    }

    /// As [`Self::admit`], for a `failure` that the platform sends in place of a reply from `participant`.
    pub fn admit_failure(self: &Arc<Self>, message: &Message, participant: &Address) -> Result<Reservation, Refusal> {
        let mut inner = self.inner.lock();
        if inner.gate != Gate::Open {
            return Err(Refusal::Closed);
        }
        if let Some(reply_slot) = inner.answered_by(message, participant) {
            return Ok(Reservation::ReplySlot(reply_slot));
        }
        let bytes = message.weight() as u64;
        if inner.used_messages >= self.capacity.messages {
            Err(Refusal::Messages)
        } else if inner.used_bytes + bytes > self.capacity.bytes {
            Err(Refusal::Bytes)
        } else {
            Ok(Reservation::Room(inner.take_room(self, bytes)))
        }
    }

    /// Puts an admitted message at the end of its lane and wakes a consumer. One that a restoration has brought already is
    /// ignored, whatever became of it since.
    pub fn push(&self, delivery: Delivery) -> Pushed {
        let waker = {
            let mut inner = self.inner.lock();
            if delivery.seq <= inner.restored {
                drop(inner); // the reservation goes with the delivery, and takes the lock
                return Pushed::Queued;
            }
            inner.lanes.push(delivery);
            if inner.gate == Gate::Closed {
                return Pushed::Stranded;
            }
            inner.next_to_wake()
        };
        if let Some(waker) = waker {
            waker();
        }
        Pushed::Queued
    }

    /// Sets the mailbox to what the journal holds up to `upto`: `queue` is live, `asked` has no answer. What came later stays
    /// behind it. All leases are void.
    pub fn restore(
        self: &Arc<Self>,
        upto: Seq,
        queue: impl IntoIterator<Item = (Arc<Message>, u32, Seq)>,
        asked: impl IntoIterator<Item = (Question, Performative)>,
        now: Instant,
    ) {
        let queue: Vec<_> = queue.into_iter().collect();
        let asked: Vec<_> = asked.into_iter().collect();
        let mut inner = self.inner.lock();
        let forgotten = std::mem::take(&mut inner.questions);
        let (old, later): (Vec<_>, Vec<_>) = inner
            .lanes
            .take_all()
            .into_iter()
            .map(|(_, delivery)| delivery)
            .partition(|delivery| delivery.seq <= upto);
        inner.restored = upto;
        for (message, attempt, seq) in queue {
            let reservation = Reservation::Room(inner.take_room(self, message.weight() as u64));
            inner.lanes.push(Delivery {
                message,
                attempt,
                admitted: now,
                seq,
                reservation,
            });
        }
        for delivery in later {
            inner.lanes.push(delivery);
        }
        let idle = inner.idle();
        drop(inner);
        drop((forgotten, old)); // their reservations take the lock
        idle.into_iter().for_each(task::Waker::wake);
        for (question, act) in asked {
            if let Some(reply_slot) = self.reserve_reply() {
                self.ask(question, act, reply_slot);
            }
        }
        self.rouse();
    }

    /// A lease of `consumer` ends as `end` does it.
    fn end_lease<T>(&self, consumer: u64, end: impl FnOnce(&mut Lanes) -> T) -> T {
        let mut inner = self.inner.lock();
        let ended = end(&mut inner.lanes);
        inner.consumers.returned(consumer);
        if let Some(waker) = inner.next_to_wake() {
            drop(inner);
            waker();
        } else if inner.lanes.len() == 0 && !inner.idle.is_empty() {
            let idle = inner.idle();
            drop(inner);
            idle.into_iter().for_each(task::Waker::wake);
        }
        ended
    }

    /// Changes which messages are handled in the order in which they came. What is queued goes by the new order.
    pub fn set_order(&self, order: Order) {
        self.inner.lock().lanes.set_order(order);
        self.rouse();
    }

    /// Leases no more messages, and goes on admitting them up to the capacity. The turns in flight end as they do.
    pub fn suspend(&self) {
        self.inner.lock().paused.suspended = true;
    }

    /// Ends what [`Self::suspend`] began.
    pub fn resume(&self) {
        self.inner.lock().paused.suspended = false;
        self.rouse();
    }

    /// Does the same as [`Self::suspend`] and [`Self::resume`] while the disk is full. The two do not undo each other.
    pub fn hold(&self, hold: bool) {
        self.inner.lock().paused.held = hold;
        self.rouse();
    }

    /// Whether it leases no messages at present.
    pub fn is_paused(&self) -> bool {
        self.inner.lock().paused.is()
    }

    /// Wakes consumers for all messages that are available.
    fn rouse(&self) {
        loop {
            let waker = self.inner.lock().next_to_wake();
            let Some(waker) = waker else { return };
            waker();
        }
    }

    /// Stops admission; what is queued can still be handled.
    pub fn drain(&self) {
        let mut inner = self.inner.lock();
        if inner.gate == Gate::Open {
            inner.gate = Gate::Draining;
        }
    }

    /// Waits until nothing is queued or leased.
    pub fn until_idle(&self) -> impl Future<Output = ()> + Send {
        poll_fn(|context| {
            let mut inner = self.inner.lock();
            if inner.lanes.len() == 0 {
                return Poll::Ready(());
            }
            if !inner.idle.iter().any(|waker| waker.will_wake(context.waker())) {
                inner.idle.push(context.waker().clone());
            }
            Poll::Pending
        })
    }

    /// Closes for good and hands out what will never be handled: what is leased, and then what is queued, both in the order in
    /// which they came. All leases are void.
    pub fn close(&self) -> Vec<Arc<Message>> {
        self.close_at(Seq(0))
    }

    /// As [`Self::close`], for a mailbox whose messages up to the record `upto` the caller has read in the journal. It hands out
    /// those that came later, and ignores the others if they are still to come.
    pub fn close_at(&self, upto: Seq) -> Vec<Arc<Message>> {
        let mut inner = self.inner.lock();
        inner.restored = inner.restored.max(upto);
        inner.gate = Gate::Closed;
        Self::give_up(inner, upto)
    }

    /// Hands out what came in behind the closed gate after the record `upto`. If the gate was opened since, that is queued and
    /// will be handled, so there is nothing to hand out.
    pub fn take_stranded(&self, upto: Seq) -> Vec<Arc<Message>> {
        let inner = self.inner.lock();
        match inner.gate {
            Gate::Closed => Self::give_up(inner, upto),
            Gate::Open | Gate::Draining => Vec::new(),
        }
    }

    fn give_up(mut inner: MutexGuard<'_, Inner>, upto: Seq) -> Vec<Arc<Message>> {
        let taken = inner.lanes.take_all();
        let (questions, idle) = (std::mem::take(&mut inner.questions), inner.idle());
        drop(inner);
        idle.into_iter().for_each(task::Waker::wake);
        drop(questions); // their reply slots take the lock
        let (leased, queued): (Vec<_>, Vec<_>) = taken.into_iter().partition(|(leased, _)| *leased);
        let given_up = leased.into_iter().chain(queued).map(|(_, delivery)| delivery);
        given_up
            .filter(|delivery| delivery.seq > upto)
            .map(|delivery| delivery.message)
            .collect()
    }

    /// Opens a closed mailbox again.
    pub fn reopen(&self) {
        self.inner.lock().gate = Gate::Open;
        self.rouse();
    }
}

impl Inner {
    fn take_room(&mut self, mailbox: &Arc<Mailbox>, bytes: u64) -> Room {
        self.used_messages += 1;
        self.used_bytes += bytes;
        Room {
            mailbox: mailbox.clone(),
            bytes,
        }
    }

    /// The consumer to be woken next.
    fn next_to_wake(&mut self) -> Option<Waker> {
        if self.paused.is() {
            return None;
        }
        self.consumers.next_to_wake(self.lanes.available())
    }

    /// The tasks that wait until there is no message, if there is none.
    fn idle(&mut self) -> Vec<task::Waker> {
        if self.lanes.len() == 0 {
            std::mem::take(&mut self.idle)
        } else {
            Vec::new()
        }
    }
}
