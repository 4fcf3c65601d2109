//! The cache of compiled modules on the disk, so that a module is compiled once and not at every start. Its loss costs time and
//! nothing else: whatever is missing or damaged is compiled again.
//!
//! ```text
//! <dir>/<sha256 of the module>-<engine>-<sha256 of the code>.code
//! ```
//!
//! Only the user of the server may write to the folder, because the server runs the machine code in it. A file is written under a
//! temporary name and then renamed, so that it is whole or absent. It is read against the digest of the code in its name. Nothing
//! is synced to the disk: after a power cut the digest shows which files are damaged.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

use crate::error::Error;
use crate::id::Digest;

const SUFFIX: &str = ".code";
/// The prefix of temporary names.
const UNFINISHED: &str = ".new-";

/// The folder of the cache, and its limit.
#[derive(Clone, Debug)]
pub struct CacheFolder {
    /// The folder is made if it is missing. Its parent folder must exist.
    pub dir: PathBuf,
    /// Bytes of all code together. To make room, the cache evicts the code that was loaded least recently, but never the code of a
    /// program in use. Code for which there is no room is not kept.
    pub bytes: u64,
}

/// The key of an entry: the module, and the version, settings and processor for which it was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    module: Digest,
    /// A hash of the engine's version and settings and of the processor.
    engine: u64,
}

#[derive(Debug)]
struct Entry {
    /// The digest of the code, which is in the name of its file.
    code: Digest,
    bytes: u64,
    /// The number of its last use among all uses.
    used: u64,
    /// The entry is not evicted while somebody has this pin.
    pin: Weak<()>,
}

/// Keeps an entry of the cache from being evicted while it lives.
pub(super) type Pin = Arc<()>;

/// The file of an entry, after its content was checked. It is not evicted while this lives.
pub(super) struct CachedCode {
    pub(super) path: PathBuf,
    pub(super) pin: Pin,
}

pub(super) struct Cache {
    dir: PathBuf,
    limit: u64,
    entries: Mutex<HashMap<Key, Entry>>,
    /// Counts the uses, so that a clock that is set changes nothing about which was the last.
    uses: AtomicU64,
}

impl Key {
    pub(super) fn of(module: Digest, engine: &Engine) -> Self {
        let mut hasher = Fingerprint(Sha256::new());
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self {
            module,
            engine: hasher.finish(),
        }
    }

    fn file(&self, code: Digest) -> String {
        format!("{}-{:016x}-{}{SUFFIX}", hex(self.module), self.engine, hex(code))
    }

    /// Reads the name of a file: its key, and the digest of its code.
    fn parse(name: &str) -> Option<(Self, Digest)> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let digest = |part: Option<&str>| format!("sha256:{}", part?).parse().ok();
        let module = digest(parts.next())?;
        let engine = u64::from_str_radix(parts.next()?, 16).ok()?;
        let code = digest(parts.next())?;
        Some((Self { module, engine }, code))
    }
}

fn hex(digest: Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").to_owned()
}

/// A hasher whose result is the same in each process and each build, unlike that of the standard library.
struct Fingerprint(Sha256);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.clone().finalize();
        hash.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
    }
}

impl Cache {
    /// Opens the folder, or makes it. If other users could write to it, its files are deleted first: any of them may be theirs.
    pub(super) fn open(folder: &CacheFolder) -> Result<Self, Error> {
        let dir = folder.dir.clone();
        let wrong = |what: String| {
            let folder = dir.display().to_string();
            Error::conflict(
                format!("the folder of compiled modules {folder}: {what}"),
                [("folder", folder)],
            )
        };
        let io = |error: io::Error| wrong(error.to_string());
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
            _ => {}
        }
        let is = fs::symlink_metadata(&dir).map_err(io)?;
        if !is.is_dir() || is.uid() != rustix::process::geteuid().as_raw() {
            let expected = "it must be a folder that belongs to the user of the server; remove it";
            return Err(wrong(expected.to_owned()));
        }
        let trusted = is.mode() & 0o022 == 0;
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).map_err(io)?;
        if !trusted {
            tracing::warn!(dir = %dir.display(), "other users could write to the folder of compiled modules, so its files are deleted");
        }
        let mut found = Vec::new();
        for file in fs::read_dir(&dir).map_err(io)? {
            let file = file.map_err(io)?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            let known = Key::parse(&name);
            if name.starts_with(UNFINISHED) || (known.is_some() && !trusted) {
                fs::remove_file(file.path()).map_err(io)?;
            } else if let Some((key, code)) = known {
                let is = file.metadata().map_err(io)?;
                found.push((is.modified().map_err(io)?, key, code, is.len()));
            }
        }
        found.sort_by_key(|(used, ..)| *used);
        let mut entries = HashMap::new();
        for (used, (_, key, code, bytes)) in (0..).zip(found) {
            let pin = Weak::new();
            // Two files have the same key if a damaged one was replaced but could not be removed.
            if let Some(other) = entries.insert(key, Entry { code, bytes, used, pin }) {
                let _ = fs::remove_file(dir.join(key.file(other.code)));
            }
        }
        let cache = Self {
            dir,
            limit: folder.bytes,
            uses: AtomicU64::new(entries.len() as u64),
            entries: entries.into(),
        };
        cache.make_room(&mut cache.entries.lock(), 0);
        Ok(cache)
    }

    fn use_now(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// The code for `key`, if it is there and not damaged.
    pub(super) fn get(&self, key: Key) -> Option<CachedCode> {
        let pin = Arc::new(());
        let code = {
            let mut entries = self.entries.lock();
            let entry = entries.get_mut(&key)?;
            entry.used = self.use_now();
            entry.pin = Arc::downgrade(&pin);
            entry.code
        };
        let path = self.dir.join(key.file(code));
        match check(&path, code) {
            Ok(()) => Some(CachedCode { path, pin }),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) => {
                tracing::warn!(file = %path.display(), %error, "a compiled module is damaged and is compiled again");
                self.remove(key);
                None
            }
            // For want of a descriptor or of memory, say. That passes, and the file is good.
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a compiled module cannot be read now and is compiled again");
                None
            }
        }
    }

    /// Adds `code`. None: there is no room for it.
    pub(super) fn put(&self, key: Key, code: &[u8]) -> io::Result<Option<CachedCode>> {
        let (digest, bytes) = (Digest::of(code), code.len() as u64);
        let pin = Arc::new(());
        {
            let mut entries = self.entries.lock();
            if !self.make_room(&mut entries, bytes) {
                return Ok(None);
            }
            let entry = Entry {
                code: digest,
                bytes,
                used: self.use_now(),
                pin: Arc::downgrade(&pin),
            };
            entries.insert(key, entry);
        }
        let path = self.dir.join(key.file(digest));
        let write = || {
            let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.dir)?;
            file.write_all(code)?;
            file.persist(&path)?;
            Ok(())
        };
        let written: io::Result<()> = write();
        if written.is_err() {
            self.entries.lock().remove(&key);
        }
        written.map(|()| Some(CachedCode { path, pin }))
    }

    pub(super) fn remove(&self, key: Key) {
        if let Some(entry) = self.entries.lock().remove(&key) {
            self.delete(key, &entry);
        }
    }

    fn delete(&self, key: Key, entry: &Entry) {
        let path = self.dir.join(key.file(entry.code));
        if let Err(error) = fs::remove_file(&path) {
            // The entry is gone all the same. The next start finds the file again.
            tracing::warn!(file = %path.display(), %error, "a compiled module is not removed");
        }
    }

    /// Evicts entries, least recently used ones first, until `bytes` more fit or no entry can go. Returns whether they fit.
    fn make_room(&self, entries: &mut HashMap<Key, Entry>, bytes: u64) -> bool {
        if bytes > self.limit {
            return false;
        }
        let mut total: u64 = entries.values().map(|entry| entry.bytes).sum();
        while total.saturating_add(bytes) > self.limit {
            let idle = entries.iter().filter(|(_, entry)| entry.pin.strong_count() == 0);
            let Some(oldest) = idle.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key) else {
                return false;
            };
            if let Some(entry) = entries.remove(&oldest) {
                self.delete(oldest, &entry);
                total -= entry.bytes;
            }
        }
        true
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Checks that the file belongs to the user of this process and has the content that its name promises.
fn check(path: &Path, code: Digest) -> io::Result<()> {
    let file: File = rustix::fs::open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?.into();
    let is = file.metadata()?;
    if !is.is_file() || is.uid() != rustix::process::geteuid().as_raw() {
        return Err(invalid("it is not a file of this user"));
    }
    if Digest::read(&file)? != code {
        return Err(invalid("its content does not match the digest in its name"));
    }
    // The next start reads from this when the code was used last.
    file.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(module: u8) -> Key {
        Key {
            module: Digest::of(&[module]),
            engine: 7,
        }
    }

    fn open(dir: &Path, bytes: u64) -> Cache {
        let dir = dir.join("compiled");
        Cache::open(&CacheFolder { dir, bytes }).unwrap()
    }

    fn put(cache: &Cache, module: u8, code: &[u8]) -> CachedCode {
        cache.put(key(module), code).unwrap().unwrap()
    }

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir.join("compiled")).unwrap().count()
    }

    #[test]
    fn what_was_put_is_there_in_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = put(&open(dir.path(), 100), 1, b"code").path;
        fs::write(dir.path().join("compiled/.new-x1"), "half").unwrap();
        let cache = open(dir.path(), 100);
        assert_eq!(files(dir.path()), 1, "a file that was being written is gone");
        assert_eq!(cache.get(key(1)).unwrap().path, path);
        assert_eq!(fs::read(path).unwrap(), b"code");
        assert!(cache.get(key(2)).is_none());
        assert!(cache.get(Key { engine: 8, ..key(1) }).is_none(), "another engine's");
    }

    #[test]
    fn damage_is_found_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        for damage in [&b"cude"[..], b"cod", b""] {
            let cache = open(dir.path(), 100);
            let path = put(&cache, 1, b"code").path;
            fs::write(&path, damage).unwrap();
            assert!(cache.get(key(1)).is_none());
            assert!(!path.exists());
            put(&cache, 1, b"code");
            assert!(cache.get(key(1)).is_some());
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_now_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), 100);
        let path = put(&cache, 1, b"code").path;
        let folder = path.parent().unwrap();
        let moved = dir.path().join("moved");
        fs::rename(folder, &moved).unwrap();
        fs::write(folder, "").unwrap();
        assert!(cache.get(key(1)).is_none(), "its folder is no folder");
        fs::remove_file(folder).unwrap();
        fs::rename(&moved, folder).unwrap();
        assert!(cache.get(key(1)).is_some());
    }

    #[test]
    fn room_is_made_by_what_was_not_loaded_for_longest_and_is_not_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), 30);
        let in_use = put(&cache, 1, &[0; 10]);
        drop(put(&cache, 2, &[0; 10]));
        drop(put(&cache, 3, &[0; 10]));
        drop(cache.get(key(2)).unwrap());
        drop(put(&cache, 4, &[0; 10]));
        let there = |module| cache.get(key(module)).is_some();
        assert!(cache.get(key(3)).is_none() && there(2) && there(4) && in_use.path.exists());
        assert!(cache.put(key(5), &[0; 31]).unwrap().is_none(), "it never fits");
        assert!(
            cache.put(key(5), &[0; 21]).unwrap().is_none(),
            "not beside what is in use"
        );
        assert!(in_use.path.exists());
        drop(in_use);
        drop(put(&cache, 5, &[0; 30]));
        drop(cache);
        assert_eq!(files(dir.path()), 1);
        open(dir.path(), 10);
        assert_eq!(files(dir.path()), 0, "a smaller limit holds from the start on");
    }

    #[test]
    fn a_folder_that_others_could_write_is_emptied_and_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = put(&open(dir.path(), 100), 1, b"code").path;
        let folder = dir.path().join("compiled");
        let mode = || fs::metadata(&folder).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        assert!(open(dir.path(), 100).get(key(1)).is_none());
        assert!(!path.exists());
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn what_is_no_folder_of_ours_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let folder = dir.path().join("compiled");
        std::os::unix::fs::symlink(elsewhere.path(), &folder).unwrap();
        let open = || {
            Cache::open(&CacheFolder {
                dir: folder.clone(),
                bytes: 1,
            })
        };
        let refused = |opened: Result<Cache, Error>| match opened {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it was opened"),
        };
        assert!(refused(open()).contains("remove it"));
        fs::remove_file(&folder).unwrap();
        fs::write(&folder, "").unwrap();
        assert!(refused(open()).contains("remove it"));
    }
}
