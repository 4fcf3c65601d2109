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
use crate::directory::{Document, Entry, Standing};
use crate::error::{Error, Result};
use crate::id::{AgentId, DeploymentId, Digest, Partition, Seq};
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
        let taken = |existing| Error::AgentAlreadyExists {
            name: name.clone(),
            existing,
        };
        self.directory.claim(&name, id).map_err(taken)?;
        let result = self.install(id, principal, module, spec).await;
        if result.is_err() {
            self.directory.release(&name, id);
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
            spec,
        };
        let entry = self.entry(document.clone(), Some(program));
        entry.mailbox.drain(); // opened when the agent is there for good
        let slot = entry.slot.clone().expect("an entry with a program has a slot");
        self.directory.put(entry.clone());
        let handle = self.partition(entry.partition);
        if let Err(error) = handle.agents.start_child(self.agent_child(&slot)).await {
            self.directory.remove(&entry);
            return Err(match error {
                StartChildError::Failed(reason) => Error::DeploymentFailed {
                    kind: reason.label(),
                    reason: reason.to_string(),
                },
                StartChildError::Gone => unavailable("the partition of the agent restarts"),
                other @ (StartChildError::AlreadyPresent
                | StartChildError::AlreadyStarted
                | StartChildError::MaxChildren
                | StartChildError::NotFound
                | StartChildError::Invalid(_)) => Error::internal(other),
            });
        }
        let body = json!({
            "agent_id": id, "name": entry.name, "version": document.version, "digest": digest,
            "deployment_id": document.deployment_id,
        });
        let records = vec![record(&document, now), event("agent.deployed", id, &body, now)];
        let open = {
            let entry = entry.clone();
            move || {
                let mut standing = entry.standing.write();
                if *standing == Standing::Loaded {
                    *standing = Standing::Running;
                    entry.mailbox.reopen();
                }
            }
        };
        self.catalog(&entry, records, open).await?;
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

    /// What the directory has of an agent that is about to run, or of one that does not.
    pub(super) fn entry(&self, document: Document, program: Option<Arc<Program>>) -> Arc<Entry> {
        let resources = &document.spec.resources;
        let mailbox = Mailbox::new(Capacity {
            messages: resources.mailbox_messages,
            bytes: resources.mailbox_bytes.bytes(),
        });
        let name = document.spec.name.clone();
        let partition = Partition::of(name.as_str(), self.config.partitions);
        let slot = program.map(|program| {
            Arc::new(Slot {
                id: document.id,
                name: name.clone(),
                partition,
                mailbox: mailbox.clone(),
                state: Arc::default(),
                program,
                grants: self.grants(&document.spec),
                meter: Meter::new(self.shared.spawns.clone()),
                outbox: self.partition(partition).outbox(),
                running: Mutex::default(),
                spec: document.spec.clone(),
            })
        });
        Arc::new(Entry {
            id: document.id,
            name,
            partition,
            document: RwLock::new(document),
            standing: RwLock::new(Standing::Loaded),
            mailbox,
            slot,
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
        let (processed, failed, latency) = entry.slot.as_ref().map(|slot| slot.meter.totals()).unwrap_or_default();
        let running = entry.slot.as_ref().and_then(|slot| *slot.running.lock());
        let failure = match &*entry.standing.read() {
            Standing::Failed { why } => Some(why.clone()),
            Standing::Loaded | Standing::Running | Standing::Draining | Standing::Stopped => None,
        };
        Ok(AgentDetails {
            summary: summary(&entry),
            messages_processed: processed,
            messages_failed: failed,
            messages_queued: entry.mailbox.depth() as u64,
            average_latency_ms: latency.as_secs_f64() * 1_000.0,
            uptime: running.map_or(Duration::ZERO, |running| running.since.elapsed()),
            incarnation: running.map_or(0, |running| running.incarnation),
            failure,
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
            Standing::Loaded | Standing::Running | Standing::Failed { .. } => {}
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
        let running = matches!(*entry.standing.read(), Standing::Loaded | Standing::Running);
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
        let handle = self.partition(entry.partition);
        // The child may be gone already: it was given up, or the partition restarted without it.
        let _ = handle.agents.delete(entry.name.as_str()).await;
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
            &entry,
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
        self.catalog(entry, records, close).await.map(|_| ())
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
        let _ = handle.agents.terminate(entry.name.as_str()).await; // gone already is as good
        let seq = done
            .await
            .map_err(|_| unavailable("the router of the agent restarts"))?;
        self.until_durable(seq).await
    }

    /// Records facts about an agent in its partition and waits until they are durable.
    async fn catalog(&self, entry: &Entry, records: Vec<Record>, then: impl FnOnce() + Send + 'static) -> Result<Seq> {
        let (reply, recorded) = oneshot::channel();
        self.partition(entry.partition).cast(RouterMessage::Catalog {
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

pub(super) fn event(kind: &str, agent: AgentId, body: &serde_json::Value, at: Timestamp) -> Record {
    Record::Event {
        kind: kind.to_owned(),
        agent: Some(agent),
        body: body.to_string(),
        at,
    }
}

fn summary(entry: &Entry) -> AgentSummary {
    const LAST: Duration = Duration::from_secs(60);
    let document = entry.document.read().clone();
    let usage = entry.slot.as_ref().map(|slot| Usage {
        memory_bytes: slot.meter.memory(),
        cpu: slot.meter.read(LAST).cpu_average,
    });
    AgentSummary {
        id: entry.id,
        lifecycle: entry.standing.read().lifecycle(),
        version: document.version,
        digest: document.digest,
        deployment_id: document.deployment_id,
        created_at: document.created_at,
        deployed_at: document.deployed_at,
        deployed_by: document.deployed_by,
        spec: document.spec,
        usage: usage.unwrap_or_default(),
    }
}
