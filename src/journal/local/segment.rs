//! Segments: the files of the log, and what a frame in one looks like.
//!
//! A segment is a header and then frames, a batch each; behind them are zeros, where space was made ahead. All numbers are
//! little-endian.
//!
//! ```text
//! segment header   magic 8 | version u32 | salt u64 | first sequence u64 | crc32c u32
//! frame            length u32 | crc32c u32 | first sequence u64 | records u32 | into group u32 | payload
//! ```
//!
//! A frame's checksum covers its payload, its header and the salt of its segment, which no agent knows: content that looks
//! like a frame is none. `into group` says how many records of the same group commit stand before the frame. A group is
//! synced before the next is written, so a good frame of a later group proves that what lies before it was durable once:
//! then a bad frame is damage. Without that proof it is a write that the crash interrupted, promised to nobody.

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
/// How far apart the known places of a segment are: what a read may have to skip.
const MARK_BYTES: u64 = 64 << 10;

pub(super) fn damaged(path: &Path, offset: u64, problem: &'static str) -> JournalError {
    JournalError::Damaged {
        file: path.display().to_string(),
        offset,
        problem,
    }
}

/// Makes what was created, renamed or removed in `dir` survive a power cut.
pub(in crate::journal) fn sync_dir(dir: &Path) -> Result<(), JournalError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(sync_error(|| format!("the folder {}", dir.display())))
}

/// Makes a file at least `bytes` long, with blocks of its own for all of them: what is written there later finds its room.
/// Where the file system cannot do that, the file is made longer and the room shows when it is written.
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

/// A segment as the journal remembers it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: Seq,
    pub(super) path: PathBuf,
    /// Places of frames, ascending, at least [`MARK_BYTES`] apart: (first sequence, offset).
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

    /// Remembers where a frame begins, if that is news.
    pub(super) fn mark(&mut self, first: Seq, offset: u64) {
        if self.marks.last().is_none_or(|(_, last)| offset >= last + MARK_BYTES) {
            self.marks.push((first, offset));
        }
    }

    /// The offset of a frame that begins at `seq` or not long before it.
    pub(super) fn offset_before(&self, seq: Seq) -> u64 {
        let after = self.marks.partition_point(|(first, _)| *first <= seq);
        after.checked_sub(1).map_or(HEADER_BYTES as u64, |at| self.marks[at].1)
    }

    /// Makes the file, with room ahead. It gets its name when its header is on the disk, so a named segment has a header.
    /// When there is no room nothing stays of it, and it can be tried again.
    pub(super) fn create(&self, bytes: u64) -> Result<Tail, JournalError> {
        let dir = self.path.parent().expect("a segment lies in the folder of the journal");
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
            // A draft that did not get all its room would keep it from others.
            let _ = fs::remove_file(&draft_path);
        })?;
        sync_dir(dir)?;
        Ok(Tail {
            file,
            salt: header.salt,
            offset: HEADER_BYTES as u64,
        })
    }
}

/// The segments in `dir`, in order. `draft` is told of each that a crash left.
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

/// Where the writer goes on.
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

    /// The header of the segment at `path`, whose name says `first`.
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

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) length: u32,
    pub(super) first: Seq,
    pub(super) records: u32,
    pub(super) into_group: u32,
}

impl Frame {
    /// The head as bytes. `payload_crc` is the crc32c of the payload alone, so that whoever made it can have computed it.
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

    /// The frame at the start of `bytes`, if it is whole and good.
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

/// What a look at a whole segment found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Where the good frames end.
    pub(super) end: u64,
    /// The sequence that follows them.
    pub(super) next: Seq,
    /// Bytes behind them up to the last that is not zero: of a write that was interrupted.
    pub(super) torn: u64,
}

/// Looks at every frame of a segment and remembers places in it. `bytes` is the whole file, its header is `header`.
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

/// The bytes up to the last that is not zero. Nearly all of a young segment is zeros, and every start looks through them, so they
/// are compared by the block.
fn written(bytes: &[u8]) -> &[u8] {
    const ZEROS: [u8; 4096] = [0; 4096];
    let zeros = |block: &&[u8]| **block == ZEROS[..block.len()];
    let unwritten: usize = bytes.rchunks(ZEROS.len()).take_while(zeros).map(<[u8]>::len).sum();
    let rest = &bytes[..bytes.len() - unwritten];
    let last = rest.iter().rposition(|byte| *byte != 0);
    &rest[..last.map_or(0, |last| last + 1)]
}

/// Whether a good frame begins here whose group began after `bad`, the sequence of a bad one.
fn is_later_group(bytes: &[u8], salt: u64, bad: Seq) -> bool {
    // Most places are no frame by their numbers alone, and the checksum is not computed.
    bytes.len() > FRAME_HEADER_BYTES && {
        let frame = Frame::parse(bytes);
        let group = frame.first.0.checked_sub(u64::from(frame.into_group));
        group.is_some_and(|group| group > bad.0 && group - bad.0 < 1 << 40) && Frame::check(bytes, salt).is_some()
    }
}

/// Reads frames one after the other.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    salt: u64,
    offset: u64,
}

impl Reader {
    /// Begins at `offset`, where a frame of the segment begins.
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

    /// The next frame that ends after `seq`, with its offset; None at the end of the segment. Frames before it are skipped
    /// unchecked.
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
