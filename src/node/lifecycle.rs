//! Deploying, starting and suspending agents.

use std::sync::Arc;

use bytes::Bytes;
use supervisors::{ExitReason, StartChildError};
use tokio::sync::oneshot;

use super::{AgentSummary, Caller, Deployed, Lifecycle, Node, unavailable};
use crate::agent::spec::AgentSpec;
use crate::agent::validation::Validation;
use crate::agent::{self, Agent, Document, Standing, Version};
use crate::directory::NameHolder;
use crate::error::{Error, Result};
use crate::event::EventBody;
use crate::id::{AgentId, AgentName, DeploymentId, Partition, Seq};
use crate::journal::Record;
use crate::quantity::Cpu;
use crate::router::{KeyLock, RouterMessage};
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
        let deploying = self.once(caller, |key| {
            let work = async move { node.deploy_now(principal, key, module, spec).await };
            self.operations.run("deploy", work)
        });
        self.with_room(deploying).await
    }

    async fn deploy_now(
        self: Arc<Self>,
        principal: String,
        key: Option<KeyLock>,
        module: Bytes,
        spec: AgentSpec,
    ) -> Result<Deployed> {
        let id = AgentId::new();
        let name = spec.name.clone();
        self.reserve_name(&name, NameHolder::Agent(id))?;
        let result = self.install(id, principal, key, module, spec).await;
        if result.is_err() {
            self.directory.release(&name, NameHolder::Agent(id));
        }
        result
    }

    async fn install(
        self: &Arc<Self>,
        id: AgentId,
        principal: String,
        key: Option<KeyLock>,
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
            sealed: agent::seal(id, &spec.environment, &self.sealer),
            spec,
        };
        let agent = self.new_agent(document);
        let version = self.new_version(&agent, program);
        *agent.version.write() = Some(version.clone());
        agent.mailbox.drain(); // opened when the agent is there for good
        self.directory.put(agent.clone());
        if let Err(error) = self.start_instance(&agent, &version).await {
            self.withdraw(&agent).await;
            self.directory.remove(&agent);
            return Err(error);
        }
        let (deployed, said) = (agent.clone(), validation.warnings.clone());
        let change = move || {
            let now = Timestamp::now();
            let answer = Deployed {
                agent: AgentSummary {
                    lifecycle: Lifecycle::Running,
                    ..AgentSummary::of(&deployed)
                },
                warnings: said,
            };
            let document = deployed.document.read();
            let body = EventBody::AgentDeployed {
                agent_id: document.id,
                name: deployed.name.clone(),
                version: document.version.clone(),
                digest: document.digest,
                deployment_id: document.deployment_id,
            };
            let mut records = vec![document.record(now), deployed.event(&body, now)];
            records.extend(key.map(|key| key.answer(&answer, now)));
            Some(records)
        };
        let opened = agent.clone();
        if let Err(error) = self
            .catalog(agent.partition, change, move || open_mailbox(&opened))
            .await
        {
            self.withdraw(&agent).await;
            self.directory.remove(&agent);
            return Err(error);
        }
        self.resume_timers(&agent);
        Ok(Deployed {
            agent: AgentSummary::of(&agent),
            warnings: validation.warnings,
        })
    }

    /// Reserves a name for an agent or a group that is about to be made.
    pub(super) fn reserve_name(&self, name: &AgentName, holder: NameHolder) -> Result<()> {
        self.directory.reserve(name, holder).map_err(|has| match has {
            NameHolder::Agent(existing) => Error::AgentAlreadyExists {
                name: name.clone(),
                existing,
            },
            NameHolder::Group => Error::Conflict(format!("a supervision group has the name '{name}'; choose another")),
        })
    }

    /// Starts the first instance of an agent, in its place in the tree.
    async fn start_instance(self: &Arc<Self>, agent: &Arc<Agent>, version: &Arc<Version>) -> Result<()> {
        let started = self.home(agent)?.start_child(self.agent_child(agent, version)).await;
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
        let agent = self.find(key)?;
        let _alone = agent.operation.lock().await;
        let before = {
            let mut standing = agent.standing.write();
            let before = standing.clone();
            if matches!(before, Standing::Stopped | Standing::Failed { .. }) {
                *standing = Standing::Loaded;
            }
            before
        };
        match before {
            Standing::Stopped | Standing::Failed { .. } => {}
            Standing::Running | Standing::Suspended => return Ok(AgentSummary::of(&agent)),
            Standing::Loaded | Standing::Draining { .. } => return Err(busy(&agent, &before)),
        }
        let started = self.start_again(&agent, caller).await;
        if started.is_err() {
            self.withdraw(&agent).await;
            let mut standing = agent.standing.write();
            if *standing == Standing::Loaded {
                *standing = before;
            }
        }
        started.map(|()| AgentSummary::of(&agent))
    }

    async fn start_again(self: &Arc<Self>, agent: &Arc<Agent>, caller: &Caller) -> Result<()> {
        let version = self.loaded_version(agent).await?;
        *agent.version.write() = Some(version.clone());
        self.withdraw(agent).await; // what is left of it: a failed child, or one that was stopped
        self.start_instance(agent, &version).await?;
        let (changed, by) = (agent.clone(), caller.clone());
        let change = move || {
            let now = Timestamp::now();
            let mut document = changed.document.write();
            (document.stopped_at, document.suspended_at) = (None, None);
            let body = EventBody::AgentStarted(changed.changed_by(&by.principal));
            Some(vec![document.record(now), changed.event(&body, now)])
        };
        let opened = agent.clone();
        self.catalog(agent.partition, change, move || open_mailbox(&opened))
            .await?;
        self.resume_timers(agent);
        Ok(())
    }

    /// The agent takes messages again: what its timers missed comes now. Should the router restart meanwhile, it does so by
    /// itself.
    pub(super) fn resume_timers(&self, agent: &Agent) {
        self.partition(agent.partition).cast(RouterMessage::Resume(agent.id));
    }

    /// Takes an agent's child out of the tree, if it is there.
    pub(super) async fn withdraw(&self, agent: &Agent) {
        if let Ok(home) = self.home(agent) {
            let _ = home.delete(agent.name.as_str()).await;
        }
    }

    async fn loaded_version(self: &Arc<Self>, agent: &Agent) -> Result<Arc<Version>> {
        if let Some(version) = agent.version() {
            return Ok(version);
        }
        let document = agent.document.read().clone();
        let module = self.module(document.digest)?;
        let program = self.compile(module, &document.spec).await?;
        Ok(self.new_version(agent, program))
    }

    /// Has an agent take messages and no turns, or ends that; durable. Changing nothing is no error.
    pub async fn suspend_agent(&self, caller: &Caller, key: &str, suspend: bool) -> Result<AgentSummary> {
        let suspending = self.once_after(caller, async |caller| self.suspend_now(&caller, key, suspend).await);
        self.with_room(suspending).await
    }

    async fn suspend_now(&self, caller: &Caller, key: &str, suspend: bool) -> Result<AgentSummary> {
        let agent = self.find(key)?;
        let standing = agent.standing.read().clone();
        if !matches!(standing, Standing::Running | Standing::Suspended) {
            return Err(Error::InvalidState {
                agent: agent.id,
                state: standing.lifecycle().as_str(),
                mend: "only an agent that runs can be suspended and resumed",
            });
        }
        let (from, to) = if suspend {
            (Standing::Running, Standing::Suspended)
        } else {
            (Standing::Suspended, Standing::Running)
        };
        let (changed, by) = (agent.clone(), caller.clone());
        let change = move || {
            let mut standing = changed.standing.write();
            if *standing != from {
                return None;
            }
            *standing = to;
            let now = Timestamp::now();
            let mut document = changed.document.write();
            document.suspended_at = suspend.then_some(now);
            let by = changed.changed_by(&by.principal);
            let body = if suspend {
                EventBody::AgentSuspended(by)
            } else {
                EventBody::AgentResumed(by)
            };
            Some(vec![document.record(now), changed.event(&body, now)])
        };
        let done = agent.clone();
        let then = move || {
            if suspend {
                done.mailbox.suspend();
            } else {
                done.mailbox.resume();
            }
        };
        self.catalog(agent.partition, change, then).await?;
        Ok(AgentSummary::of(&agent))
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

pub(super) fn busy(agent: &Agent, standing: &Standing) -> Error {
    Error::InvalidState {
        agent: agent.id,
        state: if *standing == Standing::Loaded {
            "starting"
        } else {
            standing.lifecycle().as_str()
        },
        mend: "try again when that is over",
    }
}

/// Lets messages in to an agent whose first instance runs.
fn open_mailbox(agent: &Agent) {
    let mut standing = agent.standing.write();
    if *standing == Standing::Loaded {
        *standing = Standing::Running;
        agent.mailbox.resume();
        agent.mailbox.reopen();
    }
}
