//! Brings the file up to date with the journal when it is opened, and sets aside one that cannot be used.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::apply::{self, load_progress};
use super::schema::{self, Unusable};
use super::upkeep::remove_logs;
use super::{EVENTS_KEPT, Progress};
use crate::journal::{Journal, JournalError};

/// Batches of one transaction while a start waits for it. They are few so that progress can be logged often.
const CATCH_UP: usize = 256;
/// The least time between two log lines on the progress of a long start. With the duration of one transaction added,
/// there is about one line a second.
const WORD: Duration = Duration::from_millis(500);

/// Opens the file and applies everything that the journal has beyond it.
pub(super) fn catch_up(path: &Path, journal: &dyn Journal) -> Result<(Connection, Progress), Unusable> {
    let mut connection = schema::open_writer(path)?;
    let mut progress = load_progress(&connection)?;
    let durable = *journal.durable().borrow();
    if progress.applied > durable {
        return Err(Unusable::Rebuild(format!(
            "it is at {} and the journal at {durable}",
            progress.applied
        )));
    }
    let oldest = *journal.oldest().borrow();
    if progress.applied.0 + 1 < oldest.0 {
        return Err(Unusable::Rebuild(format!(
            "it is at {} and lacks what followed",
            progress.applied
        )));
    }
    let (began, from) = (Instant::now(), progress.applied);
    let mut told = began + WORD; // a catch-up of less than a second logs no progress
    while progress.applied < durable {
        let batches = journal.read_after(progress.applied, CATCH_UP)?;
        progress = apply::apply(&mut connection, progress, &batches, EVENTS_KEPT)?;
        if told.elapsed() >= WORD {
            told = Instant::now();
            let (done, all) = (progress.applied.0 - from.0, durable.0 - from.0);
            tracing::info!(
                applied = progress.applied.0,
                end = durable.0,
                percent = done * 100 / all,
                seconds = began.elapsed().as_secs(),
                "the projections are brought up to the journal"
            );
        }
    }
    Ok((connection, progress))
}

/// Keeps a file that cannot be used, so that the cause can be investigated, and returns its new name. Only the last such
/// file is kept.
pub(super) fn set_aside(path: &Path, problem: &str) -> Result<PathBuf, JournalError> {
    let aside = path.with_extension("db.damaged");
    tracing::warn!(
        file = %path.display(), kept_as = %aside.display(), problem,
        "the projections cannot be used and are made again from the journal"
    );
    fs::rename(path, &aside).map_err(|source| JournalError::Io {
        what: format!("cannot set {} aside", path.display()),
        source,
    })?;
    remove_logs(path)?;
    Ok(aside)
}
