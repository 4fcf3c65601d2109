//! Restores a backup as a data folder.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use super::{
    BackupError, FORMAT, Filed, MANIFEST, Manifest, NeededKey, PROJECTIONS, clear, digest, must_be_empty, reading,
    writing, wrong,
};
use crate::journal::{NO_MIGRATION, local};

/// The key file for a restored folder.
#[derive(Clone, Copy, Debug)]
pub enum KeyFile<'a> {
    /// The file is copied into the folder.
    Copied(&'a Path),
    /// The file stays in place, and the configuration of the server must name it.
    Named(&'a Path),
}

/// Restores a backup as the data folder `data_dir`, which must be empty or not exist. Every file, and the key, is
/// checked before the first is written. Blocks.
pub fn restore(from: &Path, data_dir: &Path, key: Option<KeyFile<'_>>) -> Result<Manifest, BackupError> {
    let manifest = read_manifest(from)?;
    check_key(&manifest, key)?;
    must_be_empty("data-dir", data_dir)?;
    for entry in &manifest.files {
        check(from, entry)?;
    }
    let made = !data_dir.exists();
    if made {
        local::create_folder(data_dir)?;
    } else {
        local::close_to_others(data_dir).map_err(writing("data-dir", data_dir))?;
    }
    // The lock keeps a server from starting in the folder meanwhile.
    let _lock = local::lock_folder(data_dir)?;
    bring_all_back(from, data_dir, &manifest, key).inspect_err(|_| clear(data_dir, made))?;
    Ok(manifest)
}

/// Refuses a missing key, or one that does not open what is sealed in the backup.
fn check_key(manifest: &Manifest, key: Option<KeyFile<'_>>) -> Result<(), BackupError> {
    let given = match key {
        None => None,
        Some(KeyFile::Copied(file) | KeyFile::Named(file)) => {
            let missing = || wrong("key-file", format!("names {}, which does not exist", file.display()));
            Some((file.display(), local::read_key(file)?.ok_or_else(missing)?.id()))
        }
    };
    let Some(NeededKey { id, file }) = &manifest.key else {
        return Ok(());
    };
    let needed = format!(
        "values of agents' environments are sealed with key {id}, which is not in the backup; it was in {} where the backup was \
         made",
        file.display()
    );
    match given {
        Some((_, found)) if found == *id => Ok(()),
        Some((file, found)) => Err(wrong(
            "key-file",
            format!("names {file}, which holds key {found}: {needed}"),
        )),
        None => Err(wrong(
            "key-file",
            format!(
                "is missing: {needed}; name the file with --key-file, or with CAXTON_KEY_FILE if it is to stay where it is"
            ),
        )),
    }
}

fn bring_all_back(
    from: &Path,
    data_dir: &Path,
    manifest: &Manifest,
    key: Option<KeyFile<'_>>,
) -> Result<(), BackupError> {
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
    if let Some(KeyFile::Copied(file)) = key {
        local::copy_key(file, data_dir)?;
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
    // The format is read first, because a manifest of another format may have other members.
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

/// The path of a file of the manifest below `folder`. A path that leads out of the folder is refused.
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
