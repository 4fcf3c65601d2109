//! Retention: which segments of the log are removed.
//!
//! A segment may be removed when both hold:
//!
//! 1. It is not the last segment, which the writer uses.
//! 2. The projections are *durable* beyond its last record. Applied is not enough: commits of the projections are not
//!    synced, so a power cut may lose the newest, and the log must still have the records to apply again. A checkpoint
//!    of their write-ahead log makes them durable; see `Projections::checkpoint`.
//!
//! An open message does not hold its segment. The projections keep the body of every message, and recovery reads
//! queues, sessions, state and catalog from them alone (`projections/recover.rs`); it reads from the log only what
//! comes after `applied`. Holding segments for open messages would let one message to a suspended agent fill the disk.
//! Nothing would be gained: once the first segment is removed, the projections cannot be rebuilt from the log,
//! whichever messages are open.

use std::fs;
use std::time::Duration;

use super::segment::sync_dir;
use super::{LocalJournal, folder, io_error};
use crate::id::Seq;
use crate::journal::{JournalError, end_process};
use crate::time::Moment;

/// The bounds of what is kept. None means no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// A segment that was completed longer ago than this is removed.
    pub age: Option<Duration>,
    /// The oldest segments are removed until the rest, including the last one, takes at most this many bytes.
    pub bytes: Option<u64>,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub segments: usize,
    pub bytes: u64,
}

impl LocalJournal {
    /// The last record of the segments that `keep` does not cover at `now`, or None if it covers all. It does not check
    /// whether the projections allow their removal.
    pub fn surplus(&self, keep: Keep, now: Moment) -> Result<Option<Seq>, JournalError> {
        let segments: Vec<_> = {
            let segments = self.shared.segments.read();
            segments
                .iter()
                .map(|segment| (segment.first, segment.path.clone()))
                .collect()
        };
        let mut figures = Vec::with_capacity(segments.len());
        for (_, path) in &segments {
            let look = || {
                let metadata = fs::metadata(path)?;
                Ok((metadata.len(), metadata.modified()?))
            };
            figures.push(look().map_err(io_error(|| format!("cannot look at {}", path.display())))?);
        }
        let mut total: u64 = figures.iter().map(|(bytes, _)| bytes).sum();
        let mut surplus = None;
        for ((bytes, ended), next) in figures.iter().zip(segments.iter().skip(1)) {
            let old = |age| now.age((*ended).into()) > age;
            if !keep.age.is_some_and(old) && keep.bytes.is_none_or(|most| total <= most) {
                break;
            }
            total -= bytes;
            surplus = Some(Seq(next.0.0 - 1));
        }
        Ok(surplus)
    }

    /// Removes for ever the segments whose records are all at or before `upto`. The caller must ensure that nothing
    /// needs them, and that only one call runs at a time. Blocks.
    pub fn remove_upto(&self, upto: Seq) -> Result<Removed, JournalError> {
        let (going, oldest) = {
            let segments = self.shared.segments.read();
            let going = segments
                .windows(2)
                .take_while(|pair| pair[1].first.0 - 1 <= upto.0)
                .count();
            (going, segments[going].first)
        };
        if going == 0 {
            return Ok(Removed::default());
        }
        match folder::set_oldest(&self.dir, oldest) {
            // A later sync might succeed although the mark never reached the disk. The segments would then be removed,
            // and the next start would take them for lost.
            Err(error @ JournalError::Sync { .. }) => end_process(&error),
            marked => marked?,
        }
        // Readers no longer find these segments; a reader that has one open can still read it.
        let gone: Vec<_> = self.shared.segments.write().drain(..going).collect();
        self.oldest.send_replace(oldest);
        let mut removed = Removed::default();
        for segment in gone {
            // The oldest is removed first, so that a crash leaves no gap.
            let remove = || {
                let bytes = fs::metadata(&segment.path)?.len();
                fs::remove_file(&segment.path)?;
                Ok(bytes)
            };
            removed.bytes += remove().map_err(io_error(|| format!("cannot remove {}", segment.path.display())))?;
            removed.segments += 1;
        }
        sync_dir(&self.dir.join("journal"))?;
        Ok(removed)
    }
}
