//! Snapshots: a tree as data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ractor::ActorStatus;

use crate::core::{Child, ChildId, Core, Mode, State};
use crate::position::{Inner, Position, now};
use crate::spec::Kind;

/// A restart intensity, and how many restarts count toward it now.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct IntensityUse {
    /// The number of restarts within the period.
    pub used: u32,
    /// The number of restarts that are allowed within the period.
    pub limit: u32,
    /// The length of the period in seconds.
    pub period_seconds: f64,
}

/// The last exit of a child.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LastExit {
    /// The label of the exit reason.
    pub reason: &'static str,
    /// When the child ended, in microseconds since 1970.
    pub at: u64,
    /// The exit reason in full.
    pub detail: String,
}

/// A supervisor or worker, with everything below it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Snapshot {
    /// The path from the root, such as `node/core/journal`.
    pub path: String,
    /// `supervisor` or `worker`.
    pub kind: &'static str,
    /// The last part of the path.
    pub name: String,
    /// The strategy of a supervisor, or `dynamic`. Workers have none.
    pub strategy: Option<&'static str>,
    /// `running`, `starting`, `backoff`, `restarting`, `failed`, `stopping`, `stopped` or `suspended`.
    pub state: &'static str,
    /// 1 for the first start, and one more for each start that follows.
    pub incarnation: u64,
    /// How long it has been running, in seconds.
    pub uptime_seconds: Option<f64>,
    /// How often it was restarted, by the label of the exit reason, or by [`SIBLING`](crate::SIBLING) or
    /// [`SUPERVISOR`](crate::SUPERVISOR) where one of those had ended.
    pub restarts: BTreeMap<&'static str, u64>,
    /// The restart intensity of a supervisor, or of a child under a dynamic supervisor. For a dynamic supervisor, `used` is that
    /// of the child that has used most.
    pub intensity: Option<IntensityUse>,
    /// The time until its next start in seconds, while it is in backoff.
    pub backoff_remaining_seconds: Option<f64>,
    /// Its last exit.
    pub last_exit: Option<LastExit>,
    /// Its children, in start order.
    pub children: Vec<Snapshot>,
}

impl Snapshot {
    /// Finds the part of the tree at this path.
    pub fn find(&self, path: &str) -> Option<&Self> {
        if self.path == path {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(path))
    }

    pub(crate) fn of_root(position: &Arc<Position>, path: &str, status: ActorStatus) -> Self {
        let state = match status {
            ActorStatus::Unstarted | ActorStatus::Starting => "starting",
            ActorStatus::Running | ActorStatus::Upgrading => "running",
            ActorStatus::Draining | ActorStatus::Stopping => "stopping",
            ActorStatus::Stopped => "stopped",
        };
        let mut root = Self::blank(path.to_owned(), position.plan.name.to_string());
        root.state = state;
        root.incarnation = 1;
        root.fill(position);
        root
    }

    fn blank(path: String, name: String) -> Self {
        Self {
            path,
            kind: "worker",
            name,
            strategy: None,
            state: "stopped",
            incarnation: 0,
            uptime_seconds: None,
            restarts: BTreeMap::new(),
            intensity: None,
            backoff_remaining_seconds: None,
            last_exit: None,
            children: Vec::new(),
        }
    }

    /// Adds what a supervisor knows of itself and its children. Its lock is released before that of the next supervisor is taken.
    fn fill(&mut self, position: &Arc<Position>) {
        let now = now();
        self.kind = "supervisor";
        let mut below = Vec::new();
        {
            let inner = position.inner.lock();
            self.strategy = Some(inner.core.mode().name());
            self.uptime_seconds = self.uptime_seconds.or_else(|| inner.uptime(now));
            self.intensity = Some(shared_use(&inner.core, now));
            for (id, child) in inner.core.children() {
                self.children.push(Self::of_child(&self.path, id, child, &inner, now));
                below.push(inner.specs.get(id).and_then(|spec| match &spec.kind {
                    Kind::Supervisor(position) => Some(Arc::clone(position)),
                    Kind::Worker => None,
                }));
            }
        }
        for (child, position) in self.children.iter_mut().zip(below) {
            if let Some(position) = position {
                child.fill(&position);
            }
        }
    }

    fn of_child(parent: &str, id: &ChildId, child: &Child, inner: &Inner, now: Instant) -> Self {
        let mut view = Self::blank(format!("{parent}/{id}"), id.to_string());
        view.state = child.state_name();
        view.incarnation = child.incarnation;
        view.restarts.clone_from(&child.restarts);
        match child.state {
            State::Running { since } => view.uptime_seconds = Some(seconds(now, since)),
            State::Backoff { until, .. } => {
                view.backoff_remaining_seconds = Some(seconds(until, now));
            }
            State::Starting { .. }
            | State::Waiting
            | State::Parked { .. }
            | State::Stopping { .. }
            | State::Stopped
            | State::Failed => {}
        }
        if matches!(inner.core.mode(), Mode::Dynamic { .. }) {
            let intensity = child.window.intensity();
            view.intensity = Some(IntensityUse {
                used: child.window.used(now),
                limit: intensity.restarts,
                period_seconds: intensity.period.as_secs_f64(),
            });
        }
        view.last_exit = child.last_exit.as_ref().map(|exit| LastExit {
            reason: exit.reason.label(),
            at: unix_micros(exit.at, now),
            detail: exit.reason.to_string(),
        });
        view
    }
}

/// The intensity of a supervisor, and how much of it is used: by all children together, or under a dynamic supervisor by the
/// child that has used most.
fn shared_use(core: &Core, now: Instant) -> IntensityUse {
    let intensity = core.window().intensity();
    let used = match core.mode() {
        Mode::Static(_) => core.window().used(now),
        Mode::Dynamic { .. } => {
            let most = core.children().values().map(|child| child.window.used(now)).max();
            most.unwrap_or(0)
        }
    };
    IntensityUse {
        used,
        limit: intensity.restarts,
        period_seconds: intensity.period.as_secs_f64(),
    }
}

fn seconds(later: Instant, earlier: Instant) -> f64 {
    later.saturating_duration_since(earlier).as_secs_f64()
}

fn unix_micros(at: Instant, now: Instant) -> u64 {
    let wall = SystemTime::now() - now.saturating_duration_since(at);
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
