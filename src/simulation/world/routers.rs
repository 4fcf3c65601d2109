//! Routers: they decide, and their batches get positions in the log.

use futures_util::FutureExt as _;
use rand::Rng as _;

use super::World;
use crate::id::Fence;
use crate::journal::memory::MemoryJournal;
use crate::journal::{Journal as _, JournalError, Placed};
use crate::router::{Batch, Core, RouterMessage};

impl World {
    pub(super) fn decide_somewhere(&mut self) {
        let at = self.random.random_range(0..self.owned.len());
        self.decide(at);
    }

    /// Lets a router decide its next input, once all that it decided before has its position in the log.
    pub(super) fn decide(&mut self, at: usize) -> bool {
        let now = self.now();
        let owned = &mut self.owned[at];
        if !owned.appending.is_empty() {
            return false;
        }
        let due = owned.core.next_timer().is_some_and(|next| next <= now.steady);
        let input = if due {
            Some(RouterMessage::Alarm)
        } else {
            owned.inbox.0.lock().pop_front()
        };
        let Some(input) = input else { return false };
        owned.appending.extend(owned.core.decide(input, now));
        true
    }

    pub(super) fn append_somewhere(&mut self) -> Result<(), String> {
        let at = self.random.random_range(0..self.owned.len());
        self.append(at).map(|_| ())
    }

    /// Gives a batch its position in the log and does what follows. Nothing comes between these two steps in a node
    /// either.
    pub(super) fn append(&mut self, at: usize) -> Result<bool, String> {
        let now = self.now();
        let owned = &mut self.owned[at];
        if let Some((fence, batch)) = owned.late.pop() {
            return match record(&self.journal, &owned.core, fence, batch) {
                Err(JournalError::Fenced(_)) => Ok(true),
                other => Err(format!(
                    "an owner that was replaced could append: {:?}",
                    other.map(|(placed, _)| placed.seq)
                )),
            };
        }
        let Some(batch) = owned.appending.pop_front() else {
            return Ok(false);
        };
        let (placed, batch) = record(&self.journal, &owned.core, owned.fence, batch)
            .map_err(|error| format!("the owner of a partition could not append: {error}"))?;
        owned.core.placed(batch, &placed, now);
        self.hear();
        self.read()?;
        Ok(true)
    }

    /// Reads the new records of the log, and checks that they do not contradict earlier ones.
    pub(super) fn read(&mut self) -> Result<(), String> {
        for batch in self
            .journal
            .read_after(self.said.last, usize::MAX)
            .map_err(|error| error.to_string())?
        {
            self.said.batch(&batch);
        }
        self.said
            .contradictions
            .first()
            .map_or(Ok(()), |first| Err(first.clone()))
    }
}

/// Appends a batch to the journal in memory, which never waits.
pub(super) fn record(
    journal: &MemoryJournal,
    core: &Core,
    fence: Fence,
    mut batch: Batch,
) -> Result<(Placed, Batch), JournalError> {
    let records = core.take_records(&mut batch);
    let appended = journal.append(core.partition(), fence, records).placed().now_or_never();
    appended
        .expect("an append to memory does not wait")
        .map(|placed| (placed, batch))
}
