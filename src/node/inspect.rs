//! The supervision tree for operators to look at: as data, as events, and as figures.
//!
//! A supervisor knows its children and nothing of agents. What it shows is completed here from the directory: an agent that was
//! suspended is `suspended` while its instances run, and an agent or group that is down is in the tree also when no supervisor
//! keeps a specification of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use supervisors::Snapshot;

use super::{Node, unavailable};
use crate::agent::meter::CrashReport;
use crate::agent::{Agent, Standing};
use crate::directory::Place;
use crate::error::{Error, Result};
use crate::id::AgentId;
use crate::journal::projections::{EventPage, EventQuery};
use crate::principal::{Action, Caller, Subject};
use crate::telemetry::RecoveryFigures;

/// A node of the tree: what its supervisor knows of it and, if it is an agent or an instance of one, the crash reports that only
/// the agent has.
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
    /// Children that were given up, and that are still down.
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

impl Node {
    /// The supervision tree as data, whole or below `path`.
    pub async fn supervision_tree(&self, caller: &Caller, path: Option<&str>) -> Result<TreeNode> {
        caller.may(Action::Read, &Subject::part(path))?;
        let whole = self.completed_tree().await?;
        let part = match path.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty()) {
            None => whole,
            Some(path) => whole
                .find(path)
                .cloned()
                .or_else(|| self.several_instances(path, &whole))
                .ok_or_else(|| Error::PathNotFound(path.to_owned()))?,
        };
        Ok(self.with_agents(part))
    }

    /// Events of supervisors in log order, after `query.since`. They include everything that was durable before the
    /// call.
    pub async fn supervision_events(&self, caller: &Caller, mut query: EventQuery) -> Result<EventPage> {
        caller.may(Action::ReadEvents, &Subject::part(query.path_prefix.as_deref()))?;
        // Several instances have paths beside that of their agent and not below it.
        if let Some(Place::Agent(agent)) = query.path_prefix.as_deref().and_then(|path| self.directory.at(path))
            && agent.children().len() > 1
        {
            query.path_prefix = None;
            query.agent = Some(agent.id);
        }
        self.projections.seen_or_stalled(self.durable()).await?;
        Ok(self.projections.events(query).await?)
    }

    /// Restarts by reason and by path, read from the current tree.
    pub async fn supervision_figures(&self, caller: &Caller) -> Result<SupervisionFigures> {
        caller.may(Action::ReadMetrics, &Subject::Node)?;
        let mut figures = SupervisionFigures {
            recovery_ms: self.shared.recoveries.figures().into(),
            ..SupervisionFigures::default()
        };
        figures.add(&self.completed_tree().await?);
        Ok(figures)
    }

    /// Whether the node has a part with this path that is no agent and no group.
    pub(super) async fn is_own_part(&self, path: &str) -> bool {
        let Some(tree) = self.tree.get() else { return false };
        let whole = tree.snapshot().await;
        whole.find(path).is_some() && self.directory.at(path).is_none()
    }

    /// The tree as its supervisors know it, with what the directory knows besides.
    async fn completed_tree(&self) -> Result<Snapshot> {
        let tree = self.tree.get().ok_or_else(|| unavailable("the node starts"))?;
        let mut whole = tree.snapshot().await;
        let mut absent = self.absent(&whole);
        self.complete(&mut whole, &mut absent);
        Ok(whole)
    }

    /// The agents and groups that no supervisor has as a child, by the path of the supervisor that had or will have it.
    fn absent(&self, whole: &Snapshot) -> HashMap<String, Vec<Snapshot>> {
        let mut known = HashSet::new();
        let mut unseen = vec![whole];
        while let Some(part) = unseen.pop() {
            known.insert(part.path.as_str());
            unseen.extend(&part.children);
        }
        let mut absent: HashMap<String, Vec<Snapshot>> = HashMap::new();
        for group in self.directory.groups() {
            let path = self.directory.path_of_group(&group);
            if !known.contains(path.as_str()) {
                let home = self.directory.home_of_group(&group);
                absent
                    .entry(home)
                    .or_default()
                    .push(down("supervisor", path, "stopped"));
            }
        }
        for agent in self.directory.all() {
            let state = match &*agent.standing.read() {
                Standing::Loaded { before: None } => continue, // its deploy has not started an instance yet
                Standing::Loaded { .. } => "starting",
                Standing::Running | Standing::Suspended => "restarting",
                Standing::Draining { .. } => "stopping",
                Standing::Stopped => "stopped",
                Standing::Failed { .. } => "failed",
            };
            let home = self.directory.home_of(&agent);
            for (child, _) in agent.children() {
                let path = format!("{home}/{child}");
                if !known.contains(path.as_str()) {
                    absent
                        .entry(home.clone())
                        .or_default()
                        .push(down("worker", path, state));
                }
            }
        }
        absent
    }

    /// Completes a part of the tree and everything below it.
    fn complete(&self, part: &mut Snapshot, absent: &mut HashMap<String, Vec<Snapshot>>) {
        part.children.extend(absent.remove(&part.path).unwrap_or_default());
        for child in &mut part.children {
            self.complete(child, absent);
        }
        match self.directory.at(&part.path) {
            Some(Place::Agent(agent) | Place::Instance(agent, _)) => part.state = state_of(&agent, part.state),
            Some(Place::Group(_)) if part.state == "running" && all_suspended(part) => part.state = "suspended",
            Some(Place::Group(_)) | None => {}
        }
    }

    /// A node for the path of an agent that has several instances, which are children beside each other.
    fn several_instances(&self, path: &str, whole: &Snapshot) -> Option<Snapshot> {
        const STATES: [&str; 8] = [
            "running",
            "suspended",
            "starting",
            "restarting",
            "backoff",
            "stopping",
            "failed",
            "stopped",
        ];
        let Some(Place::Agent(agent)) = self.directory.at(path) else {
            return None;
        };
        let home = self.directory.home_of(&agent);
        let children = agent.children().into_iter();
        let instances: Vec<_> = children
            .filter_map(|(child, _)| whole.find(&format!("{home}/{child}")).cloned())
            .collect();
        let has = |state: &&&str| instances.iter().any(|instance| instance.state == **state);
        let mut node = down("worker", path.to_owned(), STATES.iter().find(has)?);
        for instance in &instances {
            node.incarnation = node.incarnation.max(instance.incarnation);
            for (reason, count) in &instance.restarts {
                *node.restarts.entry(reason).or_default() += count;
            }
            let longer = |up: &f64| node.uptime_seconds.is_none_or(|longest| *up > longest);
            node.uptime_seconds = instance.uptime_seconds.filter(longer).or(node.uptime_seconds);
        }
        node.children = instances;
        Some(node)
    }

    fn with_agents(&self, mut snapshot: Snapshot) -> TreeNode {
        let children = std::mem::take(&mut snapshot.children);
        let (agent, crashes) = match self.directory.at(&snapshot.path) {
            Some(Place::Agent(agent)) => (Some(agent.id), agent.meter.crashes()),
            Some(Place::Instance(agent, child)) => {
                let (mut crashes, instance) = (agent.meter.crashes(), agent.instance(&child));
                crashes.retain(|crash| Some(crash.instance) == instance);
                (Some(agent.id), crashes)
            }
            Some(Place::Group(_)) | None => (None, Vec::new()),
        };
        TreeNode {
            agent,
            crashes,
            children: children.into_iter().map(|child| self.with_agents(child)).collect(),
            snapshot,
        }
    }
}

/// The state of an agent's instance, of which its supervisor says `state`.
fn state_of(agent: &Arc<Agent>, state: &'static str) -> &'static str {
    match (&*agent.standing.read(), state) {
        (Standing::Suspended, "running") => "suspended",
        // The supervisor of its group has ended, and all its children with it.
        (Standing::Failed { .. }, "stopped") => "failed",
        _ => state,
    }
}

/// Whether agents below this group are suspended, and none of them runs or is about to.
fn all_suspended(group: &Snapshot) -> bool {
    let rests = |child: &Snapshot| match child.kind {
        "worker" => matches!(child.state, "suspended" | "stopped" | "failed"),
        _ => child.state != "running",
    };
    group.children.iter().all(rests) && group.children.iter().any(|child| child.state == "suspended")
}

/// A node that no supervisor has as a child.
fn down(kind: &'static str, path: String, state: &'static str) -> Snapshot {
    Snapshot {
        name: path.rsplit('/').next().unwrap_or(&path).to_owned(),
        path,
        kind,
        strategy: None,
        state,
        incarnation: 0,
        uptime_seconds: None,
        restarts: BTreeMap::new(),
        intensity: None,
        backoff_remaining_seconds: None,
        last_exit: None,
        children: Vec::new(),
    }
}
