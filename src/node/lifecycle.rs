//! Deploying, stopping and removing agents, and telling of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use supervisors::StartChildError;
use tokio::sync::oneshot;

use super::{
    AgentDetails, AgentPage, AgentSummary, Caller, Lifecycle, Node, Removed, StopOptions, Stopping, Usage, unavailable,
};
use crate::agent::Slot;
use crate::agent::meter::Meter;
use crate::agent::spec::AgentSpec;
use crate::directory::{Document, Entry, Owner, Standing};
use crate::error::{Error, Result};
use crate::id::{AgentId, AgentName, DeploymentId, Digest, Partition, Seq};
use crate::journal::{Journal, Record};
use crate::mailbox::{Capacity, Mailbox};
use crate::quantity::Cpu;
use crate::router::RouterMessage;
use crate::time::Timestamp;
use crate::wasm::Program;

impl Node {
    /// Deploys an agent and answers when it runs and that is durable. An agent that does not start is not there.
    pub async fn deploy(self: &Arc<Self>, caller: &Caller, module: Bytes, spec: AgentSpec) -> Result<AgentSummary> {
        spec.check(&self.config.ceilings)?;
        let limit = usize::try_from(self.config.limits.module.bytes()).unwrap_or(usize::MAX);
        if module.len() > limit {
            return Err(Error::PayloadTooLarge { what: "module", limit });
        }
        if self.directory.len() >= self.config.limits.agents as usize {
            return Err(Error::LimitExceeded {
                what: "the number of agents of this node",
                limit: self.config.limits.agents.into(),
            });
        }
        let (node, principal) = (self.clone(), caller.principal.as_str().to_owned());
        self.operations
            .run("deploy", async move { node.deploy_now(principal, module, spec).await })
            .await
    }

    async fn deploy_now(self: Arc<Self>, principal: String, module: Bytes, spec: AgentSpec) -> Result<AgentSummary> {
        let id = AgentId::new();
        let name = spec.name.clone();
        self.claim(&name, Owner::Agent(id))?;
        let result = self.install(id, principal, module, spec).await;
        if result.is_err() {
            self.directory.release(&name, Owner::Agent(id));
        }
        result
    }

    async fn install(
        self: &Arc<Self>,
        id: AgentId,
        principal: String,
        module: Bytes,
        spec: AgentSpec,
    ) -> Result<AgentSummary> {
        let placement = self.placement(&spec)?;
        let program = self.compile(module.clone(), &spec).await?;
        let digest = program.digest();
        let journal = self.journal.clone();
        let stored = tokio::task::spawn_blocking(move || journal.put_module(digest, &module)).await;
        stored.map_err(Error::internal)?.map_err(Error::internal)?;
        let now = Timestamp::now();
        let version = spec
            .version
            .clone()
            .or_else(|| program.version().cloned())
            .unwrap_or(semver::Version::new(1, 0, 0));
        let document = Document {
            id,
            version,
            digest,
            deployment_id: DeploymentId::new(),
            created_at: now,
            deployed_at: now,
            deployed_by: principal,
            stopped_at: None,
            suspended_at: None,
            placement,
            spec,
        };
        let entry = self.entry(document.clone());
        let slot = self.slot(&entry, program);
        *entry.slot.write() = Some(slot.clone());
        entry.mailbox.drain(); // opened when the agent is there for good
        self.directory.put(entry.clone());
        if let Err(error) = self.start_instance(&entry, &slot).await {
            self.directory.remove(&entry);
            return Err(error);
        }
        let body = json!({
            "agent_id": id, "name": entry.name, "version": document.version, "digest": digest,
            "deployment_id": document.deployment_id,
        });
        let records = vec![record(&document, now), event("agent.deployed", id, &body, now)];
        self.catalog(entry.partition, records, opened(&entry)).await?;
        Ok(summary(&entry))
    }

    /// Claims a name for an agent or a group that is about to be made.
    pub(super) fn claim(&self, name: &AgentName, owner: Owner) -> Result<()> {
        self.directory.claim(name, owner).map_err(|has| match has {
            Owner::Agent(existing) => Error::AgentAlreadyExists {
                name: name.clone(),
                existing,
            },
            Owner::Group => Error::Conflict(format!("a supervision group has the name '{name}'; choose another")),
        })
    }

    /// Starts the first instance of an agent, in its place in the tree.
    async fn start_instance(self: &Arc<Self>, entry: &Entry, slot: &Arc<Slot>) -> Result<()> {
        let started = self.home(entry)?.start_child(self.agent_child(slot)).await;
        started.map(|_| ()).map_err(|error| match error {
            StartChildError::Failed(reason) => Error::DeploymentFailed {
                kind: reason.label(),
                reason: reason.to_string(),
            },
            StartChildError::Gone => unavailable("the supervisor of the agent is down or restarts"),
            StartChildError::Invalid(problem) => Error::invalid("config.supervision", problem.to_string()),
            other @ (StartChildError::AlreadyPresent
            | StartChildError::AlreadyStarted
            | StartChildError::MaxChildren
            | StartChildError::NotFound) => Error::internal(other),
        })
    }

    /// Starts a stopped or failed agent again, with its state and an empty queue. One that runs is left alone.
    pub async fn start_agent(self: &Arc<Self>, caller: &Caller, key: &str) -> Result<AgentSummary> {
        let (node, caller, key) = (self.clone(), caller.clone(), key.to_owned());
        let work = async move { node.start_now(&caller, &key).await };
        self.operations.run("start", work).await
    }

    async fn start_now(self: Arc<Self>, caller: &Caller, key: &str) -> Result<AgentSummary> {
        let entry = self.find(key)?;
        match &*entry.standing.read() {
            Standing::Stopped | Standing::Failed { .. } => {}
            Standing::Running | Standing::Suspended | Standing::Loaded => return Ok(summary(&entry)),
            Standing::Draining => {
                return Err(Error::InvalidState {
                    agent: entry.id,
                    state: "draining",
                    mend: "it can be started when it has stopped",
                });
            }
        }
        let slot = self.renewed_slot(&entry).await?;
        *entry.slot.write() = Some(slot.clone());
        // What is left of it in the tree: a failed child, or one that was stopped.
        let _ = self.home(&entry)?.delete(entry.name.as_str()).await;
        let before = std::mem::replace(&mut *entry.standing.write(), Standing::Loaded);
        if let Err(error) = self.start_instance(&entry, &slot).await {
            *entry.standing.write() = before;
            return Err(error);
        }
        let now = Timestamp::now();
        let document = {
            let mut document = entry.document.write();
            (document.stopped_at, document.suspended_at) = (None, None);
            document.clone()
        };
        let body = json!({"agent_id": entry.id, "name": entry.name, "by": caller.principal.as_str()});
        let records = vec![record(&document, now), event("agent.started", entry.id, &body, now)];
        self.catalog(entry.partition, records, opened(&entry)).await?;
        Ok(summary(&entry))
    }

    async fn renewed_slot(self: &Arc<Self>, entry: &Entry) -> Result<Arc<Slot>> {
        if let Some(slot) = entry.slot() {
            return Ok(slot);
        }
        let document = entry.document.read().clone();
        let module = self.module(document.digest)?;
        let program = self.compile(module, &document.spec).await?;
        Ok(self.slot(entry, program))
    }

    /// Has an agent take messages and no turns, or ends that; durable. Changing nothing is no error.
    pub async fn suspend_agent(&self, caller: &Caller, key: &str, suspend: bool) -> Result<AgentSummary> {
        let entry = self.find(key)?;
        let (from, kind) = if suspend {
            (Standing::Running, "agent.suspended")
        } else {
            (Standing::Suspended, "agent.resumed")
        };
        let standing = entry.standing.read().clone();
        if standing != from {
            let there = matches!(standing, Standing::Running | Standing::Suspended);
            return if there {
                Ok(summary(&entry))
            } else {
                Err(Error::InvalidState {
                    agent: entry.id,
                    state: standing.lifecycle().as_str(),
                    mend: "only an agent that runs can be suspended and resumed",
                })
            };
        }
        let now = Timestamp::now();
        let document = {
            let mut document = entry.document.write();
            document.suspended_at = suspend.then_some(now);
            document.clone()
        };
        let body = json!({"agent_id": entry.id, "name": entry.name, "by": caller.principal.as_str()});
        let change = {
            let entry = entry.clone();
            move || {
                if suspend {
                    *entry.standing.write() = Standing::Suspended;
                    entry.mailbox.suspend();
                } else {
                    *entry.standing.write() = Standing::Running;
                    entry.mailbox.resume();
                }
            }
        };
        let records = vec![record(&document, now), event(kind, entry.id, &body, now)];
        self.catalog(entry.partition, records, change).await?;
        Ok(summary(&entry))
    }

    /// Compiles under the `modules` supervisor; a second call for the same module finds it compiled.
    pub(super) async fn compile(&self, module: Bytes, spec: &AgentSpec) -> Result<Arc<Program>> {
        let metered = matches!(spec.resources.cpu, Some(Cpu::Fuel(_)));
        let runtime = self.runtime.clone();
        self.compilations
            .run("compile", async move { runtime.compile(module, metered).await })
            .await
    }

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
            partition: Partition::of(document.placement.as_str(), self.config.partitions),
            document: RwLock::new(document),
            standing: RwLock::new(Standing::Loaded),
            mailbox,
            state: Arc::default(),
            meter: Arc::new(Meter::new(self.shared.spawns.clone())),
            slot: RwLock::new(None),
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
            program,
            grants: self.grants(&spec),
            meter: entry.meter.clone(),
            outbox: self.partition(entry.partition).outbox(),
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
        let (processed, failed, latency) = entry.meter.totals();
        let running = entry.slot().and_then(|slot| *slot.running.lock());
        let failure = match &*entry.standing.read() {
            Standing::Failed { why } => Some(why.clone()),
            Standing::Loaded | Standing::Running | Standing::Suspended | Standing::Draining | Standing::Stopped => None,
        };
        Ok(AgentDetails {
            summary: summary(&entry),
            messages_processed: processed,
            messages_failed: failed,
            messages_queued: entry.mailbox.depth() as u64,
            average_latency_ms: latency.as_secs_f64() * 1_000.0,
            uptime: running.map_or(Duration::ZERO, |running| running.since.elapsed()),
            incarnation: running.map_or(0, |running| running.incarnation),
            path: self.path_of(&entry),
            failure,
            crashes: entry.meter.crashes(),
        })
    }

    /// Stops an agent: it takes no more messages, handles what it has until the grace is over, and then is stopped, also
    /// after a restart of the node. Answers when that is durable, before it is done. Stopping twice changes nothing.
    pub async fn stop_agent(self: &Arc<Self>, caller: &Caller, key: &str, options: StopOptions) -> Result<Stopping> {
        let entry = self.find(key)?;
        let now = Timestamp::now();
        let standing = entry.standing.read().clone();
        let answer = |lifecycle, estimated_completion| Stopping {
            id: entry.id,
            lifecycle,
            estimated_completion,
        };
        match standing {
            Standing::Stopped => return Ok(answer(Lifecycle::Stopped, now)),
            Standing::Draining => return Ok(answer(Lifecycle::Draining, now.plus(options.grace))),
            Standing::Loaded | Standing::Running | Standing::Suspended | Standing::Failed { .. } => {}
        }
        self.begin_stop(&entry, caller, now).await?;
        let (node, entry_) = (self.clone(), entry.clone());
        // Nobody waits for the result: the stop is durable, and a restart of the node would finish it.
        drop(
            self.operations
                .start("stop", async move { node.finish_stop(&entry_, options).await })
                .await?,
        );
        Ok(answer(Lifecycle::Draining, now.plus(options.grace)))
    }

    /// Removes an agent, its state and its queue; what it has is handled first, unless `force` says otherwise. Its messages
    /// stay in the history.
    pub async fn remove_agent(self: &Arc<Self>, caller: &Caller, key: &str, force: bool) -> Result<Removed> {
        let (node, caller, key) = (self.clone(), caller.clone(), key.to_owned());
        self.operations
            .run("remove", async move { node.remove_now(&caller, &key, force).await })
            .await
    }

    async fn remove_now(self: Arc<Self>, caller: &Caller, key: &str, force: bool) -> Result<Removed> {
        let entry = self.find(key)?;
        let now = Timestamp::now();
        let running = matches!(
            *entry.standing.read(),
            Standing::Loaded | Standing::Running | Standing::Suspended
        );
        if running {
            self.begin_stop(&entry, caller, now).await?;
        }
        let options = StopOptions {
            drain: !force,
            ..StopOptions::default()
        };
        self.finish_stop(&entry, options).await?;
        if self.directory.by_id(entry.id).is_none() {
            return Err(Error::AgentNotFound(key.to_owned())); // another call was quicker
        }
        // The child may be gone already: it was given up, or the partition restarted without it.
        if let Ok(home) = self.home(&entry) {
            let _ = home.delete(entry.name.as_str()).await;
        }
        let removed_at = Timestamp::now();
        let body = json!({"agent_id": entry.id, "name": entry.name});
        let gone = Record::AgentRemoved {
            agent: entry.id,
            at: removed_at,
        };
        let forget = {
            let (directory, entry) = (self.directory.clone(), entry.clone());
            move || directory.remove(&entry)
        };
        self.catalog(
            entry.partition,
            vec![gone, event("agent.removed", entry.id, &body, removed_at)],
            forget,
        )
        .await?;
        Ok(Removed {
            id: entry.id,
            removed_at,
        })
    }

    /// Makes the wish to stop durable and shuts the door.
    async fn begin_stop(&self, entry: &Arc<Entry>, caller: &Caller, now: Timestamp) -> Result<()> {
        let document = {
            let mut document = entry.document.write();
            document.stopped_at = Some(now);
            document.clone()
        };
        let body = json!({"agent_id": entry.id, "name": entry.name, "by": caller.principal.as_str()});
        let records = vec![record(&document, now), event("agent.draining", entry.id, &body, now)];
        let close = {
            let entry = entry.clone();
            move || {
                entry.mailbox.drain();
                *entry.standing.write() = Standing::Draining;
            }
        };
        self.catalog(entry.partition, records, close).await.map(|_| ())
    }

    /// Waits for the queue, ends the instance, and gives up what is left.
    async fn finish_stop(&self, entry: &Arc<Entry>, options: StopOptions) -> Result<()> {
        let settled = matches!(*entry.standing.read(), Standing::Stopped | Standing::Failed { .. });
        if options.drain && !settled {
            // The grace being over is no error: what is left becomes dead letters.
            let _ = tokio::time::timeout(options.grace, entry.mailbox.until_idle()).await;
        }
        let now = Timestamp::now();
        let body = json!({"agent_id": entry.id, "name": entry.name});
        let (reply, done) = oneshot::channel();
        let handle = self.partition(entry.partition);
        handle.cast(RouterMessage::GiveUp {
            agent: entry.id,
            reason: "gone",
            detail: "the agent was stopped".to_owned(),
            records: vec![event("agent.stopped", entry.id, &body, now)],
            reply: Some(reply),
        });
        if let Ok(home) = self.home(entry) {
            home.retire(entry.name.as_str()).await;
        }
        let seq = done
            .await
            .map_err(|_| unavailable("the router of the agent restarts"))?;
        self.until_durable(seq).await
    }

    /// Records facts about a partition's agents or groups and waits until they are durable.
    pub(super) async fn catalog(
        &self,
        partition: Partition,
        records: Vec<Record>,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<Seq> {
        let (reply, recorded) = oneshot::channel();
        self.partition(partition).cast(RouterMessage::Catalog {
            records,
            then: Box::new(then),
            reply,
        });
        let seq = recorded
            .await
            .map_err(|_| unavailable("the router of the agent restarts"))?;
        self.until_durable(seq).await?;
        Ok(seq)
    }

    pub(super) fn module(&self, digest: Digest) -> Result<Bytes> {
        let module = self.journal.module(digest).map_err(Error::internal)?;
        module.ok_or_else(|| Error::internal(format!("the module {digest} is missing")))
    }
}

pub(super) fn record(document: &Document, at: Timestamp) -> Record {
    Record::Agent {
        agent: document.id,
        document: serde_json::to_string(document).expect("a document is serialisable: its keys are strings"),
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
fn opened(entry: &Arc<Entry>) -> impl FnOnce() + Send + 'static {
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
