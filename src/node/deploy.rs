//! A deploy as a sequence of steps, each of which registers how to undo it.
//!
//! The last step records the agent. Before it nothing of a deploy is durable: after a `kill -9` the agent does not
//! exist and its name is free. A deploy that ends earlier, by an error or because its operation is killed, undoes its
//! steps from the last to the first.

use std::sync::Arc;

use bytes::Bytes;
use supervisors::{ExitReason, StartChildError};

use super::{AgentSummary, Deployed, Lifecycle, Node, unavailable};
use crate::agent::spec::AgentSpec;
use crate::agent::validation::Validation;
use crate::agent::{self, Agent, Document, Version};
use crate::directory::{Directory, NameHolder};
use crate::error::{Error, Result};
use crate::id::{AgentId, AgentName, DeploymentId};
use crate::principal::{Action, Caller, Subject};
use crate::quantity::Cpu;
use crate::router::{Change, KeyLock};
use crate::secret::Sealer;
use crate::time::Timestamp;
use crate::wasm::{CrashKind, Program};

/// How far a deploy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// The module is accepted and compiled.
    Judged,
    /// The name is reserved for the agent.
    Named,
    /// The module is in the journal's store. This step needs no undoing: a module that nothing refers to can be
    /// collected.
    Stored,
    /// The agent is in the directory, and takes no messages yet.
    Entered,
    /// The agent's first instance runs.
    Started,
    /// The agent is durably in the catalog.
    Recorded,
}

/// Called at each step of a deploy.
#[cfg(test)]
pub(super) type Listener = Box<dyn Fn(Step) + Send>;

/// The steps that a deploy undoes, from the last to the first, if it does not finish.
struct Undo {
    directory: Arc<Directory>,
    steps: Vec<Undoing>,
}

enum Undoing {
    Release(AgentName, AgentId),
    Leave(Arc<Agent>),
}

impl Undo {
    fn step(&mut self, undoing: Undoing) {
        self.steps.push(undoing);
    }

    /// The deploy is done, so nothing is to be undone.
    fn forget(mut self) {
        self.steps.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        while let Some(undoing) = self.steps.pop() {
            match undoing {
                Undoing::Leave(agent) => self.directory.remove(&agent),
                Undoing::Release(name, id) => self.directory.release(&name, NameHolder::Agent(id)),
            }
        }
    }
}

impl Node {
    /// Everything that a deploy of this module would report. Nothing is deployed, and no code of the module runs.
    pub async fn validate(&self, caller: &Caller, module: Bytes, spec: &AgentSpec) -> Result<Validation> {
        caller.may(Action::Validate, &Subject::Node)?;
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
        // The validation reads the whole module, which can be tens of megabytes, so it runs on a blocking thread.
        let judging = tokio::task::spawn_blocking(move || Validation::of(&module, &spec, compiled));
        Ok((judging.await.map_err(Error::internal)??, program))
    }

    /// Deploys an agent. Returns when its first instance runs and its record is durable. An agent that fails to start
    /// is not kept.
    pub async fn deploy(self: &Arc<Self>, caller: &Caller, module: Bytes, spec: AgentSpec) -> Result<Deployed> {
        caller.may(Action::Deploy, &Subject::Agent(spec.name.as_str()))?;
        self.check(&module, &spec)?;
        if self.directory.len() >= self.config.limits.agents as usize {
            return Err(Error::LimitExceeded {
                what: "the number of agents of this node",
                limit: self.config.limits.agents.into(),
            });
        }
        let (node, principal) = (self.clone(), caller.principal().as_str().to_owned());
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
        let mut undo = Undo {
            directory: self.directory.clone(),
            steps: Vec::new(),
        };
        let id = AgentId::new();
        let name = spec.name.clone();
        self.reserve_name(&name, NameHolder::Agent(id))?;
        undo.step(Undoing::Release(name, id));
        self.reached(Step::Named);

        let placement = self.placement(&spec)?;
        let (validation, program) = self.judge(module.clone(), &spec).await?;
        let Some(program) = program.filter(|_| validation.accepted.is_some()) else {
            return Err(Error::InvalidWasm(validation.findings));
        };
        self.reached(Step::Judged);

        let digest = program.digest();
        let journal = self.journal.clone();
        let stored = tokio::task::spawn_blocking(move || journal.put_module(digest, &module)).await;
        stored.map_err(Error::internal)??;
        self.reached(Step::Stored);

        let agent = self.new_agent(document(id, principal, placement, spec, &program, &self.sealer))?;
        let version = self.new_version(&agent, program);
        *agent.version.write() = Some(version.clone());
        agent.mailbox.drain(); // opened when the agent is recorded
        undo.step(Undoing::Leave(agent.clone()));
        self.directory.put(agent.clone());
        self.reached(Step::Entered);

        let started = self.start_and_record(&agent, &version, key, &validation).await;
        if let Err(error) = started {
            self.withdraw(&agent).await;
            return Err(error);
        }
        undo.forget();
        self.reached(Step::Recorded);
        Ok(Deployed {
            agent: AgentSummary::of(&agent),
            warnings: validation.warnings,
        })
    }

    /// The two steps after which a failure stops the instance again; the caller does that, because stopping waits and
    /// undoing cannot.
    async fn start_and_record(
        self: &Arc<Self>,
        agent: &Arc<Agent>,
        version: &Arc<Version>,
        key: Option<KeyLock>,
        validation: &Validation,
    ) -> Result<()> {
        self.start_instance(agent, version).await?;
        self.reached(Step::Started);
        let answer = key.map(|key| {
            key.answered(&Deployed {
                agent: AgentSummary {
                    lifecycle: Lifecycle::Running,
                    ..AgentSummary::of(agent)
                },
                warnings: validation.warnings.clone(),
            })
        });
        let change = Change::Deployed {
            agent: agent.id,
            answer,
        };
        self.change(agent.partition, change).await.map(|_| ())
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

    /// Starts the first instance of an agent, as a child of its supervisor in the tree.
    pub(super) async fn start_instance(self: &Arc<Self>, agent: &Arc<Agent>, version: &Arc<Version>) -> Result<()> {
        self.withdraw(agent).await; // a child may be left that failed, was stopped, or belongs to a killed deploy
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

    /// Takes an agent's child out of the tree, if it is there.
    pub(super) async fn withdraw(&self, agent: &Agent) {
        if let Ok(home) = self.home(agent) {
            let _ = home.delete(agent.name.as_str()).await; // an absent child is no error
        }
    }

    /// Compiles under the `modules` supervisor. A second call for the same module reuses the result of the first.
    pub(super) async fn compile(&self, module: Bytes, spec: &AgentSpec) -> Result<Arc<Program>> {
        let metered = matches!(spec.resources.cpu, Some(Cpu::Fuel(_)));
        let runtime = self.runtime.clone();
        self.compilations
            .run("compile", async move { runtime.compile(module, metered).await })
            .await
    }

    /// Reports a step of a deploy. Tests interrupt the deploy here.
    #[cfg_attr(
        not(test),
        allow(clippy::unused_self, clippy::missing_const_for_fn, reason = "only tests listen")
    )]
    fn reached(&self, step: Step) {
        #[cfg(test)]
        if let Some(listener) = &*self.deploy_steps.lock() {
            listener(step);
        }
        #[cfg(not(test))]
        let _ = step;
    }
}

/// The document of an agent that is being deployed.
fn document(
    id: AgentId,
    principal: String,
    placement: AgentName,
    spec: AgentSpec,
    program: &Program,
    sealer: &Sealer,
) -> Document {
    let now = Timestamp::now();
    let version = spec
        .version
        .clone()
        .or_else(|| program.version().cloned())
        .unwrap_or(semver::Version::new(1, 0, 0));
    Document {
        id,
        version,
        digest: program.digest(),
        deployment_id: DeploymentId::new(),
        created_at: now,
        deployed_at: now,
        deployed_by: principal,
        stopped_at: None,
        suspended_at: None,
        placement: Some(placement),
        sealed: agent::seal(id, &spec.environment, sealer),
        spec,
    }
}

/// The innermost reason why a start failed, without the supervisors that passed it on.
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
