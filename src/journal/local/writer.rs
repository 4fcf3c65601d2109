//! The writer: the one thread that writes batches to the disk and reports them durable.
//!
//! It takes the queued batches, writes them at once, syncs once (group commit: the sync sets the pace, no timer does),
//! and only then moves the watermark. After a failed sync, or a write that failed for any reason but a shortage, the
//! content of the disk is unknown, so the process ends. When the disk is full, or no file descriptor is free for the next
//! segment, the writer keeps its group and retries until there is room. That is safe, because no batch of the group was
//! reported durable and the retry writes at the same offset.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use super::segment::{FRAME_HEADER_BYTES, Frame, HEADER_BYTES, Segment, Tail};
use super::{LocalOptions, io_error, sync_error};
use crate::id::{Fence, Partition, Seq};
use crate::journal::follow::{Leader, NoRoom};
use crate::journal::{Batch, JournalError, Record, Shortage, end_process, limits};

/// How long a closing journal waits for a follower that has stopped reading.
const FAREWELL: Duration = Duration::from_secs(5);

/// A batch on its way to the disk.
pub(super) struct Job {
    pub(super) batch: Arc<Batch>,
    pub(super) payload: Vec<u8>,
    /// The crc32c of the payload alone.
    pub(super) crc: u32,
    /// Slots of the queue that it holds.
    pub(super) places: u32,
}

/// What appenders change under one lock, so that a fence is still valid when its batch gets a sequence number.
pub(super) struct State {
    pub(super) next: Seq,
    pub(super) fences: HashMap<Partition, Fence>,
    pub(super) queue: VecDeque<Job>,
    pub(super) closed: bool,
}

/// What appenders, readers and the writer share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) work: Condvar,
    pub(super) places: Semaphore,
    /// None once the writer is gone.
    pub(super) followers: Mutex<Option<Vec<Leader>>>,
    pub(super) segments: RwLock<Vec<Segment>>,
}

impl Shared {
    /// Gives a batch its position, under the lock that also guards the fences. None: there are no records.
    pub(super) fn place(
        &self,
        owner: Partition,
        fence: Fence,
        records: Vec<(Partition, Record)>,
        job: impl FnOnce(Arc<Batch>) -> Job,
    ) -> Result<Option<Seq>, JournalError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(JournalError::Closed);
        }
        if state.fences.get(&owner) != Some(&fence) {
            return Err(JournalError::Fenced(owner));
        }
        if records.is_empty() {
            return Ok(None);
        }
        let first = state.next;
        let batch = Arc::new(Batch { first, records });
        let last = batch.last();
        state.next = Seq(last.0 + 1);
        state.queue.push_back(job(batch));
        if state.queue.len() == 1 {
            self.work.notify_one();
        }
        Ok(Some(last))
    }

    pub(super) fn appended(&self) -> Seq {
        Seq(self.state.lock().next.0 - 1)
    }

    /// Stops accepting batches; the queued ones are still written.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.places.close();
        self.work.notify_all();
    }
}

/// Where a test observes the disk or makes it fail.
pub(super) struct Hooks {
    /// Runs before each write. Its error counts as the disk's.
    pub(super) before_write: Box<dyn Fn() -> io::Result<()> + Send>,
    /// Runs before each sync, with the sequence number that would become durable. Its error counts as the disk's.
    pub(super) before_sync: Box<dyn Fn(Seq) -> io::Result<()> + Send>,
    /// Called when a write or a sync has failed for good.
    pub(super) fatal: Box<dyn Fn(&JournalError) + Send>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            before_write: Box::new(|| Ok(())),
            before_sync: Box::new(|_| Ok(())),
            fatal: Box::new(|error| end_process(error)),
        }
    }
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) tail: Tail,
    pub(super) dir: PathBuf,
    pub(super) durable: watch::Sender<Seq>,
    /// What the writer waits for.
    pub(super) lacking: watch::Sender<Option<Shortage>>,
    pub(super) options: LocalOptions,
    pub(super) hooks: Hooks,
    pub(super) buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        while self.take(&mut group) {
            if let Err(error) = self.commit_when_there_is_room(&group) {
                match error.shortage() {
                    Some(shortage) => {
                        tracing::warn!("{shortage}, and the journal closes: what nobody was promised is not written");
                    }
                    None => (self.hooks.fatal)(&error),
                }
                return;
            }
            self.publish(&mut group);
        }
        self.finish();
    }

    /// Waits for batches; false when the journal is closed and all of them are written.
    fn take(&self, group: &mut Vec<Job>) -> bool {
        let mut state = self.shared.state.lock();
        while state.queue.is_empty() {
            if state.closed {
                return false;
            }
            self.shared.work.wait(&mut state);
        }
        let mut bytes = 0;
        while group.len() < self.options.group_batches && bytes < limits::GROUP_BYTES {
            let Some(job) = state.queue.pop_front() else { break };
            bytes += job.payload.len();
            group.push(job);
        }
        true
    }

    /// Commits the group, and retries for as long as there is too little room on the disk, or too few descriptors. It
    /// fails with a shortage only when the journal closes.
    fn commit_when_there_is_room(&mut self, group: &[Job]) -> Result<(), JournalError> {
        loop {
            let done = self.commit(group);
            let Err(error) = &done else {
                if self.lacking.send_replace(None).is_some() {
                    tracing::info!("the journal can be written again");
                }
                return done;
            };
            let Some(shortage) = error.shortage() else {
                return done;
            };
            if self.lacking.send_replace(Some(shortage)).is_none() {
                tracing::error!(error = error as &dyn std::error::Error, "{shortage}: the journal waits");
            }
            let mut state = self.shared.state.lock();
            let open = |state: &mut State| !state.closed;
            self.shared.work.wait_while_for(&mut state, open, limits::ROOM_RETRY);
            if state.closed {
                return done;
            }
        }
    }

    fn commit(&mut self, group: &[Job]) -> Result<(), JournalError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(());
        };
        let start = first.batch.first;
        let bytes: usize = group.iter().map(|job| FRAME_HEADER_BYTES + job.payload.len()).sum();
        if self.tail.offset > HEADER_BYTES as u64 && self.tail.offset + bytes as u64 > self.options.segment_bytes {
            self.rotate(start)?;
        }
        self.buffer.clear();
        {
            let mut segments = self.shared.segments.write();
            let segment = segments.last_mut().expect("the writer has a segment");
            for job in group {
                let first = job.batch.first;
                segment.mark(first, self.tail.offset + self.buffer.len() as u64);
                let frame = Frame {
                    length: u32::try_from(job.payload.len()).expect("a batch is below its limit"),
                    first,
                    records: u32::try_from(job.batch.records.len())
                        .expect("a record has bytes, a batch is below 4 GiB"),
                    into_group: u32::try_from(first.0 - start.0).expect("a group is far below 4 GiB"),
                };
                self.buffer.extend_from_slice(&frame.seal(self.tail.salt, job.crc));
                self.buffer.extend_from_slice(&job.payload);
            }
        }
        let failed = || format!("cannot write the segment in {}", self.dir.display());
        let unsynced = || format!("the segment in {}", self.dir.display());
        (self.hooks.before_write)().map_err(io_error(failed))?;
        // The write is positioned, not appended, so that a retry overwrites what a full disk cut short.
        let written = self.tail.file.write_all_at(&self.buffer, self.tail.offset);
        written.map_err(io_error(failed))?;
        (self.hooks.before_sync)(last.batch.last()).map_err(sync_error(unsynced))?;
        let began = Instant::now();
        self.tail.file.sync_data().map_err(sync_error(unsynced))?;
        metrics::histogram!("caxton_journal_sync_seconds").record(began.elapsed());
        self.tail.offset += self.buffer.len() as u64;
        // One huge batch must not hold its memory for ever.
        self.buffer.shrink_to(2 * limits::GROUP_BYTES);
        Ok(())
    }

    fn rotate(&mut self, first: Seq) -> Result<(), JournalError> {
        self.trim()?;
        let segment = Segment::new(&self.dir, first);
        self.tail = segment.create(self.options.segment_bytes)?;
        self.shared.segments.write().push(segment);
        Ok(())
    }

    /// Returns reserved space that was not used.
    fn trim(&self) -> Result<(), JournalError> {
        let trimmed = self.tail.file.set_len(self.tail.offset);
        trimmed.map_err(io_error(|| format!("cannot end a segment in {}", self.dir.display())))?;
        let synced = self.tail.file.sync_all();
        synced.map_err(sync_error(|| format!("a segment in {}", self.dir.display())))
    }

    /// Reports the group durable and hands it to the followers. The watermark moves first: whoever subscribes between
    /// the two steps sees the group twice, and never misses it.
    fn publish(&self, group: &mut Vec<Job>) {
        let places: u32 = group.iter().map(|job| job.places).sum();
        if let Some(last) = group.last() {
            self.durable.send_replace(last.batch.last());
        }
        self.shared.places.add_permits(places as usize);
        // The lock is not held while waiting, so that a new follower need not wait for a slow one.
        let followers = self.shared.followers.lock().clone().unwrap_or_default();
        let lost: Vec<_> = followers
            .iter()
            .filter(|follower| !group.iter().all(|job| self.hand(follower, job)))
            .collect();
        group.clear();
        if !lost.is_empty()
            && let Some(followers) = &mut *self.shared.followers.lock()
        {
            followers.retain(|follower| !lost.iter().any(|lost| lost.leads(follower)));
        }
    }

    /// Waits until a slow follower has room; false if it is gone, or if the journal closes and it does not read.
    fn hand(&self, follower: &Leader, job: &Job) -> bool {
        let bytes = job.payload.len() + job.batch.records.len() * limits::RECORD_BYTES;
        let mut closing = None;
        loop {
            match follower.try_reserve(bytes) {
                Ok(room) => {
                    follower.send(Arc::clone(&job.batch), room);
                    return true;
                }
                Err(NoRoom::Closed) => return false,
                Err(NoRoom::Full) => {}
            }
            if self.shared.state.lock().closed && closing.get_or_insert_with(Instant::now).elapsed() > FAREWELL {
                tracing::warn!("a follower of the journal does not read and is left behind");
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn finish(&self) {
        if let Err(error) = self.trim() {
            // All batches are durable; only the reserved space stays.
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot trim the last segment");
        }
    }
}

impl Drop for Writer {
    /// However the writer ends, everyone who waits for it is woken.
    fn drop(&mut self) {
        self.shared.close();
        *self.shared.followers.lock() = None;
    }
}
