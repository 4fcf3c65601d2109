//! Faults: kills, actions of operators, and the advance of time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rand::Rng as _;

use super::super::fold::Fold;
use super::recovery::{agent, claim};
use super::{Inbox, World, shared};
use crate::agent::Command;
use crate::id::Partition;
use crate::journal::Journal as _;
use crate::journal::memory::MemoryJournal;

impl World {
    pub(super) fn wait(&mut self, time: Duration) {
        self.elapsed += time;
        self.note(format!("{} ms pass", time.as_millis()));
    }

    /// Somebody sets the wall clock, on or back.
    pub(super) fn set_the_clock(&mut self) {
        const HOUR: i64 = 3_600_000_000;
        let by = [-24 * HOUR, -HOUR, HOUR, 24 * HOUR][self.random.random_range(0..4)];
        self.clock_set_by += by;
        self.note(format!("the wall clock is set by {} h", by / HOUR));
    }

    pub(super) fn kill_an_instance(&mut self) {
        let at = self.random.random_range(0..self.staged.len());
        let staged = &mut self.staged[at];
        if staged.instances.is_empty() {
            return;
        }
        let instance = self.random.random_range(0..staged.instances.len());
        staged.instances.remove(instance);
        let what = format!("{}#{instance} is killed", staged.agent.name);
        self.kills += 1;
        self.note(what);
    }

    /// Kills a router, which loses what it had not appended, and with it its agents' instances. The next router starts
    /// from the log.
    pub(super) fn kill_a_router(&mut self) {
        let at = self.random.random_range(0..self.owned.len());
        let partition = self.owned[at].core.partition();
        self.kills += 1;
        self.note(format!("the router of partition {partition} is killed"));
        for staged in &mut self.staged {
            if staged.agent.partition == partition {
                staged.instances.clear();
            }
        }
        let (inbox, fence) = (self.owned[at].inbox.clone(), self.owned[at].fence);
        inbox.0.lock().clear();
        let late: Vec<_> = self.owned[at].appending.drain(..).map(|batch| (fence, batch)).collect();
        let recovered = self.own(partition, late, inbox);
        self.owned[at] = recovered;
    }

    /// Kills the process. The log keeps what was durable, and perhaps some of what came after it.
    pub(super) fn kill_the_node(&mut self) -> Result<(), String> {
        self.kills += 1;
        let log = self.log();
        let durable = log.partition_point(|batch| batch.last() <= self.durable);
        let kept = self.random.random_range(durable..=log.len());
        self.note(format!("the node is killed; {kept} of {} batches are left", log.len()));
        let journal = MemoryJournal::new();
        for batch in &log[..kept] {
            let fence = claim(&journal, Partition(0));
            let records = batch.records.clone();
            let appended = journal.append(Partition(0), fence, records).placed().now_or_never();
            appended
                .ok_or("an append to memory waits")?
                .map_err(|error| error.to_string())?;
        }
        self.journal = journal;
        self.said = Fold::default();
        self.read()?;
        self.durable = self.journal.appended();
        self.hear();
        self.waiting.clear();
        let durable = self.durable;
        self.acknowledged.retain(|acknowledged| acknowledged.seq <= durable);
        let partitions = u16::try_from(self.owned.len()).expect("partitions are numbered by u16");
        self.shared = shared(&self.journal, partitions);
        let fold = Fold::of(&self.log());
        self.owned.clear();
        let mut inboxes = BTreeMap::new();
        for number in 0..partitions {
            inboxes.insert(number, Arc::<Inbox>::default());
        }
        for staged in &mut self.staged {
            staged.instances.clear();
            let document = staged.agent.document.read().clone();
            let document = fold.documents.get(&staged.agent.id).cloned().unwrap_or(document);
            let inbox = inboxes[&document.home(partitions).0].clone();
            staged.agent = agent(document, partitions, inbox);
            self.shared.directory.put(staged.agent.clone());
        }
        for number in 0..partitions {
            let owned = self.own(Partition(number), Vec::new(), inboxes[&number].clone());
            self.owned.push(owned);
        }
        Ok(())
    }

    pub(super) fn operate(&mut self) {
        let at = self.random.random_range(0..self.staged.len());
        let agent = self.staged[at].agent.clone();
        let until = self.now().wall;
        let commands: &[Command] = match self.random.random_range(0..4) {
            0 => &[Command::Suspend],
            1 => &[Command::Resume],
            2 => &[Command::Stop { until }, Command::Drained],
            _ => &[Command::Start, Command::Started],
        };
        for command in commands {
            self.command(&agent, command.clone());
        }
    }
}
