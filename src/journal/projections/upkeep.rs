//! What operators need of the file: durable up to where, a copy of it, a look at all of it, and to have it made again.

use std::fs::File;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::apply::load_progress;
use super::schema::{self, Trouble, Unusable, trouble};
use super::{FILE, Projections, catch_up, set_aside};
use crate::id::Seq;
use crate::journal::local::sync_dir;
use crate::journal::{Journal, JournalError, end_process};

/// Findings of one check; a file that is broken through and through has thousands.
const FINDINGS: usize = 20;

/// What a look at the whole file found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::journal) enum Examined {
    Missing,
    Sound { applied: Seq },
    Damaged { problems: Vec<String> },
}

impl Projections {
    /// Makes what is applied survive a power cut, and answers with how far that is; None while a reader is in the way. Blocks,
    /// but neither readers nor the writer.
    pub fn checkpoint(&self) -> Result<Option<Seq>, JournalError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.readers.path, flags)?;
        schema::prepare(&connection)?;
        // Asked first: the checkpoint goes at least as far.
        let applied = load_progress(&connection)?.applied;
        let checkpointed = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        });
        let (busy, log, moved): (i64, i64, i64) = match checkpointed {
            Err(error) if matches!(trouble(&error), Trouble::Unsynced) => end_process(&error.into()),
            checkpointed => checkpointed?,
        };
        // The file's name too: `SQLite` syncs what is in the file.
        sync_dir(self.readers.path.parent().unwrap_or(Path::new(".")))?;
        Ok((busy == 0 && log == moved).then_some(applied))
    }

    /// Writes a copy as of one point of the journal to the new file `to`, syncs it, and answers with that point. Blocks.
    pub(in crate::journal) fn copy(&self, to: &Path) -> Result<Seq, JournalError> {
        let text = to.to_str().ok_or_else(|| JournalError::Io {
            what: format!("cannot write {}", to.display()),
            source: std::io::Error::other("the name is not UTF-8"),
        })?;
        // A connection of its own: this takes long, and the others are for queries.
        schema::open_reader(&self.readers.path)?.execute("VACUUM INTO ?1", [text])?;
        let synced = File::open(to).and_then(|file| file.sync_all());
        synced.map_err(|source| JournalError::Io {
            what: format!("cannot sync {}", to.display()),
            source,
        })?;
        Ok(load_progress(&schema::open_reader(to)?)?.applied)
    }
}

/// Looks at the file of a folder that nobody has open.
pub(in crate::journal) fn examine(dir: &Path) -> Examined {
    let path = dir.join(FILE);
    if !path.exists() {
        return Examined::Missing;
    }
    examine_file(&path).unwrap_or_else(|error| Examined::Damaged {
        problems: vec![error.to_string()],
    })
}

/// The catalog's documents of agents, of a file that is sound.
pub(in crate::journal) fn agents(dir: &Path) -> Result<Vec<String>, JournalError> {
    agents_of(&schema::open_reader(&dir.join(FILE))?)
}

pub(super) fn agents_of(connection: &Connection) -> Result<Vec<String>, JournalError> {
    let mut statement = connection.prepare("SELECT document FROM agents ORDER BY agent")?;
    let documents = statement.query_map([], |row| row.get(0))?;
    Ok(documents.collect::<rusqlite::Result<_>>()?)
}

fn examine_file(path: &Path) -> rusqlite::Result<Examined> {
    let connection = schema::open_reader(path)?;
    if let Some(problem) = schema::stranger(&connection)? {
        let problems = vec![problem];
        return Ok(Examined::Damaged { problems });
    }
    let problems: Vec<String> = connection
        .prepare(&format!("PRAGMA integrity_check({FINDINGS})"))?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if problems != ["ok"] {
        return Ok(Examined::Damaged { problems });
    }
    let applied = load_progress(&connection)?.applied;
    Ok(Examined::Sound { applied })
}

/// Puts the file aside and makes another from the journal, which must have all of its records. Blocks.
pub(in crate::journal) fn rebuild(dir: &Path, journal: &dyn Journal) -> Result<Seq, JournalError> {
    let path = dir.join(FILE);
    if path.exists() {
        set_aside(&path, "it is to be made again")?;
    }
    let (connection, progress) = catch_up(&path, journal).map_err(|unusable: Unusable| unusable.into_error(&path))?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(progress.applied)
}
