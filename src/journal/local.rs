//! The embedded journal: a segment log on this machine.
//!
//! Purpose: implements [`Journal`] with files, a folder lock and one writer thread.
//! Owner: the process that holds the folder's lock.
//! Invariant: the watermark never runs ahead of the disk, and records lie on the disk in the order of their sequence
//! numbers.
//!
//! ```text
//! <dir>/LOCK                      held by the server that uses the folder
//! <dir>/FORMAT                    the version of the format, a decimal number
//! <dir>/PARTITIONS                how many partitions there are, a decimal number
//! <dir>/key                       the key that seals secrets, unless the configuration names another file
//! <dir>/OLDEST                    the log's first record after retention removed segments; absent: 1
//! <dir>/journal/<first seq>.log   segments
//! <dir>/modules/<sha256>.wasm     modules
//! ```

mod copy;
mod fitness;
mod folder;
mod inspect;
mod key;
mod retention;
mod salvage;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::future::ready;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError, watch};

pub(super) use self::fitness::{Found, Unfit, close_to_others, look as look_at_folder};
use self::folder::Modules;
pub(super) use self::folder::{create as create_folder, lock as lock_folder, module_file};
pub(super) use self::inspect::{Log, Mend, Problem, look, modules as look_at_modules};
pub(super) use self::key::copy_key;
pub use self::key::{key_file, make_key, read_key};
pub use self::retention::Keep;
pub(super) use self::salvage::{begin_after, cut};
pub(super) use self::segment::sync_dir;
use self::segment::{Header, Reader, Segment, Tail, damaged};
use self::writer::{Hooks, Job, Shared, State, Writer};
use super::{Batch, Claimed, Follower, Journal, JournalError, Placed, Record, Shortage, Ticket, follow, limits, wire};
use crate::id::{Digest, Fence, Partition, Seq};

/// The version of the folder and of its segments. Any change to what is stored raises it. Nothing migrates a folder:
/// one of another format is refused.
pub(super) const FORMAT: u32 = 3;

fn io_error(what: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> JournalError {
    |source| JournalError::Io { what: what(), source }
}

fn sync_error(what: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> JournalError {
    |source| JournalError::Sync { what: what(), source }
}

/// How much of the log is checked before the journal opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Only the last segment, where an interrupted write can be. Earlier segments are checked as they are read, so the
    /// time to open does not grow with the history.
    #[default]
    LastSegment,
    /// Every frame of every segment.
    Everything,
}

/// The limits of one journal. The defaults are in [`limits`].
#[derive(Clone, Copy, Debug)]
pub struct LocalOptions {
    pub segment_bytes: u64,
    pub group_batches: usize,
    /// Slots of the writer's queue. A batch takes one for each [`limits::PLACE_BYTES`] that it begins.
    pub queued_batches: usize,
    pub follower_bytes: u32,
    pub check: Check,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: limits::SEGMENT_BYTES,
            group_batches: limits::GROUP_BATCHES,
            queued_batches: limits::QUEUED_BATCHES,
            follower_bytes: limits::FOLLOWER_BYTES,
            check: Check::default(),
        }
    }
}

/// The journal on disk; see [the module](self).
pub struct LocalJournal {
    shared: Arc<Shared>,
    dir: PathBuf,
    durable: watch::Receiver<Seq>,
    lacks: watch::Receiver<Option<Shortage>>,
    oldest: watch::Sender<Seq>,
    modules: Modules,
    options: LocalOptions,
    writer: Mutex<Option<(JoinHandle<()>, File)>>,
}

impl std::fmt::Debug for LocalJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalJournal")
            .field("durable", &*self.durable.borrow())
            .finish_non_exhaustive()
    }
}

impl LocalJournal {
    /// Opens the journal in `dir`, or creates one. A folder with files of others is refused, and nothing in it is changed.
    /// A write that a crash interrupted is cut off; no other damage is repaired. Blocks.
    pub fn open(dir: &Path, options: LocalOptions) -> Result<Arc<Self>, JournalError> {
        Self::open_with(dir, options, Hooks::default())
    }

    fn open_with(dir: &Path, options: LocalOptions, hooks: Hooks) -> Result<Arc<Self>, JournalError> {
        folder::make_ready(dir)?;
        let lock = folder::lock(dir)?;
        folder::remove_drafts(dir)?;
        folder::check_format(dir)?;
        let modules = Modules::open(dir.join("modules"))?;
        let oldest = folder::oldest(dir)?;
        let (root, dir) = (dir.to_owned(), dir.join("journal"));
        folder::create(&dir)?;
        let mut segments = segment::list(&dir, |draft| fs::remove_file(draft))?;
        let (tail, next) = open_segments(&mut segments, &dir, &options, oldest)?;
        let (oldest, _) = watch::channel(segments[0].first);
        let (durable, watermark) = watch::channel(Seq(next.0 - 1));
        let (lacking, lacks) = watch::channel(None);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                next,
                fences: HashMap::new(),
                queue: VecDeque::new(),
                closed: false,
            }),
            work: Condvar::new(),
            places: Semaphore::new(options.queued_batches),
            followers: Mutex::new(Some(Vec::new())),
            segments: RwLock::new(segments),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            tail,
            dir,
            durable,
            lacking,
            options,
            hooks,
            buffer: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .map_err(io_error(|| "cannot start the journal's writer".to_owned()))?;
        Ok(Arc::new(Self {
            shared,
            dir: root,
            durable: watermark,
            lacks,
            oldest,
            modules,
            options,
            writer: Mutex::new(Some((thread, lock))),
        }))
    }

    /// Fixes the number of partitions, which decides where agents live. A new folder gets `asked`; a folder that was
    /// made with another number is refused.
    pub fn fix_partitions(&self, asked: u16) -> Result<(), JournalError> {
        folder::fix_partitions(&self.dir, asked, self.appended() > Seq(0))
    }

    fn read(&self, seq: Seq, max: usize) -> Result<Vec<Arc<Batch>>, JournalError> {
        let durable = *self.durable.borrow();
        let mut after = seq;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        let enough = |after: Seq, count, bytes| after >= durable || count >= max || bytes >= limits::BATCH_BYTES;
        while !enough(after, batches.len(), bytes) {
            let wanted = Seq(after.0 + 1);
            // The lock on the list is released before the disk is read.
            let (path, first, offset) = {
                let segments = self.shared.segments.read();
                let at = segments.partition_point(|segment| segment.first <= wanted);
                let Some(at) = at.checked_sub(1) else {
                    // Retention removed everything before the first segment.
                    after = Seq(segments[0].first.0 - 1);
                    continue;
                };
                let segment = &segments[at];
                (segment.path.clone(), segment.first, segment.offset_before(wanted))
            };
            let mut reader = match Reader::open(path, first, offset) {
                Err(_) if *self.oldest.borrow() > first => continue, // retention removed the segment meanwhile
                opened => opened?,
            };
            let mut reached = None;
            while !enough(after, batches.len(), bytes) {
                let Some((frame, offset, payload)) = reader.next_after(after)? else {
                    break;
                };
                if frame.first.0 > after.0 + 1 {
                    return Err(reader.damaged(offset, "the sequence has a gap"));
                }
                bytes += payload.len();
                let records = wire::decode_batch(payload).map_err(|malformed| reader.damaged(offset, malformed.0))?;
                if records.len() != frame.records as usize {
                    return Err(reader.damaged(offset, "a batch has not the records that its head counts"));
                }
                let batch = Batch {
                    first: frame.first,
                    records,
                };
                after = batch.last();
                batches.push(Arc::new(batch));
                reached = Some((frame.first, offset));
            }
            // The segment was chosen because it covers `wanted`, so a batch must be in it.
            let Some((place, offset)) = reached else {
                return Err(reader.damaged(reader.offset(), "batches that were durable are missing"));
            };
            // The mark spares the next read from skipping what this one has read.
            let mut segments = self.shared.segments.write();
            if let Ok(at) = segments.binary_search_by_key(&first, |segment| segment.first) {
                segments[at].mark(place, offset);
            }
        }
        Ok(batches)
    }
}

/// Checks the segments as `options` say, cuts off an interrupted write, and opens the last segment for writing.
fn open_segments(
    segments: &mut Vec<Segment>,
    dir: &Path,
    options: &LocalOptions,
    oldest: Seq,
) -> Result<(Tail, Seq), JournalError> {
    let Some(at_last) = segments.len().checked_sub(1) else {
        if oldest > Seq(1) {
            return Err(damaged(dir, 0, "all segments are missing"));
        }
        let segment = Segment::new(dir, Seq(1));
        let tail = segment.create(options.segment_bytes)?;
        segments.push(segment);
        return Ok((tail, Seq(1)));
    };
    if segments[0].first > oldest {
        return Err(damaged(&segments[0].path, 0, "an earlier segment is missing"));
    }
    if options.check == Check::Everything {
        for at in 0..at_last {
            let (scan, _) = scan(&mut segments[at])?;
            if scan.torn > 0 {
                return Err(damaged(
                    &segments[at].path,
                    scan.end,
                    "a batch that was durable is broken",
                ));
            }
            if scan.next != segments[at + 1].first {
                return Err(damaged(
                    &segments[at].path,
                    scan.end,
                    "the next segment does not follow on this one",
                ));
            }
        }
    }
    let last = &mut segments[at_last];
    let (scan, header) = scan(last)?;
    if scan.torn > 0 {
        tracing::warn!(
            segment = %last.path.display(), offset = scan.end, bytes = scan.torn, next = scan.next.0,
            "cut off a write that a crash had interrupted: nobody was told that it was durable"
        );
    }
    let failed = || format!("cannot open the segment {}", last.path.display());
    let file = OpenOptions::new()
        .write(true)
        .open(&last.path)
        .map_err(io_error(failed))?;
    // The file is cut first because the space after the end must be zeros, not remains of an interrupted write.
    file.set_len(scan.end).map_err(io_error(failed))?;
    match segment::reserve(&file, options.segment_bytes.max(scan.end)).map_err(io_error(failed)) {
        // Without room the log can still be read, and the writer waits when it has something to write.
        Err(error) if error.shortage().is_some() => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no room ahead");
        }
        reserved => reserved?,
    }
    // A killed process may have written frames without syncing them, and they are about to be reported durable.
    file.sync_all()
        .map_err(sync_error(|| format!("the segment {}", last.path.display())))?;
    Ok((
        Tail {
            file,
            salt: header.salt,
            offset: scan.end,
        },
        scan.next,
    ))
}

fn scan(segment: &mut Segment) -> Result<(segment::Scan, Header), JournalError> {
    let bytes = fs::read(&segment.path).map_err(io_error(|| format!("cannot read {}", segment.path.display())))?;
    let header = Header::read(&segment.path, segment.first, bytes.as_slice())?;
    let scan = segment::scan(segment, header, &bytes)?;
    Ok((scan, header))
}

impl Journal for LocalJournal {
    fn claim(&self, partition: Partition) -> Claimed<'_> {
        let mut state = self.shared.state.lock();
        if state.closed {
            return Box::pin(ready(Err(JournalError::Closed)));
        }
        // Fences need not be stored: the lock of the folder proves that every owner of an earlier process is gone.
        let fence = state.fences.entry(partition).or_insert(Fence(0));
        fence.0 += 1;
        Box::pin(ready(Ok(*fence)))
    }

    fn append(&self, owner: Partition, fence: Fence, records: Vec<(Partition, Record)>) -> Ticket {
        let payload = wire::encode_batch(&records);
        if payload.len() > limits::BATCH_BYTES {
            return Ticket::answered(Err(JournalError::TooLarge(payload.len())));
        }
        let crc = crc32c::crc32c(&payload);
        // One batch never takes more slots than the whole queue has, else it would wait for ever.
        let places = (1 + payload.len() / limits::PLACE_BYTES).min(self.options.queued_batches);
        let places = u32::try_from(places).expect("a batch is below its limit");
        let watermark = self.durable.clone();
        let place = move |shared: &Shared, permit: SemaphorePermit<'_>| {
            let seq = shared.place(owner, fence, records, |batch| Job {
                batch,
                payload,
                crc,
                places,
            })?;
            if let Some(seq) = seq {
                permit.forget();
                return Ok(Placed::new(seq, watermark));
            }
            Ok(Placed::new(shared.appended(), watermark))
        };
        match self.shared.places.try_acquire_many(places) {
            Ok(permit) => Ticket::answered(place(&self.shared, permit)),
            Err(TryAcquireError::Closed) => Ticket::answered(Err(JournalError::Closed)),
            Err(TryAcquireError::NoPermits) => {
                let shared = self.shared.clone();
                Ticket::waiting(async move {
                    let permit = shared.places.acquire_many(places).await;
                    place(&shared, permit.map_err(|_| JournalError::Closed)?)
                })
            }
        }
    }

    fn appended(&self) -> Seq {
        self.shared.appended()
    }

    fn durable(&self) -> watch::Receiver<Seq> {
        self.durable.clone()
    }

    fn follow(&self) -> Follower {
        let (leader, follower) = follow::way(self.options.follower_bytes);
        if let Some(followers) = &mut *self.shared.followers.lock() {
            followers.push(leader);
        }
        follower
    }

    fn oldest(&self) -> watch::Receiver<Seq> {
        self.oldest.subscribe()
    }

    fn read_after(&self, seq: Seq, max: usize) -> Result<Vec<Arc<Batch>>, JournalError> {
        self.read(seq, max)
    }

    fn put_module(&self, digest: Digest, module: &[u8]) -> Result<(), JournalError> {
        let put = self.modules.put(digest, module);
        // A module that was written but not synced would pass for a durable one at the next put.
        if let Err(error @ JournalError::Sync { .. }) = &put {
            super::end_process(error);
        }
        put
    }

    fn module(&self, digest: Digest) -> Result<Option<Bytes>, JournalError> {
        self.modules.get(digest)
    }

    fn remove_modules(&self, used: &HashSet<Digest>, idle: Duration, now: Instant) -> Result<usize, JournalError> {
        self.modules.remove_unused(used, idle, now)
    }

    fn lacks(&self) -> watch::Receiver<Option<Shortage>> {
        self.lacks.clone()
    }

    fn free_bytes(&self) -> Result<u64, JournalError> {
        folder::free_bytes(&self.dir).map_err(io_error(|| "cannot ask how much room the disk has".to_owned()))
    }

    /// Dropping the journal closes it too. Batches queued on a full disk are lost, as in a crash: none was reported
    /// durable.
    fn close(&self) {
        self.shared.close();
        if let Some((thread, lock)) = self.writer.lock().take() {
            if thread.join().is_err() {
                tracing::error!("the journal's writer panicked");
            }
            drop(lock);
        }
    }
}

impl Drop for LocalJournal {
    fn drop(&mut self) {
        self.close();
    }
}
