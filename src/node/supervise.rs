//! The supervision tree for its operators: as data, as events, as figures, and the verbs on what stands in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use supervisors::Snapshot;

use super::{AgentSummary, Caller, Node, StopOptions, unavailable};
use crate::agent::meter::CrashReport;
use crate::agent::{Agent, Command, Standing};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::id::AgentId;
use crate::journal::projections::{EventPage, EventQuery};
use crate::message::ClientName;
use crate::telemetry::RecoveryFigures;

/// What an operator can do to an agent or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// An ordered stop and a start; brings back what has failed or was stopped. Restores the budget.
    Restart,
    /// Messages are taken and no turns.
    Suspend,
    Resume,
    /// A stop without grace: what is queued becomes dead letters.
    Terminate,
    /// The counts of restarts and the budget, as if nothing had happened.
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
}

/// A node of the tree: what its supervisor knows, and of an agent what it alone knows.
#[derive(Clone, Debug)]
pub struct TreeNode {
    pub snapshot: Snapshot,
    pub agent: Option<AgentId>,
    /// How the agent's instances broke, newest first.
    pub crashes: Vec<CrashReport>,
    pub children: Vec<TreeNode>,
}

/// Figures of supervision since the node started.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SupervisionFigures {
    pub restarts: u64,
    pub by_reason: BTreeMap<&'static str, u64>,
    pub by_path: Vec<PathFigures>,
    /// Children that were given up and are down.
    pub failed: u64,
    /// Of everything in the tree, the node's own parts too.
    pub recovery_ms: RecoveryMillis,
}

/// From the exit to running again, in milliseconds; 0 before the first.
#[derive(Clone, Copy, Debug, Default, Serialize)]
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

/// Of one path that was restarted, waits for a restart, or has failed.
#[derive(Clone, Debug, Serialize)]
pub struct PathFigures {
    pub path: String,
    pub state: &'static str,
    pub restarts: u64,
    pub by_reason: BTreeMap<&'static str, u64>,
    pub intensity: Option<supervisors::IntensityUse>,
    pub uptime_seconds: Option<f64>,
    pub backoff_remaining_seconds: Option<f64>,
}

/// What a verb is done to.
enum Target {
    Agent(Arc<Agent>),
    Group(Arc<Group>),
}

impl Node {
    /// The supervision tree as data, whole or below `path`.
    pub async fn supervision_tree(&self, path: Option<&str>) -> Result<TreeNode> {
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

    /// Events of supervisors in their order, after `query.since`. It has seen everything that was durable before the call.
    pub async fn supervision_events(&self, query: EventQuery) -> Result<EventPage> {
        self.projections.seen_or_stalled(self.durable()).await?;
        Ok(self.projections.events(query).await?)
    }

    /// Restarts by reason and by path, from the tree as it stands.
    pub async fn supervision_figures(&self) -> Result<SupervisionFigures> {
        fn add(node: &Snapshot, figures: &mut SupervisionFigures) {
            let restarts: u64 = node.restarts.values().sum();
            let failed = node.state == "failed";
            if restarts > 0 || failed || node.backoff_remaining_seconds.is_some() {
                figures.restarts += restarts;
                for (reason, count) in &node.restarts {
                    *figures.by_reason.entry(reason).or_default() += count;
                }
                figures.failed += u64::from(failed);
                figures.by_path.push(PathFigures {
                    path: node.path.clone(),
                    state: node.state,
                    restarts,
                    by_reason: node.restarts.clone(),
                    intensity: node.intensity.clone(),
                    uptime_seconds: node.uptime_seconds,
                    backoff_remaining_seconds: node.backoff_remaining_seconds,
                });
            }
            node.children.iter().for_each(|child| add(child, figures));
        }
        let tree = self.tree.get().ok_or_else(|| unavailable("the node starts"))?;
        let mut figures = SupervisionFigures {
            recovery_ms: self.shared.recoveries.figures().into(),
            ..SupervisionFigures::default()
        };
        add(&tree.snapshot().await, &mut figures);
        Ok(figures)
    }

    /// Does a verb to the agent or group at a path of the tree, or of a name or id.
    pub async fn supervise(self: &Arc<Self>, caller: &Caller, path: &str, verb: Verb) -> Result<()> {
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
                    members.reverse(); // as a supervisor stops its children
                }
                for agent in members {
                    match self.supervise_agent(caller, &agent, verb).await {
                        // A member that was removed or is down already is where the verb wants it, or nowhere.
                        Ok(()) | Err(Error::AgentNotFound(_) | Error::InvalidState { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
            Verb::Restart => {
                let (node, group, by) = (self.clone(), group.clone(), caller.principal.clone());
                let work = async move { node.restart_group(&group, &by).await };
                self.with_room(self.operations.run("restart-group", work)).await
            }
        }
    }

    /// Members that failed come back with the group; those that somebody stopped do not.
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
    /// Restarts an agent, and never a group of that name; answers with how the agent is then.
    pub async fn restart_agent(self: &Arc<Self>, caller: &Caller, key: &str) -> Result<AgentSummary> {
        let id = self.agent(key).await?.summary.id.to_string();
        self.supervise(caller, &id, Verb::Restart).await?;
        Ok(self.agent(&id).await?.summary)
    }
}
