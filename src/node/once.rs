//! Requests that come again: the first answer is given again, and nothing happens twice.
//!
//! Messages, deploys and groups are recorded in one batch with their answer, so that after any crash there are both or neither.
//! The verbs record theirs behind the effect: between the two a `kill -9` forgets the key, and the verb comes again. That is
//! harmless, because each of them brings about a state.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Caller, Node};
use crate::error::{Error, Result};
use crate::id::Partition;
use crate::journal::projections::Answered;
use crate::router::{Change, KeyLock};

/// What is known of a request.
pub(super) enum Coming<T> {
    /// It is new. Its key, if it has one, is locked until the answer is recorded.
    First(Option<KeyLock>),
    /// It had this answer.
    Again(T),
}

impl Node {
    /// Whether a request comes for the first time.
    pub(super) async fn coming<T: DeserializeOwned>(&self, caller: &Caller) -> Result<Coming<T>> {
        let Some(attempt) = &caller.attempt else {
            return Ok(Coming::First(None));
        };
        // Before the look, so that no other can answer it in between.
        let lock = self.shared.key_locks.lock(&caller.principal, attempt).ok_or_else(|| {
            let mend = "the request with this Idempotency-Key is still being answered; send it again later";
            Error::Conflict(mend.to_owned())
        })?;
        // What an earlier coming did may have a place in the journal and not be on the disk.
        self.projections.seen(self.journal.appended()).await?;
        let principal = caller.principal.as_str().to_owned();
        match self.projections.answered(principal, attempt.key.clone()).await? {
            None => Ok(Coming::First(Some(lock))),
            Some(Answered { fingerprint, .. }) if fingerprint != attempt.fingerprint => {
                Err(Error::KeyReused(attempt.key.clone()))
            }
            Some(Answered { answer, .. }) => serde_json::from_str(&answer)
                .map(Coming::Again)
                .map_err(Error::internal),
        }
    }

    /// Runs `operation`, which records its answer with its effect by the lock of the key, unless the caller's request had an answer.
    pub(super) async fn once<T, F>(&self, caller: &Caller, operation: impl FnOnce(Option<KeyLock>) -> F) -> Result<T>
    where
        T: DeserializeOwned,
        F: Future<Output = Result<T>>,
    {
        match self.coming(caller).await? {
            Coming::First(lock) => operation(lock).await,
            Coming::Again(answer) => Ok(answer),
        }
    }

    /// As [`Self::once`], for an operation that knows nothing of keys: its answer is recorded behind it.
    pub(super) async fn once_after<T, F>(&self, caller: &Caller, operation: impl FnOnce(Caller) -> F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T>>,
    {
        let plain = Caller {
            attempt: None,
            ..caller.clone()
        };
        let record = async |lock: Option<KeyLock>| {
            let answer = operation(plain).await?;
            if let Some(lock) = lock {
                let partition = Partition::of(lock.principal().as_str(), self.config.partitions);
                let answered = Change::Answered(lock.answered(&answer));
                self.change(partition, answered).await?;
            }
            Ok(answer)
        };
        self.once(caller, record).await
    }
}
