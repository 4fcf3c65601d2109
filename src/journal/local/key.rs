//! The file of the key that seals secrets: 32 bytes, by chance. The journal keeps it and never uses it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder::write_durably;
use super::io_error;
use crate::journal::JournalError;
use crate::secret::{self, Sealer};

/// Where the key of a data folder is, unless the configuration names another file. No backup contains it.
pub fn key_file(dir: &Path) -> PathBuf {
    dir.join("key")
}

/// The key in `file`. None: there is no file.
pub fn read_key(file: &Path) -> Result<Option<Sealer>, JournalError> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(|| format!("cannot read the key {}", file.display()))(error)),
    };
    let key = <[u8; secret::KEY_BYTES]>::try_from(&bytes[..]).map_err(|_| JournalError::NoKey {
        file: file.display().to_string(),
        found: bytes.len(),
    })?;
    Ok(Some(Sealer::new(&key, file)))
}

/// Makes the key of a data folder that has none.
pub fn make_key(dir: &Path) -> Result<Sealer, JournalError> {
    let (file, key) = (key_file(dir), secret::new_key());
    write_durably(&file, &key)?;
    Ok(Sealer::new(&key, &file))
}

/// Puts the key that was read from another file into a data folder.
pub(in crate::journal) fn copy_key(from: &Path, dir: &Path) -> Result<(), JournalError> {
    let bytes = fs::read(from).map_err(io_error(|| format!("cannot read the key {}", from.display())))?;
    write_durably(&key_file(dir), &bytes)
}
