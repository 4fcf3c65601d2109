//! Maintenance of the file: a checkpoint, a copy, a full check, and a rebuild.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::apply::load_progress;
use super::schema::{self, Trouble, Unusable, trouble};
use super::{FILE, Projections, catch_up, set_aside};
use crate::id::Seq;
use crate::journal::local::sync_dir;
use crate::journal::{Journal, JournalError, end_process};

/// Most findings of one check. A badly damaged file has thousands.
const FINDINGS: usize = 20;

/// The result of a check of the whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::journal) enum Examined {
    Missing,
    Sound { applied: Seq },
    Damaged { problems: Vec<String> },
}

impl Projections {
    /// Makes what is applied survive a power cut, and returns the last record that does; None if a reader prevented it.
    /// Blocks the caller, but neither readers nor the writer.
    pub fn checkpoint(&self) -> Result<Option<Seq>, JournalError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.readers.path, flags)?;
        schema::prepare(&connection)?;
        // The progress is read first, because the checkpoint covers at least what is applied now.
        let applied = load_progress(&connection)?.applied;
        let checkpointed = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        });
        let (busy, log, moved): (i64, i64, i64) = match checkpointed {
            Err(error) if matches!(trouble(&error), Trouble::Unsynced) => end_process(&error.into()),
            checkpointed => checkpointed?,
        };
        // The folder is synced too, for the name of the file: `SQLite` syncs only the content.
        sync_dir(self.readers.path.parent().unwrap_or(Path::new(".")))?;
        Ok((busy == 0 && log == moved).then_some(applied))
    }

    /// Writes a copy as of one record to the new file `to`, syncs it, and returns that record. Blocks.
    pub(in crate::journal) fn copy(&self, to: &Path) -> Result<Seq, JournalError> {
        let text = to.to_str().ok_or_else(|| JournalError::Io {
            what: format!("cannot write {}", to.display()),
            source: io::Error::other("the name is not UTF-8"),
        })?;
        // A connection of its own, because a copy takes long and the others are for queries.
        schema::open_reader(&self.readers.path)?.execute("VACUUM INTO ?1", [text])?;
        let synced = File::open(to).and_then(|file| file.sync_all());
        synced.map_err(|source| JournalError::Io {
            what: format!("cannot sync {}", to.display()),
            source,
        })?;
        Ok(load_progress(&schema::open_reader(to)?)?.applied)
    }
}

/// Checks the file of a folder that no process has open.
pub(in crate::journal) fn examine(dir: &Path) -> Examined {
    let path = dir.join(FILE);
    if !path.exists() {
        return Examined::Missing;
    }
    examine_file(&path).unwrap_or_else(|error| Examined::Damaged {
        problems: vec![error.to_string()],
    })
}

/// The catalog's documents of agents in a sound file.
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

/// What a rebuild did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The last record that the new file has applied.
    pub applied: Seq,
    pub before: Before,
}

/// What became of the file that a rebuild replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    Missing,
    /// It is removed.
    Sound,
    Damaged {
        kept_as: PathBuf,
    },
}

/// Rebuilds the file from the journal, which must have all of its records. The new file gets the name of the old one when
/// it is whole, so that a crash leaves one of them. Blocks.
pub(in crate::journal) fn rebuild(dir: &Path, journal: &dyn Journal) -> Result<Rebuilt, JournalError> {
    let path = dir.join(FILE);
    let before = examine(dir);
    let draft = remove_draft(dir)?;
    let (connection, progress) = catch_up(&draft, journal).map_err(|unusable: Unusable| unusable.into_error(&path))?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    // The last connection takes the write-ahead log with it.
    drop(connection);
    let before = match before {
        Examined::Missing => Before::Missing,
        Examined::Sound { .. } => {
            remove_logs(&path)?;
            Before::Sound
        }
        Examined::Damaged { problems } => Before::Damaged {
            kept_as: set_aside(&path, &problems.join("; "))?,
        },
    };
    fs::rename(&draft, &path).map_err(|source| JournalError::Io {
        what: format!("cannot replace {}", path.display()),
        source,
    })?;
    sync_dir(dir)?;
    let applied = progress.applied;
    Ok(Rebuilt { applied, before })
}

/// Removes what an interrupted rebuild left, and returns the name under which a rebuild makes its file.
pub(super) fn remove_draft(dir: &Path) -> Result<PathBuf, JournalError> {
    let draft = dir.join("rebuilt.db");
    remove(&draft)?;
    remove_logs(&draft)?;
    Ok(draft)
}

/// Removes the write-ahead log of a file. If it stayed behind, it would be taken for that of the next file of the name.
pub(super) fn remove_logs(path: &Path) -> Result<(), JournalError> {
    remove(&path.with_extension("db-wal"))?;
    remove(&path.with_extension("db-shm"))
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(JournalError::Io {
            what: format!("cannot remove {}", path.display()),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}
