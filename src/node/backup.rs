//! Backups of a running node.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::Node;
use crate::error::{Error, Result};
use crate::journal::backup::{self, BackupError, Manifest};
use crate::principal::{Action, Caller, Subject};

/// Locks for upkeep tasks that must not run at the same time.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Held while a backup runs.
    backup: Arc<Mutex<()>>,
    /// Held by a task that removes segments, or that needs every segment to stay.
    pub(super) segments: Arc<Mutex<()>>,
    /// Held while the bytes of the data folder are counted.
    pub(super) counting: Arc<Mutex<()>>,
}

impl Node {
    /// Copies the data folder to a folder of this machine, which must be absent or empty. The copy has everything that
    /// was acknowledged before the call. The backup continues if the caller disconnects.
    pub async fn backup(&self, caller: &Caller, to: PathBuf) -> Result<Manifest> {
        caller.may(Action::Backup, &Subject::Node)?;
        self.once_after(caller, |_| self.backup_now(to)).await
    }

    async fn backup_now(&self, to: PathBuf) -> Result<Manifest> {
        let Some(journal) = self.files.clone() else {
            return Err(Error::conflict(
                "a node in memory keeps nothing that could be copied; start it with `--durability durable`",
                [("durability", "memory".to_owned())],
            ));
        };
        let backup = self.upkeep.backup.clone().try_lock_owned();
        let alone = backup.map_err(|_| {
            let problem = "a backup is running already; wait for its end";
            Error::conflict(problem, [("operation", "backup".to_owned())])
        })?;
        // A message can be acknowledged before it is durable. On a full disk waiting for that could take forever, so
        // the backup copies what is durable.
        if self.journal.lacks().borrow().is_none() {
            self.until_all_durable().await?;
        }
        let segments = self.upkeep.segments.clone().lock_owned().await;
        let projections = self.projections.clone();
        let (data_dir, sealer) = (self.data_dir.clone(), self.sealer.clone());
        let taking = tokio::task::spawn_blocking(move || {
            let taken = backup::take(&journal, &projections, &data_dir, &to, &sealer);
            drop((segments, alone));
            match &taken {
                Ok(manifest) => tracing::info!(to = %to.display(), seq = manifest.seq.0, "a backup was made"),
                // The caller named a folder that cannot be used, and is told.
                Err(BackupError::Argument { .. }) => {}
                Err(error) => tracing::error!(to = %to.display(), %error, "a backup failed"),
            }
            taken
        });
        Ok(taking.await.map_err(Error::internal)??)
    }
}
