//! The journal: everything that happened, in one order, and the only thing that must survive.
//!
//! Purpose: a batch is appended whole or not at all, and a sequence number says how far the disk has followed. What leaves
//! the node waits for that watermark (output commit). Everything else that is stored (history, catalog, state, queues) is a
//! projection that tails the journal and could be made again from it.
//!
//! Invariant: after a crash the journal is a consistent prefix of what was appended, and holds all that was ever reported
//! durable.

use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::error::Error;
use crate::event::{EventBody, EventKind};
use crate::id::{AgentId, Digest, Fence, MessageId, Partition, Seq};
use crate::message::{FailureReason, Message};
use crate::secret;
use crate::time::Timestamp;
use crate::timer::TimerChange;

pub mod backup;
pub mod doctor;
mod follow;
pub mod local;
pub mod memory;
pub mod projections;
#[cfg(test)]
mod testing;
mod wire;

pub use self::follow::{Followed, Follower};

/// Limits of the journal.
pub mod limits {
    use std::time::Duration;

    /// Bytes of one batch, encoded. A turn that would write more is refused before it commits.
    pub const BATCH_BYTES: usize = 64 << 20;
    /// Batches that may wait for the writer. Appending waits beyond it.
    pub const QUEUED_BATCHES: usize = 8_192;
    /// A batch takes a place in that queue for each of these bytes begun, which bounds the queue to 256 MiB.
    pub const PLACE_BYTES: usize = 32 << 10;
    /// Batches that one group commit takes at most.
    pub const GROUP_BATCHES: usize = 1_024;
    /// Bytes after which a group commit takes no further batch.
    pub const GROUP_BYTES: usize = 8 << 20;
    /// Bytes of a segment after which the next one begins.
    pub const SEGMENT_BYTES: u64 = 64 << 20;
    /// Bytes of committed batches that a follower may lie behind before the writer waits for it.
    pub const FOLLOWER_BYTES: u32 = 64 << 20;
    /// What a record counts in memory beside its content.
    pub const RECORD_BYTES: usize = 256;
    /// After this a write for which the disk had no room is tried again.
    pub const ROOM_RETRY: Duration = Duration::from_millis(500);
}

/// How long a caller should wait whom the full disk sends away: room is made by people.
pub const RETRY_WHEN_FULL: Duration = Duration::from_secs(5);

/// Reads the payload of a frame and writes it again. None: it is no batch of records. For the fuzzer, which has no other way to the
/// decoder.
#[doc(hidden)]
pub fn reread(payload: Bytes) -> Option<Vec<u8>> {
    let records = wire::decode_batch(payload).ok()?;
    Some(wire::encode_batch(&records))
}

/// The payload of a frame with these records, for the bench that counts instructions.
#[doc(hidden)]
pub fn written(records: &[(Partition, Record)]) -> Vec<u8> {
    wire::encode_batch(records)
}

/// A fact. Each record has a sequence number of its own; the records of a batch are consecutive.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A message was accepted.
    Message(Dispatch),
    /// A turn ended. In one batch with it stand the messages that it sent.
    Turn(Turn),
    /// A delivery was given up; whoever waits for it has been told in the same batch.
    DeadLetter {
        message: MessageId,
        agent: AgentId,
        reason: FailureReason,
        /// For people.
        detail: String,
        at: Timestamp,
    },
    /// The catalog's document of an agent, whole, as JSON. The journal does not look into it; what is secret in it is sealed.
    Agent {
        agent: AgentId,
        document: String,
        at: Timestamp,
    },
    /// An agent is gone, its state and its queue with it.
    AgentRemoved { agent: AgentId, at: Timestamp },
    /// Another document of the catalog, whole, as JSON; None: it is removed. The journal does not look into it, so that a
    /// new kind of document needs no new kind of record.
    Document {
        /// What kind of document, such as `groups`.
        collection: String,
        /// Which one of its collection.
        key: String,
        document: Option<String>,
        at: Timestamp,
    },
    /// A timer fired. In one batch with it stands the message that tells its agent.
    TimerFired {
        agent: AgentId,
        timer: u32,
        /// When it is due again. None: never, and it is gone.
        next: Option<Timestamp>,
        at: Timestamp,
    },
    /// A request that had a key of its client's was answered. In one batch with it stands what the answer tells of.
    Answer {
        /// Whose request it was.
        principal: String,
        key: String,
        /// Of the request.
        fingerprint: Digest,
        /// JSON. The journal does not look into it.
        answer: String,
        at: Timestamp,
    },
    /// An event that no other record tells of, such as a supervisor's restart. [`Record::event`] makes it.
    Event {
        kind: EventKind,
        /// The agent that the event is about, if it is about one.
        agent: Option<AgentId>,
        /// A JSON object: the members of an [`EventBody`].
        body: String,
        at: Timestamp,
    },
}

impl Record {
    /// The record of an event, with its body as JSON.
    pub fn event(agent: Option<AgentId>, body: &EventBody, at: Timestamp) -> Self {
        Self::Event {
            kind: body.kind(),
            agent,
            body: serde_json::to_string(body).expect("a body is serialisable: its keys are strings"),
            at,
        }
    }
}

/// A message and the agents whose mailboxes it entered. It is live input until each has finished it.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    pub message: Arc<Message>,
    /// Agents among the receivers that took the message.
    pub deliveries: Vec<AgentId>,
    /// Why the other receivers did not, if any did not.
    pub undelivered: Option<String>,
}

/// The outcome of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub agent: AgentId,
    /// None: the turn was `init`.
    pub message: Option<MessageId>,
    /// Which try this was, from 1.
    pub attempt: u32,
    pub end: TurnEnd,
    /// State written, None for a deletion. Empty unless the turn ended well.
    pub writes: Vec<(String, Option<Bytes>)>,
    /// Timers set and cancelled. Empty unless the turn ended well.
    pub timers: Vec<TimerChange>,
    pub at: Timestamp,
    /// From acceptance of the message to the end of the turn.
    pub latency_micros: u64,
    /// Spent in the guest.
    pub guest_micros: u64,
}

/// How a turn ended; see `guests.md` in the documentation of the guest contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// Its effects took place; the message is done.
    Ok,
    /// The guest said no: no effects, and the message is done and failed.
    Error { reason: String },
    /// The guest broke: no effects, and the message is still live unless a [`Record::DeadLetter`] follows.
    Crash { kind: String, detail: String },
}

impl TurnEnd {
    /// The end as metrics name it: `ok`, `error`, or the kind of the crash.
    pub fn label(&self) -> &str {
        match self {
            Self::Ok => "ok",
            Self::Error { .. } => "error",
            Self::Crash { kind, .. } => kind,
        }
    }
}

/// What was appended together, with the sequence of its first record.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub first: Seq,
    pub records: Vec<(Partition, Record)>,
}

impl Batch {
    /// The sequence of the last record.
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + self.records.len() as u64 - 1)
    }
}

/// What to do with a data folder, or a backup, of another format.
const NO_MIGRATION: &str =
    "nothing migrates one format to another: start with a new data folder, or use the release that wrote it";

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
    #[error("the data folder is of format {found}, and this release reads format {known}; {NO_MIGRATION}")]
    UnknownFormat { found: u32, known: u32 },
    #[error(
        "the data folder was made with {made} partitions and the configuration says {asked}; their number is fixed when the \
         folder is made"
    )]
    Partitions { made: u16, asked: u16 },
    #[error("{file} is no key: it has {found} bytes, and a key has {}", secret::KEY_BYTES)]
    NoKey { file: String, found: usize },
    #[error("the journal is damaged in {file} at byte {offset}: {problem}")]
    Damaged {
        file: String,
        offset: u64,
        problem: &'static str,
    },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    /// What was written may be on the disk or not, and no later sync would tell: whoever meets this must not go on.
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
    /// Nothing was written that anybody was promised, and it may be tried again when there is room.
    pub fn is_no_room(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        if error.is_no_room() {
            return Self::Unavailable {
                reason: "the disk of the data folder is full".to_owned(),
                retry_after: RETRY_WHEN_FULL,
            };
        }
        match error {
            JournalError::TooLarge(_) => Self::PayloadTooLarge {
                what: "batch",
                limit: limits::BATCH_BYTES,
            },
            other @ (JournalError::Fenced(_)
            | JournalError::Closed
            | JournalError::Locked(_)
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

pub type Appended<'a> = Pin<Box<dyn Future<Output = Result<Seq, JournalError>> + Send + 'a>>;

/// The promise. `local` keeps it with a file, `memory` for as long as the process lives.
pub trait Journal: Send + Sync + 'static {
    /// Takes ownership of a partition: appends under every earlier fence fail from now on.
    fn claim(&self, partition: Partition) -> Fence;

    /// Appends a batch, all or none, and answers with the sequence of its last record once its place is certain, before it
    /// is durable. Batches of one caller keep their order. Waits while the writer is [`limits::QUEUED_BATCHES`] behind.
    fn append(&self, owner: Partition, fence: Fence, records: Vec<(Partition, Record)>) -> Appended<'_>;

    /// The last record that has a place, durable or not.
    fn appended(&self) -> Seq;

    /// The durable watermark: everything up to it has been synced.
    fn durable(&self) -> watch::Receiver<Seq>;

    /// All durable batches from now on, in order. The writer waits for a follower that lies
    /// [`limits::FOLLOWER_BYTES`] behind; a dropped receiver is forgotten.
    fn follow(&self) -> Follower;

    /// The oldest record that is still there, or the first to come if there is none.
    fn oldest(&self) -> watch::Receiver<Seq>;

    /// Durable batches whose last record is after `seq`, oldest first, at most `max`. They begin later, with the oldest that
    /// is there, when what followed on `seq` is gone.
    fn read_after(&self, seq: Seq, max: usize) -> Result<Vec<Arc<Batch>>, JournalError>;

    /// Stores a module under its digest, durably. Storing it again changes nothing.
    fn put_module(&self, digest: Digest, module: &[u8]) -> Result<(), JournalError>;

    fn module(&self, digest: Digest) -> Result<Option<Bytes>, JournalError>;

    /// Whether the writer waits for room on the disk. It goes on by itself when there is some; until then nothing more
    /// becomes durable, and what is durable can be read.
    fn full(&self) -> watch::Receiver<bool>;

    /// Bytes that are free where the journal lies. Blocks.
    fn free_bytes(&self) -> Result<u64, JournalError>;

    /// Accepts nothing more, writes what is queued, and gives what it holds free. Blocks.
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

/// `EX_SOFTWARE` of sysexits: the supervisor of the process should start it again, and recovery finds what is on the disk.
const EXIT_STATUS: i32 = 70;

/// The end of a process that cannot say any more what is on the disk.
fn end_process(error: &JournalError) -> ! {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "the journal cannot be written: the server ends"
    );
    // Tracing may be off or buffered, and this is the last that anyone hears.
    let _ = writeln!(
        std::io::stderr(),
        "caxton: the journal cannot be written, the server ends: {error}"
    );
    std::process::exit(EXIT_STATUS);
}
