//! The tables, and how a file is recognised as a file of projections.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::journal::{JournalError, end_process};

/// The version of the tables. A file of another version is set aside and rebuilt from the journal if the journal still
/// has all of its records. Once retention has removed some, a release with another version must be able to migrate the
/// file.
const VERSION: i32 = 7;
/// `CxPj` in ASCII, so that the file of another program is not taken for projections.
const APPLICATION_ID: i32 = 0x4378_506a;
/// Prepared statements that each connection caches.
const STATEMENTS: usize = 64;
/// Pages of the write-ahead log (64 MiB) after which it is checkpointed. Inserts into the indexes change the same pages
/// again and again, and a checkpoint writes each of them only once.
const CHECKPOINT_PAGES: i32 = 16_000;
/// The page cache of the writer. `SQLite` reads a negative number as KiB.
const CACHE_KIB: i32 = -65_536;
/// How long a connection waits for a lock. In WAL mode one writer and its readers never block each other, except during
/// recovery from a crash.
const BUSY: Duration = Duration::from_secs(10);

/// Addresses are blobs: the 16 bytes of an agent's id, or the text of any other address.
///
/// The `outcome` of a message is its status but for the receivers that have not finished it, whose number is `open`.
///
/// A row of `parties` is the sender (1) or a receiver (2) of a message, or both (3); its key is the index for queries
/// by agent. A row of `deliveries` is an open delivery and a row of `sessions` an open question; rows that are done are
/// removed from both tables. Rows with a `partition` have that of the record that made them, so that a partition is read
/// alone; a session is read with its initiator.
const TABLES: &str = "
    CREATE TABLE progress (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        applied_seq INTEGER NOT NULL,
        messages INTEGER NOT NULL, processed INTEGER NOT NULL, failed INTEGER NOT NULL, dead_letters INTEGER NOT NULL,
        events INTEGER NOT NULL, answers INTEGER NOT NULL
    );
    INSERT INTO progress VALUES (1, 0, 0, 0, 0, 0, 0, 0);
    CREATE TABLE messages (
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL,
        conversation TEXT NOT NULL,
        performative TEXT NOT NULL,
        protocol TEXT,
        timestamp INTEGER NOT NULL,
        open INTEGER NOT NULL,
        status INTEGER NOT NULL,
        outcome INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        reason TEXT,
        body BLOB NOT NULL
    );
    CREATE INDEX messages_by_id ON messages (id);
    CREATE INDEX messages_by_conversation ON messages (conversation);
    CREATE INDEX messages_by_time ON messages (timestamp);
    CREATE TABLE parties (
        address BLOB NOT NULL, seq INTEGER NOT NULL, role INTEGER NOT NULL, PRIMARY KEY (address, seq)
    ) WITHOUT ROWID;
    CREATE TABLE deliveries (
        partition INTEGER NOT NULL, agent BLOB NOT NULL, seq INTEGER NOT NULL, crashes INTEGER NOT NULL,
        PRIMARY KEY (partition, agent, seq)
    ) WITHOUT ROWID;
    CREATE TABLE sessions (
        initiator BLOB NOT NULL, participant BLOB NOT NULL, seq INTEGER NOT NULL,
        message BLOB NOT NULL, performative TEXT NOT NULL, conversation TEXT NOT NULL, reply_with TEXT NOT NULL,
        PRIMARY KEY (initiator, participant, seq)
    ) WITHOUT ROWID;
    CREATE INDEX sessions_by_participant ON sessions (participant, seq);
    CREATE TABLE agents (
        partition INTEGER NOT NULL, agent BLOB NOT NULL, document TEXT NOT NULL, PRIMARY KEY (partition, agent)
    ) WITHOUT ROWID;
    CREATE TABLE documents (
        partition INTEGER NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL,
        PRIMARY KEY (partition, collection, key)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, agent BLOB, path TEXT, body TEXT NOT NULL, at INTEGER NOT NULL
    );
    CREATE INDEX events_by_kind ON events (kind);
    CREATE INDEX events_by_agent ON events (agent) WHERE agent IS NOT NULL;
    CREATE INDEX events_by_path ON events (path, kind) WHERE path IS NOT NULL;
    CREATE TABLE state (
        partition INTEGER NOT NULL, agent BLOB NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (partition, agent, key)
    ) WITHOUT ROWID;
    CREATE TABLE timers (
        partition INTEGER NOT NULL, agent BLOB NOT NULL, id INTEGER NOT NULL, due INTEGER NOT NULL, every INTEGER,
        revision INTEGER NOT NULL, instance INTEGER NOT NULL, PRIMARY KEY (partition, agent, id)
    ) WITHOUT ROWID;
    CREATE TABLE answers (
        seq INTEGER PRIMARY KEY, principal TEXT NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, answer TEXT NOT NULL,
        at INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX answers_by_key ON answers (principal, key);
";

/// Tables that a start depends on and that do not grow with the history. They are checked when the file is opened.
const LIVE: [&str; 7] = [
    "progress",
    "deliveries",
    "sessions",
    "agents",
    "documents",
    "state",
    "timers",
];

/// Why a file cannot be used.
pub(super) enum Unusable {
    /// A rebuild helps: the file is damaged, of another version, or not a file of projections.
    Rebuild(String),
    /// A rebuild does not help.
    Failed(JournalError),
}

impl Unusable {
    /// The error when a rebuilt file is unusable too.
    pub(super) fn into_error(self, path: &Path) -> JournalError {
        match self {
            Self::Failed(error) => error,
            Self::Rebuild(problem) => JournalError::Io {
                what: format!("cannot make {} again", path.display()),
                source: std::io::Error::other(problem),
            },
        }
    }
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // The statements are known to be right, so an SQL error means that the tables are not those of this
            // version.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                Self::Rebuild(error.to_string())
            }
            _ => Self::Failed(error.into()),
        }
    }
}

impl From<JournalError> for Unusable {
    fn from(error: JournalError) -> Self {
        Self::Failed(error)
    }
}

/// Opens the connection that writes, and creates the tables if the file is new.
pub(super) fn open_writer(path: &Path) -> Result<Connection, Unusable> {
    let mut connection = Connection::open(path)?;
    prepare(&connection)?;
    let objects: i64 = connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = objects == 0 && marks(&connection)? == (0, 0);
    if let Some(problem) = stranger(&connection)?.filter(|_| !is_new) {
        return Err(Unusable::Rebuild(problem));
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A power cut may lose the last transactions, which is harmless: the journal still has their records.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // The automatic checkpoint of `SQLite` would not report a failed sync.
    connection.wal_hook(Some(|log: &mut Wal, pages| {
        checkpoint(log, pages);
        Ok(())
    }))?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    if is_new {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    for table in LIVE {
        let verdict: String = connection.query_row(&format!("PRAGMA quick_check({table})"), [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Unusable::Rebuild(verdict));
        }
    }
    Ok(connection)
}

/// Moves a long write-ahead log into the file. A checkpoint that fails is retried after the next commit.
fn checkpoint(log: &mut Wal, pages: i32) {
    if pages < CHECKPOINT_PAGES {
        return;
    }
    let Err(error) = log.checkpoint() else { return };
    match trouble(&error) {
        Trouble::Unsynced => end_process(&error.into()),
        // The usual reason is a reader.
        Trouble::Passing | Trouble::Lasting => tracing::debug!(
            error = &error as &dyn std::error::Error,
            "the projections were not checkpointed"
        ),
    }
}

/// What an error of `SQLite` means for the writer.
pub(super) enum Trouble {
    /// A retry may succeed: the disk is full or does not respond.
    Passing,
    /// A sync failed, so the content of the disk is unknown.
    Unsynced,
    Lasting,
}

pub(super) fn trouble(error: &rusqlite::Error) -> Trouble {
    use ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
    let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
    match error.sqlite_error_code() {
        Some(_) if [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC].contains(&extended) => Trouble::Unsynced,
        Some(DiskFull | SystemIoFailure | CannotOpen) => Trouble::Passing,
        _ => Trouble::Lasting,
    }
}

/// The version of the tables, and the id of the application that made the file.
fn marks(connection: &Connection) -> Result<(i32, i32), rusqlite::Error> {
    let mark = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((mark("user_version")?, mark("application_id")?))
}

/// Why the file is not one of these projections, or None if it is.
pub(super) fn stranger(connection: &Connection) -> Result<Option<String>, rusqlite::Error> {
    let (version, application) = marks(connection)?;
    let ours = (version, application) == (VERSION, APPLICATION_ID);
    Ok((!ours).then(|| format!("it has version {version} of application {application:#x}")))
}

/// Settings that readers and the writer share.
pub(super) fn prepare(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise a statement is compiled again whenever a value is bound that its plan might depend on, which costs ten
    // times as much as running it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    Ok(connection)
}
