//! The position of a supervisor in the tree. The actors of the supervisor, its incarnations, fill it one after the other.
//!
//! It holds what outlives each of them: the declaration of the supervisor, its decision core, and the specifications and actors
//! of its children. Handles, snapshots, the parent supervisor and the next incarnation find them here.

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

/// A function that returns children for a supervisor to start with. It is called for each incarnation of the supervisor.
pub type Populate = Arc<dyn Fn() -> Vec<ChildSpec> + Send + Sync>;

/// The declaration of a supervisor.
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
    /// Checks all child specifications of the tree below.
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

/// Checks a child specification, with everything below it, for a supervisor with this auto-shutdown.
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

/// The actor of a child, or the task that starts or stops it, with the specification that the start was made by.
pub(crate) enum Live {
    Starting {
        task: JoinHandle<()>,
        slot: StartSlot,
        pulse: Pulse,
        spec: Arc<ChildSpec>,
    },
    Running(Started, Arc<ChildSpec>),
    /// The actor is known when it had started before it was stopped.
    Stopping(JoinHandle<Ended>, Option<ActorCell>),
}

impl Live {
    /// The specification that the start was made by, unless the child is being stopped.
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
    /// The child stopped when it was asked to, or had ended before.
    Stopped,
    Killed,
    /// The child was killed and is still running.
    Zombie,
}

/// Where a start task leaves its result, so that a stop which comes before the report of the start finds the actor.
pub(crate) type StartSlot = Arc<Mutex<Option<Result<Started, ExitReason>>>>;

pub(crate) struct Position {
    pub(crate) plan: Plan,
    pub(crate) inner: Mutex<Inner>,
}

/// The part of a position that changes.
pub(crate) struct Inner {
    pub(crate) core: Core,
    pub(crate) specs: HashMap<ChildId, Arc<ChildSpec>>,
    /// The old specifications of children whose new one has not started yet.
    pub(crate) replaced: HashMap<ChildId, Arc<ChildSpec>>,
    pub(crate) live: HashMap<ChildId, Live>,
    /// The actor of the latest incarnation.
    pub(crate) actor: Option<ActorRef<Msg>>,
    pub(crate) meter: Option<Meter>,
    /// The exit reason of the latest incarnation, when it has ended.
    pub(crate) exit: Option<ExitReason>,
    /// The start of the latest incarnation.
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

    /// Begins a new incarnation, with a full restart budget and these children, none of which is running yet. `restarted`: it is
    /// a restart that was counted.
    pub(crate) fn begin_incarnation(
        &self,
        actor: &ActorRef<Msg>,
        meter: Meter,
        children: Vec<ChildSpec>,
        restarted: bool,
    ) {
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
            let core = &mut inner.core;
            let mut declare = || {
                if restarted {
                    core.declare_again(&spec.id, spec.rules)
                } else {
                    core.declare(&spec.id, spec.rules)
                }
            };
            if check_child(&spec, auto_shutdown).is_ok() && declare() {
                inner.specs.insert(Arc::clone(&spec.id), Arc::new(spec));
            } else {
                // Only children of the populate function get here: declared ones were checked before the tree started.
                tracing::error!(
                    supervisor = %self.plan.name,
                    child = %spec.id,
                    "a populated child is left out: its specification is invalid or its id is taken"
                );
            }
        }
    }

    pub(crate) fn actor(&self) -> Option<ActorRef<Msg>> {
        self.inner.lock().actor.clone()
    }

    /// The actor that is running at a path below this supervisor.
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

    /// The actor of a child, while the child is running.
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

/// The time that the decision core is given. It is tokio's, so that tests which pause tokio's time pause it too.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
