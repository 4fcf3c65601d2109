//! Recovery of a partition from the log.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::super::fold::Fold;
use super::{Inbox, Owned, Posted, World};
use crate::agent::spec::AgentSpec;
use crate::agent::{Agent, Document};
use crate::id::{AgentId, DeploymentId, Digest, Fence, Partition};
use crate::journal::Journal as _;
use crate::journal::memory::MemoryJournal;
use crate::router::{Batch, Core, Orphans, RouterMessage};
use crate::timer;

impl World {
    /// Makes a new owner of a partition: it claims the partition and restores its agents from the log.
    pub(super) fn own(&self, partition: Partition, late: Vec<(Fence, Batch)>, inbox: Arc<Inbox>) -> Owned {
        let fence = claim(&self.journal, partition);
        let mut fold = Fold::of_partition(&self.log(), partition);
        let (mut orphans, mut timers) = (Orphans::new(), Vec::new());
        for staged in &self.staged {
            let agent = &staged.agent;
            if agent.partition != partition {
                continue;
            }
            let Some(document) = fold.documents.remove(&agent.id) else {
                continue;
            };
            let recovered = document.recovered();
            *agent.document.write() = document;
            agent.enter(recovered);
            *agent.state.write() = fold.state.remove(&agent.id).unwrap_or_default();
            let live: Vec<_> = fold
                .timers
                .remove(&agent.id)
                .unwrap_or_default()
                .into_values()
                .map(|timer| timer.on_the_steady_clock(self.now()))
                .collect();
            let queue = fold.live.remove(&agent.id).unwrap_or_default();
            let fired = queue.iter().filter_map(|live| timer::fired(&live.message));
            agent.timers.restore(&live, fired);
            timers.extend(live.into_iter().map(|timer| (agent.id, timer)));
            if agent.standing.read().runs() {
                let queue = queue.into_iter().map(|live| (live.message, live.crashes + 1, live.seq));
                agent
                    .mailbox
                    .restore(fold.last, queue, Vec::new(), self.now().monotonic);
            } else {
                orphans.extend(queue.into_iter().map(|live| (agent.id, live.message)));
                let later = agent.mailbox.close_at(fold.last).into_iter();
                orphans.extend(later.map(|message| (agent.id, message)));
            }
        }
        let core = Core::new(partition, self.shared.clone(), timers, fold.last);
        let burial = core.bury(orphans, "the agent is stopped", self.now());
        inbox.0.lock().push_back(RouterMessage::Sweep);
        Owned {
            core,
            fence,
            inbox,
            appending: burial.into(),
            late,
        }
    }

    pub(super) fn document(&self, number: u128, name: &str) -> Document {
        let declaration =
            serde_json::json!({"name": name, "permissions": {"state": true, "timers": true, "message": ["*"]}});
        let spec = AgentSpec::from_json(declaration.to_string().as_bytes()).expect("the declaration is complete");
        Document {
            id: AgentId::from_uuid(Uuid::from_u128(number)),
            spec,
            version: semver::Version::new(1, 0, 0),
            digest: Digest::of(name.as_bytes()),
            deployment_id: DeploymentId::new(),
            created_at: self.now().wall,
            deployed_at: self.now().wall,
            deployed_by: "simulation".to_owned(),
            stopped_at: None,
            suspended_at: None,
            placement: None,
            sealed: std::collections::BTreeMap::new(),
        }
    }

    pub(super) fn agent(&self, document: Document, partitions: u16) -> Arc<Agent> {
        let home = document.home(partitions);
        agent(document, partitions, self.owned[usize::from(home.0)].inbox.clone())
    }
}

/// Claims a partition of the journal in memory, which never waits.
pub(super) fn claim(journal: &MemoryJournal, partition: Partition) -> Fence {
    let claimed = journal.claim(partition).now_or_never();
    claimed.and_then(Result::ok).expect("it is open")
}

pub(super) fn agent(document: Document, partitions: u16, inbox: Arc<Inbox>) -> Arc<Agent> {
    let outcome_kib = Arc::new(Semaphore::new(crate::agent::OUTCOME_KIB));
    let agent = Agent::new(
        document,
        partitions,
        Arc::new(Posted(inbox)),
        outcome_kib,
        Arc::default(),
    );
    agent.mailbox.drain(); // opened by the record of the agent's deploy
    Arc::new(agent)
}
