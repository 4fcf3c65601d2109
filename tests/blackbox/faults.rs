//! A disk with faults under one server: a power cut loses everything that is not synced, space is limited, and system calls
//! fail. The other half is `faults/shim.c`, which is preloaded into the server.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::Rng;
use rand::rngs::StdRng;

const SECTOR: usize = 512;

pub(crate) struct FaultyDisk {
    /// The folder whose files are on the disk.
    below: PathBuf,
    /// The folder of the files that the shim reads and writes.
    dir: PathBuf,
    unsynced: Option<&'static str>,
}

/// The unsynced changes that survive a power cut.
pub(crate) enum Cut<'a> {
    /// None: neither writes nor created, renamed and removed names. In the other cases, names count as synced.
    Nothing,
    /// The first half of the last write to each file.
    HalfOfTheLast,
    /// Random sectors of all writes, some with a flipped bit.
    Sectors(&'a mut StdRng),
}

/// A change that was not synced, with the data to undo it.
struct Change {
    offset: u64,
    length: usize,
    old_size: u64,
    old: Vec<u8>,
}

impl FaultyDisk {
    /// A disk for the files below a folder. Files that match `unsynced` are never synced, although their syncs succeed.
    pub(crate) fn new(below: &Path, dir: &Path, unsynced: Option<&'static str>) -> Self {
        fs::create_dir_all(dir).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/blackbox/faults/shim.c");
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(dir.join("shim.so"))
            .arg(source);
        let made = compiler.args(["-ldl", "-lpthread"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self {
            below: below.to_owned(),
            dir: dir.to_owned(),
            unsynced,
        }
    }

    /// Makes a server run on this disk.
    pub(crate) fn put_under(&self, server: &mut Command) {
        server
            .env("LD_PRELOAD", self.dir.join("shim.so"))
            .env("DISK_FAULTS_BELOW", &self.below)
            .env("DISK_FAULTS_DIR", &self.dir);
        if let Some(pattern) = self.unsynced {
            server.env("DISK_FAULTS_UNSYNCED", pattern);
        }
    }

    /// Sets the faults from now on, in the form that `faults/shim.c` describes. An empty text means no faults.
    pub(crate) fn goes_wrong(&self, faults: &str) {
        let draft = self.dir.join("control.new");
        fs::write(&draft, faults).unwrap();
        fs::rename(draft, self.dir.join("control")).unwrap();
    }

    /// How many bytes of files with this ending are changed and not synced.
    pub(crate) fn unsynced_bytes(&self, ending: &str) -> usize {
        let files = self.changed().into_iter();
        let changed = files.filter(|(file, _)| file.to_string_lossy().ends_with(ending));
        changed
            .flat_map(|(_, changes)| changes)
            .map(|change| change.length)
            .sum()
    }

    /// Cuts the power, after the server was killed: undoes all unsynced changes, except those that `cut` keeps.
    pub(crate) fn lose_power(&self, mut cut: Cut<'_>) {
        if matches!(cut, Cut::Nothing) {
            self.lose_names(&self.below);
        }
        for (path, changes) in self.changed() {
            let file = File::options().read(true).write(true).open(&path).unwrap();
            let mut kept: Vec<(u64, Vec<u8>)> = Vec::new();
            let last = changes.iter().rposition(|change| change.length > 0);
            for (at, change) in changes.iter().enumerate().rev() {
                let mut new = vec![0; change.length];
                let length = read_up_to(&file, &mut new, change.offset);
                new.truncate(length);
                match &mut cut {
                    Cut::HalfOfTheLast if Some(at) == last => {
                        new.truncate(length / 2);
                        kept.push((change.offset, new));
                    }
                    Cut::Nothing | Cut::HalfOfTheLast => {}
                    Cut::Sectors(dice) => {
                        let sectors = (change.offset..).step_by(SECTOR).zip(new.chunks(SECTOR));
                        for (offset, sector) in sectors {
                            if dice.random() {
                                continue;
                            }
                            let mut sector = sector.to_vec();
                            if dice.random_ratio(1, 20) {
                                let at = dice.random_range(0..sector.len());
                                sector[at] ^= 1 << dice.random_range(0..8);
                            }
                            kept.push((offset, sector));
                        }
                    }
                }
                file.write_all_at(&change.old, change.offset).unwrap();
                file.set_len(change.old_size).unwrap();
            }
            for (offset, bytes) in kept.iter().rev() {
                file.write_all_at(bytes, *offset).unwrap();
            }
        }
        for entry in fs::read_dir(&self.dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if ["undo-", "names-", "kept-"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        for (_, path) in files(&self.below) {
            if path.to_string_lossy().ends_with("-shm") {
                fs::remove_file(path).unwrap(); // the file was only in memory
            }
        }
    }

    /// Restores the names in `dir` and below to those at the last sync of their folder.
    fn lose_names(&self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.lose_names(&path);
            }
        }
        let inode = fs::metadata(dir).unwrap().ino();
        let journal = fs::read_to_string(self.dir.join(format!("names-{inode}"))).unwrap_or_default();
        for line in journal.lines().rev() {
            let (change, names) = line.split_at(1);
            let (first, second) = names.split_once(' ').unwrap_or((names, ""));
            // The server may have been killed before the change. Then there is nothing to undo.
            let _ = match change {
                "+" => fs::remove_file(dir.join(first)),
                "=" => fs::rename(dir.join(second), dir.join(first)),
                _ => fs::rename(self.dir.join(second), dir.join(first)),
            };
        }
    }

    /// The files that changed since their last sync, and these changes, oldest first.
    fn changed(&self) -> Vec<(PathBuf, Vec<Change>)> {
        let files = files(&self.below).into_iter();
        let changed = files.filter_map(|(inode, path)| {
            let journal = fs::read(self.dir.join(format!("undo-{inode}"))).ok()?;
            Some((path, changes(&journal)))
        });
        changed.collect()
    }
}

/// Reads a file's undo journal. If the kill cut off a record, its change did not begin.
fn changes(journal: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut rest = journal;
    while let Some((head, more)) = rest.split_first_chunk::<32>() {
        let number = |at: usize| u64::from_ne_bytes(head[at * 8..][..8].try_into().unwrap());
        let size = |at| usize::try_from(number(at)).unwrap();
        let Some((old, more)) = more.split_at_checked(size(3)) else {
            break;
        };
        changes.push(Change {
            offset: number(0),
            length: size(1),
            old_size: number(2),
            old: old.to_vec(),
        });
        rest = more;
    }
    changes
}

fn files(dir: &Path) -> HashMap<u64, PathBuf> {
    let mut found = HashMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(fs::metadata(&path).unwrap().ino(), path);
        }
    }
    found
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64).unwrap() {
            0 => break,
            more => length += more,
        }
    }
    length
}
