//! Backups: a data folder as of one point of its journal, copied while it is in use, and brought back.
//!
//! ```text
//! <backup>/journal, modules, projections.db, FORMAT, PARTITIONS, OLDEST    as in the data folder
//! <backup>/MANIFEST                                                       JSON, see [`Manifest`]; written last
//! ```
//!
//! Invariants: a folder with a manifest is a whole backup. The projections in it are at or behind the end of its log. A
//! restored folder has its `FORMAT` last, without which no server starts on it.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::local::{self, LocalJournal};
use super::projections::Projections;
use super::{JournalError, NO_MIGRATION};
use crate::error::Error;
use crate::id::Seq;
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

const MANIFEST: &str = "MANIFEST";
const PROJECTIONS: &str = "projections.db";
const FORMAT: &str = "FORMAT";
/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of the data folder, and so of the backup.
    pub format: u32,
    pub created_at: Timestamp,
    /// Everything up to this record is in it.
    pub seq: Seq,
    pub files: Vec<Filed>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filed {
    /// Below the backup, with `/`.
    pub path: String,
    pub size: u64,
    /// Of its content, in hexadecimal.
    pub sha256: String,
}

/// Why there is no backup, or why it cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// What the caller named cannot be used.
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

/// An error of writing to what the caller named as `field`: that its disk is full is the caller's to mend.
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

/// Makes a backup in the folder `to`, which must not exist or be empty. Everything that was durable at the call is in it.
/// While it runs no segment may be removed. Blocks for as long as copying takes.
pub fn take(
    journal: &LocalJournal,
    projections: &Projections,
    data_dir: &Path,
    to: &Path,
) -> Result<Manifest, BackupError> {
    check_target(data_dir, to)?;
    let made = !to.exists();
    if made {
        DirBuilder::new().mode(0o700).create(to).map_err(writing("to", to))?;
    } else {
        let owners = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
        fs::set_permissions(to, owners).map_err(writing("to", to))?;
    }
    fill(journal, projections, to).inspect_err(|_| clear(to, made))
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

fn must_be_empty(field: &'static str, folder: &Path) -> Result<(), BackupError> {
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(wrong(
            field,
            format!("names {}, which is not empty; name a new folder", folder.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(wrong(
            field,
            format!("names {}, which cannot be read as a folder: {error}", folder.display()),
        )),
    }
}

/// Takes away what was written into a folder that was empty, so that it is not in the way of the next try. What cannot be
/// removed stays: the error that is told is the one that led here.
fn clear(folder: &Path, made: bool) {
    for name in ["journal", "modules"] {
        let _ = fs::remove_dir_all(folder.join(name));
    }
    // The second is the copying database's own.
    for name in [
        PROJECTIONS,
        "projections.db-journal",
        FORMAT,
        "PARTITIONS",
        "OLDEST",
        MANIFEST,
        "LOCK",
    ] {
        let _ = fs::remove_file(folder.join(name));
    }
    if made {
        let _ = fs::remove_dir(folder);
    }
}

fn fill(journal: &LocalJournal, projections: &Projections, to: &Path) -> Result<Manifest, BackupError> {
    for name in ["journal", "modules"] {
        let folder = to.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(writing("to", &folder))?;
    }
    let mut files = Vec::new();
    // First, so that the log, which only grows, goes at least as far.
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
    };
    let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
    // Not before all the others are on the disk under their names.
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
        let _ = write!(text, "{byte:02x}"); // a string takes it all
    }
    text
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<'_> {
    move |source| BackupError::Io {
        what: format!("cannot read {}", path.display()),
        source,
    }
}

/// The entry of a file that is there.
fn file(path: &Path, name: &str) -> Result<Filed, BackupError> {
    let (size, sha256) = digest(path, &mut io::sink()).map_err(reading(path))?;
    let path = name.to_owned();
    Ok(Filed { path, size, sha256 })
}

/// Reads a file to its end, into `copy` too.
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

/// Brings a backup back as the data folder `data_dir`, which must not exist or be empty. Every file is checked before the
/// first is written. Blocks.
pub fn restore(from: &Path, data_dir: &Path) -> Result<Manifest, BackupError> {
    let manifest = read_manifest(from)?;
    must_be_empty("data-dir", data_dir)?;
    for entry in &manifest.files {
        check(from, entry)?;
    }
    let made = !data_dir.exists();
    local::create_folder(data_dir)?;
    // A server must not begin in it meanwhile.
    let _lock = local::lock_folder(data_dir)?;
    bring_all_back(from, data_dir, &manifest).inspect_err(|_| clear(data_dir, made))?;
    Ok(manifest)
}

fn bring_all_back(from: &Path, data_dir: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    for name in ["journal", "modules"] {
        local::create_folder(&data_dir.join(name))?;
    }
    let (format, others): (Vec<_>, Vec<_>) = manifest.files.iter().partition(|entry| entry.path == FORMAT);
    for entry in others {
        bring_back(from, data_dir, entry)?;
    }
    for name in ["journal", "modules"] {
        local::sync_dir(&data_dir.join(name))?;
    }
    local::sync_dir(data_dir)?;
    for entry in format {
        bring_back(from, data_dir, entry)?;
    }
    local::sync_dir(data_dir)?;
    Ok(())
}

fn read_manifest(from: &Path) -> Result<Manifest, BackupError> {
    if !from.is_dir() {
        return Err(wrong("from", format!("names {}, which is no folder", from.display())));
    }
    let path = from.join(MANIFEST);
    let json = match fs::read(&path) {
        Ok(json) => json,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(wrong(
                "from",
                format!(
                    "names {}, which has no MANIFEST: it is no backup, or one that was not finished",
                    from.display()
                ),
            ));
        }
        Err(error) => return Err(reading(&path)(error)),
    };
    let broken = |problem: String| BackupError::Broken {
        file: path.clone(),
        problem,
    };
    // Its format first: another one may look different.
    let value: serde_json::Value =
        serde_json::from_slice(&json).map_err(|error| broken(format!("is no JSON: {error}")))?;
    let found = value["format"]
        .as_u64()
        .ok_or_else(|| broken("names no format".to_owned()))?;
    if found != u64::from(local::FORMAT) {
        return Err(wrong(
            "from",
            format!(
                "is a backup of format {found}, and this release reads format {}; {NO_MIGRATION}",
                local::FORMAT
            ),
        ));
    }
    let manifest: Manifest =
        serde_json::from_value(value).map_err(|error| broken(format!("cannot be understood: {error}")))?;
    for needed in [FORMAT, PROJECTIONS] {
        if !manifest.files.iter().any(|entry| entry.path == needed) {
            return Err(broken(format!("does not name {needed}")));
        }
    }
    Ok(manifest)
}

/// Where a file of the manifest is below `folder`. A manifest cannot lead out of it.
fn place(folder: &Path, entry: &Filed) -> Result<PathBuf, BackupError> {
    let path = Path::new(&entry.path);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let depth = path.components().count();
    let known = depth == 1 || (depth == 2 && (path.starts_with("journal") || path.starts_with("modules")));
    if plain && known {
        return Ok(folder.join(path));
    }
    Err(BackupError::Broken {
        file: folder.join(MANIFEST),
        problem: format!("names the file `{}`, which no backup has", entry.path),
    })
}

fn check(from: &Path, entry: &Filed) -> Result<(), BackupError> {
    let path = place(from, entry)?;
    match digest(&path, &mut io::sink()) {
        Ok(found) => compare(&path, entry, &found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BackupError::Broken {
            file: path,
            problem: "is missing".to_owned(),
        }),
        Err(error) => Err(reading(&path)(error)),
    }
}

fn compare(path: &Path, entry: &Filed, (size, sha256): &(u64, String)) -> Result<(), BackupError> {
    if (*size, sha256) == (entry.size, &entry.sha256) {
        return Ok(());
    }
    Err(BackupError::Broken {
        file: path.to_owned(),
        problem: format!(
            "has {size} bytes with SHA-256 {sha256}, and the manifest says {} bytes with {}",
            entry.size, entry.sha256
        ),
    })
}

fn bring_back(from: &Path, data_dir: &Path, entry: &Filed) -> Result<(), BackupError> {
    let (source, target) = (place(from, entry)?, place(data_dir, entry)?);
    let copy = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&target)?;
        let found = digest(&source, &mut file)?;
        file.sync_all()?;
        Ok(found)
    };
    let found = copy().map_err(writing("data-dir", &target))?;
    compare(&source, entry, &found)
}
