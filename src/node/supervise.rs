//! The supervision tree for operators: as data, as events, as figures, and the verbs that act on its agents and groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use supervisors::Snapshot;

use super::{AgentSummary, Node, StopOptions, unavailable};
use crate::agent::meter::CrashReport;
use crate::agent::{Agent, Command, Standing};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::id::AgentId;
use crate::journal::projections::{EventPage, EventQuery};
use crate::message::ClientName;
use crate::principal::{Action, Caller, Subject};
use crate::telemetry::RecoveryFigures;

/// What an operator can do to an agent or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Stops in order and starts again. It also brings back an agent or group that failed or was stopped, and restores
    /// the restart intensity.
    Restart,
    /// The agent takes messages but no turns.
    Suspend,
    Resume,
    /// Stops without grace: queued messages become dead letters.
    Terminate,
    /// Clears the restart counts and restores the full restart intensity.
    Reset,
}

impl Verb {
    pub const ALL: &[Self] = &[Self::Restart, Self::Suspend, Self::Resume, Self::Terminate, Self::Reset];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Terminate => "terminate",
            Self::Reset => "reset",
        }
    }

    const fn action(self) -> Action {
        match self {
            Self::Restart => Action::Restart,
            Self::Suspend => Action::Suspend,
            Self::Resume => Action::Resume,
            Self::Terminate => Action::Terminate,
            Self::Reset => Action::Reset,
        }
    }
}

/// A node of the tree: what its supervisor knows of it and, if it is an agent, the crash reports that only the agent
/// has.
#[derive(Clone, Debug)]
pub struct TreeNode {
    pub snapshot: Snapshot,
    pub agent: Option<AgentId>,
    /// How the agent's instances crashed, newest first.
    pub crashes: Vec<CrashReport>,
    pub children: Vec<TreeNode>,
}

/// Figures of supervision since the node started.
#[derive(Clone, Debug, Default)]
pub struct SupervisionFigures {
    pub restarts: u64,
    pub by_reason: BTreeMap<&'static str, u64>,
    pub by_path: Vec<PathFigures>,
    /// Children that their supervisor gave up, and that are still down.
    pub failed: u64,
    /// Recovery times over the whole tree, including the node's own parts.
    pub recovery_ms: RecoveryMillis,
}

impl SupervisionFigures {
    /// Counts a child of the tree and everything below it.
    fn add(&mut self, child: &Snapshot) {
        let restarts: u64 = child.restarts.values().sum();
        let failed = child.state == "failed";
        if restarts > 0 || failed || child.backoff_remaining_seconds.is_some() {
            self.restarts += restarts;
            for (reason, count) in &child.restarts {
                *self.by_reason.entry(reason).or_default() += count;
            }
            self.failed += u64::from(failed);
            self.by_path.push(PathFigures {
                path: child.path.clone(),
                state: child.state,
                restarts,
                by_reason: child.restarts.clone(),
                intensity: child.intensity.clone(),
                uptime_seconds: child.uptime_seconds,
                backoff_remaining_seconds: child.backoff_remaining_seconds,
            });
        }
        child.children.iter().for_each(|below| self.add(below));
    }
}

/// The time from an exit until the child runs again, in milliseconds; 0 before the first recovery.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoveryMillis {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl From<RecoveryFigures> for RecoveryMillis {
    fn from(figures: RecoveryFigures) -> Self {
        let millis = |span: std::time::Duration| span.as_secs_f64() * 1_000.0;
        Self {
            count: figures.count,
            p50: millis(figures.p50),
            p99: millis(figures.p99),
            max: millis(figures.max),
        }
    }
}

/// Figures of one path whose child was restarted, waits for a restart, or has failed.
#[derive(Clone, Debug)]
pub struct PathFigures {
    pub path: String,
    pub state: &'static str,
    pub restarts: u64,
    pub by_reason: BTreeMap<&'static str, u64>,
    pub intensity: Option<supervisors::IntensityUse>,
    pub uptime_seconds: Option<f64>,
    pub backoff_remaining_seconds: Option<f64>,
}

/// The agent or group that a verb acts on.
enum Target {
    Agent(Arc<Agent>),
    Group(Arc<Group>),
}

impl Node {
    /// The supervision tree as data, whole or below `path`.
    pub async fn supervision_tree(&self, caller: &Caller, path: Option<&str>) -> Result<TreeNode> {
        caller.may(Action::Read, &Subject::part(path))?;
        let tree = self.tree.get().ok_or_else(|| unavailable("the node starts"))?;
        let whole = tree.snapshot().await;
        let part = match path.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty()) {
            None => whole,
            Some(path) => whole
                .find(path)
                .cloned()
                .ok_or_else(|| Error::PathNotFound(path.to_owned()))?,
        };
        Ok(self.with_agents(part))
    }

    fn with_agents(&self, mut snapshot: Snapshot) -> TreeNode {
        let children = std::mem::take(&mut snapshot.children);
        let is_agent = snapshot.kind == "worker" && snapshot.path.contains("/agents/");
        let agent = is_agent.then(|| self.directory.find(&snapshot.name)).flatten();
        TreeNode {
            agent: agent.as_ref().map(|agent| agent.id),
            crashes: agent.map(|agent| agent.meter.crashes()).unwrap_or_default(),
            children: children.into_iter().map(|child| self.with_agents(child)).collect(),
            snapshot,
        }
    }

    /// Events of supervisors in log order, after `query.since`. They include everything that was durable before the
    /// call.
    pub async fn supervision_events(&self, caller: &Caller, query: EventQuery) -> Result<EventPage> {
        caller.may(Action::ReadEvents, &Subject::part(query.path_prefix.as_deref()))?;
        self.projections.seen_or_stalled(self.durable()).await?;
        Ok(self.projections.events(query).await?)
    }

    /// Restarts by reason and by path, read from the current tree.
    pub async fn supervision_figures(&self, caller: &Caller) -> Result<SupervisionFigures> {
        caller.may(Action::ReadMetrics, &Subject::Node)?;
        let tree = self.tree.get().ok_or_else(|| unavailable("the node starts"))?;
        let mut figures = SupervisionFigures {
            recovery_ms: self.shared.recoveries.figures().into(),
            ..SupervisionFigures::default()
        };
        figures.add(&tree.snapshot().await);
        Ok(figures)
    }

    /// Applies a verb to the agent or group that has this path, name or id.
    pub async fn supervise(self: &Arc<Self>, caller: &Caller, path: &str, verb: Verb) -> Result<()> {
        caller.may(verb.action(), &Subject::Path(path))?;
        let act = async |caller| match self.target(path)? {
            Target::Agent(agent) => self.supervise_agent(&caller, &agent, verb).await,
            Target::Group(group) => self.supervise_group(&caller, &group, verb).await,
        };
        self.once_after(caller, act).await
    }

    fn target(&self, path: &str) -> Result<Target> {
        let path = path.trim_matches('/');
        let name = match path.split_once("/agents/") {
            Some((_, below)) => below.rsplit('/').next().unwrap_or(below),
            None if path.contains('/') || path == "node" => {
                let mend = "is a part of the node itself; the verbs are for agents and groups";
                return Err(Error::invalid("path", mend));
            }
            None => path,
        };
        if let Some(agent) = self.directory.find(name) {
            return Ok(Target::Agent(agent));
        }
        self.directory
            .group(name)
            .map(Target::Group)
            .ok_or_else(|| Error::PathNotFound(path.to_owned()))
    }

    async fn supervise_agent(self: &Arc<Self>, caller: &Caller, agent: &Arc<Agent>, verb: Verb) -> Result<()> {
        let key = agent.id.to_string();
        match verb {
            Verb::Suspend => self.suspend_agent(caller, &key, true).await.map(|_| ()),
            Verb::Resume => self.suspend_agent(caller, &key, false).await.map(|_| ()),
            Verb::Terminate => {
                let at_once = StopOptions {
                    drain: false,
                    ..StopOptions::default()
                };
                self.stop_agent(caller, &key, at_once).await.map(|_| ())
            }
            Verb::Reset => {
                let reset = self.home(agent)?.reset(agent.name.as_str());
                reset.map_err(|_| unavailable("the agent's supervisor is down or restarts"))
            }
            Verb::Restart => {
                if agent.standing.read().is_down() {
                    return self.start_agent(caller, &key).await.map(|_| ());
                }
                let (node, agent) = (self.clone(), agent.clone());
                let work = async move {
                    let _alone = agent.operation.lock().await;
                    if agent.standing.read().is_down() {
                        return Err(Error::InvalidState {
                            agent: agent.id,
                            state: "stopped",
                            mend: "it was stopped meanwhile; start it",
                        });
                    }
                    let restarted = node.home(&agent)?.restart(agent.name.as_str()).await;
                    restarted.map(|_| ()).map_err(|error| Error::DeploymentFailed {
                        kind: "restart",
                        reason: error.to_string(),
                    })
                };
                self.with_room(self.operations.run("restart", work)).await
            }
        }
    }

    async fn supervise_group(self: &Arc<Self>, caller: &Caller, group: &Arc<Group>, verb: Verb) -> Result<()> {
        match verb {
            Verb::Reset => {
                if let Some(handle) = &*group.handle.read() {
                    handle.reset();
                }
                Ok(())
            }
            Verb::Suspend | Verb::Resume | Verb::Terminate => {
                let mut members = self.members(group);
                if verb == Verb::Terminate {
                    members.reverse(); // a supervisor stops its children in this order
                }
                for agent in members {
                    match self.supervise_agent(caller, &agent, verb).await {
                        // A member that was removed meanwhile, or is already in the wanted state, is no error for the
                        // group.
                        Ok(()) | Err(Error::AgentNotFound(_) | Error::InvalidState { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
            Verb::Restart => {
                let (node, group, by) = (self.clone(), group.clone(), caller.principal().clone());
                let work = async move { node.restart_group(&group, &by).await };
                self.with_room(self.operations.run("restart-group", work)).await
            }
        }
    }

    /// Members that failed come back with the group; members that an operator stopped stay stopped.
    async fn restart_group(self: &Arc<Self>, group: &Arc<Group>, by: &ClientName) -> Result<()> {
        let mut revived = Vec::new();
        for agent in self.members(group) {
            let standing = agent.standing.read().clone();
            if let Standing::Failed { why } = standing
                && agent.version().is_some()
            {
                let suspended = agent.document.read().suspended_at.is_some();
                self.command(&agent, Command::Revive { suspended }, by).await?;
                revived.push((agent, why));
            }
        }
        let Err(error) = self.home_of_group(group)?.restart(group.name.as_str()).await else {
            return Ok(());
        };
        for (agent, why) in revived {
            let reason = "group_restart";
            self.command(&agent, Command::GiveUp { reason, why }, by).await?;
        }
        Err(Error::DeploymentFailed {
            kind: "restart",
            reason: error.to_string(),
        })
    }
}

impl Node {
    /// Restarts an agent, and never a group of the same name. Returns the agent's state afterwards.
    pub async fn restart_agent(self: &Arc<Self>, caller: &Caller, key: &str) -> Result<AgentSummary> {
        caller.may(Action::Restart, &Subject::Agent(key))?;
        let id = self.agent(caller, key).await?.summary.id.to_string();
        self.supervise(caller, &id, Verb::Restart).await?;
        Ok(self.agent(caller, &id).await?.summary)
    }
}
