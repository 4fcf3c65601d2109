//! The key file: 32 random bytes that seal secrets. The journal stores the key and never uses it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::folder::write_durably;
use super::io_error;
use crate::journal::JournalError;
use crate::secret::{self, Sealer};

/// The path of the key in a data folder, unless the configuration names another file. No backup contains the key.
pub fn key_file(dir: &Path) -> PathBuf {
    dir.join("key")
}

/// Reads the key in `file`. None if there is no such file.
pub fn read_key(file: &Path) -> Result<Option<Sealer>, JournalError> {
    // One byte more than a key has shows that the file is too long. A device could be read for ever.
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(file)?
            .take(secret::KEY_BYTES as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = match read() {
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

/// Creates the key of a data folder that has none.
pub fn make_key(dir: &Path) -> Result<Sealer, JournalError> {
    let (file, key) = (key_file(dir), secret::new_key());
    write_durably(&file, &key)?;
    Ok(Sealer::new(&key, &file))
}

/// Copies the key file `from` into a data folder.
pub(in crate::journal) fn copy_key(from: &Path, dir: &Path) -> Result<(), JournalError> {
    let bytes = fs::read(from).map_err(io_error(|| format!("cannot read the key {}", from.display())))?;
    write_durably(&key_file(dir), &bytes)
}
