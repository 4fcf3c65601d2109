//! Deliveries that no agent will take: they become dead letters, and their senders get a failure.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::core::{Batch, Then};
use super::dispatch::Letter;
use super::{Core, Orphans};
use crate::agent::Agent;
use crate::id::{AgentId, Partition};
use crate::journal::Record;
use crate::message::{FailureReason, Message};
use crate::time::{Moment, Timestamp};

/// The agents behind whose closed mailboxes messages came in, until the owners of their partitions give those up. An agent
/// may be here that is removed and in no directory any more.
#[derive(Default)]
pub struct Stranded(Mutex<HashMap<Partition, Vec<Arc<Agent>>>>);

impl Stranded {
    /// Adds an agent, and tells the owner of its partition.
    pub(super) fn add(&self, agent: &Arc<Agent>) {
        self.0.lock().entry(agent.partition).or_default().push(agent.clone());
        agent.outbox.sweep();
    }

    fn take(&self, partition: Partition) -> Vec<Arc<Agent>> {
        self.0.lock().remove(&partition).unwrap_or_default()
    }
}

/// The most deliveries that one batch gives up, so that a batch stays bounded whatever the mailboxes hold.
const BURIED_AT_ONCE: usize = 500;

impl Core {
    /// Gives up what came in behind closed mailboxes of the partition.
    pub(super) fn sweep(&self, now: Moment) -> Vec<Batch> {
        let agents = self.shared.stranded.take(self.partition).into_iter();
        let stranded = agents.flat_map(|agent| {
            let messages = agent.mailbox.take_stranded(self.restored);
            messages.into_iter().map(move |message| (agent.id, message))
        });
        self.bury(stranded.collect(), "the agent was stopped, given up or removed", now)
    }

    /// Turns deliveries into dead letters, with a bounded number in each batch.
    pub fn bury(&self, orphans: Orphans, detail: &str, now: Moment) -> Vec<Batch> {
        let mut orphans = orphans.into_iter();
        let mut batches = Vec::new();
        loop {
            let (mut records, mut letters) = (Vec::new(), Vec::new());
            self.dead_letters(&mut orphans, detail, now.wall, &mut records, &mut letters);
            if records.is_empty() {
                return batches;
            }
            batches.push(Batch::new(records, letters, Then::Nothing));
        }
    }

    /// Records the dead letters of as many deliveries as one batch may have.
    pub(super) fn dead_letters(
        &self,
        orphans: &mut impl Iterator<Item = (AgentId, Arc<Message>)>,
        detail: &str,
        now: Timestamp,
        records: &mut Vec<Record>,
        letters: &mut Vec<Letter>,
    ) {
        for (agent, message) in orphans.take(BURIED_AT_ONCE) {
            self.bury_one(&message, agent, FailureReason::Gone, detail, now, records, letters);
        }
    }

    /// Records the dead letter of a delivery, and prepares the failure for its sender.
    #[allow(
        clippy::too_many_arguments,
        reason = "the last two collect the batch that the caller is making"
    )]
    pub(super) fn bury_one(
        &self,
        message: &Message,
        agent: AgentId,
        reason: FailureReason,
        detail: &str,
        now: Timestamp,
        records: &mut Vec<Record>,
        letters: &mut Vec<Letter>,
    ) {
        metrics::counter!("caxton_dead_letters_total", "reason" => reason.as_str()).increment(1);
        let detail = shortened(detail);
        records.push(Record::DeadLetter {
            message: message.id,
            agent,
            reason,
            detail: detail.to_owned(),
            at: now,
        });
        letters.extend(self.shared.failure(message, agent, reason, detail, now));
    }
}

/// Shortens a detail, because it is repeated for each message that it concerns.
fn shortened(detail: &str) -> &str {
    const LONGEST: usize = 1_024;
    detail
        .char_indices()
        .nth(LONGEST)
        .map_or(detail, |(end, _)| &detail[..end])
}
