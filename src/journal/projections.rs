//! What is stored so that it can be asked: projections of the journal in `SQLite`.
//!
//! Purpose: history, catalog, state, queues and sessions, kept by a thread that tails the journal.
//! Owner: whoever opened it; two must not be open on one folder.
//! Invariant: all that is in the file follows from the journal up to `applied`. A file that is lost, damaged or of another
//! version is made again, as long as the journal has all of its records; else it is the only one, and is never touched.
//!
//! A query answers as of some sequence; [`Projections::seen`] waits for the caller's own writes.

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
use crate::id::{AgentId, MessageId, Seq};
use crate::idempotency::Key;
use crate::message::Address;
use crate::time::Timestamp;

/// Batches of one transaction at most. A long one writes each page of an index once for more rows; and as long as it takes, whoever
/// waits for their own write waits.
const GROUP: usize = 4_096;
/// Queries at a time; further ones wait.
const READERS: usize = 4;

/// Events of the history; when one more comes, the oldest goes. The journal still has it.
pub const EVENTS_KEPT: u64 = 1_000_000;

const FILE: &str = "projections.db";

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// An agent has it and has not finished it.
    Queued,
    /// Everyone that it was for has finished it, or nobody had to: it was for clients alone.
    Processed,
    /// It failed for one of its receivers at least, and no other has it any more.
    Failed,
}

impl Status {
    pub const ALL: &[Self] = &[Self::Queued, Self::Processed, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processed => "processed",
            Self::Failed => "failed",
        }
    }

    const fn code(self) -> i64 {
        match self {
            Self::Queued => 0,
            Self::Processed => 1,
            Self::Failed => 2,
        }
    }

    const fn of_code(code: i64) -> Self {
        match code {
            0 => Self::Queued,
            1 => Self::Processed,
            _ => Self::Failed,
        }
    }
}

/// Messages by where they stand, since the journal began. `messages_total` is the sum of `queued`, `processed` and `failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub messages_total: u64,
    pub processed: u64,
    pub failed: u64,
    /// Deliveries that were given up.
    pub dead_letters: u64,
    pub queued: u64,
}

impl Counts {
    const fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Queued => &mut self.queued,
            Status::Processed => &mut self.processed,
            Status::Failed => &mut self.failed,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    applied: Seq,
    counts: Counts,
    /// Events of the history.
    events: u64,
    /// Answers that are remembered.
    answers: u64,
}

/// `SQLite`'s integers are signed; a sequence never comes near the end of them.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An address as a key: the 16 bytes of an agent's id, or the text of another. `SQLite` never takes a text for bytes.
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

/// See the module.
pub struct Projections {
    progress: watch::Receiver<Progress>,
    /// Why nothing can be applied for now.
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
    /// Opens `<dir>/projections.db` or makes it, and returns when it has applied all that is durable now. Blocks.
    pub fn open(dir: &Path, journal: &dyn Journal) -> Result<Arc<Self>, JournalError> {
        let path = dir.join(FILE);
        let oldest = journal.oldest();
        if *oldest.borrow() > Seq(1) && !path.exists() {
            let problem = "there is no file".to_owned();
            let oldest = *oldest.borrow();
            return Err(JournalError::Irreplaceable { problem, oldest });
        }
        // Before the journal is read, so that nothing falls between what is read and what comes.
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
        // It polls two channels and a timer, and has no sockets.
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

    /// The catalog's documents of agents, as of what has been applied. Blocks.
    pub fn agents(&self) -> Result<Vec<String>, JournalError> {
        self.readers.with(|connection, _| upkeep::agents_of(connection))
    }

    /// Everything that is open, as of what has been applied. Blocks.
    pub fn recover(&self) -> Result<Recovered, JournalError> {
        self.readers.with(recover::recover)
    }

    /// Waits until the record is applied, so that a query after it finds what the caller wrote.
    pub async fn seen(&self, seq: Seq) -> Result<(), JournalError> {
        let mut progress = self.progress.clone();
        progress
            .wait_for(|progress| progress.applied >= seq)
            .await
            .map(|_| ())
            .map_err(|_| JournalError::Closed)
    }

    /// As [`Self::seen`], for who would rather see what there is than wait until the disk has room.
    pub async fn seen_or_stalled(&self, seq: Seq) -> Result<(), JournalError> {
        let mut stalled = self.stalled.clone();
        tokio::select! {
            seen = self.seen(seq) => seen,
            Ok(_) = stalled.wait_for(Option::is_some) => Ok(()),
        }
    }

    /// Why nothing can be applied, while that is so: the disk has no room, or cannot be written. What has been applied can
    /// be read, and the rest follows by itself.
    pub fn stalled(&self) -> watch::Receiver<Option<String>> {
        self.stalled.clone()
    }

    /// Resolves when the thread has ended, well or badly: nothing is applied any more.
    pub async fn ended(&self) {
        let mut progress = self.progress.clone();
        while progress.changed().await.is_ok() {}
    }

    /// The last record that queries know of. How far it lies behind the journal's watermark is the lag.
    pub fn applied(&self) -> Seq {
        self.progress.borrow().applied
    }

    /// Takes no look at the file.
    pub fn counts(&self) -> Counts {
        self.progress.borrow().counts
    }

    pub async fn messages(&self, query: MessageQuery) -> Result<Page, QueryError> {
        self.read(move |connection, path| query::messages(connection, path, &query))
            .await
    }

    pub async fn message(&self, id: MessageId) -> Result<Option<Stored>, QueryError> {
        self.read(move |connection, path| query::message(connection, path, id))
            .await
    }

    /// Events of the journal's [`super::Record::Event`]s; of those, the newest [`EVENTS_KEPT`].
    pub async fn events(&self, query: EventQuery) -> Result<EventPage, QueryError> {
        self.read(move |connection, _| events::events(connection, &query)).await
    }

    /// The answer to a request of `principal`, if it had one and that is not too old.
    pub async fn answered(&self, principal: String, key: Key) -> Result<Option<Answered>, QueryError> {
        let now = Timestamp::now();
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
            // Until here, even when whoever asked has gone: it bounds threads, not callers.
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

/// Connections that only read, kept for the next query.
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
        // One that failed may hold on to what is wrong.
        if answer.is_ok() {
            self.idle.lock().push(connection);
        }
        answer
    }
}
