//! Projections of the journal in `SQLite`: what is stored in order to be queried.
//!
//! Purpose: history, catalog, state, queues and sessions, kept by a thread that tails the journal.
//! Owner: whoever opened them; one folder must not have two open.
//! Invariant: everything in the file follows from the journal up to `applied`. A file that is lost, damaged or of
//! another version is rebuilt if the journal still has all of its records. Otherwise the file is the only copy and is
//! never touched.
//!
//! A query sees everything up to some sequence number; [`Projections::seen`] waits until that covers the caller's own
//! writes.

mod answers;
mod apply;
mod catch_up;
mod events;
mod fresh;
mod query;
mod recover;
mod schema;
mod sessions;
mod tail;
#[cfg(test)]
mod tests;
pub(super) mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::types::Value;
use tokio::sync::{Semaphore, oneshot, watch};
use uuid::Uuid;

pub use self::answers::Answered;
use self::catch_up::{catch_up, set_aside};
pub use self::events::{EventPage, EventQuery, StoredEvent};
pub use self::query::{MessageQuery, Page, QueryError, Stored, limits as query_limits};
pub use self::recover::{OpenSession, Pending, Recovered};
use self::schema::Unusable;
use self::tail::Tail;
use super::{Journal, JournalError};
use crate::id::{AgentId, MessageId, Partition, Seq};
use crate::idempotency::Key;
use crate::message::{Address, Status};
use crate::time::Timestamp;

/// Most batches in one transaction. A larger one writes each page of an index once for more rows, but a caller who
/// waits for its own write waits for the whole transaction.
const GROUP: usize = 4_096;
/// Most queries that run at a time; further ones wait.
const READERS: usize = 4;

/// Most events in the history: when one more comes, the oldest is removed. The journal still has it.
pub const EVENTS_KEPT: u64 = 1_000_000;

const FILE: &str = "projections.db";

/// The number of a status in the file.
const fn code(status: Status) -> i64 {
    match status {
        Status::Delivered => 0,
        Status::Processed => 1,
        Status::Failed => 2,
        Status::Queued => 3,
        Status::Expired => 4,
        Status::Dead => 5,
    }
}

fn of_code(number: i64) -> Status {
    let known = Status::ALL.iter().find(|status| code(**status) == number);
    known.copied().unwrap_or(Status::Failed)
}

/// Numbers of messages since the journal began. `messages_total` is the sum of `queued`, `processed` and `failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub messages_total: u64,
    /// Messages that their receivers have handled, or that are in the inboxes of clients.
    pub processed: u64,
    /// Messages that failed, expired or are dead letters for at least one receiver.
    pub failed: u64,
    /// Deliveries that became dead letters.
    pub dead_letters: u64,
    /// Messages that are in the mailboxes of agents.
    pub queued: u64,
}

impl Counts {
    const fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Delivered => &mut self.queued,
            Status::Processed | Status::Queued => &mut self.processed,
            Status::Failed | Status::Expired | Status::Dead => &mut self.failed,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    applied: Seq,
    counts: Counts,
    /// Number of events in the history.
    events: u64,
    /// Number of remembered answers.
    answers: u64,
}

/// Converts to the signed integers of `SQLite`; no sequence number comes near their maximum.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An address as a key: the 16 bytes of an agent's id, or the text of any other address. The two cannot collide,
/// because `SQLite` never treats a text as equal to a blob.
fn address_key(address: &Address) -> Value {
    match address {
        Address::Agent(agent) => Value::Blob(agent.uuid().as_bytes().to_vec()),
        Address::Client(_) | Address::Platform => Value::Text(address.to_string()),
    }
}

fn address_of(key: &Value) -> Option<Address> {
    match key {
        Value::Blob(id) => Uuid::from_slice(id)
            .ok()
            .map(|id| Address::Agent(AgentId::from_uuid(id))),
        Value::Text(text) => text.parse().ok(),
        Value::Null | Value::Integer(_) | Value::Real(_) => None,
    }
}

/// The projections of one data folder; see [the module](self).
pub struct Projections {
    progress: watch::Receiver<Progress>,
    /// Why nothing can be applied at the moment. None while all is well.
    stalled: watch::Receiver<Option<String>>,
    readers: Arc<Readers>,
    /// Dropping the sender stops the thread.
    tail: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl std::fmt::Debug for Projections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Projections")
            .field("progress", &*self.progress.borrow())
            .finish_non_exhaustive()
    }
}

impl Projections {
    /// Opens or creates `<dir>/projections.db`, and returns when everything that is durable now has been applied.
    /// Blocks.
    pub fn open(dir: &Path, journal: &dyn Journal) -> Result<Arc<Self>, JournalError> {
        let path = dir.join(FILE);
        let oldest = journal.oldest();
        if *oldest.borrow() > Seq(1) && !path.exists() {
            let problem = "there is no file".to_owned();
            let oldest = *oldest.borrow();
            return Err(JournalError::Irreplaceable { problem, oldest });
        }
        upkeep::remove_draft(dir)?;
        // The subscription comes before the read, so that no batch falls between the two.
        let follower = journal.follow();
        let opened = catch_up(&path, journal).or_else(|unusable| match unusable {
            Unusable::Failed(error) => Err(error),
            Unusable::Rebuild(problem) if *oldest.borrow() > Seq(1) => Err(JournalError::Irreplaceable {
                problem,
                oldest: *oldest.borrow(),
            }),
            Unusable::Rebuild(problem) => {
                set_aside(&path, &problem)?;
                catch_up(&path, journal).map_err(|unusable| unusable.into_error(&path))
            }
        });
        let (connection, progress) = opened?;
        let failed = |source| JournalError::Io {
            what: "cannot start the projections' thread".to_owned(),
            source,
        };
        // The thread polls two channels and a timer, so its runtime needs no sockets.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(failed)?;
        let (sender, receiver) = watch::channel(progress);
        let (stall, stalled) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        let tail = Tail {
            connection,
            progress: sender,
            stall,
            follower,
            oldest,
            stopped,
            path: path.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("projections".to_owned())
            .spawn(move || tail.run(&runtime));
        let readers = Readers {
            path,
            idle: Mutex::new(Vec::new()),
            places: Arc::new(Semaphore::new(READERS)),
        };
        Ok(Arc::new(Self {
            progress: receiver,
            stalled,
            readers: Arc::new(readers),
            tail: Some((stop, thread.map_err(failed)?)),
        }))
    }

    /// The catalog's documents of agents, as of [`Self::applied`]. Blocks.
    pub fn agents(&self) -> Result<Vec<String>, JournalError> {
        self.readers.with(|connection, _| upkeep::agents_of(connection))
    }

    /// Everything that the owner of a partition needs to resume, as of [`Self::applied`]. Blocks.
    pub fn recover(&self, partition: Partition) -> Result<Recovered, JournalError> {
        self.readers
            .with(|connection, path| recover::recover(connection, path, partition))
    }

    /// Waits until the record is applied, so that a later query finds what the caller wrote.
    pub async fn seen(&self, seq: Seq) -> Result<(), JournalError> {
        let mut progress = self.progress.clone();
        progress
            .wait_for(|progress| progress.applied >= seq)
            .await
            .map(|_| ())
            .map_err(|_| JournalError::Closed)
    }

    /// Like [`Self::seen`], but also returns when nothing can be applied, for a caller who prefers an older answer to
    /// waiting until the disk has room.
    pub async fn seen_or_stalled(&self, seq: Seq) -> Result<(), JournalError> {
        let mut stalled = self.stalled.clone();
        tokio::select! {
            seen = self.seen(seq) => seen,
            Ok(_) = stalled.wait_for(Option::is_some) => Ok(()),
        }
    }

    /// Why nothing can be applied, as long as that lasts: the disk is full or cannot be written. Meanwhile queries see
    /// what has been applied; the rest follows by itself.
    pub fn stalled(&self) -> watch::Receiver<Option<String>> {
        self.stalled.clone()
    }

    /// Resolves when the thread has ended, normally or not. Nothing is applied any more.
    pub async fn ended(&self) {
        let mut progress = self.progress.clone();
        while progress.changed().await.is_ok() {}
    }

    /// The last record that queries see. Its distance from the journal's watermark is the lag.
    pub fn applied(&self) -> Seq {
        self.progress.borrow().applied
    }

    /// The counts are kept in memory, so this does not read the file.
    pub fn counts(&self) -> Counts {
        self.progress.borrow().counts
    }

    pub async fn messages(&self, query: MessageQuery) -> Result<Page, QueryError> {
        self.read(move |connection, path| query::messages(connection, path, &query))
            .await
    }

    /// Whether the history has a message from or to this address.
    pub async fn knows(&self, address: Address) -> Result<bool, QueryError> {
        self.read(move |connection, _| query::knows(connection, &address)).await
    }

    pub async fn message(&self, id: MessageId) -> Result<Option<Stored>, QueryError> {
        self.read(move |connection, path| query::message(connection, path, id))
            .await
    }

    /// The events that [`super::Record::Event`] records made, of which the newest [`EVENTS_KEPT`] are kept.
    pub async fn events(&self, query: EventQuery) -> Result<EventPage, QueryError> {
        self.read(move |connection, _| events::events(connection, &query)).await
    }

    /// The remembered answer to a request of `principal`, unless it is too old.
    pub async fn answered(&self, principal: String, key: Key) -> Result<Option<Answered>, QueryError> {
        let now = Timestamp::steady();
        self.read(move |connection, _| answers::find(connection, &principal, &key, now))
            .await
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Connection, &Path) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let place = Arc::clone(&self.readers.places)
            .acquire_owned()
            .await
            .map_err(|_| JournalError::Closed)?;
        let readers = Arc::clone(&self.readers);
        let answer = tokio::task::spawn_blocking(move || {
            let answer = readers.with(question);
            // The permit is held until here even if the caller has gone, because it bounds threads and not callers.
            drop(place);
            answer
        });
        match answer.await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(JournalError::Closed.into()),
        }
    }
}

impl Drop for Projections {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.tail.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the projections' thread panicked");
            }
        }
    }
}

/// Read-only connections, kept for the next query.
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

impl Readers {
    fn with<T, E: From<rusqlite::Error>>(
        &self,
        question: impl FnOnce(&mut Connection, &Path) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = self.idle.lock().pop();
        let mut connection = idle.map_or_else(|| schema::open_reader(&self.path), Ok)?;
        let answer = question(&mut connection, &self.path);
        // A connection whose query failed may be broken, so it is not reused.
        if answer.is_ok() {
            self.idle.lock().push(connection);
        }
        answer
    }
}
