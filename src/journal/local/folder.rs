//! The data folder: its lock, its format, its number of partitions, and the modules in it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::fitness::{self, DRAFT, Found};
use super::segment::{OpenFolder, damaged, sync_dir};
use super::{FORMAT, io_error, sync_error};
use crate::id::{Digest, Seq};
use crate::journal::JournalError;

/// Makes a data folder with access for its owner alone: a new one, or an existing one that is empty or a data folder
/// already.
pub(super) fn make_ready(dir: &Path) -> Result<(), JournalError> {
    let unfit = |problem: String| JournalError::Unfit {
        dir: dir.display().to_string(),
        problem,
    };
    match fitness::look(dir).map_err(|problem| unfit(problem.to_string()))? {
        Found::Nothing => create(dir),
        Found::Empty | Found::DataFolder => {
            fitness::close_to_others(dir).map_err(io_error(|| format!("cannot take over the folder {}", dir.display())))
        }
        Found::Backup => Err(unfit(
            "is a backup, which `caxton restore --from` brings back".to_owned(),
        )),
    }
}

/// Creates the folder and its missing parents. Only the owner can read them, because they contain messages.
pub(in crate::journal) fn create(dir: &Path) -> Result<(), JournalError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    create(parent)?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(io_error(|| format!("cannot create the folder {}", dir.display())))?;
    sync_dir(parent)
}

/// Locks the folder against other processes for as long as the returned file is open.
pub(in crate::journal) fn lock(dir: &Path) -> Result<File, JournalError> {
    let failed = || format!("cannot lock the folder {}", dir.display());
    let open = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("LOCK"));
    let file = open.map_err(io_error(failed))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked(dir.display().to_string())),
        Err(TryLockError::Error(error)) => Err(io_error(failed)(error)),
    }
}

/// Refuses a folder of another format. The format is written into a new folder before anything else.
pub(super) fn check_format(dir: &Path) -> Result<(), JournalError> {
    let path = dir.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(FORMAT) => Ok(()),
            Ok(found) => Err(JournalError::UnknownFormat { found, known: FORMAT }),
            Err(_) => Err(damaged(&path, 0, "is no format version")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The format is written before the journal is created, so this folder has lost the file or was never a data
            // folder.
            if dir.join("journal").exists() {
                return Err(damaged(&path, 0, "is missing beside a journal"));
            }
            write_durably(&path, format!("{FORMAT}\n").as_bytes())
        }
        Err(error) => Err(io_error(|| format!("cannot read {}", path.display()))(error)),
    }
}

/// Writes the number of partitions into a folder that has none, and refuses a folder that was made with another number.
/// The number is written before the first record, so a folder with records and no number has lost its file.
pub(super) fn fix_partitions(dir: &Path, asked: u16, has_records: bool) -> Result<(), JournalError> {
    let path = dir.join("PARTITIONS");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(made) if made == asked => Ok(()),
            Ok(made) => Err(JournalError::Partitions { made, asked }),
            Err(_) => Err(damaged(&path, 0, "is no number of partitions")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if has_records {
                return Err(damaged(&path, 0, "is missing beside a log with records"));
            }
            write_durably(&path, format!("{asked}\n").as_bytes())
        }
        Err(error) => Err(io_error(|| format!("cannot read {}", path.display()))(error)),
    }
}

/// The record that the log must begin with, or begin before. It is written before segments are removed, so that a
/// segment that retention removed is not mistaken for a lost one.
pub(super) fn oldest(dir: &Path) -> Result<Seq, JournalError> {
    let path = dir.join("OLDEST");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(oldest) => Ok(Seq(oldest)),
            Err(_) => Err(damaged(&path, 0, "is no sequence number")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Seq(1)),
        Err(error) => Err(io_error(|| format!("cannot read {}", path.display()))(error)),
    }
}

pub(super) fn set_oldest(dir: &Path, oldest: Seq) -> Result<(), JournalError> {
    write_durably(&dir.join("OLDEST"), format!("{oldest}\n").as_bytes())
}

/// Writes and syncs a file atomically: after a crash it is there whole or not at all. Only the owner can read it.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    let dir = path.parent().expect("a file of the data folder");
    let failed = || format!("cannot write {}", path.display());
    let folder = OpenFolder::open(dir)?;
    let draft = tempfile::Builder::new().prefix(DRAFT).tempfile_in(dir);
    let mut draft = draft.map_err(io_error(failed))?;
    draft.write_all(bytes).map_err(io_error(failed))?;
    draft
        .as_file()
        .sync_all()
        .map_err(sync_error(|| path.display().to_string()))?;
    draft.persist(path).map_err(|error| io_error(failed)(error.error))?;
    folder.sync()
}

/// Removes the drafts that a crash left in `dir`. Files with other names are not the journal's, and stay.
pub(super) fn remove_drafts(dir: &Path) -> Result<(), JournalError> {
    let remove = || -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(io_error(|| format!("cannot tidy the folder {}", dir.display())))
}

/// Free bytes on the disk of `dir` that this process may use.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn module_name(digest: Digest) -> String {
    let digest = digest.to_string();
    format!("{}.wasm", digest.strip_prefix("sha256:").unwrap_or(&digest))
}

/// The path of a module in the data folder `dir`.
pub(in crate::journal) fn module_file(dir: &Path, digest: Digest) -> PathBuf {
    dir.join("modules").join(module_name(digest))
}

/// The store of modules: one file each, named by its digest.
#[derive(Debug)]
pub(super) struct Modules {
    dir: PathBuf,
    opened: Instant,
    /// When a module was put last, since the store was opened.
    put: Mutex<HashMap<Digest, Instant>>,
}

impl Modules {
    /// Opens the store and removes drafts that a crash left behind.
    pub(super) fn open(dir: PathBuf) -> Result<Self, JournalError> {
        create(&dir)?;
        remove_drafts(&dir)?;
        Ok(Self {
            dir,
            opened: Instant::now(),
            put: Mutex::default(),
        })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(module_name(digest))
    }

    pub(super) fn put(&self, digest: Digest, module: &[u8]) -> Result<(), JournalError> {
        // Held until the module is there, so that `remove_unused` either leaves it or has removed it before.
        let mut put = self.put.lock();
        put.insert(digest, Instant::now());
        // A module that is there but damaged is written again.
        match self.get(digest) {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => write_durably(&self.path(digest), module),
        }
    }

    pub(super) fn get(&self, digest: Digest) -> Result<Option<Bytes>, JournalError> {
        let path = self.path(digest);
        match fs::read(&path) {
            Ok(module) if Digest::of(&module) == digest => Ok(Some(module.into())),
            Ok(_) => Err(damaged(&path, 0, "the module has not the digest of its name")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(|| format!("cannot read {}", path.display()))(error)),
        }
    }

    /// See [`Journal::remove_modules`](crate::journal::Journal::remove_modules).
    pub(super) fn remove_unused(
        &self,
        used: &HashSet<Digest>,
        idle: Duration,
        now: Instant,
    ) -> Result<usize, JournalError> {
        let failed = || format!("cannot remove modules in {}", self.dir.display());
        let mut put = self.put.lock();
        let mut removed = 0;
        for file in fs::read_dir(&self.dir).map_err(io_error(failed))? {
            let path = file.map_err(io_error(failed))?.path();
            let Some(digest) = digest_of(&path) else {
                continue; // a draft, or a file that is not this server's
            };
            let last = put.get(&digest).copied().unwrap_or(self.opened);
            if !used.contains(&digest) && now.saturating_duration_since(last) >= idle {
                fs::remove_file(&path).map_err(io_error(failed))?;
                removed += 1;
            }
        }
        // The others count as put when the store was opened, which was earlier still.
        put.retain(|_, last| now.saturating_duration_since(*last) < idle);
        Ok(removed)
    }
}

/// The digest in the name of a module's file.
fn digest_of(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    format!("sha256:{}", name.strip_suffix(".wasm")?).parse().ok()
}
