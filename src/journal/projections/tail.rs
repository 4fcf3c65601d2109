//! The thread that tails the journal.
//!
//! When the disk is full or does not respond the thread waits. Nothing is lost, because the journal has what is not
//! applied. A failed sync ends the process, as it does in the journal.

use std::path::PathBuf;

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::apply::{self, load_progress};
use super::catch_up::set_aside;
use super::schema::{Trouble, Unusable, trouble};
use super::{EVENTS_KEPT, GROUP, Progress};
use crate::id::Seq;
use crate::journal::{Followed, Follower, end_process, limits};

pub(super) struct Tail {
    pub(super) connection: Connection,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) stall: watch::Sender<Option<String>>,
    pub(super) follower: Follower,
    pub(super) oldest: watch::Receiver<Seq>,
    pub(super) stopped: oneshot::Receiver<()>,
    pub(super) path: PathBuf,
}

impl Tail {
    /// Runs until the journal closes, the owner stops it, or the file cannot be written. Whoever waits for a sequence
    /// number then gets an error.
    pub(super) fn run(mut self, runtime: &tokio::runtime::Runtime) {
        let mut group = Vec::with_capacity(GROUP);
        while runtime.block_on(self.next(&mut group)) {
            while let Err(error) = self.apply(&group) {
                match trouble(&error) {
                    Trouble::Passing if runtime.block_on(self.wait(&error)) => {}
                    Trouble::Passing => return,
                    Trouble::Unsynced => end_process(&error.into()),
                    Trouble::Lasting => return self.give_up(error),
                }
            }
            group.clear();
            if self.stall.send_replace(None).is_some() {
                tracing::info!("the projections can be written again");
            }
        }
        // Closing the connection checkpoints only if no reader is open. What is not checkpointed now is recovered at
        // the next start.
        let moved = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = moved {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot checkpoint the projections"
            );
        }
    }

    /// Applies the batches of the group that are not applied yet.
    fn apply(&mut self, group: &[Followed]) -> Result<(), rusqlite::Error> {
        let before = *self.progress.borrow();
        let applied = apply::apply(&mut self.connection, before, group, EVENTS_KEPT);
        let progress = match applied {
            // The commit may have succeeded in spite of the error, so the progress is read from the file.
            Err(error) if matches!(trouble(&error), Trouble::Passing) => {
                let progress = load_progress(&self.connection)?;
                if progress.applied <= before.applied {
                    return Err(error);
                }
                progress
            }
            applied => applied?,
        };
        self.progress.send_replace(progress);
        Ok(())
    }

    /// Reports that nothing can be applied, and waits before the next attempt. False if the owner stops the thread.
    async fn wait(&mut self, error: &rusqlite::Error) -> bool {
        if self.stall.send_replace(Some(error.to_string())).is_none() {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the projections cannot be written and lag"
            );
        }
        tokio::time::timeout(limits::ROOM_RETRY, &mut self.stopped)
            .await
            .is_err()
    }

    fn give_up(&self, error: rusqlite::Error) {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the projections cannot be written"
        );
        // A file that cannot be rebuilt stays in place.
        if let Unusable::Rebuild(problem) = error.into()
            && *self.oldest.borrow() == Seq(1)
            && let Err(error) = set_aside(&self.path, &problem)
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the projections stay damaged");
        }
    }

    async fn next(&mut self, group: &mut Vec<Followed>) -> bool {
        tokio::select! {
            biased;
            _ = &mut self.stopped => false,
            received = self.follower.recv_many(group, GROUP) => received > 0,
        }
    }
}
