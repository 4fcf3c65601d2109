//! Agents as they are made, listed and told of.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::{AgentDetails, AgentPage, AgentSummary, Consumption, Lifecycle, Node, Usage};
use crate::agent::Slot;
use crate::agent::meter::{Meter, Totals};
use crate::directory::{Document, Entry, Standing};
use crate::error::{Error, Result};
use crate::id::{AgentId, Digest};
use crate::journal::{Record, Sealed};
use crate::mailbox::{Capacity, Mailbox};
use crate::quantity::Cpu;
use crate::time::Timestamp;
use crate::wasm::Program;

impl Node {
    /// What the directory has of an agent, with nothing that runs.
    pub(super) fn entry(&self, document: Document) -> Arc<Entry> {
        let resources = &document.spec.resources;
        let mailbox = Mailbox::new(Capacity {
            messages: resources.mailbox_messages,
            bytes: resources.mailbox_bytes.bytes(),
        });
        Arc::new(Entry {
            id: document.id,
            name: document.spec.name.clone(),
            partition: document.home(self.config.partitions),
            document: RwLock::new(document),
            standing: RwLock::new(Standing::Loaded),
            mailbox,
            state: Arc::default(),
            timers: Arc::default(),
            meter: Arc::new(Meter::new(self.shared.spawns.clone())),
            slot: RwLock::new(None),
            operation: tokio::sync::Mutex::default(),
        })
    }

    /// What instances of an agent are given.
    pub(super) fn slot(&self, entry: &Entry, program: Arc<Program>) -> Arc<Slot> {
        let spec = entry.document.read().spec.clone();
        Arc::new(Slot {
            id: entry.id,
            name: entry.name.clone(),
            partition: entry.partition,
            mailbox: entry.mailbox.clone(),
            state: entry.state.clone(),
            timers: entry.timers.clone(),
            program,
            grants: self.grants(&spec),
            meter: entry.meter.clone(),
            outbox: self.partition(entry.partition).outbox(),
            outcome_kib: self.partition(entry.partition).outcome_kib.clone(),
            running: Mutex::default(),
            spec,
        })
    }

    #[allow(
        clippy::unused_async,
        reason = "a use case may have to ask others; who calls it need not know"
    )]
    pub async fn agents(&self, status: Option<Lifecycle>, limit: usize, offset: usize) -> AgentPage {
        let mut entries = self.directory.all();
        entries.retain(|entry| status.is_none_or(|status| entry.standing.read().lifecycle() == status));
        let total = entries.len();
        let agents: Vec<_> = entries
            .iter()
            .skip(offset)
            .take(limit)
            .map(|entry| summary(entry))
            .collect();
        let end = offset.saturating_add(agents.len());
        AgentPage {
            next_offset: (end < total && !agents.is_empty()).then_some(end),
            agents,
            total,
        }
    }

    #[allow(
        clippy::unused_async,
        reason = "a use case may have to ask others; who calls it need not know"
    )]
    pub async fn agent(&self, key: &str) -> Result<AgentDetails> {
        let entry = self.find(key)?;
        let totals = entry.meter.totals();
        let running = entry.slot().and_then(|slot| *slot.running.lock());
        let failure = match &*entry.standing.read() {
            Standing::Failed { why } => Some(why.clone()),
            Standing::Loaded
            | Standing::Running
            | Standing::Suspended
            | Standing::Draining { .. }
            | Standing::Stopped => None,
        };
        Ok(AgentDetails {
            summary: summary(&entry),
            messages_processed: totals.processed,
            messages_failed: totals.failed,
            messages_queued: entry.mailbox.depth() as u64,
            consumption: consumption(&entry, &totals),
            average_latency_ms: totals.average_latency().as_secs_f64() * 1_000.0,
            uptime: running.map_or(Duration::ZERO, |running| running.since.elapsed()),
            incarnation: running.map_or(0, |running| running.incarnation),
            path: self.path_of(&entry),
            failure,
            crashes: entry.meter.crashes(),
        })
    }

    pub(super) fn module(&self, digest: Digest) -> Result<Bytes> {
        let module = self.journal.module(digest).map_err(Error::internal)?;
        module.ok_or_else(|| Error::internal(format!("the module {digest} is missing")))
    }
}

pub(super) fn record(document: &Document, at: Timestamp) -> Record {
    Record::Agent {
        agent: document.id,
        document: Sealed(serde_json::to_string(document).expect("a document is serialisable: its keys are strings")),
        at,
    }
}

/// An event that is about no agent.
pub(super) fn event_of(kind: &str, body: &serde_json::Value, at: Timestamp) -> Record {
    Record::Event {
        kind: kind.to_owned(),
        agent: None,
        body: body.to_string(),
        at,
    }
}

pub(super) fn event(kind: &str, agent: AgentId, body: &serde_json::Value, at: Timestamp) -> Record {
    Record::Event {
        kind: kind.to_owned(),
        agent: Some(agent),
        body: body.to_string(),
        at,
    }
}

/// What makes an agent that has started a member: it may be messaged from now on.
pub(super) fn opened(entry: &Arc<Entry>) -> impl FnOnce() + Send + 'static {
    let entry = entry.clone();
    move || {
        let mut standing = entry.standing.write();
        if *standing == Standing::Loaded {
            *standing = Standing::Running;
            entry.mailbox.resume();
            entry.mailbox.reopen();
        }
    }
}

fn consumption(entry: &Entry, totals: &Totals) -> Consumption {
    let metered = matches!(entry.document.read().spec.resources.cpu, Some(Cpu::Fuel(_)));
    let state = entry.state.read();
    let state_bytes: usize = state.iter().map(|(key, value)| key.len() + value.len()).sum();
    Consumption {
        memory_peak_bytes: entry.meter.memory_peak(),
        guest_time: totals.guest,
        fuel: metered.then_some(totals.fuel),
        turns: totals.processed + totals.failed,
        crashes: totals.crashed,
        messages_in: totals.received,
        messages_out: totals.sent,
        state_bytes: state_bytes as u64,
        state_keys: state.len(),
        timers: entry.timers.len(),
    }
}

pub(super) fn summary(entry: &Entry) -> AgentSummary {
    const LAST: Duration = Duration::from_secs(60);
    let document = entry.document.read().clone();
    let usage = Usage {
        memory_bytes: entry.meter.memory(),
        cpu: entry.meter.read(LAST).cpu_average,
    };
    AgentSummary {
        id: entry.id,
        lifecycle: entry.standing.read().lifecycle(),
        suspended: *entry.standing.read() == Standing::Suspended,
        version: document.version,
        digest: document.digest,
        deployment_id: document.deployment_id,
        created_at: document.created_at,
        deployed_at: document.deployed_at,
        deployed_by: document.deployed_by,
        spec: document.spec,
        usage,
    }
}
