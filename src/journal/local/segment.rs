//! Segments: the files of the log, and the layout of their frames.
//!
//! A segment is a header and then one frame for each batch. Zeros follow where space was reserved for later frames. All
//! numbers are little-endian.
//!
//! ```text
//! segment header   magic 8 | version u32 | salt u64 | first sequence u64 | crc32c u32
//! frame            length u32 | crc32c u32 | first sequence u64 | records u32 | into group u32 | payload
//! ```
//!
//! A frame's checksum covers its payload, its header and the salt of its segment. No agent knows the salt, so no
//! message content can be mistaken for a frame. `into group` counts the records of the same group commit that come
//! before the frame. A group is synced before the next is written, so a sound frame of a later group proves that
//! everything before it was durable. A bad frame before that point is damage. Without that proof it is a write that the
//! crash interrupted, and no batch in it was reported durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{FORMAT, io_error, sync_error};
use crate::id::Seq;
use crate::journal::{JournalError, limits};

const MAGIC: [u8; 8] = *b"CAXTONJL";
pub(super) const HEADER_BYTES: usize = 32;
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// The least distance between two marks of a segment, and so about the most that a read may have to skip.
const MARK_BYTES: u64 = 64 << 10;

pub(super) fn damaged(path: &Path, offset: u64, problem: &'static str) -> JournalError {
    JournalError::Damaged {
        file: path.display().to_string(),
        offset,
        problem,
    }
}

/// Syncs `dir`, so that files created, renamed or removed in it survive a power cut.
pub(in crate::journal) fn sync_dir(dir: &Path) -> Result<(), JournalError> {
    OpenFolder::open(dir)?.sync()
}

/// A folder whose names can be synced. It is opened before names in it change: if it cannot be opened afterwards, because
/// no descriptor is free, the change would be there and not durable.
pub(super) struct OpenFolder<'a> {
    dir: &'a Path,
    file: File,
}

impl<'a> OpenFolder<'a> {
    pub(super) fn open(dir: &'a Path) -> Result<Self, JournalError> {
        let file = File::open(dir).map_err(io_error(|| format!("cannot open the folder {}", dir.display())))?;
        Ok(Self { dir, file })
    }

    pub(super) fn sync(&self) -> Result<(), JournalError> {
        let synced = self.file.sync_all();
        synced.map_err(sync_error(|| format!("the folder {}", self.dir.display())))
    }
}

/// Makes a file at least `bytes` long and reserves its disk blocks, so that later writes find room. Where the file
/// system cannot reserve blocks, only the length is set, and a full disk shows at a later write.
pub(super) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let now = file.metadata()?.len();
            file.set_len(bytes.max(now))
        }
        done => Ok(done?),
    }
}

/// A segment as the journal keeps it in memory.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: Seq,
    pub(super) path: PathBuf,
    /// Marks, ascending and at least [`MARK_BYTES`] apart: the first sequence number of a frame, and its offset.
    marks: Vec<(Seq, u64)>,
}

impl Segment {
    pub(super) fn new(dir: &Path, first: Seq) -> Self {
        Self {
            first,
            path: dir.join(format!("{:020}.log", first.0)),
            marks: vec![(first, HEADER_BYTES as u64)],
        }
    }

    /// Marks where a frame begins, unless it is too close to the last mark.
    pub(super) fn mark(&mut self, first: Seq, offset: u64) {
        if self.marks.last().is_none_or(|(_, last)| offset >= last + MARK_BYTES) {
            self.marks.push((first, offset));
        }
    }

    /// The offset of the last marked frame that begins at or before `seq`.
    pub(super) fn offset_before(&self, seq: Seq) -> u64 {
        let after = self.marks.partition_point(|(first, _)| *first <= seq);
        after.checked_sub(1).map_or(HEADER_BYTES as u64, |at| self.marks[at].1)
    }

    /// Creates the file with room reserved. It gets its name only when its header is on the disk, so every named
    /// segment has a header. When the disk is full the file is removed again, and the call can be retried.
    pub(super) fn create(&self, bytes: u64) -> Result<Tail, JournalError> {
        let dir = self.path.parent().expect("a segment lies in the folder of the journal");
        let folder = OpenFolder::open(dir)?;
        let draft_path = self.path.with_extension("new");
        let header = Header {
            salt: rand::random(),
            first: self.first,
        };
        let failed = || format!("cannot create the segment {}", self.path.display());
        let write = || -> io::Result<File> {
            let mut draft = OpenOptions::new();
            let file = draft.write(true).create(true).truncate(true).open(&draft_path)?;
            reserve(&file, bytes.max(HEADER_BYTES as u64))?;
            file.write_all_at(&header.encode(), 0)?;
            Ok(file)
        };
        let create = || -> Result<File, JournalError> {
            let file = write().map_err(io_error(failed))?;
            file.sync_all()
                .map_err(sync_error(|| format!("the segment {}", draft_path.display())))?;
            fs::rename(&draft_path, &self.path).map_err(io_error(failed))?;
            Ok(file)
        };
        let file = create().inspect_err(|_| {
            // A draft that did not get all its room must not keep that room from others.
            let _ = fs::remove_file(&draft_path);
        })?;
        folder.sync()?;
        Ok(Tail {
            file,
            salt: header.salt,
            offset: HEADER_BYTES as u64,
        })
    }
}

/// The segments in `dir`, in order. `draft` is called for each unfinished file that a crash left behind.
pub(super) fn list(dir: &Path, draft: fn(&Path) -> io::Result<()>) -> Result<Vec<Segment>, JournalError> {
    let failed = || format!("cannot list the folder {}", dir.display());
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error(failed))? {
        let path = entry.map_err(io_error(failed))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        match (path.extension().and_then(|extension| extension.to_str()), stem.parse()) {
            (Some("log"), Ok(first)) if stem.len() == 20 => segments.push(Segment::new(dir, Seq(first))),
            (Some("new"), Ok(_)) => draft(&path).map_err(io_error(failed))?,
            _ => return Err(damaged(&path, 0, "is no segment of the journal")),
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// Where the writer appends.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) file: File,
    pub(super) salt: u64,
    pub(super) offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) salt: u64,
    pub(super) first: Seq,
}

impl Header {
    fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.salt.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.first.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of the segment at `path`, whose name gives `first`.
    pub(super) fn read(path: &Path, first: Seq, mut file: impl Read) -> Result<Self, JournalError> {
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact(&mut bytes)
            .map_err(|_| damaged(path, 0, "the header is cut off"))?;
        if bytes[..8] != MAGIC {
            return Err(damaged(path, 0, "is no segment of the journal"));
        }
        let found = u32_at(&bytes, 8);
        if found != FORMAT {
            return Err(JournalError::UnknownFormat { found, known: FORMAT });
        }
        let header = Self {
            salt: u64_at(&bytes, 12),
            first: Seq(u64_at(&bytes, 20)),
        };
        if crc32c::crc32c(&bytes[..28]) != u32_at(&bytes, 28) || header.first != first {
            return Err(damaged(path, 0, "the header is damaged"));
        }
        Ok(header)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) length: u32,
    pub(super) first: Seq,
    pub(super) records: u32,
    pub(super) into_group: u32,
}

impl Frame {
    /// Encodes the header. `payload_crc` is the crc32c of the payload alone, so that the appender can compute it before
    /// the salt is known.
    pub(super) fn seal(self, salt: u64, payload_crc: u32) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.records.to_le_bytes());
        bytes[20..].copy_from_slice(&self.into_group.to_le_bytes());
        let crc = crc32c::crc32c_append(payload_crc, &bytes);
        let crc = crc32c::crc32c_append(crc, &salt.to_le_bytes());
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self {
            length: u32_at(bytes, 0),
            first: Seq(u64_at(bytes, 8)),
            records: u32_at(bytes, 16),
            into_group: u32_at(bytes, 20),
        }
    }

    pub(super) fn last(self) -> Seq {
        Seq(self.first.0.saturating_add(u64::from(self.records)).saturating_sub(1))
    }

    fn is_plausible(self) -> bool {
        self.length > 0 && self.length as usize <= limits::BATCH_BYTES && self.records > 0
    }

    /// The frame at the start of `bytes`, if it is whole and its checksum is right.
    pub(super) fn check(bytes: &[u8], salt: u64) -> Option<Self> {
        let head = bytes.get(..FRAME_HEADER_BYTES)?;
        let frame = Self::parse(head);
        if !frame.is_plausible() {
            return None;
        }
        let payload = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + frame.length as usize)?;
        (frame.seal(salt, crc32c::crc32c(payload)) == head).then_some(frame)
    }
}

/// The result of a scan of a whole segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// The offset after the last sound frame.
    pub(super) end: u64,
    /// The sequence number after the last sound frame.
    pub(super) next: Seq,
    /// How many bytes of an interrupted write follow the sound frames, up to the last byte that is not zero.
    pub(super) torn: u64,
}

/// Checks every frame of a segment and marks some of them. `bytes` is the whole file, and `header` its header.
pub(super) fn scan(segment: &mut Segment, header: Header, bytes: &[u8]) -> Result<Scan, JournalError> {
    let mut next = header.first;
    let mut end = HEADER_BYTES;
    while let Some(frame) = Frame::check(&bytes[end..], header.salt) {
        if frame.first != next {
            return Err(damaged(&segment.path, end as u64, "the sequence has a gap"));
        }
        segment.mark(frame.first, end as u64);
        next = Seq(frame.last().0 + 1);
        end += FRAME_HEADER_BYTES + frame.length as usize;
    }
    let rest = &bytes[end..];
    let interrupted = written(rest);
    if (1..interrupted.len()).any(|at| is_later_group(&interrupted[at..], header.salt, next)) {
        return Err(damaged(&segment.path, end as u64, "a batch that was durable is broken"));
    }
    Ok(Scan {
        end: end as u64,
        next,
        torn: interrupted.len() as u64,
    })
}

/// The bytes up to the last one that is not zero. A young segment is nearly all zeros and every start scans it, so
/// zeros are compared in blocks.
fn written(bytes: &[u8]) -> &[u8] {
    const ZEROS: [u8; 4096] = [0; 4096];
    let zeros = |block: &&[u8]| **block == ZEROS[..block.len()];
    let unwritten: usize = bytes.rchunks(ZEROS.len()).take_while(zeros).map(<[u8]>::len).sum();
    let rest = &bytes[..bytes.len() - unwritten];
    let last = rest.iter().rposition(|byte| *byte != 0);
    &rest[..last.map_or(0, |last| last + 1)]
}

/// Whether a sound frame begins here whose group began after the sequence number `bad` of a bad frame.
fn is_later_group(bytes: &[u8], salt: u64, bad: Seq) -> bool {
    // The numbers alone rule out most offsets, so the checksum is rarely computed.
    bytes.len() > FRAME_HEADER_BYTES && {
        let frame = Frame::parse(bytes);
        let group = frame.first.0.checked_sub(u64::from(frame.into_group));
        group.is_some_and(|group| group > bad.0 && group - bad.0 < 1 << 40) && Frame::check(bytes, salt).is_some()
    }
}

/// Reads frames in order.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    salt: u64,
    offset: u64,
}

impl Reader {
    /// Begins at `offset`, which must be the start of a frame.
    pub(super) fn open(path: PathBuf, first: Seq, offset: u64) -> Result<Self, JournalError> {
        let failed = || format!("cannot read {}", path.display());
        let mut file = File::open(&path).map_err(io_error(failed))?;
        let header = Header::read(&path, first, &mut file)?;
        file.seek(SeekFrom::Start(offset)).map_err(io_error(failed))?;
        Ok(Self {
            file: BufReader::with_capacity(256 << 10, file),
            salt: header.salt,
            offset,
            path,
        })
    }

    pub(super) fn damaged(&self, offset: u64, problem: &'static str) -> JournalError {
        damaged(&self.path, offset, problem)
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame that ends after `seq`, with its offset; None at the end of the segment. Earlier frames are
    /// skipped without a check of their checksums.
    pub(super) fn next_after(&mut self, seq: Seq) -> Result<Option<(Frame, u64, Bytes)>, JournalError> {
        let failed = || format!("cannot read {}", self.path.display());
        loop {
            let offset = self.offset;
            let mut head = [0; FRAME_HEADER_BYTES];
            match self.file.read_exact(&mut head) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(io_error(failed)(error)),
            }
            let frame = Frame::parse(&head);
            if head == [0; FRAME_HEADER_BYTES] {
                return Ok(None);
            }
            if !frame.is_plausible() {
                return Err(self.damaged(offset, "a frame's head is broken"));
            }
            self.offset += FRAME_HEADER_BYTES as u64 + u64::from(frame.length);
            if frame.last() <= seq {
                self.file.seek_relative(frame.length.into()).map_err(io_error(failed))?;
                continue;
            }
            let mut payload = vec![0; frame.length as usize];
            self.file
                .read_exact(&mut payload)
                .map_err(|_| self.damaged(offset, "a frame is cut off"))?;
            if frame.seal(self.salt, crc32c::crc32c(&payload)) != head {
                return Err(self.damaged(offset, "a frame has the wrong checksum"));
            }
            return Ok(Some((frame, offset, payload.into())));
        }
    }
}
