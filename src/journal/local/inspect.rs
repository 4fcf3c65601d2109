//! Inspects a whole log that no process has open. It changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::segment::{FRAME_HEADER_BYTES, Frame, HEADER_BYTES, Header, Segment, list, scan};
use super::{folder, io_error};
use crate::id::{Digest, Seq};
use crate::journal::{JournalError, wire};

/// How far a frame's sequence number may differ from the expected one before the bytes are not taken for a frame.
const FAR: u64 = 1 << 40;

/// A problem of the log or of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Problem {
    pub(in crate::journal) file: PathBuf,
    pub(in crate::journal) offset: u64,
    pub(in crate::journal) what: String,
    pub(in crate::journal) mend: Mend,
}

/// What repairs a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) enum Mend {
    Salvage,
    /// Nothing: another release wrote the file, and this one must not touch it.
    OtherRelease,
    PutBack,
    TakeOut,
}

/// Where the log first breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Break {
    /// The index of the segment.
    pub(super) segment: usize,
    /// The segment is sound before this offset. 0 if none of it is.
    pub(super) offset: u64,
}

/// What the inspection found.
#[derive(Debug, Default)]
pub(in crate::journal) struct Log {
    /// Paths and first records of the segments, in order.
    pub(super) segments: Vec<(PathBuf, Seq)>,
    /// The log must begin with this record or an earlier one.
    pub(in crate::journal) oldest: Seq,
    /// The sequence number after the last sound record before the first problem.
    pub(in crate::journal) next: Seq,
    /// Number of sound records before the first problem.
    pub(in crate::journal) records: u64,
    pub(in crate::journal) problems: Vec<Problem>,
    pub(super) broken: Option<Break>,
    /// A write that a crash interrupted: its file, offset and bytes. Opening the log cuts it off.
    pub(in crate::journal) torn: Option<(PathBuf, u64, u64)>,
}

impl Log {
    /// Whether the log lacks its first records, so that the projections cannot be rebuilt from it.
    pub(in crate::journal) fn is_pruned(&self) -> bool {
        self.segments.first().map_or(self.oldest, |(_, first)| *first) > Seq(1)
    }

    pub(in crate::journal) const fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether another release wrote a part of the log.
    pub(in crate::journal) fn is_foreign(&self) -> bool {
        let foreign = |problem: &Problem| problem.mend == Mend::OtherRelease;
        self.problems.iter().any(foreign)
    }

    pub(in crate::journal) const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(in crate::journal) const fn count(&self) -> usize {
        self.segments.len()
    }

    fn problem(&mut self, file: &Path, offset: u64, what: &str, mend: Mend) {
        self.problems.push(Problem {
            file: file.to_owned(),
            offset,
            what: what.to_owned(),
            mend,
        });
    }

    fn broken_at(&mut self, segment: usize, offset: u64) {
        self.broken.get_or_insert(Break { segment, offset });
    }
}

/// Reads every frame of the log in the data folder `dir`.
pub(in crate::journal) fn look(dir: &Path) -> Result<Log, JournalError> {
    let mut log = Log {
        next: Seq(1),
        oldest: Seq(1),
        ..Log::default()
    };
    match folder::oldest(dir) {
        Ok(oldest) => log.oldest = oldest,
        Err(JournalError::Damaged { file, problem, .. }) => log.problem(Path::new(&file), 0, problem, Mend::PutBack),
        Err(error) => return Err(error),
    }
    let folder = dir.join("journal");
    if !folder.exists() && log.oldest == Seq(1) {
        return Ok(log); // a folder that no server has used yet
    }
    let segments = match list(&folder, |_| Ok(())) {
        Ok(segments) => segments,
        Err(JournalError::Damaged { file, problem, .. }) => {
            log.problem(Path::new(&file), 0, problem, Mend::TakeOut);
            return Ok(log);
        }
        Err(error) => return Err(error),
    };
    log.segments = segments
        .iter()
        .map(|segment| (segment.path.clone(), segment.first))
        .collect();
    match segments.first() {
        None if log.oldest > Seq(1) => log.problem(&folder, 0, "all segments are missing", Mend::PutBack),
        Some(first) if first.first > log.oldest => {
            log.problem(&first.path, 0, "an earlier segment is missing", Mend::PutBack);
        }
        _ => {}
    }
    log.next = segments.first().map_or(log.oldest, |first| first.first);
    let count = segments.len();
    for (at, mut segment) in segments.into_iter().enumerate() {
        if segment.first != log.next && log.broken.is_none() {
            log.problem(
                &segment.path,
                0,
                "does not follow on the segment before it",
                Mend::Salvage,
            );
            log.broken_at(at, 0);
        }
        let broken = log.broken.is_some();
        let seen = look_at(&mut segment, at + 1 == count, &mut log)?;
        match seen {
            Ok((next, records)) if !broken => {
                log.next = next;
                log.records += records;
            }
            Err((offset, next, records)) if !broken => {
                log.broken_at(at, offset);
                log.next = next;
                log.records += records;
            }
            Ok(_) | Err(_) => {}
        }
    }
    if log.is_foreign() {
        log.broken = None; // the segment of another release is not damage
    }
    Ok(log)
}

/// For a sound segment, the sequence number after its last record and how many records it has. For a broken one, the
/// offset of the break, the sequence number expected there, and how many records come before it.
type Seen = Result<(Seq, u64), (u64, Seq, u64)>;

fn look_at(segment: &mut Segment, is_last: bool, log: &mut Log) -> Result<Seen, JournalError> {
    let path = segment.path.clone();
    let bytes = fs::read(&path).map_err(io_error(|| format!("cannot read {}", path.display())))?;
    let header = match Header::read(&path, segment.first, bytes.as_slice()) {
        Ok(header) => header,
        Err(JournalError::Damaged { offset, problem, .. }) => {
            log.problem(&path, offset, problem, Mend::Salvage);
            return Ok(Err((0, segment.first, 0)));
        }
        Err(error @ JournalError::UnknownFormat { .. }) => {
            log.problem(&path, 8, &error.to_string(), Mend::OtherRelease);
            return Ok(Err((0, segment.first, 0)));
        }
        Err(error) => return Err(error),
    };
    let bytes = Bytes::from(bytes);
    let (mut offset, mut next) = (HEADER_BYTES, header.first);
    let problem = loop {
        let Some(frame) = Frame::check(&bytes[offset..], header.salt) else {
            break match scan(segment, header, &bytes) {
                Err(JournalError::Damaged { problem, .. }) => Some(problem),
                Err(error) => return Err(error),
                Ok(scan) if scan.torn > 0 && is_last => {
                    log.torn = Some((path.clone(), scan.end, scan.torn));
                    None
                }
                Ok(scan) => (scan.torn > 0).then_some("a batch that was durable is broken"),
            };
        };
        let end = offset + FRAME_HEADER_BYTES + frame.length as usize;
        if frame.first != next {
            break Some("the sequence has a gap");
        }
        match wire::decode_batch(bytes.slice(offset + FRAME_HEADER_BYTES..end)) {
            Ok(records) if records.len() == frame.records as usize => {}
            Ok(_) => break Some("a batch has not the records that its head counts"),
            Err(malformed) => break Some(malformed.0),
        }
        (offset, next) = (end, Seq(frame.last().0 + 1));
    };
    let records = next.0 - header.first.0;
    Ok(match problem {
        None => Ok((next, records)),
        Some(problem) => {
            log.problem(&path, offset as u64, problem, Mend::Salvage);
            Err((offset as u64, next, records))
        }
    })
}

/// Counts the records after the break that can be read and are later than `after`.
pub(super) fn readable_after(log: &Log, broken: Break, after: Seq) -> Result<u64, JournalError> {
    let mut readable = 0;
    for (at, (path, first)) in log.segments.iter().enumerate().skip(broken.segment) {
        let bytes = fs::read(path).map_err(io_error(|| format!("cannot read {}", path.display())))?;
        // Frames are checked with the segment's salt, so without a header no frame can be recognised.
        let Ok(header) = Header::read(path, *first, bytes.as_slice()) else {
            continue;
        };
        let begin = if at == broken.segment { broken.offset } else { 0 };
        let mut offset = usize::try_from(begin).unwrap_or(usize::MAX).max(HEADER_BYTES);
        while offset + FRAME_HEADER_BYTES < bytes.len() {
            let frame = Frame::parse(&bytes[offset..]);
            let near = frame.first >= *first && frame.first.0 - first.0 < FAR && u64::from(frame.into_group) < FAR >> 8;
            match near.then(|| Frame::check(&bytes[offset..], header.salt)).flatten() {
                Some(frame) => {
                    readable += frame.last().0.saturating_sub(after.0.max(frame.first.0 - 1));
                    offset += FRAME_HEADER_BYTES + frame.length as usize;
                }
                None => offset += 1,
            }
        }
    }
    Ok(readable)
}

/// Checks every module. Returns how many there are, and those whose content does not match the digest in their name.
pub(in crate::journal) fn modules(dir: &Path) -> Result<(usize, Vec<Problem>), JournalError> {
    let folder = dir.join("modules");
    let failed = || format!("cannot look at the modules in {}", folder.display());
    let (mut count, mut problems) = (0, Vec::new());
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, problems)),
        entries => entries.map_err(io_error(failed))?,
    };
    for entry in entries {
        let path = entry.map_err(io_error(failed))?.path();
        if path.extension().is_none_or(|extension| extension != "wasm") {
            continue; // a draft that a crash left
        }
        count += 1;
        let module = fs::read(&path).map_err(io_error(failed))?;
        let digest = Digest::of(&module).to_string();
        if path.file_stem().and_then(|stem| stem.to_str()) != digest.strip_prefix("sha256:") {
            problems.push(Problem {
                file: path,
                offset: 0,
                what: format!("the module has not the digest of its name, but {digest}"),
                mend: Mend::PutBack,
            });
        }
    }
    Ok((count, problems))
}
