//! Backups: a data folder as of one record, copied while it is in use, and restored.
//!
//! ```text
//! <backup>/journal, modules, projections.db, FORMAT, PARTITIONS, OLDEST    as in the data folder
//! <backup>/MANIFEST                                                       JSON, see [`Manifest`]; written last
//! ```
//!
//! Invariants: a folder with a manifest is a complete backup. Its projections have applied no more than its log contains.
//! It does not contain the key that seals secrets, so whoever finds a backup cannot read them. A restored folder gets its
//! `FORMAT` last, and no server starts without that file.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::JournalError;
use super::local::{self, Found, LocalJournal, Unfit};
use super::projections::Projections;
use crate::error::Error;
use crate::id::Seq;
use crate::secret::{KeyId, Sealer};
use crate::time::Timestamp;

mod restore;
#[cfg(test)]
mod tests;

pub use self::restore::{KeyFile, restore};

pub(super) const MANIFEST: &str = "MANIFEST";
const PROJECTIONS: &str = "projections.db";
const FORMAT: &str = "FORMAT";
/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// The description of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of the data folder, and so of the backup.
    pub format: u32,
    pub created_at: Timestamp,
    /// The last record that the backup contains.
    pub seq: Seq,
    pub files: Vec<Filed>,
    /// The key without which the backup cannot be used. None if nothing in it is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<NeededKey>,
}

/// The key of the sealed secrets in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeededKey {
    pub id: KeyId,
    /// The path of the key on the server that made the backup.
    pub file: PathBuf,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filed {
    /// The path relative to the backup, separated by `/`.
    pub path: String,
    pub size: u64,
    /// The SHA-256 digest of the content, in hexadecimal.
    pub sha256: String,
}

/// Why a backup failed, or why it cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The caller's argument cannot be used.
    #[error("`{field}` {problem}")]
    Argument { field: &'static str, problem: String },
    #[error("the backup is not whole: {file} {problem}; take another backup")]
    Broken { file: PathBuf, problem: String },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<BackupError> for Error {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Argument { field, problem } => Self::invalid(field, problem),
            BackupError::Journal(error) => error.into(),
            other @ (BackupError::Broken { .. } | BackupError::Io { .. }) => Self::internal(other),
        }
    }
}

fn wrong(field: &'static str, problem: impl Into<String>) -> BackupError {
    let problem = problem.into();
    BackupError::Argument { field, problem }
}

/// Maps an error of writing to the path that the caller gave as `field`. If its disk is full or read-only, the caller
/// can correct that, so the error names the argument.
fn writing<'a>(field: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BackupError + use<'a> {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    move |source| {
        let at = path.display();
        let kind = source.kind();
        if matches!(kind, StorageFull | QuotaExceeded) {
            let mend = "free some, or name a folder on another";
            return wrong(field, format!("is on a disk without room ({at}); {mend}"));
        }
        if matches!(kind, PermissionDenied | ReadOnlyFilesystem) {
            let mend = "name a folder that can";
            return wrong(field, format!("cannot be written ({at}: {source}); {mend}"));
        }
        BackupError::Io {
            what: format!("cannot write {at}"),
            source,
        }
    }
}

/// Makes a backup in the folder `to`, which must be empty or not exist. It contains every record that was durable when
/// the call began. The caller must not let a segment be removed meanwhile. Blocks until everything is copied.
pub fn take(
    journal: &LocalJournal,
    projections: &Projections,
    data_dir: &Path,
    to: &Path,
    sealer: &Sealer,
) -> Result<Manifest, BackupError> {
    check_target(data_dir, to)?;
    let made = !to.exists();
    if made {
        DirBuilder::new().mode(0o700).create(to).map_err(writing("to", to))?;
    } else {
        local::close_to_others(to).map_err(writing("to", to))?;
    }
    fill(journal, projections, to, sealer).inspect_err(|_| clear(to, made))
}

fn check_target(data_dir: &Path, to: &Path) -> Result<(), BackupError> {
    if !to.is_absolute() {
        return Err(wrong(
            "to",
            "must be an absolute path of the server's machine, such as /backup/caxton-1",
        ));
    }
    let parent = to.parent().unwrap_or(to);
    let real = |path: &Path| path.canonicalize();
    let Ok(parent) = real(parent) else {
        return Err(wrong(
            "to",
            format!(
                "lies in {}, which does not exist; make that folder first",
                parent.display()
            ),
        ));
    };
    let place = real(to).unwrap_or(parent);
    if real(data_dir).is_ok_and(|data_dir| place.starts_with(data_dir)) {
        return Err(wrong("to", "lies inside the data folder; name one outside it"));
    }
    must_be_empty("to", to)
}

/// Refuses a folder that is neither absent nor empty, and one that others need. Nothing is changed yet.
fn must_be_empty(field: &'static str, folder: &Path) -> Result<(), BackupError> {
    let problem = match local::look_at_folder(folder) {
        Ok(Found::Nothing | Found::Empty) => return Ok(()),
        Ok(Found::DataFolder | Found::Backup) | Err(Unfit::HasFiles(_)) => "is not empty".to_owned(),
        Err(unfit) => unfit.to_string(),
    };
    let problem = format!("names {}, which {problem}; name a new folder", folder.display());
    Err(wrong(field, problem))
}

/// Removes what was written into an empty folder, so that it does not prevent the next attempt. A failure to remove is
/// ignored, because the error to report is the one that led here.
fn clear(folder: &Path, made: bool) {
    for name in ["journal", "modules"] {
        let _ = fs::remove_dir_all(folder.join(name));
    }
    // The file `projections.db-journal` belongs to the database that `SQLite` copies into.
    for name in [
        PROJECTIONS,
        "projections.db-journal",
        FORMAT,
        "PARTITIONS",
        "OLDEST",
        "key",
        MANIFEST,
        "LOCK",
    ] {
        let _ = fs::remove_file(folder.join(name));
    }
    if made {
        let _ = fs::remove_dir(folder);
    }
}

fn fill(
    journal: &LocalJournal,
    projections: &Projections,
    to: &Path,
    sealer: &Sealer,
) -> Result<Manifest, BackupError> {
    for name in ["journal", "modules"] {
        let folder = to.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(writing("to", &folder))?;
    }
    let mut files = Vec::new();
    // The projections are copied first. The log only grows, so its copy goes at least as far.
    let path = to.join(PROJECTIONS);
    projections.copy(&path).map_err(|error| {
        if disk_is_full(&error) {
            writing("to", &path)(io::ErrorKind::StorageFull.into())
        } else {
            error.into()
        }
    })?;
    files.push(file(&path, PROJECTIONS)?);
    let mut failed = None;
    let copied = journal.copy(|copied| {
        let path = to.join(&copied.name);
        write_new(&path, &copied.bytes).map_err(|error| {
            let source = io::Error::new(error.kind(), error.to_string());
            failed = Some(writing("to", &path)(error));
            let what = format!("cannot write {}", path.display());
            JournalError::Io { what, source }
        })?;
        files.push(Filed {
            path: copied.name.clone(),
            size: copied.bytes.len() as u64,
            sha256: hex(Sha256::digest(&copied.bytes).as_slice()),
        });
        Ok(())
    });
    let seq = copied.map_err(|error| failed.unwrap_or(BackupError::Journal(error)))?;
    for name in ["journal", "modules"] {
        local::sync_dir(&to.join(name))?;
    }
    let manifest = Manifest {
        format: local::FORMAT,
        created_at: Timestamp::now(),
        seq,
        files,
        // This is asked last, because a secret is sealed before its record is appended: everything sealed in the copy
        // counts.
        key: sealer.is_used().then(|| NeededKey {
            id: sealer.id(),
            file: std::path::absolute(sealer.file()).unwrap_or_else(|_| sealer.file().to_owned()),
        }),
    };
    let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
    // The manifest comes last, after every other file and its name are on the disk.
    local::sync_dir(to)?;
    write_new(&to.join(MANIFEST), &json).map_err(writing("to", to))?;
    local::sync_dir(to)?;
    local::sync_dir(to.parent().unwrap_or(to))?;
    Ok(manifest)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn disk_is_full(error: &JournalError) -> bool {
    matches!(error, JournalError::Projection(error)
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // writing to a string cannot fail
    }
    text
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<'_> {
    move |source| BackupError::Io {
        what: format!("cannot read {}", path.display()),
        source,
    }
}

/// The manifest entry of an existing file.
fn file(path: &Path, name: &str) -> Result<Filed, BackupError> {
    let (size, sha256) = digest(path, &mut io::sink()).map_err(reading(path))?;
    let path = name.to_owned();
    Ok(Filed { path, size, sha256 })
}

/// Reads a file to its end, writes it to `copy`, and returns its size and SHA-256 digest.
fn digest(path: &Path, copy: &mut impl Write) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut size, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((size, hex(hasher.finalize().as_slice()))),
            read => {
                hasher.update(&piece[..read]);
                copy.write_all(&piece[..read])?;
                size += read as u64;
            }
        }
    }
}
