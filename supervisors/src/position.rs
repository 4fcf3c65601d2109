//! A supervisor's position in the tree. It outlives the actor that fills it: handles, snapshots and the next incarnation of
//! the supervisor find its declaration, its decisions and its children here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use ractor::{ActorCell, ActorRef};
use tokio::task::JoinHandle;

use crate::core::{ChildId, Core, Mode};
use crate::error::SpecError;
use crate::exit::ExitReason;
use crate::heartbeat::Pulse;
use crate::intensity::Intensity;
use crate::message::Msg;
use crate::meter::Meter;
use crate::rules::{AutoShutdown, Restart};
use crate::spec::{ChildSpec, Kind, Started};

/// Children a supervisor starts with besides those declared, asked anew for each of its incarnations.
pub type Populate = Arc<dyn Fn() -> Vec<ChildSpec> + Send + Sync>;

/// What a supervisor was declared to be.
pub(crate) struct Plan {
    pub(crate) name: Arc<str>,
    pub(crate) mode: Mode,
    pub(crate) intensity: Intensity,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) label: Option<&'static str>,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) populate: Option<Populate>,
}

impl Plan {
    /// Whether the whole tree below can be.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        check_id(&self.name)?;
        for (index, child) in self.children.iter().enumerate() {
            if self.children[..index].iter().any(|other| other.id == child.id) {
                return Err(SpecError::DuplicateId(child.id.to_string()));
            }
            check_child(child, self.auto_shutdown)?;
        }
        Ok(())
    }
}

pub(crate) fn check_child(child: &ChildSpec, auto: AutoShutdown) -> Result<(), SpecError> {
    check_id(&child.id)?;
    let id = || child.id.to_string();
    if child.rules.significant && child.rules.restart == Restart::Permanent {
        return Err(SpecError::PermanentSignificant(id()));
    }
    if child.rules.significant && auto == AutoShutdown::Never {
        return Err(SpecError::SignificantWithoutAutoShutdown(id()));
    }
    match &child.kind {
        Kind::Worker => Ok(()),
        Kind::Supervisor(position) => position.plan.check(),
    }
}

fn check_id(id: &str) -> Result<(), SpecError> {
    if id.is_empty() || id.contains('/') {
        return Err(SpecError::Id(id.to_owned()));
    }
    Ok(())
}

/// What runs, or is about to, for a child, with the spec that it was started by.
pub(crate) enum Live {
    Starting {
        task: JoinHandle<()>,
        slot: StartSlot,
        pulse: Pulse,
        spec: Arc<ChildSpec>,
    },
    Running(Started, Arc<ChildSpec>),
    /// The actor is known when it had started.
    Stopping(JoinHandle<Ended>, Option<ActorCell>),
}

impl Live {
    /// The spec that it was started by, unless it is on its way out.
    pub(crate) fn spec(&self) -> Option<&Arc<ChildSpec>> {
        match self {
            Self::Starting { spec, .. } | Self::Running(_, spec) => Some(spec),
            Self::Stopping(..) => None,
        }
    }
}

/// How a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It stopped when asked, or was gone already.
    Stopped,
    Killed,
    /// It is still there.
    Zombie,
}

/// Where a start leaves its result, so that a stop which overtakes it finds the actor.
pub(crate) type StartSlot = Arc<Mutex<Option<Result<Started, ExitReason>>>>;

pub(crate) struct Position {
    pub(crate) plan: Plan,
    pub(crate) inner: Mutex<Inner>,
}

pub(crate) struct Inner {
    pub(crate) core: Core,
    pub(crate) specs: HashMap<ChildId, Arc<ChildSpec>>,
    /// The specs of children whose new ones have not started yet.
    pub(crate) replaced: HashMap<ChildId, Arc<ChildSpec>>,
    pub(crate) live: HashMap<ChildId, Live>,
    pub(crate) actor: Option<ActorRef<Msg>>,
    pub(crate) meter: Option<Meter>,
    pub(crate) exit: Option<ExitReason>,
    pub(crate) since: Option<Instant>,
}

impl Position {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        let core = Core::new(plan.mode, plan.intensity, plan.auto_shutdown, rand::random());
        Arc::new(Self {
            plan,
            inner: Mutex::new(Inner {
                core,
                specs: HashMap::new(),
                replaced: HashMap::new(),
                live: HashMap::new(),
                actor: None,
                meter: None,
                exit: None,
                since: None,
            }),
        })
    }

    /// Begins a new incarnation: a fresh budget, and no child running.
    pub(crate) fn begin_incarnation(&self, actor: &ActorRef<Msg>, meter: Meter, children: Vec<ChildSpec>) {
        let mut inner = self.inner.lock();
        inner.core = Core::next_incarnation(&mut inner.core, rand::random());
        let auto_shutdown = inner.core.auto_shutdown();
        inner.specs.clear();
        inner.replaced.clear();
        inner.live.clear();
        inner.actor = Some(actor.clone());
        inner.meter = Some(meter);
        inner.exit = None;
        inner.since = Some(now());
        for spec in children {
            let checked = check_child(&spec, auto_shutdown);
            if checked.is_ok() && inner.core.declare(&spec.id, spec.rules) {
                inner.specs.insert(Arc::clone(&spec.id), Arc::new(spec));
            } else {
                // Only a populate function gets here: a declared tree was checked before it started.
                tracing::error!(supervisor = %self.plan.name, child = %spec.id, "left out: invalid or declared twice");
            }
        }
    }

    pub(crate) fn actor(&self) -> Option<ActorRef<Msg>> {
        self.inner.lock().actor.clone()
    }

    /// The actor at a path below this supervisor.
    pub(crate) fn actor_below(&self, path: &str) -> Option<ActorCell> {
        let Some((id, below)) = path.split_once('/') else {
            return self.cell_of(path);
        };
        let inner = self.inner.lock();
        let child = match &inner.specs.get(id)?.kind {
            Kind::Supervisor(position) => Arc::clone(position),
            Kind::Worker => return None,
        };
        drop(inner);
        child.actor_below(below)
    }

    pub(crate) fn cell_of(&self, id: &str) -> Option<ActorCell> {
        self.inner.lock().running(id)
    }
}

impl Inner {
    pub(crate) fn kind_of(&self, id: &ChildId) -> &'static str {
        match self.specs.get(id).map(|spec| &spec.kind) {
            Some(Kind::Supervisor(_)) => "supervisor",
            Some(Kind::Worker) | None => "worker",
        }
    }

    pub(crate) fn running(&self, id: &str) -> Option<ActorCell> {
        match self.live.get(id) {
            Some(Live::Running(started, _)) => Some(started.cell.clone()),
            Some(Live::Starting { .. } | Live::Stopping(..)) | None => None,
        }
    }

    pub(crate) fn uptime(&self, now: Instant) -> Option<f64> {
        let since = self.since?;
        Some(now.saturating_duration_since(since).as_secs_f64())
    }
}

/// The time of the decision core. Taken from tokio, so that paused time is paused here too.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
