//! Waiting for the reply to a client's message.

use std::sync::Arc;
use std::time::Duration;

use super::{Node, Receipt, Reply};
use crate::error::{Error, Result};
use crate::journal::Placed;
use crate::journal::projections::{MessageQuery, Stored, query_limits};
use crate::message::{Address, Message};
use crate::router::{Awaited, Expected, ReplyTo};

impl Node {
    /// Waits for the reply to a message that an earlier request with the same idempotency key sent.
    pub(super) async fn wait_again(&self, receipt: Receipt, timeout: Duration, first: bool) -> Result<Reply> {
        let lost = || Error::MessageNotFound(receipt.message_id.to_string());
        let question = self.projections.message(receipt.message_id).await?.ok_or_else(lost)?;
        let (reply, replied) = ReplyTo::channel();
        // The waiter is registered before the history is read, so that a reply is either in the history or reaches the
        // waiter.
        if !self.shared.waiters.expect(&question.message, Expected { reply, first }) {
            let mend = "another call waits for the answer to the request with this Idempotency-Key";
            let message_id = receipt.message_id.to_string();
            return Err(Error::conflict(mend, [("message_id", message_id)]));
        }
        let found = match self.reply_in_history(&question, first).await? {
            Some(message) => Ok(message),
            None => self.await_reply(replied, &receipt, timeout).await,
        };
        found.map(|message| Reply { receipt, message })
    }

    /// Waits until the reply has arrived and is durable.
    pub(super) async fn await_reply(
        &self,
        replied: Awaited<(Arc<Message>, Placed)>,
        receipt: &Receipt,
        timeout: Duration,
    ) -> Result<Arc<Message>> {
        let late = || Error::Timeout {
            waited: timeout,
            message_id: receipt.message_id,
            conversation_id: receipt.conversation_id.clone(),
        };
        let lost = "the wait was cut off; the message stays delivered, and an answer stays readable in the history";
        let waiting = tokio::time::timeout(timeout, replied);
        let stops = format!("the server is stopping: {lost}");
        let replied = self.unless_stopping(waiting, &stops).await?.map_err(|_| late())?;
        let (message, placed) = replied.map_err(|_| super::unavailable(lost))?;
        self.with_room(async { Ok(placed.durable().await?) }).await?;
        Ok(message)
    }

    async fn reply_in_history(&self, question: &Stored, first: bool) -> Result<Option<Arc<Message>>> {
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
