//! Repeated requests under an idempotency key: the answer is remembered and given again, and the effect happens once.
//!
//! Messages, deploys and groups are recorded in one batch with their answer, so that after any crash both are there or
//! neither is. The verbs record their answer after the effect. A `kill -9` between the two loses the answer, and a
//! repeated request runs the verb again. This is harmless, because each verb brings about a state and finds it there
//! the second time.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Node;
use crate::error::{Error, Result};
use crate::id::Partition;
use crate::journal::projections::Answered;
use crate::principal::Caller;
use crate::router::{Change, KeyLock};

/// Whether a request is new or repeated.
pub(super) enum Coming<T> {
    /// The request is new. Its key, if it has one, is locked until the answer is recorded.
    First(Option<KeyLock>),
    /// The request was answered before, with this answer.
    Again(T),
}

impl Node {
    /// Finds out whether a request is new or repeated.
    pub(super) async fn coming<T: DeserializeOwned>(&self, caller: &Caller) -> Result<Coming<T>> {
        let Some(attempt) = caller.attempt() else {
            return Ok(Coming::First(None));
        };
        // The key is locked before the answer is looked up, so that no other request records one in between.
        let lock = self.shared.key_locks.lock(caller.principal(), attempt).ok_or_else(|| {
            let mend = "the request with this Idempotency-Key is still being answered; send it again later";
            let key = attempt.key.to_string();
            Error::conflict(mend, [("field", "Idempotency-Key".to_owned()), ("key", key)])
        })?;
        // The projections must include what an earlier request appended, even if it is not durable yet.
        self.projections.seen(self.journal.appended()).await?;
        let principal = caller.principal().as_str().to_owned();
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

    /// Runs `operation` unless the request has an answer already. With the key's lock, `operation` records the answer
    /// in one batch with its effect.
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

    /// Like [`Self::once`], for an operation that knows nothing of keys: its answer is recorded after its effect.
    pub(super) async fn once_after<T, F>(&self, caller: &Caller, operation: impl FnOnce(Caller) -> F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T>>,
    {
        let record = async |lock: Option<KeyLock>| {
            let answer = operation(caller.without_attempt()).await?;
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
