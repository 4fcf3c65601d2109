//! Restores agents from the journal, with their state, their queues, their timers and the replies that they wait for.
//!
//! At the start of the node all agents are in the directory before the first one runs, so that no agent finds another
//! missing. A router that restarts later restores its own partition while the other partitions go on. What they send to
//! it meanwhile waits in its agents' mailboxes, behind what the journal held.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::Node;
use crate::agent::{Agent, Document, Standing};
use crate::error::{Error, Result};
use crate::group::{COLLECTION, Group, GroupDocument};
use crate::id::{AgentId, Partition};
use crate::journal::JournalError;
use crate::journal::projections::Recovered;
use crate::mailbox::Question;
use crate::quantity::Cpu;
use crate::router::{Orphans, Restore, Restored};
use crate::time::Moment;
use crate::timer;
use crate::wasm::Program;

/// Restores partitions for their routers.
pub(super) struct Restorer {
    node: Weak<Node>,
    /// What the start of the node restored, for the first incarnation of each router.
    first: Mutex<HashMap<Partition, Restored>>,
}

impl Restorer {
    pub(super) fn new(node: Weak<Node>) -> Self {
        Self {
            node,
            first: Mutex::default(),
        }
    }

    /// Restores all partitions before any router starts.
    pub(super) async fn restore_all(&self) -> Result<()> {
        let node = self.node.upgrade().ok_or_else(gone)?;
        let mut first = HashMap::new();
        let projections = node.projections.clone();
        let restoring = async {
            let owned: Vec<_> = node.partitions.keys().copied().collect();
            let recovering = tokio::task::spawn_blocking(move || {
                let recover = |partition| Ok::<_, JournalError>((partition, projections.recover(partition)?));
                owned.into_iter().map(recover).collect::<Result<Vec<_>, _>>()
            });
            for (partition, recovered) in recovering.await.map_err(Error::internal)?? {
                first.insert(partition, node.restore_partition(partition, recovered).await?);
            }
            Ok::<_, Error>(())
        };
        telling(SECOND, restoring, || {
            tracing::info!(so_far = node.directory.len(), "agents are brought back");
        })
        .await?;
        *self.first.lock() = first;
        Ok(())
    }
}

impl Restore for Restorer {
    fn restore(&self, partition: Partition) -> Pin<Box<dyn Future<Output = Result<Restored>> + Send + '_>> {
        Box::pin(async move {
            if let Some(restored) = self.first.lock().remove(&partition) {
                return Ok(restored);
            }
            let node = self.node.upgrade().ok_or_else(gone)?;
            // The router's claim fenced every earlier owner, so no earlier owner can record anything after this point.
            node.until_all_durable().await?;
            node.projections.seen(node.durable()).await?;
            let projections = node.projections.clone();
            let recovering = tokio::task::spawn_blocking(move || projections.recover(partition));
            let recovered = recovering.await.map_err(Error::internal)??;
            node.restore_partition(partition, recovered).await
        })
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Does long work, and meanwhile calls `tell` at a fixed period so that it can report progress.
async fn telling<T>(every: Duration, work: impl Future<Output = T>, tell: impl Fn()) -> T {
    let mut work = std::pin::pin!(work);
    let mut clock = tokio::time::interval(every);
    clock.tick().await; // the first tick comes at once
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = clock.tick() => tell(),
        }
    }
}

fn gone() -> Error {
    Error::internal("the node is gone")
}

impl Node {
    async fn restore_partition(&self, partition: Partition, mut recovered: Recovered) -> Result<Restored> {
        let upto = recovered.last_seq;
        let mut asked: HashMap<AgentId, Vec<_>> = HashMap::new();
        for session in recovered.sessions {
            if let Some(asker) = session.initiator.agent() {
                let question = Question {
                    conversation_id: session.conversation_id,
                    reply_with: session.reply_with,
                    participant: session.participant,
                };
                asked.entry(asker).or_default().push((question, session.act));
            }
        }
        let groups = recovered.documents.iter();
        for (_, _, json) in groups.filter(|(collection, ..)| collection == COLLECTION) {
            let document: GroupDocument = serde_json::from_str(json).map_err(Error::internal)?;
            self.directory.put_group(Group::new(document, self.config.partitions));
        }
        // Deploys that are not recorded yet start over: their instances ended with the router.
        let known: HashSet<AgentId> = recovered.agents.iter().map(|(id, _)| *id).collect();
        for agent in self.directory.of_partition(partition) {
            if !known.contains(&agent.id) {
                let why = "its partition restarted while it was being deployed".to_owned();
                agent.enter(Standing::Failed { why });
            }
        }
        let now = Moment::now();
        let (mut orphans, mut timers) = (Orphans::new(), Vec::new());
        for (id, json) in recovered.agents {
            let document = Document::open(&json, &self.sealer).map_err(Error::internal)?;
            let agent = self.reinstate(document).await?;
            let queue = recovered.queues.remove(&id).unwrap_or_default();
            let runs = agent.standing.read().runs();
            *agent.state.write() = recovered.states.remove(&id).unwrap_or_default();
            let live = recovered.timers.remove(&id).unwrap_or_default().into_iter();
            let live: Vec<_> = live.map(|timer| timer.on_the_steady_clock(now)).collect();
            let fired = queue.iter().filter_map(|pending| timer::fired(&pending.message));
            agent.timers.restore(&live, fired);
            timers.extend(live.into_iter().map(|timer| (id, timer)));
            if !runs {
                orphans.extend(queue.into_iter().map(|pending| (id, pending.message)));
                // Messages that came after the record up to which the journal was read are only in the mailbox.
                let later = agent.mailbox.close_at(upto).into_iter();
                orphans.extend(later.map(|message| (id, message)));
                self.directory.put(agent);
                continue;
            }
            let queue = queue
                .into_iter()
                .map(|pending| (pending.message, pending.attempts + 1, pending.seq));
            agent
                .mailbox
                .restore(upto, queue, asked.remove(&id).unwrap_or_default(), now.monotonic);
            self.directory.put(agent);
        }
        for (id, queue) in recovered.queues {
            orphans.extend(queue.into_iter().map(|pending| (id, pending.message)));
        }
        Ok(Restored { orphans, timers, upto })
    }

    /// The agent of a document: the existing one if it is in the directory, since others hold its mailbox, or else a
    /// new one.
    async fn reinstate(&self, document: Document) -> Result<Arc<Agent>> {
        let recovered = document.recovered();
        if let Some(agent) = self.directory.by_id(document.id) {
            *agent.document.write() = document;
            // An agent that its supervisor gave up stays failed until somebody starts it.
            let failed = matches!(*agent.standing.read(), Standing::Failed { .. });
            if !failed {
                agent.enter(recovered);
            }
            return Ok(agent);
        }
        let agent = self.new_agent(document)?;
        agent.enter(recovered);
        if agent.standing.read().is_down() {
            return Ok(agent);
        }
        let document = agent.document.read().clone();
        match self.program_of(&document).await {
            Ok(program) => *agent.version.write() = Some(self.new_version(&agent, program)),
            Err(error) => {
                tracing::error!(agent = %agent.id, name = %agent.name, %error, "an agent cannot be loaded");
                agent.enter(Standing::Failed { why: error.to_string() });
            }
        }
        Ok(agent)
    }

    async fn program_of(&self, document: &Document) -> Result<Arc<Program>> {
        let module = self.module(document.digest)?;
        let metered = matches!(document.spec.resources.cpu, Some(Cpu::Fuel(_)));
        self.runtime.compile(module, metered).await
    }

    /// The agents of a partition that should run, for the supervisor that starts them.
    pub(super) fn runnable(&self, partition: Partition) -> Vec<Arc<Agent>> {
        let mut agents = self.directory.of_partition(partition);
        agents.retain(|agent| agent.standing.read().runs());
        agents
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_takes_long_is_told_of_until_it_is_done() {
        let (told, heard) = (Cell::new(0), tokio::sync::Notify::new());
        let work = async {
            while told.get() < 3 {
                heard.notified().await;
            }
            "done"
        };
        let tell = || {
            told.set(told.get() + 1);
            heard.notify_one();
        };
        assert_eq!(telling(Duration::from_millis(1), work, tell).await, "done");
        telling(SECOND, async {}, || panic!("it took no time")).await;
    }
}
