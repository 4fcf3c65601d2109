//! The journal: every record in one order. It is the only store that must survive.
//!
//! Purpose: a batch is appended whole or not at all. The durable watermark is the sequence number up to which every
//! record has been synced. Whatever leaves the node waits for that watermark (output commit). Everything else that is
//! stored (history, catalog, state, queues) is a projection that tails the journal and can be rebuilt from it.
//!
//! Invariant: after a crash the journal is a consistent prefix of what was appended, and holds every record that was
//! ever reported durable.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rustix::io::Errno;
use tokio::sync::watch;

use crate::error::Error;
use crate::event::{EventBody, EventKind};
use crate::id::{AgentId, Digest, Fence, InstanceId, MessageId, Partition, Seq};
use crate::message::{FailureReason, Message};
use crate::secret;
use crate::telemetry;
use crate::time::Timestamp;
use crate::timer::TimerChange;

pub mod backup;
pub mod doctor;
mod follow;
pub mod local;
pub mod memory;
pub mod projections;
#[cfg(test)]
pub(crate) mod testing;
mod ticket;
mod wire;

pub use self::follow::{Followed, Follower};
pub use self::ticket::{Placed, Ticket};

/// Limits of the journal.
pub mod limits {
    use std::time::Duration;

    /// Largest encoded batch, in bytes. A turn that would write more is refused before it commits.
    pub const BATCH_BYTES: usize = 64 << 20;
    /// Batches that may wait for the writer. When the queue is full, an append waits.
    pub const QUEUED_BATCHES: usize = 8_192;
    /// A batch takes one slot of that queue for each of these bytes that it begins, which bounds the queue to 256 MiB.
    pub const PLACE_BYTES: usize = 32 << 10;
    /// Most batches in one group commit.
    pub const GROUP_BATCHES: usize = 1_024;
    /// A group commit that has reached this many bytes takes no further batch.
    pub const GROUP_BYTES: usize = 8 << 20;
    /// A segment that has reached this many bytes is followed by a new one.
    pub const SEGMENT_BYTES: u64 = 64 << 20;
    /// Bytes of committed batches by which a follower may lag before the writer waits for it.
    pub const FOLLOWER_BYTES: u32 = 64 << 20;
    /// Bytes that a record counts in memory in addition to its content.
    pub const RECORD_BYTES: usize = 256;
    /// How long the writer waits before it retries a write that found the disk full.
    pub const ROOM_RETRY: Duration = Duration::from_millis(500);
}

/// The `retry_after` for a caller that a full disk turns away. It is long because only an operator can make room.
pub const RETRY_WHEN_FULL: Duration = Duration::from_secs(5);

/// Decodes the payload of a frame and encodes it again, or returns None if it is not a batch of records. It is public
/// only for the fuzzer, which has no other way to the decoder.
#[doc(hidden)]
pub fn reread(payload: Bytes) -> Option<Vec<u8>> {
    let records = wire::decode_batch(payload).ok()?;
    Some(wire::encode_batch(&records))
}

/// Encodes these records as the payload of a frame. It is public only for the bench that counts instructions.
#[doc(hidden)]
pub fn written(records: &[(Partition, Record)]) -> Vec<u8> {
    wire::encode_batch(records)
}

/// One fact in the log. Each record has its own sequence number; the records of a batch are consecutive.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A message was accepted.
    Message(Dispatch),
    /// A turn ended. The messages that it sent are in the same batch.
    Turn(Turn),
    /// A delivery became a dead letter. The failure reply to whoever waits for it is in the same batch.
    DeadLetter {
        message: MessageId,
        agent: AgentId,
        reason: FailureReason,
        /// An explanation for people; programs read `reason`.
        detail: String,
        at: Timestamp,
    },
    /// The whole catalog document of an agent, as JSON. The journal does not parse it; the secrets in it are sealed.
    Agent {
        agent: AgentId,
        document: String,
        at: Timestamp,
    },
    /// An agent was removed, with its state and its queue.
    AgentRemoved { agent: AgentId, at: Timestamp },
    /// Another catalog document, whole, as JSON; None removes it. The journal does not parse it, so a new kind of
    /// document needs no new kind of record.
    Document {
        /// The kind of document, such as `groups`.
        collection: String,
        /// The document's key within its collection.
        key: String,
        document: Option<String>,
        at: Timestamp,
    },
    /// A timer fired. The message that it sends to its agent is in the same batch.
    TimerFired {
        agent: AgentId,
        timer: u32,
        /// The instance whose turn set the timer.
        set_by: InstanceId,
        /// When the timer is due again. None means that it does not repeat and is removed.
        next: Option<Timestamp>,
        at: Timestamp,
    },
    /// A request with an idempotency key was answered. The records of what the request did are in the same batch.
    Answer {
        /// Who made the request.
        principal: String,
        key: String,
        /// The digest of the request, to tell a repetition from another request with the same key.
        fingerprint: Digest,
        /// The answer as JSON. The journal does not parse it.
        answer: String,
        /// On the steady clock of the process, because an answer is forgotten by its age, and setting the clock must not make it
        /// older.
        at: Timestamp,
    },
    /// An event that no other record implies, such as a supervisor's restart. [`Record::event`] makes one.
    Event {
        kind: EventKind,
        /// The agent that the event is about, if any.
        agent: Option<AgentId>,
        /// A JSON object with the members of an [`EventBody`].
        body: String,
        at: Timestamp,
    },
}

impl Record {
    /// Makes the record of an event, with its body as JSON.
    pub fn event(agent: Option<AgentId>, body: &EventBody, at: Timestamp) -> Self {
        Self::Event {
            kind: body.kind(),
            agent,
            body: serde_json::to_string(body).expect("a body is serialisable: its keys are strings"),
            at,
        }
    }
}

/// A message and the agents of one partition whose mailboxes it entered. The message is open until each of them has finished it.
///
/// A message has one record in each partition that receives it, so that a partition can be restored from its own records. The
/// records lie one after the other in one batch, which stores the message once.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    pub message: Arc<Message>,
    /// Whether this is the first record of the message. The history, the events and the counters count only that one.
    pub first: bool,
    /// The receivers of this partition that accepted the message.
    pub deliveries: Vec<AgentId>,
    /// Why receivers did not accept it; only in the first record. None if all of them did.
    pub undelivered: Option<String>,
    /// Whether a receiver is a client that did not wait for it; only in the first record.
    pub unread: bool,
}

/// The outcome of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub agent: AgentId,
    /// The instance that ran the turn.
    pub instance: InstanceId,
    /// The message that the turn handled. None if the turn was `init`.
    pub message: Option<MessageId>,
    /// The number of this attempt, counted from 1.
    pub attempt: u32,
    pub end: TurnEnd,
    /// Keys of the state and their new values; None deletes a key. Empty unless the turn ended with [`TurnEnd::Ok`].
    pub writes: Vec<(String, Option<Bytes>)>,
    /// Timers set and cancelled. Empty unless the turn ended with [`TurnEnd::Ok`].
    pub timers: Vec<TimerChange>,
    pub at: Timestamp,
    /// Time from the acceptance of the message to the end of the turn.
    pub latency_micros: u64,
    /// Time spent in the guest.
    pub guest_micros: u64,
}

/// How a turn ended; see `guests.md` in the documentation of the guest contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// The turn's effects are committed and the message is finished.
    Ok,
    /// The guest returned an error: the turn has no effects, and the message is finished and failed.
    Error { reason: String },
    /// The guest crashed: the turn has no effects, and the message stays open unless a [`Record::DeadLetter`] follows.
    Crash { kind: String, detail: String },
}

impl TurnEnd {
    /// The label of this end in metrics: `ok`, `error`, or the kind of the crash.
    pub fn label(&self) -> &str {
        match self {
            Self::Ok => "ok",
            Self::Error { .. } => "error",
            Self::Crash { kind, .. } => kind,
        }
    }
}

/// Records that were appended together, and the sequence number of the first of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub first: Seq,
    pub records: Vec<(Partition, Record)>,
}

impl Batch {
    /// The sequence number of the last record.
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + self.records.len() as u64 - 1)
    }
}

/// Advice for a data folder, or a backup, of another format.
const NO_MIGRATION: &str =
    "nothing migrates one format to another: start with a new data folder, or use the release that wrote it";

/// What there can be too little of for a write, for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    #[error("the disk of the data folder is full")]
    Disk,
    #[error("no file descriptor is free, in this process (`ulimit -n`) or in the whole machine")]
    Descriptors,
    #[error("the kernel has no free memory")]
    Memory,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("another owner claimed partition {0}")]
    Fenced(Partition),
    #[error("a batch of {0} bytes is over the limit of {max}", max = limits::BATCH_BYTES)]
    TooLarge(usize),
    #[error("the journal is closed")]
    Closed,
    #[error("another server uses the data folder {0}; stop it, or choose another folder with --data-dir")]
    Locked(String),
    #[error(
        "{dir} cannot be the data folder: it {problem}; name a folder that is empty or does not exist yet with --data-dir"
    )]
    Unfit { dir: String, problem: String },
    #[error("the data folder is of format {found}, and this release reads format {known}; {NO_MIGRATION}")]
    UnknownFormat { found: u32, known: u32 },
    #[error(
        "the data folder was made with {made} partitions and the configuration says {asked}; their number is fixed when the \
         folder is made"
    )]
    Partitions { made: u16, asked: u16 },
    /// Of a file that is too long, one byte more than a key has is read.
    #[error(
        "{file} is no key: it has {found} bytes{}, and a key has {}",
        if *found > secret::KEY_BYTES { " or more" } else { "" },
        secret::KEY_BYTES
    )]
    NoKey { file: String, found: usize },
    #[error("the journal is damaged in {file} at byte {offset}: {problem}")]
    Damaged {
        file: String,
        offset: u64,
        problem: &'static str,
    },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    /// After a failed sync the data may or may not be on the disk, and no later sync can tell. The caller must end the
    /// process.
    #[error("{what}, which cannot be synced: {source}")]
    Sync { what: String, source: std::io::Error },
    #[error("the projections: {0}")]
    Projection(#[from] rusqlite::Error),
    #[error(
        "the projections cannot be used ({problem}) and cannot be made again, because the log begins with record {oldest}; \
         restore the data folder from a backup with `caxton restore`, or use the release that wrote it"
    )]
    Irreplaceable { problem: String, oldest: Seq },
}

impl JournalError {
    /// What the write lacked, if it may succeed when there is more of it. Nothing that was reported durable is affected.
    pub fn shortage(&self) -> Option<Shortage> {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let Self::Io { source, .. } = self else { return None };
        if matches!(source.kind(), StorageFull | QuotaExceeded) {
            return Some(Shortage::Disk);
        }
        match Errno::from_io_error(source)? {
            Errno::MFILE | Errno::NFILE => Some(Shortage::Descriptors),
            Errno::NOMEM => Some(Shortage::Memory),
            _ => None,
        }
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        if let Some(shortage) = error.shortage() {
            return Self::Unavailable {
                reason: shortage.to_string(),
                retry_after: RETRY_WHEN_FULL,
            };
        }
        match error {
            // With no free descriptor, a query opens no connection.
            JournalError::Projection(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) => {
                Self::Unavailable {
                    // The library's text has the path of the file, which is no business of a client.
                    reason: "the history cannot be opened now".to_owned(),
                    retry_after: RETRY_WHEN_FULL,
                }
            }
            JournalError::TooLarge(_) => Self::PayloadTooLarge {
                what: "batch",
                limit: limits::BATCH_BYTES,
            },
            other @ (JournalError::Fenced(_)
            | JournalError::Closed
            | JournalError::Locked(_)
            | JournalError::Unfit { .. }
            | JournalError::UnknownFormat { .. }
            | JournalError::Partitions { .. }
            | JournalError::NoKey { .. }
            | JournalError::Damaged { .. }
            | JournalError::Io { .. }
            | JournalError::Sync { .. }
            | JournalError::Projection(_)
            | JournalError::Irreplaceable { .. }) => Self::internal(other),
        }
    }
}

pub type Claimed<'a> = BoxFuture<'a, Result<Fence, JournalError>>;

/// The contract of a journal. [`local`] keeps it with files, [`memory`] for as long as the process lives.
pub trait Journal: Send + Sync + 'static {
    /// Takes ownership of a partition: from now on an append under any earlier fence fails.
    fn claim(&self, partition: Partition) -> Claimed<'_>;

    /// Appends a batch, all or nothing, under the fence of `owner`. Each record belongs to the partition beside it, which may be
    /// another than the owner's. The ticket tells when the batch has its position in the log and when it is durable. A batch
    /// that must wait for room gets its position while its ticket waits, so whoever needs an order waits for each position
    /// before the next append.
    fn append(&self, owner: Partition, fence: Fence, records: Vec<(Partition, Record)>) -> Ticket;

    /// The last record that has a sequence number, durable or not.
    fn appended(&self) -> Seq;

    /// The durable watermark: every record up to it has been synced.
    fn durable(&self) -> watch::Receiver<Seq>;

    /// Subscribes to all durable batches from now on, in order. The writer waits for a follower that lags
    /// [`limits::FOLLOWER_BYTES`] behind; a dropped follower is removed.
    fn follow(&self) -> Follower;

    /// The oldest record that the journal still has, or the next one to be appended if it has none.
    fn oldest(&self) -> watch::Receiver<Seq>;

    /// Durable batches whose last record is after `seq`, oldest first, at most `max`. If the records right after `seq`
    /// have been removed, the result begins with the oldest batch that is left.
    fn read_after(&self, seq: Seq, max: usize) -> Result<Vec<Arc<Batch>>, JournalError>;

    /// Stores a module under its digest, durably. Storing it again changes nothing.
    fn put_module(&self, digest: Digest, module: &[u8]) -> Result<(), JournalError>;

    fn module(&self, digest: Digest) -> Result<Option<Bytes>, JournalError>;

    /// Removes the modules that are not in `used` and that nobody has put within `idle` before `now`. Returns how many.
    fn remove_modules(&self, used: &HashSet<Digest>, idle: Duration, now: Instant) -> Result<usize, JournalError>;

    /// What the writer waits for. The writer resumes by itself when there is enough of it. Until then no further record
    /// becomes durable, and durable ones can be read.
    fn lacks(&self) -> watch::Receiver<Option<Shortage>>;

    /// Free bytes on the disk of the journal. Blocks.
    fn free_bytes(&self) -> Result<u64, JournalError>;

    /// Stops accepting batches, writes the queued ones, and releases what the journal holds, such as its lock. Blocks.
    fn close(&self);
}

/// Waits until everything up to `seq` is durable.
pub async fn until_durable(mut watermark: watch::Receiver<Seq>, seq: Seq) -> Result<(), JournalError> {
    watermark
        .wait_for(|durable| *durable >= seq)
        .await
        .map(|_| ())
        .map_err(|_| JournalError::Closed)
}

/// `EX_SOFTWARE` of `sysexits.h`. The supervisor of the process should restart it, and recovery then reads what is on
/// the disk.
const EXIT_STATUS: i32 = 70;

/// Ends the process, because after a failed sync it cannot know what is on the disk.
fn end_process(error: &JournalError) -> ! {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "the journal cannot be written: the server ends"
    );
    // The filter of the log may leave the line above out, and this is the process's last message.
    telemetry::say(&format!(
        "caxton: the journal cannot be written, the server ends: {error}"
    ));
    telemetry::flush();
    std::process::exit(EXIT_STATUS);
}
