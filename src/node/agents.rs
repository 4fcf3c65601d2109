//! Creating agents from their documents, listing them and describing them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{AgentDetails, AgentPage, AgentSummary, Consumption, Lifecycle, Node};
use crate::agent::{Agent, Document, Standing, Version};
use crate::error::{Error, Result};
use crate::grants;
use crate::id::Digest;
use crate::principal::{Action, Caller, Subject};
use crate::wasm::Program;

impl Node {
    /// Creates an agent from its document, without an instance.
    pub(super) fn new_agent(&self, document: Document) -> Result<Arc<Agent>> {
        let partitions = self.config.partitions;
        let owner = self.owner(document.home(partitions))?;
        let spawns = self.shared.spawns.clone();
        Ok(Arc::new(Agent::new(
            document,
            partitions,
            owner.outbox(),
            owner.outcome_kib.clone(),
            spawns,
        )))
    }

    /// The version that instances of an agent run.
    pub(super) fn new_version(&self, agent: &Agent, program: Arc<Program>) -> Arc<Version> {
        let spec = agent.document.read().spec.clone();
        Arc::new(Version {
            program,
            grants: grants::of(&spec, &self.directory),
            spec,
        })
    }

    #[allow(
        clippy::unused_async,
        reason = "a use case may have to ask others; who calls it need not know"
    )]
    pub async fn agents(
        &self,
        caller: &Caller,
        status: Option<Lifecycle>,
        limit: usize,
        offset: usize,
    ) -> Result<AgentPage> {
        caller.may(Action::Read, &Subject::Node)?;
        let mut agents = self.directory.all();
        agents.retain(|agent| status.is_none_or(|status| agent.standing.read().lifecycle() == status));
        let total = agents.len();
        let agents: Vec<_> = agents
            .iter()
            .skip(offset)
            .take(limit)
            .map(|agent| AgentSummary::of(agent))
            .collect();
        let end = offset.saturating_add(agents.len());
        Ok(AgentPage {
            next_offset: (end < total && !agents.is_empty()).then_some(end),
            agents,
            total,
        })
    }

    #[allow(
        clippy::unused_async,
        reason = "a use case may have to ask others; who calls it need not know"
    )]
    pub async fn agent(&self, caller: &Caller, key: &str) -> Result<AgentDetails> {
        caller.may(Action::Read, &Subject::Agent(key))?;
        let agent = self.find(key)?;
        let totals = agent.meter.totals();
        let running = *agent.running.lock();
        let failure = match &*agent.standing.read() {
            Standing::Failed { why } => Some(why.clone()),
            Standing::Loaded { .. }
            | Standing::Running
            | Standing::Suspended
            | Standing::Draining { .. }
            | Standing::Stopped => None,
        };
        Ok(AgentDetails {
            summary: AgentSummary::of(&agent),
            messages_processed: totals.processed,
            messages_failed: totals.failed,
            messages_queued: agent.mailbox.depth() as u64,
            consumption: Consumption::of(&agent, &totals),
            average_latency_ms: totals.average_latency().as_secs_f64() * 1_000.0,
            uptime: running.map_or(Duration::ZERO, |running| running.since.elapsed()),
            incarnation: running.map_or(0, |running| running.incarnation),
            path: self.path_of(&agent),
            failure,
            crashes: agent.meter.crashes(),
        })
    }

    pub(super) fn module(&self, digest: Digest) -> Result<Bytes> {
        let module = self.journal.module(digest).map_err(Error::internal)?;
        module.ok_or_else(|| Error::internal(format!("the module {digest} is missing")))
    }
}
