//! The queue of an agent. It belongs to the agent, not to an instance, so it outlives crashes and restarts.
//!
//! Bounded in messages and bytes: it says no instead of growing. Two accounts pay for what is in it. Ordinary messages take
//! *room*. Replies take a *reply slot* that their receiver reserved when it asked, so a reply or a failure always finds room.
//! There is one queue for both, so that nothing overtakes an earlier message of the same sender.
//!
//! Room and reply slots are values: dropping one gives its share back.

mod gauge;
mod questions;
mod reservation;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use questions::{Question, REPLY_SLOTS};
pub use reservation::{ReplySlot, Reservation, Room};

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
    /// The agent takes no more: it is stopping, stopped, failed or gone.
    Closed,
}

/// A message on its way into the hands of an instance.
#[derive(Debug)]
pub struct Delivery {
    pub message: Arc<Message>,
    /// Which try this is, from 1.
    pub attempt: u32,
    pub admitted: Instant,
    /// The end of the batch that brought it.
    pub seq: Seq,
    /// What it takes of the mailbox until its turn has been recorded.
    pub reservation: Reservation,
}

/// Tells an instance that there may be messages.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Messages come in and none goes out, while one of these holds.
#[derive(Default)]
struct Paused {
    /// By an operator.
    suspended: bool,
    /// By the node, while the disk is full.
    held: bool,
}

impl Paused {
    const fn is(&self) -> bool {
        self.suspended || self.held
    }
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Delivery>,
    in_hand: Option<(Arc<Message>, u32, Seq)>,
    used_messages: u32,
    used_bytes: u64,
    /// Below zero when turns overdrew it: they take what they were promised, and the router may have been quicker.
    reply_slots: i64,
    /// Open questions in the order they were asked.
    questions: IndexMap<Question, (Performative, ReplySlot)>,
    open: bool,
    paused: Paused,
    /// What came up to here is in the queue, or was handled: it was restored from the journal.
    restored: Seq,
    waker: Option<Waker>,
    /// A wake-up is on its way, so that there is at most one.
    woken: bool,
}

pub struct Mailbox {
    inner: Mutex<Inner>,
    capacity: Capacity,
    /// Signalled when nothing is queued or in hand.
    idle: Notify,
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
                open: true,
                ..Inner::default()
            }),
            capacity,
            idle: Notify::new(),
        })
    }

    /// Reserves what `message` will occupy: the reply slot of the question that it answers, else room.
    pub fn admit(self: &Arc<Self>, message: &Message) -> Result<Reservation, Refusal> {
        self.admit_failure(message, &message.sender)
    }

    /// As [`Self::admit`], for the platform's `failure` in the place of a reply from `participant`.
    pub fn admit_failure(self: &Arc<Self>, message: &Message, participant: &Address) -> Result<Reservation, Refusal> {
        let mut inner = self.inner.lock();
        if !inner.open {
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

    /// Puts an admitted message at the end and wakes the instance. A message that comes after the close is handed back; one
    /// that a restoration has brought already is ignored.
    pub fn push(&self, delivery: Delivery) -> Result<(), Delivery> {
        let waker = {
            let mut inner = self.inner.lock();
            if !inner.open {
                return Err(delivery);
            }
            if delivery.seq <= inner.restored {
                drop(inner); // the reservation goes with the delivery, and takes the lock
                return Ok(());
            }
            inner.queue.push_back(delivery);
            inner.wake()
        };
        if let Some(waker) = waker {
            waker();
        }
        Ok(())
    }

    /// Sets the mailbox to what the journal holds up to `upto`: `queue` is live, `asked` has no answer. What came later stays
    /// behind it. No instance runs meanwhile.
    pub fn restore(
        self: &Arc<Self>,
        upto: Seq,
        queue: impl IntoIterator<Item = (Arc<Message>, u32, Seq)>,
        asked: impl IntoIterator<Item = (Question, Performative)>,
    ) {
        let asked: Vec<_> = asked.into_iter().collect();
        let mut inner = self.inner.lock();
        let forgotten = std::mem::take(&mut inner.questions);
        let (old, later) = std::mem::take(&mut inner.queue)
            .into_iter()
            .partition(|delivery| delivery.seq <= upto);
        inner.queue = later;
        inner.in_hand = None;
        inner.restored = upto;
        let queue: Vec<_> = queue.into_iter().collect();
        for (message, attempt, seq) in queue.into_iter().rev() {
            let reservation = Reservation::Room(inner.take_room(self, message.weight() as u64));
            inner.queue.push_front(Delivery {
                message,
                attempt,
                admitted: Instant::now(),
                seq,
                reservation,
            });
        }
        drop(inner);
        let old: VecDeque<Delivery> = old;
        drop((forgotten, old)); // their places take the lock
        for (question, act) in asked {
            if let Some(reply_slot) = self.reserve_reply() {
                self.ask(question, act, reply_slot);
            }
        }
    }

    /// An instance says how it wants to be woken. What an earlier one had in hand goes back to the head: it died with it,
    /// and its turn never happened.
    pub fn attach(self: &Arc<Self>, waker: &Waker) {
        let mut inner = self.inner.lock();
        if let Some((message, attempt, seq)) = inner.in_hand.take() {
            let reservation = Reservation::Room(inner.take_room(self, message.weight() as u64));
            inner.queue.push_front(Delivery {
                message,
                attempt,
                admitted: Instant::now(),
                seq,
                reservation,
            });
        }
        inner.waker = Some(waker.clone());
        inner.woken = true;
        drop(inner);
        waker();
    }

    pub fn detach(&self) {
        self.inner.lock().waker = None;
    }

    /// The next message, which stays in hand until [`Self::finish`] or [`Self::retry`].
    pub fn take(&self) -> Option<Delivery> {
        let mut inner = self.inner.lock();
        let next = if inner.paused.is() {
            None
        } else {
            inner.queue.pop_front()
        };
        let Some(delivery) = next else {
            inner.woken = false;
            return None;
        };
        inner.in_hand = Some((delivery.message.clone(), delivery.attempt, delivery.seq));
        Some(delivery)
    }

    /// The turn of the message in hand is over. False: the mailbox was closed meanwhile and the message given up, so the
    /// turn must not take effect.
    #[must_use]
    pub fn finish(&self) -> bool {
        let mut inner = self.inner.lock();
        let still_ours = inner.in_hand.take().is_some();
        if inner.queue.is_empty() {
            self.idle.notify_waiters();
        }
        still_ours
    }

    /// The turn crashed: the message goes back to the head for one more try. False as for [`Self::finish`].
    #[must_use]
    pub fn retry(&self, mut delivery: Delivery) -> bool {
        let mut inner = self.inner.lock();
        let still_ours = inner.in_hand.take().is_some();
        if still_ours {
            delivery.attempt += 1;
            inner.queue.push_front(delivery);
        }
        still_ours
    }

    /// Gives out no more messages, and goes on admitting them up to the capacity. The turn in flight ends as it does.
    pub fn suspend(&self) {
        self.inner.lock().paused.suspended = true;
    }

    /// Ends what [`Self::suspend`] began.
    pub fn resume(&self) {
        self.rouse(|inner| inner.paused.suspended = false);
    }

    /// As [`Self::suspend`] and [`Self::resume`], apart from them.
    pub fn hold(&self, hold: bool) {
        self.rouse(|inner| inner.paused.held = hold);
    }

    /// Whether it gives out no messages for now.
    pub fn is_paused(&self) -> bool {
        self.inner.lock().paused.is()
    }

    fn rouse(&self, change: impl FnOnce(&mut Inner)) {
        let waker = {
            let mut inner = self.inner.lock();
            change(&mut inner);
            if inner.paused.is() { None } else { inner.wake() }
        };
        if let Some(waker) = waker {
            waker();
        }
    }

    /// Stops admission; what is queued can still be handled.
    pub fn drain(&self) {
        self.inner.lock().open = false;
    }

    /// Waits until nothing is queued or in hand.
    pub async fn until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            {
                let inner = self.inner.lock();
                if inner.queue.is_empty() && inner.in_hand.is_none() {
                    return;
                }
            }
            idle.await;
        }
    }

    /// Closes for good and hands out what will never be handled, in order, the message in hand first.
    pub fn close(&self) -> Vec<Arc<Message>> {
        let (in_hand, queue, questions) = {
            let mut inner = self.inner.lock();
            inner.open = false;
            inner.waker = None;
            (
                inner.in_hand.take(),
                std::mem::take(&mut inner.queue),
                std::mem::take(&mut inner.questions),
            )
        };
        self.idle.notify_waiters();
        drop(questions); // their reply slots take the lock
        let queued: Vec<_> = queue.into_iter().map(|delivery| delivery.message).collect();
        in_hand
            .map(|(message, _, _)| message)
            .into_iter()
            .chain(queued)
            .collect()
    }

    /// Opens a closed mailbox again, empty.
    pub fn reopen(&self) {
        self.inner.lock().open = true;
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

    fn wake(&mut self) -> Option<Waker> {
        if self.woken {
            return None;
        }
        self.woken = self.waker.is_some();
        self.waker.clone()
    }
}
