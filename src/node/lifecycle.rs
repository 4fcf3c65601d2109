//! Deploying, starting and suspending agents.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use supervisors::{ExitReason, StartChildError};
use tokio::sync::oneshot;

use super::agents::{event, opened, record, summary};
use super::{AgentSummary, Caller, Deployed, Lifecycle, Node, unavailable};
use crate::agent::Slot;
use crate::agent::spec::AgentSpec;
use crate::agent::validation::Validation;
use crate::directory::{Document, Entry, Owner, Standing};
use crate::error::{Error, Result};
use crate::id::{AgentId, AgentName, DeploymentId, Partition, Seq};
use crate::journal::Record;
use crate::quantity::Cpu;
use crate::router::{Claim, RouterMessage};
use crate::time::Timestamp;
use crate::wasm::{CrashKind, Program};

impl Node {
    /// All that a deploy of this module would say of it. Nothing is deployed, and nothing of it runs.
    pub async fn validate(&self, module: Bytes, spec: &AgentSpec) -> Result<Validation> {
        self.check(&module, spec)?;
        self.judge(module, spec).await.map(|(validation, _)| validation)
    }

    fn check(&self, module: &Bytes, spec: &AgentSpec) -> Result<()> {
        spec.check(&self.config.ceilings)?;
        let limit = usize::try_from(self.config.limits.module.bytes()).unwrap_or(usize::MAX);
        if module.len() > limit {
            return Err(Error::PayloadTooLarge { what: "module", limit });
        }
        Ok(())
    }

    async fn judge(&self, module: Bytes, spec: &AgentSpec) -> Result<(Validation, Option<Arc<Program>>)> {
        let compiled = self.compile(module.clone(), spec).await;
        let program = compiled.as_ref().ok().cloned();
        let spec = spec.clone();
        // It reads all of the module, which may have tens of megabytes.
        let judging = tokio::task::spawn_blocking(move || Validation::of(&module, &spec, compiled));
        Ok((judging.await.map_err(Error::internal)??, program))
    }

    /// Deploys an agent and answers when it runs and that is durable. An agent that does not start is not there.
    pub async fn deploy(self: &Arc<Self>, caller: &Caller, module: Bytes, spec: AgentSpec) -> Result<Deployed> {
        self.check(&module, &spec)?;
        if self.directory.len() >= self.config.limits.agents as usize {
            return Err(Error::LimitExceeded {
                what: "the number of agents of this node",
                limit: self.config.limits.agents.into(),
            });
        }
        let (node, principal) = (self.clone(), caller.principal.as_str().to_owned());
        let deploying = self.once(caller, |claim| {
            let work = async move { node.deploy_now(principal, claim, module, spec).await };
            self.operations.run("deploy", work)
        });
        self.with_room(deploying).await
    }

    async fn deploy_now(
        self: Arc<Self>,
        principal: String,
        claim: Option<Claim>,
        module: Bytes,
        spec: AgentSpec,
    ) -> Result<Deployed> {
        let id = AgentId::new();
        let name = spec.name.clone();
        self.claim(&name, Owner::Agent(id))?;
        let result = self.install(id, principal, claim, module, spec).await;
        if result.is_err() {
            self.directory.release(&name, Owner::Agent(id));
        }
        result
    }

    async fn install(
        self: &Arc<Self>,
        id: AgentId,
        principal: String,
        claim: Option<Claim>,
        module: Bytes,
        spec: AgentSpec,
    ) -> Result<Deployed> {
        let placement = self.placement(&spec)?;
        let (validation, program) = self.judge(module.clone(), &spec).await?;
        let Some(program) = program.filter(|_| validation.accepted.is_some()) else {
            return Err(Error::InvalidWasm(validation.findings));
        };
        let digest = program.digest();
        let journal = self.journal.clone();
        let stored = tokio::task::spawn_blocking(move || journal.put_module(digest, &module)).await;
        stored.map_err(Error::internal)??;
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
            placement: Some(placement),
            spec,
        };
        let entry = self.entry(document);
        let slot = self.slot(&entry, program);
        *entry.slot.write() = Some(slot.clone());
        entry.mailbox.drain(); // opened when the agent is there for good
        self.directory.put(entry.clone());
        if let Err(error) = self.start_instance(&entry, &slot).await {
            self.withdraw(&entry).await;
            self.directory.remove(&entry);
            return Err(error);
        }
        let (deployed, said) = (entry.clone(), validation.warnings.clone());
        let change = move || {
            let now = Timestamp::now();
            let answer = Deployed {
                agent: AgentSummary {
                    lifecycle: Lifecycle::Running,
                    ..summary(&deployed)
                },
                warnings: said,
            };
            let document = deployed.document.read();
            let body = json!({
                "agent_id": document.id, "name": deployed.name, "version": document.version,
                "digest": document.digest, "deployment_id": document.deployment_id,
            });
            let mut records = vec![record(&document, now), event("agent.deployed", document.id, &body, now)];
            records.extend(claim.map(|claim| claim.answered(&answer, now)));
            Some(records)
        };
        if let Err(error) = self.catalog(entry.partition, change, opened(&entry)).await {
            self.withdraw(&entry).await;
            self.directory.remove(&entry);
            return Err(error);
        }
        self.resume_timers(&entry);
        Ok(Deployed {
            agent: summary(&entry),
            warnings: validation.warnings,
        })
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
            StartChildError::Failed(reason) => {
                let cause = root_cause(&reason);
                if cause.label() == CrashKind::NoRoom.as_str() {
                    return self.runtime.room().into();
                }
                if cause.label() == CrashKind::NoMemory.as_str() {
                    return self.runtime.memory().into();
                }
                Error::DeploymentFailed {
                    kind: cause.label(),
                    reason: cause.to_string(),
                }
            }
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
        let (node, key) = (self.clone(), key.to_owned());
        let starting = self.once_after(caller, |caller| {
            let work = async move { node.start_now(&caller, &key).await };
            self.operations.run("start", work)
        });
        self.with_room(starting).await
    }

    async fn start_now(self: Arc<Self>, caller: &Caller, key: &str) -> Result<AgentSummary> {
        let entry = self.find(key)?;
        let _alone = entry.operation.lock().await;
        let before = {
            let mut standing = entry.standing.write();
            let before = standing.clone();
            if matches!(before, Standing::Stopped | Standing::Failed { .. }) {
                *standing = Standing::Loaded;
            }
            before
        };
        match before {
            Standing::Stopped | Standing::Failed { .. } => {}
            Standing::Running | Standing::Suspended => return Ok(summary(&entry)),
            Standing::Loaded | Standing::Draining { .. } => return Err(busy(&entry, &before)),
        }
        let started = self.start_again(&entry, caller).await;
        if started.is_err() {
            self.withdraw(&entry).await;
            let mut standing = entry.standing.write();
            if *standing == Standing::Loaded {
                *standing = before;
            }
        }
        started.map(|()| summary(&entry))
    }

    async fn start_again(self: &Arc<Self>, entry: &Arc<Entry>, caller: &Caller) -> Result<()> {
        let slot = self.renewed_slot(entry).await?;
        *entry.slot.write() = Some(slot.clone());
        self.withdraw(entry).await; // what is left of it: a failed child, or one that was stopped
        self.start_instance(entry, &slot).await?;
        let (change, by) = (entry.clone(), caller.clone());
        let change = move || {
            let now = Timestamp::now();
            let mut document = change.document.write();
            (document.stopped_at, document.suspended_at) = (None, None);
            let body = json!({"agent_id": change.id, "name": change.name, "by": by.principal.as_str()});
            Some(vec![
                record(&document, now),
                event("agent.started", change.id, &body, now),
            ])
        };
        self.catalog(entry.partition, change, opened(entry)).await?;
        self.resume_timers(entry);
        Ok(())
    }

    /// The agent takes messages again: what its timers missed comes now. Should the router restart meanwhile, it does so by
    /// itself.
    pub(super) fn resume_timers(&self, entry: &Entry) {
        self.partition(entry.partition).cast(RouterMessage::Resume(entry.id));
    }

    /// Takes an agent's child out of the tree, if it is there.
    pub(super) async fn withdraw(&self, entry: &Entry) {
        if let Ok(home) = self.home(entry) {
            let _ = home.delete(entry.name.as_str()).await;
        }
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
        let suspending = self.once_after(caller, async |caller| self.suspend_now(&caller, key, suspend).await);
        self.with_room(suspending).await
    }

    async fn suspend_now(&self, caller: &Caller, key: &str, suspend: bool) -> Result<AgentSummary> {
        let entry = self.find(key)?;
        let standing = entry.standing.read().clone();
        if !matches!(standing, Standing::Running | Standing::Suspended) {
            return Err(Error::InvalidState {
                agent: entry.id,
                state: standing.lifecycle().as_str(),
                mend: "only an agent that runs can be suspended and resumed",
            });
        }
        let (from, to, kind) = if suspend {
            (Standing::Running, Standing::Suspended, "agent.suspended")
        } else {
            (Standing::Suspended, Standing::Running, "agent.resumed")
        };
        let (changed, by) = (entry.clone(), caller.clone());
        let change = move || {
            let mut standing = changed.standing.write();
            if *standing != from {
                return None;
            }
            *standing = to;
            let now = Timestamp::now();
            let mut document = changed.document.write();
            document.suspended_at = suspend.then_some(now);
            let body = json!({"agent_id": changed.id, "name": changed.name, "by": by.principal.as_str()});
            Some(vec![record(&document, now), event(kind, changed.id, &body, now)])
        };
        let done = entry.clone();
        let then = move || {
            if suspend {
                done.mailbox.suspend();
            } else {
                done.mailbox.resume();
            }
        };
        self.catalog(entry.partition, change, then).await?;
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

    /// Decides a change in the router of a partition, records it, and waits until it is durable. None: there was nothing to
    /// change any more.
    pub(super) async fn catalog(
        &self,
        partition: Partition,
        change: impl FnOnce() -> Option<Vec<Record>> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<Option<Seq>> {
        let (reply, recorded) = oneshot::channel();
        self.partition(partition).cast(RouterMessage::Catalog {
            change: Box::new(change),
            then: Box::new(then),
            reply,
        });
        let seq = recorded
            .await
            .map_err(|_| unavailable("the router of the agent restarts"))?;
        if let Some(seq) = seq {
            self.until_durable(seq).await?;
        }
        Ok(seq)
    }
}

/// Why a start failed, without the way through the tree.
fn root_cause(reason: &ExitReason) -> &ExitReason {
    match reason {
        ExitReason::StartFailed { reason, .. } => root_cause(reason),
        ExitReason::Normal
        | ExitReason::Shutdown
        | ExitReason::Killed
        | ExitReason::Cancelled
        | ExitReason::Panic(_)
        | ExitReason::HeartbeatLost
        | ExitReason::StartTimeout
        | ExitReason::Error { .. } => reason,
    }
}

pub(super) fn busy(entry: &Entry, standing: &Standing) -> Error {
    Error::InvalidState {
        agent: entry.id,
        state: if *standing == Standing::Loaded {
            "starting"
        } else {
            standing.lifecycle().as_str()
        },
        mend: "try again when that is over",
    }
}
