//! The writer: the one thread that puts batches on the disk and says when they are there.
//!
//! It takes what is queued, writes it at once, syncs once (group commit: the flush is the timer), and only then moves the
//! watermark. When a write or a sync fails, nothing can be said about the disk any more: the process ends.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Semaphore, mpsc, watch};

use super::segment::{FRAME_HEADER_BYTES, Frame, HEADER_BYTES, Segment, Tail};
use super::{LocalOptions, io_error};
use crate::id::{Fence, Partition, Seq};
use crate::journal::{Batch, JournalError, limits};

/// How long a closing journal waits for a follower that does not read.
const FAREWELL: Duration = Duration::from_secs(5);

/// A batch on its way to the disk.
pub(super) struct Job {
    pub(super) batch: Arc<Batch>,
    pub(super) payload: Vec<u8>,
    /// The crc32c of the payload alone.
    pub(super) crc: u32,
    /// Places of the queue that it holds.
    pub(super) places: u32,
}

/// What appenders decide on, together: a fence holds for the sequence it was checked with.
pub(super) struct State {
    pub(super) next: Seq,
    pub(super) fences: HashMap<Partition, Fence>,
    pub(super) queue: VecDeque<Job>,
    pub(super) closed: bool,
}

/// Between appenders, readers and the writer.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) work: Condvar,
    pub(super) places: Semaphore,
    /// None once the writer is gone.
    pub(super) followers: Mutex<Option<Vec<mpsc::Sender<Arc<Batch>>>>>,
    pub(super) segments: RwLock<Vec<Segment>>,
}

impl Shared {
    /// From now on nothing is accepted; what is queued is still written.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.places.close();
        self.work.notify_all();
    }
}

/// Where a test looks in or makes the disk fail.
pub(super) struct Hooks {
    /// Runs before each sync, with the sequence that would become durable. Its error is taken for the disk's.
    pub(super) before_sync: Box<dyn Fn(Seq) -> io::Result<()> + Send>,
    /// What a failed write leads to.
    pub(super) fatal: Box<dyn Fn(&JournalError) + Send>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            before_sync: Box::new(|_| Ok(())),
            fatal: Box::new(end_process),
        }
    }
}

/// `EX_SOFTWARE` of sysexits: the supervisor of the process should start it again, and recovery finds what is on the disk.
const EXIT_STATUS: i32 = 70;

fn end_process(error: &JournalError) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "the journal cannot be written: the server ends"
    );
    // Tracing may be off or buffered, and this is the last that anyone hears.
    let _ = writeln!(
        io::stderr(),
        "caxton: the journal cannot be written, the server ends: {error}"
    );
    std::process::exit(EXIT_STATUS);
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) tail: Tail,
    pub(super) dir: PathBuf,
    pub(super) durable: watch::Sender<Seq>,
    pub(super) options: LocalOptions,
    pub(super) hooks: Hooks,
    pub(super) buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        while self.take(&mut group) {
            if let Err(error) = self.commit(&group) {
                (self.hooks.fatal)(&error);
                return;
            }
            self.publish(&mut group);
        }
        self.finish();
    }

    /// Waits for work; false when the journal is closed and all is done.
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

    /// Puts the group on the disk.
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
        self.tail.file.write_all(&self.buffer).map_err(io_error(failed))?;
        (self.hooks.before_sync)(last.batch.last()).map_err(io_error(failed))?;
        self.tail.file.sync_data().map_err(io_error(failed))?;
        self.tail.offset += self.buffer.len() as u64;
        // One huge batch must not hold its memory for ever.
        self.buffer.shrink_to(2 * limits::GROUP_BYTES);
        Ok(())
    }

    fn rotate(&mut self, first: Seq) -> Result<(), JournalError> {
        self.trim()
            .map_err(io_error(|| format!("cannot end a segment in {}", self.dir.display())))?;
        let segment = Segment::new(&self.dir, first);
        self.tail = segment.create(self.options.segment_bytes)?;
        self.shared.segments.write().push(segment);
        Ok(())
    }

    /// Gives back what was made ahead and not used.
    fn trim(&self) -> io::Result<()> {
        self.tail.file.set_len(self.tail.offset)?;
        self.tail.file.sync_all()
    }

    /// Says that the group is durable, and hands it on. The watermark goes first: who subscribes between the two sees the
    /// group twice, never not at all.
    fn publish(&self, group: &mut Vec<Job>) {
        let places: u32 = group.iter().map(|job| job.places).sum();
        if let Some(last) = group.last() {
            self.durable.send_replace(last.batch.last());
        }
        self.shared.places.add_permits(places as usize);
        // Not held while waiting: a new follower must not wait for a slow one.
        let followers = self.shared.followers.lock().clone().unwrap_or_default();
        let lost: Vec<_> = followers
            .iter()
            .filter(|follower| !group.iter().all(|job| self.hand(follower, &job.batch)))
            .collect();
        group.clear();
        if !lost.is_empty()
            && let Some(followers) = &mut *self.shared.followers.lock()
        {
            followers.retain(|follower| !lost.iter().any(|lost| lost.same_channel(follower)));
        }
    }

    /// Waits for a slow follower; false if it is gone, or if the journal closes and it does not read.
    fn hand(&self, follower: &mpsc::Sender<Arc<Batch>>, batch: &Arc<Batch>) -> bool {
        let mut batch = Arc::clone(batch);
        let mut closing = None;
        loop {
            match follower.try_send(batch) {
                Ok(()) => return true,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(back)) => batch = back,
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
            // All batches are durable; only the room ahead stays.
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot trim the last segment");
        }
    }
}

impl Drop for Writer {
    /// However the writer ends, nobody waits for it.
    fn drop(&mut self) {
        self.shared.close();
        *self.shared.followers.lock() = None;
    }
}
