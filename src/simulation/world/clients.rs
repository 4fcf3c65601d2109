//! Clients: they send messages and receive the results.

use rand::Rng as _;
use tokio::sync::oneshot;

use super::super::guest::draft;
use super::{Acknowledged, World};
use crate::fipa::Performative;
use crate::message::Address;
use crate::router::{ReplyTo, RouterMessage};

impl World {
    pub(super) fn send(&mut self) {
        let client = self.clients[self.random.random_range(0..self.clients.len())].clone();
        let receivers: Vec<_> = (0..self.random.random_range(1..=2))
            .map(|_| {
                let at = self.random.random_range(0..self.staged.len());
                self.staged[at].agent.name.to_string()
            })
            .collect();
        let acts = [Performative::Request, Performative::Inform, Performative::QueryRef];
        let act = acts[self.random.random_range(0..acts.len())];
        let conversation = format!("{}-{}", client.as_str(), self.random.random_range(0..3));
        let mut draft = draft(act, &receivers[0], &self.random.random_range(0..1_000));
        draft.receivers.clone_from(&receivers);
        draft.conversation_id = Some(conversation);
        let (reply, answered) = ReplyTo::channel();
        let sender = Address::Client(client.clone());
        let partitions = u16::try_from(self.owned.len()).expect("partitions are numbered by u16");
        let partition = client.partition(partitions);
        self.note(format!(
            "{} sends {act} to {}",
            client.as_str(),
            receivers.join(" and ")
        ));
        self.waiting.push(answered);
        self.tell(
            partition,
            RouterMessage::Send {
                sender,
                draft: Box::new(draft),
                expected: None,
                key: None,
                in_flight: None,
                reply,
            },
        );
    }

    /// Gives the clients the results that have arrived.
    pub(super) fn hear(&mut self) {
        let acknowledged = &mut self.acknowledged;
        self.waiting.retain_mut(|answered| match answered.try_recv() {
            Ok(Ok((receipt, placed))) => {
                acknowledged.push(Acknowledged {
                    message: receipt.message_id,
                    seq: placed.seq,
                });
                false
            }
            Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => false,
            Err(oneshot::error::TryRecvError::Empty) => true,
        });
    }
}
