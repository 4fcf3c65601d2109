//! The queue between the journal and one follower.
//!
//! Invariant: the batches in the queue, and those taken out but still held, are bounded in bytes. So a burst runs at
//! the speed of the log while there is room, and then at the speed of the slowest follower.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};

use super::Batch;

/// A durable batch. Dropping it releases its room in the queue.
#[derive(Debug)]
pub struct Followed {
    batch: Arc<Batch>,
    _room: OwnedSemaphorePermit,
}

impl Deref for Followed {
    type Target = Arc<Batch>;

    fn deref(&self) -> &Arc<Batch> {
        &self.batch
    }
}

impl AsRef<Batch> for Followed {
    fn as_ref(&self) -> &Batch {
        &self.batch
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct Follower {
    batches: mpsc::UnboundedReceiver<Followed>,
    room: Arc<Semaphore>,
}

impl Follower {
    /// The next batch. None when the journal is closed and every batch has been read.
    pub async fn recv(&mut self) -> Option<Followed> {
        self.batches.recv().await
    }

    /// Waits for a batch and moves it and those behind it to `group`, at most `limit`. Returns 0 where [`Self::recv`]
    /// returns None.
    pub async fn recv_many(&mut self, group: &mut Vec<Followed>, limit: usize) -> usize {
        self.batches.recv_many(group, limit).await
    }

    #[cfg(test)]
    pub(super) fn try_recv(&mut self) -> Option<Followed> {
        self.batches.try_recv().ok()
    }
}

impl Drop for Follower {
    /// Wakes a writer that waits for room, since there will be none.
    fn drop(&mut self) {
        self.room.close();
    }
}

/// The sending end, which the journal holds.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    batches: mpsc::UnboundedSender<Followed>,
    room: Arc<Semaphore>,
    /// Bytes of the whole queue, free or not.
    capacity: u32,
}

/// Why a batch cannot be queued now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    Full,
    /// The follower is gone.
    Closed,
}

/// Reserved room for one batch.
#[derive(Debug)]
pub(super) struct Room(OwnedSemaphorePermit);

/// Makes a queue with room for `bytes`. A batch that is larger is accepted when the queue is empty.
pub(super) fn way(bytes: u32) -> (Leader, Follower) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(bytes as usize));
    let follower = Follower {
        batches: receiver,
        room: Arc::clone(&room),
    };
    let leader = Leader {
        batches: sender,
        room,
        capacity: bytes,
    };
    (leader, follower)
}

impl Leader {
    fn needed(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.capacity)
    }

    pub(super) fn try_reserve(&self, bytes: usize) -> Result<Room, NoRoom> {
        let permit = Arc::clone(&self.room).try_acquire_many_owned(self.needed(bytes));
        permit.map(Room).map_err(|error| match error {
            TryAcquireError::NoPermits => NoRoom::Full,
            TryAcquireError::Closed => NoRoom::Closed,
        })
    }

    /// Waits until there is room, or the follower is gone. The room is not reserved.
    pub(super) async fn until_room(&self, bytes: usize) {
        let _ = self.room.acquire_many(self.needed(bytes)).await;
    }

    pub(super) fn send(&self, batch: Arc<Batch>, Room(room): Room) {
        let _ = self.batches.send(Followed { batch, _room: room }); // if it fails, the next send removes the follower
    }

    pub(super) fn is_closed(&self) -> bool {
        self.room.is_closed()
    }

    pub(super) fn leads(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.room, &other.room)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::event;
    use super::*;
    use crate::id::{Partition, Seq};

    fn batch(seq: u64) -> Arc<Batch> {
        Arc::new(Batch {
            first: Seq(seq),
            records: vec![(Partition(0), event("x"))],
        })
    }

    #[tokio::test]
    async fn a_batch_has_its_room_until_whoever_took_it_drops_it() {
        let (leader, mut follower) = way(100);
        for seq in 1..=2 {
            leader.send(batch(seq), leader.try_reserve(50).unwrap());
        }
        assert_eq!(leader.try_reserve(1).unwrap_err(), NoRoom::Full);
        let mut group = Vec::new();
        assert_eq!(follower.recv_many(&mut group, 9).await, 2);
        assert_eq!(leader.try_reserve(1).unwrap_err(), NoRoom::Full, "they are at work");
        group.clear();
        // A batch larger than the whole queue is alone in it.
        leader.send(batch(3), leader.try_reserve(1_000).unwrap());
        assert_eq!(leader.try_reserve(1).unwrap_err(), NoRoom::Full);
        assert_eq!(follower.recv().await.unwrap().first, Seq(3));
        assert!(leader.try_reserve(1).is_ok());
    }

    #[tokio::test]
    async fn who_waits_for_room_hears_that_nobody_follows() {
        let (leader, follower) = way(100);
        let _all = leader.try_reserve(100).unwrap();
        let mut waiting = Box::pin(leader.until_room(1));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(follower);
        waiting.await;
        assert_eq!(leader.try_reserve(1).unwrap_err(), NoRoom::Closed);
    }
}
