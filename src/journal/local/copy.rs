//! Copying a log that is in use, for a backup.

use std::fs;
use std::path::Path;

use super::folder::module_file;
use super::segment::{FRAME_HEADER_BYTES, Frame, HEADER_BYTES, Header, damaged};
use super::{LocalJournal, io_error};
use crate::id::{Digest, Seq};
use crate::journal::JournalError;

/// Files of the folder's root that are copied unchanged, if they exist.
const COPIED: [&str; 2] = ["PARTITIONS", "FORMAT"];

/// A file to copy, whole and checked: its name relative to the folder, and its content.
pub(in crate::journal) struct Copied {
    pub(in crate::journal) name: String,
    pub(in crate::journal) bytes: Vec<u8>,
}

impl LocalJournal {
    /// Passes the log up to the current watermark to `take`, then the modules, then the other files, and returns the
    /// last record. Every frame and module is checked. The caller must not let a segment be removed meanwhile. Blocks.
    pub(in crate::journal) fn copy(
        &self,
        mut take: impl FnMut(&Copied) -> Result<(), JournalError>,
    ) -> Result<Seq, JournalError> {
        let upto = *self.durable.borrow();
        let segments: Vec<_> = {
            let segments = self.shared.segments.read();
            // The segments up to the one with the last durable record, or the first segment if nothing is durable yet.
            let count = segments.partition_point(|segment| segment.first <= upto).max(1);
            segments[..count]
                .iter()
                .map(|segment| (segment.path.clone(), segment.first))
                .collect()
        };
        for (at, (path, first)) in segments.iter().enumerate() {
            // A segment other than the last ends where the next one begins.
            let last = segments.get(at + 1).map_or(upto, |(_, next)| Seq(next.0 - 1));
            let name = name_of("journal", path);
            let bytes = head_upto(path, *first, last)?;
            take(&Copied { name, bytes })?;
        }
        let oldest = segments[0].1;
        if oldest > Seq(1) {
            take(&Copied {
                name: "OLDEST".to_owned(),
                bytes: format!("{oldest}\n").into_bytes(),
            })?;
        }
        self.copy_modules(&mut take)?;
        for name in COPIED {
            let path = self.dir.join(name);
            if path.exists() {
                let bytes = read(&path)?;
                let name = name.to_owned();
                take(&Copied { name, bytes })?;
            }
        }
        Ok(upto)
    }

    fn copy_modules(&self, take: &mut impl FnMut(&Copied) -> Result<(), JournalError>) -> Result<(), JournalError> {
        let folder = self.dir.join("modules");
        let failed = || format!("cannot list the folder {}", folder.display());
        for entry in fs::read_dir(&folder).map_err(io_error(failed))? {
            let path = entry.map_err(io_error(failed))?.path();
            if path.extension().is_none_or(|extension| extension != "wasm") {
                continue; // a module that is still being written
            }
            let bytes = read(&path)?;
            if path != module_file(&self.dir, Digest::of(&bytes)) {
                return Err(damaged(&path, 0, "the module has not the digest of its name"));
            }
            let name = name_of("modules", &path);
            take(&Copied { name, bytes })?;
        }
        Ok(())
    }
}

/// The content of the segment up to the end of record `last`, or only its header if `last` comes before the segment.
fn head_upto(path: &Path, first: Seq, last: Seq) -> Result<Vec<u8>, JournalError> {
    let mut bytes = read(path)?;
    let header = Header::read(path, first, bytes.as_slice())?;
    let (mut end, mut next) = (HEADER_BYTES, first);
    while next <= last {
        let frame = Frame::check(&bytes[end..], header.salt).filter(|frame| frame.first == next);
        let frame = frame.ok_or_else(|| damaged(path, end as u64, "a batch that was durable is broken"))?;
        end += FRAME_HEADER_BYTES + frame.length as usize;
        next = Seq(frame.last().0 + 1);
    }
    bytes.truncate(end);
    Ok(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>, JournalError> {
    fs::read(path).map_err(io_error(|| format!("cannot read {}", path.display())))
}

fn name_of(folder: &str, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{folder}/{name}")
}
