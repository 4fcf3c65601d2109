//! Requests that come again: the first answer is given again, and nothing happens twice.
//!
//! Messages, deploys and groups are recorded in one batch with their answer, so that after any crash there are both or neither.
//! The verbs record theirs behind the effect: between the two a `kill -9` forgets the key, and the verb comes again. That is
//! harmless, because each of them brings about a state.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::{Caller, Node, Receipt, Reply};
use crate::error::{Error, Result};
use crate::id::{Partition, Seq};
use crate::journal::projections::{Answered, MessageQuery, Stored, query_limits};
use crate::message::{Address, Message};
use crate::router::{Claim, Expected};
use crate::time::Timestamp;

/// What is known of a request.
pub(super) enum Coming<T> {
    /// It is new, and this is the right to answer it; none if it has no key.
    First(Option<Claim>),
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
        let claim = self.shared.claims.claim(&caller.principal, attempt).ok_or_else(|| {
            let mend = "the request with this Idempotency-Key is still being answered; send it again later";
            Error::Conflict(mend.to_owned())
        })?;
        // What an earlier coming did may have a place in the journal and not be on the disk.
        self.projections.seen(self.journal.appended()).await?;
        let principal = caller.principal.as_str().to_owned();
        match self.projections.answered(principal, attempt.key.clone()).await? {
            None => Ok(Coming::First(Some(claim))),
            Some(Answered { fingerprint, .. }) if fingerprint != attempt.fingerprint => {
                Err(Error::KeyReused(attempt.key.clone()))
            }
            Some(Answered { answer, .. }) => serde_json::from_str(&answer)
                .map(Coming::Again)
                .map_err(Error::internal),
        }
    }

    /// Runs `operation`, which records its answer with its effect by the claim, unless the caller's request had an answer.
    pub(super) async fn once<T, F>(&self, caller: &Caller, operation: impl FnOnce(Option<Claim>) -> F) -> Result<T>
    where
        T: DeserializeOwned,
        F: Future<Output = Result<T>>,
    {
        match self.coming(caller).await? {
            Coming::First(claim) => operation(claim).await,
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
        let record = async |claim: Option<Claim>| {
            let answer = operation(plain).await?;
            if let Some(claim) = claim {
                let partition = Partition::of(claim.principal().as_str(), self.config.partitions);
                let record = claim.answered(&answer, Timestamp::now());
                self.catalog(partition, || Some(vec![record]), move || drop(claim))
                    .await?;
            }
            Ok(answer)
        };
        self.once(caller, record).await
    }

    /// Waits for the answer to a message that was sent by an earlier coming of the request.
    pub(super) async fn wait_again(&self, receipt: Receipt, timeout: Duration, first: bool) -> Result<Reply> {
        let lost = || Error::MessageNotFound(receipt.message_id.to_string());
        let question = self.projections.message(receipt.message_id).await?.ok_or_else(lost)?;
        let (answer, answered) = oneshot::channel();
        // Before the history is read, so that an answer is in it or comes here.
        if !self
            .shared
            .waiters
            .expect(&question.message, Expected { answer, first })
        {
            let mend = "another call waits for the answer to the request with this Idempotency-Key";
            return Err(Error::Conflict(mend.to_owned()));
        }
        let found = match self.answer_in_history(&question, first).await? {
            Some(message) => Ok(message),
            None => self.await_answer(answered, &receipt, timeout).await,
        };
        found.map(|message| Reply { receipt, message })
    }

    /// Waits until the answer is there, and durable.
    pub(super) async fn await_answer(
        &self,
        answered: oneshot::Receiver<(Arc<Message>, Seq)>,
        receipt: &Receipt,
        timeout: Duration,
    ) -> Result<Arc<Message>> {
        let late = || Error::Timeout {
            waited: timeout,
            message_id: receipt.message_id,
            conversation_id: receipt.conversation_id.clone(),
        };
        let answered = tokio::time::timeout(timeout, answered).await.map_err(|_| late())?;
        let lost = "the wait was cut off; the message stays delivered, and an answer stays readable in the history";
        let (message, seq) = answered.map_err(|_| super::unavailable(lost))?;
        self.with_room(self.until_durable(seq)).await?;
        Ok(message)
    }

    async fn answer_in_history(&self, question: &Stored, first: bool) -> Result<Option<Arc<Message>>> {
        let asked = &question.message;
        let answers = |stored: &Stored| {
            let answer = &stored.message;
            stored.seq > question.seq
                && answer.in_reply_to.is_some()
                && answer.in_reply_to == asked.reply_with
                && (first || answer.performative.ends_wait_for(asked.performative))
        };
        let mut query = MessageQuery {
            conversation_id: Some(asked.conversation_id.clone()),
            receiver: Some(Address::clone(&asked.sender)),
            limit: query_limits::PAGE,
            uncounted: true,
            ..MessageQuery::default()
        };
        self.projections.seen(self.journal.appended()).await?;
        loop {
            let page = self.projections.messages(query.clone()).await?;
            if let Some(found) = page.messages.into_iter().find(|stored| answers(stored)) {
                return Ok(Some(Arc::new(found.message)));
            }
            match page.next_cursor {
                Some(next) => query.cursor = Some(next),
                None => return Ok(None),
            }
        }
    }
}
