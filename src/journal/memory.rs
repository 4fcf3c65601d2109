//! A journal in memory for a node that stores nothing: the order, the fences and the watermark of [`Journal`], without
//! files.
//!
//! A batch counts as durable as soon as it is appended, and is lost when the process ends. Agents, queues and state
//! survive every crash that the process survives, as they do with the other journal.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::follow::{self, Leader, NoRoom};
use super::{Batch, Claimed, Follower, Journal, JournalError, Placed, Record, Shortage, Ticket, limits};
use crate::id::{Digest, Fence, Partition, Seq};

/// Bytes of batches kept for readers that return; the oldest are dropped first.
const KEPT_BYTES: usize = 16 << 20;

/// The journal in memory; see [the module](self).
pub struct MemoryJournal {
    state: Arc<Mutex<State>>,
    /// Each with the time when it was put last.
    modules: RwLock<HashMap<Digest, (Bytes, Instant)>>,
    /// Always false: memory has no disk to fill.
    lacks: watch::Sender<Option<Shortage>>,
}

struct State {
    next: Seq,
    fences: HashMap<Partition, Fence>,
    followers: Vec<Leader>,
    kept: VecDeque<(Arc<Batch>, usize)>,
    kept_bytes: usize,
    closed: bool,
    durable: watch::Sender<Seq>,
    oldest: watch::Sender<Seq>,
}

/// The outcome of an attempt to append.
enum Attempt {
    Placed(Placed),
    /// Nothing was appended, because this follower has no room.
    NoRoom(Leader),
}

impl MemoryJournal {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Arc::new(Mutex::new(State {
                next: Seq(1),
                fences: HashMap::new(),
                followers: Vec::new(),
                kept: VecDeque::new(),
                kept_bytes: 0,
                closed: false,
                durable: watch::Sender::new(Seq(0)),
                oldest: watch::Sender::new(Seq(1)),
            })),
            modules: RwLock::default(),
            lacks: watch::Sender::new(None),
        })
    }
}

impl State {
    fn admits(&self, owner: Partition, fence: Fence) -> Result<(), JournalError> {
        if self.closed {
            return Err(JournalError::Closed);
        }
        if self.fences.get(&owner) != Some(&fence) {
            return Err(JournalError::Fenced(owner));
        }
        Ok(())
    }

    /// Appends the records and sends them to the followers, or does nothing if a follower has no room.
    fn append(
        &mut self,
        owner: Partition,
        fence: Fence,
        records: &mut Option<Vec<(Partition, Record)>>,
        bytes: usize,
    ) -> Result<Attempt, JournalError> {
        self.admits(owner, fence)?;
        let first = self.next;
        let mut places = Vec::with_capacity(self.followers.len());
        for follower in &self.followers {
            match follower.try_reserve(bytes) {
                Ok(room) => places.push((follower.clone(), room)),
                Err(NoRoom::Full) => return Ok(Attempt::NoRoom(follower.clone())),
                Err(NoRoom::Closed) => {} // removed below
            }
        }
        let records = records.take().unwrap_or_default();
        if !records.is_empty() {
            let batch = Arc::new(Batch { first, records });
            self.next = Seq(batch.last().0 + 1);
            self.durable.send_replace(batch.last());
            for (follower, room) in places {
                follower.send(Arc::clone(&batch), room);
            }
            self.followers.retain(|follower| !follower.is_closed());
            self.keep(&batch, bytes);
        }
        Ok(Attempt::Placed(Placed::new(
            Seq(self.next.0 - 1),
            self.durable.subscribe(),
        )))
    }

    fn keep(&mut self, batch: &Arc<Batch>, bytes: usize) {
        self.kept.push_back((Arc::clone(batch), bytes));
        self.kept_bytes += bytes;
        // The last batch always stays, so that a reader makes progress.
        while self.kept_bytes > KEPT_BYTES
            && self.kept.len() > 1
            && let Some((_, bytes)) = self.kept.pop_front()
        {
            self.kept_bytes -= bytes;
        }
        if let Some((oldest, _)) = self.kept.front() {
            self.oldest.send_replace(oldest.first);
        }
    }
}

fn weight(record: &Record) -> usize {
    limits::RECORD_BYTES
        + match record {
            Record::Message(dispatch) if dispatch.first => dispatch.message.content.weight(),
            Record::Turn(turn) => {
                let bytes = |(key, value): &(String, Option<Bytes>)| key.len() + value.as_ref().map_or(0, Bytes::len);
                turn.writes.iter().map(bytes).sum::<usize>() + size_of_val(turn.timers.as_slice())
            }
            Record::Agent { document, .. } => document.len(),
            Record::Document { document, .. } => document.as_ref().map_or(0, String::len),
            Record::Answer { key, answer, .. } => key.len() + answer.len(),
            Record::Event { body, .. } => body.len(),
            Record::DeadLetter { detail, .. } => detail.len(),
            // A message counts with its first record.
            Record::Message(_) | Record::AgentRemoved { .. } | Record::TimerFired { .. } => 0,
        }
}

impl Journal for MemoryJournal {
    fn claim(&self, partition: Partition) -> Claimed<'_> {
        let mut state = self.state.lock();
        if state.closed {
            return Box::pin(ready(Err(JournalError::Closed)));
        }
        let fence = state.fences.entry(partition).or_insert(Fence(0));
        fence.0 += 1;
        Box::pin(ready(Ok(*fence)))
    }

    fn append(&self, owner: Partition, fence: Fence, records: Vec<(Partition, Record)>) -> Ticket {
        let bytes = records.iter().map(|(_, record)| weight(record)).sum();
        if bytes > limits::BATCH_BYTES {
            return Ticket::answered(Err(JournalError::TooLarge(bytes)));
        }
        let mut records = Some(records);
        let first = self.state.lock().append(owner, fence, &mut records, bytes);
        let mut full = match first {
            Ok(Attempt::Placed(placed)) => return Ticket::answered(Ok(placed)),
            Ok(Attempt::NoRoom(full)) => full,
            Err(error) => return Ticket::answered(Err(error)),
        };
        let state = self.state.clone();
        // The append waits for room before it takes sequence numbers, so that one that is dropped midway leaves no gap.
        Ticket::waiting(async move {
            loop {
                full.until_room(bytes).await;
                match state.lock().append(owner, fence, &mut records, bytes)? {
                    Attempt::Placed(placed) => return Ok(placed),
                    Attempt::NoRoom(another) => full = another,
                }
            }
        })
    }

    fn appended(&self) -> Seq {
        Seq(self.state.lock().next.0 - 1)
    }

    fn durable(&self) -> watch::Receiver<Seq> {
        self.state.lock().durable.subscribe()
    }

    fn follow(&self) -> Follower {
        let (leader, follower) = follow::way(limits::FOLLOWER_BYTES);
        self.state.lock().followers.push(leader);
        follower
    }

    fn oldest(&self) -> watch::Receiver<Seq> {
        self.state.lock().oldest.subscribe()
    }

    fn read_after(&self, seq: Seq, max: usize) -> Result<Vec<Arc<Batch>>, JournalError> {
        let state = self.state.lock();
        let from = state.kept.partition_point(|(batch, _)| batch.last() <= seq);
        let batches = state.kept.range(from..).take(max);
        Ok(batches.map(|(batch, _)| Arc::clone(batch)).collect())
    }

    fn put_module(&self, digest: Digest, module: &[u8]) -> Result<(), JournalError> {
        let mut modules = self.modules.write();
        let kept = modules.entry(digest);
        let (_, put) = kept.or_insert_with(|| (Bytes::copy_from_slice(module), Instant::now()));
        *put = Instant::now();
        Ok(())
    }

    fn module(&self, digest: Digest) -> Result<Option<Bytes>, JournalError> {
        Ok(self.modules.read().get(&digest).map(|(module, _)| module.clone()))
    }

    fn remove_modules(&self, used: &HashSet<Digest>, idle: Duration, now: Instant) -> Result<usize, JournalError> {
        let mut modules = self.modules.write();
        let before = modules.len();
        modules.retain(|digest, (_, put)| used.contains(digest) || now.saturating_duration_since(*put) < idle);
        Ok(before - modules.len())
    }

    fn lacks(&self) -> watch::Receiver<Option<Shortage>> {
        self.lacks.subscribe()
    }

    fn free_bytes(&self) -> Result<u64, JournalError> {
        Ok(u64::MAX)
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.followers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::event;
    use super::*;

    const HOME: Partition = Partition(3);

    fn one(text: &str) -> Vec<(Partition, Record)> {
        vec![(HOME, event(text))]
    }

    async fn append(journal: &MemoryJournal, fence: Fence, text: &str) -> Seq {
        journal.append(HOME, fence, one(text)).placed().await.unwrap().seq
    }

    #[tokio::test]
    async fn what_is_appended_is_followed_and_read_in_order() {
        let journal = MemoryJournal::new();
        let mut follower = journal.follow();
        let fence = journal.claim(HOME).await.unwrap();
        for n in 1..=3 {
            assert_eq!(append(&journal, fence, "x").await, Seq(n));
            assert_eq!(follower.recv().await.unwrap().first, Seq(n));
        }
        assert_eq!((*journal.durable().borrow(), journal.appended()), (Seq(3), Seq(3)));
        let firsts = |seq, max| {
            let batches = journal.read_after(Seq(seq), max).unwrap();
            batches.iter().map(|batch| batch.first.0).collect::<Vec<_>>()
        };
        assert_eq!(
            (firsts(1, 9), firsts(0, 1), firsts(3, 9)),
            (vec![2, 3], vec![1], vec![])
        );
    }

    #[tokio::test]
    async fn an_earlier_owner_is_fenced() {
        let journal = MemoryJournal::new();
        let old = journal.claim(HOME).await.unwrap();
        journal.claim(HOME).await.unwrap();
        let refused = journal.append(HOME, old, one("late")).placed().await;
        assert!(matches!(refused, Err(JournalError::Fenced(HOME))));
        assert_eq!(journal.appended(), Seq(0));
    }

    #[tokio::test]
    async fn an_append_waits_for_a_slow_follower_and_leaves_no_hole_when_it_is_given_up() {
        let journal = MemoryJournal::new();
        let mut follower = journal.follow();
        let fence = journal.claim(HOME).await.unwrap();
        let large = "x".repeat(1 << 20);
        let waiting = loop {
            let mut append = Box::pin(journal.append(HOME, fence, one(&large)).placed());
            if futures_util::poll!(&mut append).is_pending() {
                break append;
            }
        };
        let before = journal.appended();
        assert_eq!(before, Seq(63), "64 MiB, and each has a little beside its content");
        drop(waiting);
        assert_eq!(journal.appended(), before);
        follower.recv().await.unwrap();
        let next = append(&journal, fence, "x").await;
        assert_eq!(next, Seq(before.0 + 1));
    }

    #[tokio::test]
    async fn the_oldest_batches_go_and_the_last_stays() {
        let journal = MemoryJournal::new();
        let fence = journal.claim(HOME).await.unwrap();
        let large = "x".repeat(KEPT_BYTES * 2 / 3);
        for _ in 0..3 {
            append(&journal, fence, &large).await;
        }
        let kept = journal.read_after(Seq(0), 9).unwrap();
        assert_eq!(kept.iter().map(|batch| batch.first.0).collect::<Vec<_>>(), [3]);
        assert_eq!(*journal.oldest().borrow(), Seq(3));
    }

    #[tokio::test]
    async fn a_closed_journal_takes_nothing_and_ends_its_followers() {
        let journal = MemoryJournal::new();
        let fence = journal.claim(HOME).await.unwrap();
        let mut follower = journal.follow();
        journal.close();
        let refused = journal.append(HOME, fence, one("x")).placed().await;
        assert!(matches!(refused, Err(JournalError::Closed)));
        assert!(matches!(journal.claim(HOME).await, Err(JournalError::Closed)));
        assert!(follower.recv().await.is_none());
    }
}
