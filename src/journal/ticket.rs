//! What an append answers: first where its batch is in the log, then that it is durable.

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{JournalError, until_durable};
use crate::id::Seq;

/// An append on its way.
///
/// A batch for which there was room has its position already, and stays appended if its ticket is dropped. One that waits for
/// room is appended only while the ticket waits for its position; a ticket that is dropped before appends nothing.
#[must_use = "an append that waits for room does nothing unless its ticket waits"]
pub struct Ticket(State);

enum State {
    Answered(Result<Placed, JournalError>),
    Waiting(BoxFuture<'static, Result<Placed, JournalError>>),
}

impl Ticket {
    pub(super) const fn answered(answer: Result<Placed, JournalError>) -> Self {
        Self(State::Answered(answer))
    }

    pub(super) fn waiting(placing: impl Future<Output = Result<Placed, JournalError>> + Send + 'static) -> Self {
        Self(State::Waiting(Box::pin(placing)))
    }

    /// Waits until the batch has its position in the log, which is before it is durable.
    pub async fn placed(self) -> Result<Placed, JournalError> {
        match self.0 {
            State::Answered(answer) => answer,
            State::Waiting(placing) => placing.await,
        }
    }

    /// Waits until the batch is durable. Answers with the sequence number of its last record.
    pub async fn durable(self) -> Result<Seq, JournalError> {
        let placed = self.placed().await?;
        placed.durable().await?;
        Ok(placed.seq)
    }
}

/// A batch that has its position in the log.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The sequence number of the batch's last record.
    pub seq: Seq,
    watermark: watch::Receiver<Seq>,
}

impl Placed {
    /// `watermark` is the sequence number up to which the journal is durable.
    pub(super) const fn new(seq: Seq, watermark: watch::Receiver<Seq>) -> Self {
        Self { seq, watermark }
    }

    /// Waits until the batch is durable.
    pub async fn durable(&self) -> Result<(), JournalError> {
        until_durable(self.watermark.clone(), self.seq).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_position_is_known_before_the_batch_is_durable() {
        let (durable, watermark) = watch::channel(Seq(6));
        let placed = || Placed::new(Seq(7), watermark.clone());
        let ticket = Ticket::answered(Ok(placed()));
        let position = ticket.placed().now_or_never().unwrap().unwrap();
        assert_eq!(position.seq, Seq(7));
        assert!(position.durable().now_or_never().is_none());
        let mut waiting = Box::pin(Ticket::waiting(std::future::ready(Ok(placed()))).durable());
        assert!((&mut waiting).now_or_never().is_none());
        durable.send_replace(Seq(7));
        assert_eq!(waiting.now_or_never().unwrap().unwrap(), Seq(7));
        drop(durable);
        assert!(
            position.durable().now_or_never().unwrap().is_ok(),
            "it was durable before the end"
        );
        let later = Placed::new(Seq(8), watermark);
        assert!(matches!(
            later.durable().now_or_never(),
            Some(Err(JournalError::Closed))
        ));
    }
}
