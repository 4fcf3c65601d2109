//! Requests with a key of their client's that are being answered.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::idempotency::{Attempt, Key};
use crate::journal::Record;
use crate::message::ClientName;
use crate::time::Timestamp;

/// Bounded by the callers: each entry is a request that is being answered, and leaves with it.
#[derive(Debug, Default)]
pub struct Claims {
    taken: Mutex<HashSet<(ClientName, Key)>>,
}

impl Claims {
    /// The right to answer a request. None: it is being answered already.
    pub fn claim(self: &Arc<Self>, principal: &ClientName, attempt: &Attempt) -> Option<Claim> {
        let new = self.taken.lock().insert((principal.clone(), attempt.key.clone()));
        new.then(|| Claim {
            claims: self.clone(),
            principal: principal.clone(),
            attempt: attempt.clone(),
        })
    }
}

/// The right to answer one request. Whoever holds it either records its answer in one batch with the effect, or drops it with
/// none recorded, and the request may come again.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    principal: ClientName,
    attempt: Attempt,
}

impl Claim {
    /// The answer, to be appended in one batch with what it tells of.
    pub fn answered(&self, answer: &impl Serialize, at: Timestamp) -> Record {
        Record::Answer {
            principal: self.principal.as_str().to_owned(),
            key: self.attempt.key.as_str().to_owned(),
            fingerprint: self.attempt.fingerprint,
            answer: serde_json::to_string(answer).expect("an answer is serialisable: its keys are strings"),
            at,
        }
    }

    pub fn principal(&self) -> &ClientName {
        &self.principal
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let entry = (self.principal.clone(), self.attempt.key.clone());
        self.claims.taken.lock().remove(&entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_by_one_at_a_time() {
        let claims = Arc::new(Claims::default());
        let ann = ClientName::anonymous();
        let attempt = Attempt::new(Key::parse("k").unwrap(), "send", &[]);
        let claim = claims.claim(&ann, &attempt).unwrap();
        assert!(claims.claim(&ann, &attempt).is_none());
        let bob: ClientName = "bob".parse().unwrap();
        assert!(claims.claim(&bob, &attempt).is_some(), "keys are each client's own");
        drop(claim);
        assert!(claims.claim(&ann, &attempt).is_some());
    }
}
