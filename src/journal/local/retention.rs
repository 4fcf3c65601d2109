//! Retention: which segments of the log go.
//!
//! A segment may be removed when both hold:
//!
//! 1. It is not the last: that one is the writer's.
//! 2. The projections are *durable* beyond its last record. Applied is not enough: their commits are not synced, so a power
//!    cut may take the newest, and the log must still have what they are to be given again. A checkpoint of their
//!    write-ahead log makes them durable; see `Projections::checkpoint`.
//!
//! A live message does not hold its segment. The projections keep the body of every message, and recovery reads queues,
//! sessions, state and catalog from them alone (`projections/recover.rs`): of the log it reads what comes after `applied`.
//! To hold segments for live messages would let one message to a suspended agent fill the disk, and buy nothing: from the
//! first segment that is gone, the projections cannot be made again from the log, whatever is live.

use std::fs;
use std::time::{Duration, SystemTime};

use super::segment::sync_dir;
use super::{LocalJournal, folder, io_error};
use crate::id::Seq;
use crate::journal::{JournalError, end_process};

/// What stays. None: no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// Segments that were ended longer ago go.
    pub age: Option<Duration>,
    /// The oldest go until what remains, the last one included, takes no more bytes than this.
    pub bytes: Option<u64>,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub segments: usize,
    pub bytes: u64,
}

impl LocalJournal {
    /// The last record of the segments that are not to stay at `now`, or None if all are. Takes no look at what must stay.
    pub fn surplus(&self, keep: Keep, now: SystemTime) -> Result<Option<Seq>, JournalError> {
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
            // A clock that was set back makes no segment old.
            let old = |age| now.duration_since(*ended).is_ok_and(|since| since > age);
            if !keep.age.is_some_and(old) && keep.bytes.is_none_or(|most| total <= most) {
                break;
            }
            total -= bytes;
            surplus = Some(Seq(next.0.0 - 1));
        }
        Ok(surplus)
    }

    /// Removes the segments whose records are all at or before `upto`, for ever. The caller has made sure that nobody needs
    /// them, and calls this once at a time. Blocks.
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
            // A later sync would say that the mark is there, and segments would go that seem to be lost then.
            Err(error @ JournalError::Sync { .. }) => end_process(&error),
            marked => marked?,
        }
        // Readers look no longer at what is about to go; one that has it open reads on.
        let gone: Vec<_> = self.shared.segments.write().drain(..going).collect();
        self.oldest.send_replace(oldest);
        let mut removed = Removed::default();
        for segment in gone {
            // The oldest first, so that a crash leaves no hole.
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
