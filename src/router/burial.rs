//! Deliveries that nobody will take: dead letters, and the failures that tell their senders.

use ractor::ActorProcessingErr;

use super::dispatch::Letter;
use super::{Orphans, PartitionOwner};
use crate::agent::Standing;
use crate::id::{AgentId, Seq};
use crate::journal::Record;
use crate::message::{FailureReason, Message};
use crate::time::Timestamp;

/// Deliveries that are given up in one batch, which bounds the batch whatever the mailboxes hold.
const BURIED_AT_ONCE: usize = 500;

impl PartitionOwner {
    /// Closes an agent's mailbox for good: what is in it becomes dead letters, and the agent comes to its end.
    pub(super) async fn give_up(
        &self,
        agent: AgentId,
        end: Standing,
        records: Vec<Record>,
    ) -> Result<Seq, ActorProcessingErr> {
        let detail = match &end {
            Standing::Failed { why } => why.clone(),
            Standing::Loaded
            | Standing::Running
            | Standing::Suspended
            | Standing::Draining { .. }
            | Standing::Stopped => "the agent was stopped".to_owned(),
        };
        let mut left = Orphans::new();
        if let Some(found) = self.shared.directory.by_id(agent) {
            let queue = found.mailbox.close();
            left = queue.into_iter().map(|message| (agent, message)).collect();
            *found.standing.write() = end;
        }
        self.bury(left, &detail, records).await
    }

    /// Deliveries are given up, a bounded number in each batch; `records` go with the first. Answers with the last place.
    pub(super) async fn bury(
        &self,
        orphans: Orphans,
        detail: &str,
        records: Vec<Record>,
    ) -> Result<Seq, ActorProcessingErr> {
        let mut records = records;
        let mut orphans = orphans.into_iter();
        let mut last = Seq(0);
        loop {
            let mut letters = Vec::new();
            for (agent, message) in orphans.by_ref().take(BURIED_AT_ONCE) {
                self.bury_one(&message, agent, FailureReason::Gone, detail, &mut records, &mut letters);
            }
            if records.is_empty() && letters.is_empty() {
                return Ok(last);
            }
            last = self.append(std::mem::take(&mut records), letters).await?;
        }
    }

    /// The dead letter of a delivery, and the failure that tells its sender.
    pub(super) fn bury_one(
        &self,
        message: &Message,
        agent: AgentId,
        reason: FailureReason,
        detail: &str,
        records: &mut Vec<Record>,
        letters: &mut Vec<Letter>,
    ) {
        let now = Timestamp::now();
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

/// A reason is repeated for each message that it concerns, so it has a length.
fn shortened(detail: &str) -> &str {
    const LONGEST: usize = 1_024;
    detail
        .char_indices()
        .nth(LONGEST)
        .map_or(detail, |(end, _)| &detail[..end])
}
