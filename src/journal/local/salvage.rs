//! Repairs a broken log of a folder that no process has open. It deletes nothing: what is taken out of the log is moved
//! aside.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::inspect::{Break, Log, readable_after};
use super::segment::{HEADER_BYTES, Segment, sync_dir};
use super::{folder, io_error};
use crate::id::Seq;
use crate::journal::JournalError;
use crate::time::Timestamp;

/// What the repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Salvaged {
    /// The folder with everything that was taken out.
    pub(in crate::journal) aside: PathBuf,
    /// Records in there that can still be read and that the server will not have.
    pub(in crate::journal) left_out: u64,
}

/// Cuts the log at its break: what comes before stays; the broken segment and those after it are moved aside.
pub(in crate::journal) fn cut(dir: &Path, log: &Log, now: Timestamp) -> Result<Option<Salvaged>, JournalError> {
    let Some(broken) = log.broken else {
        return Ok(None);
    };
    let left_out = readable_after(log, broken, Seq(log.next.0 - 1))?;
    let aside = new_folder(dir, now)?;
    // From the last to the first, so that after a crash the log still breaks at the same point.
    for (path, _) in log.segments[broken.segment + 1..].iter().rev() {
        put_aside(path, &aside)?;
    }
    let (path, _) = &log.segments[broken.segment];
    if broken.offset > HEADER_BYTES as u64 {
        keep_head(path, broken.offset, &aside)?;
    } else {
        put_aside(path, &aside)?;
    }
    sync_dir(&aside)?;
    sync_dir(&dir.join("journal"))?;
    Ok(Some(Salvaged { aside, left_out }))
}

/// Moves the whole log aside and begins another after `last`, the last record that the projections have applied.
pub(in crate::journal) fn begin_after(
    dir: &Path,
    log: &Log,
    last: Seq,
    now: Timestamp,
) -> Result<Salvaged, JournalError> {
    let everything = Break { segment: 0, offset: 0 };
    let left_out = readable_after(log, everything, last)?;
    let aside = new_folder(dir, now)?;
    let next = Seq(last.0 + 1);
    folder::set_oldest(dir, next)?;
    for (path, _) in log.segments.iter().rev() {
        put_aside(path, &aside)?;
    }
    sync_dir(&aside)?;
    Segment::new(&dir.join("journal"), next).create(0)?;
    Ok(Salvaged { aside, left_out })
}

fn new_folder(dir: &Path, now: Timestamp) -> Result<PathBuf, JournalError> {
    // The name has no colons, because some file systems do not accept them.
    let name = format!("damaged-{now}").replace(':', "");
    let aside = dir.join(name);
    folder::create(&aside)?;
    Ok(aside)
}

fn put_aside(path: &Path, aside: &Path) -> Result<(), JournalError> {
    fs::rename(path, target(path, aside)).map_err(io_error(|| format!("cannot put {} aside", path.display())))
}

/// Copies the segment aside and cuts the original at `offset`. The cut file replaces it in one rename, so that a crash
/// leaves the one or the other.
fn keep_head(path: &Path, offset: u64, aside: &Path) -> Result<(), JournalError> {
    let draft = path.with_extension("new");
    let keep = || -> io::Result<()> {
        let copy = target(path, aside);
        fs::copy(path, &copy)?;
        File::open(&copy)?.sync_all()?;
        let bytes = fs::read(path)?;
        let mut file = File::create(&draft)?;
        file.write_all(&bytes[..usize::try_from(offset).expect("a place in the file")])?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    keep().map_err(io_error(|| format!("cannot cut {}", path.display())))
}

fn target(path: &Path, aside: &Path) -> PathBuf {
    aside.join(path.file_name().expect("a segment has a name"))
}
