//! Idempotency keys whose first request is still being answered.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::idempotency::{Attempt, Key};
use crate::journal::Record;
use crate::message::ClientName;
use crate::time::Moment;

/// The locked keys. Their number is bounded by the callers: each entry is a request in progress and is removed with it.
#[derive(Debug, Default)]
pub struct KeyLocks {
    held: Mutex<HashSet<(ClientName, Key)>>,
}

impl KeyLocks {
    /// Locks the key of a request. None: another request holds the key and is still being answered.
    pub fn lock(self: &Arc<Self>, principal: &ClientName, attempt: &Attempt) -> Option<KeyLock> {
        let new = self.held.lock().insert((principal.clone(), attempt.key.clone()));
        new.then(|| KeyLock {
            locks: self.clone(),
            principal: principal.clone(),
            attempt: attempt.clone(),
        })
    }
}

/// The right to answer the request of one key. The holder either records the answer in one batch with the effect, or
/// drops the lock without a record, and then the request may be repeated.
#[derive(Debug)]
pub struct KeyLock {
    locks: Arc<KeyLocks>,
    principal: ClientName,
    attempt: Attempt,
}

impl KeyLock {
    /// The record of the answer, for the batch of the effect that it reports.
    pub fn record(&self, answer: &impl Serialize, now: Moment) -> Record {
        self.record_of(json(answer), now)
    }

    /// The answer together with the lock, which is held until the answer is recorded.
    pub fn answered(self, answer: &impl Serialize) -> Answer {
        Answer {
            json: json(answer),
            lock: self,
        }
    }

    fn record_of(&self, answer: String, now: Moment) -> Record {
        Record::Answer {
            principal: self.principal.as_str().to_owned(),
            key: self.attempt.key.as_str().to_owned(),
            fingerprint: self.attempt.fingerprint,
            answer,
            at: now.steady,
        }
    }

    pub fn principal(&self) -> &ClientName {
        &self.principal
    }
}

fn json(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("an answer is serialisable: its keys are strings")
}

/// The answer to a request under an idempotency key, before it is recorded.
#[derive(Debug)]
pub struct Answer {
    json: String,
    lock: KeyLock,
}

impl Answer {
    pub fn record(&self, now: Moment) -> Record {
        self.lock.record_of(self.json.clone(), now)
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        let entry = (self.principal.clone(), self.attempt.key.clone());
        self.locks.held.lock().remove(&entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_by_one_at_a_time() {
        let locks = Arc::new(KeyLocks::default());
        let ann = ClientName::anonymous();
        let attempt = Attempt::new(Key::parse("k").unwrap(), "send", &[]);
        let lock = locks.lock(&ann, &attempt).unwrap();
        assert!(locks.lock(&ann, &attempt).is_none());
        let bob: ClientName = "bob".parse().unwrap();
        assert!(locks.lock(&bob, &attempt).is_some(), "keys are each client's own");
        drop(lock);
        assert!(locks.lock(&ann, &attempt).is_some());
    }
}
