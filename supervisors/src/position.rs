//! A supervisor's position in the tree. It outlives the actor that fills it: handles, snapshots and the next incarnation of
//! the supervisor find its declaration, its decisions and its children here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ractor::{ActorCell, ActorRef, ActorStatus};
use tokio::task::JoinHandle;

use crate::actor::Msg;
use crate::core::{ChildId, Core, Mode};
use crate::event::Bus;
use crate::exit::ExitReason;
use crate::heartbeat::Pulse;
use crate::intensity::Intensity;
use crate::meter::Meter;
use crate::rules::{AutoShutdown, Restart};
use crate::spec::{ChildSpec, Kind, Started};
use crate::stop::{self, Ended};

/// Children a supervisor starts with besides those declared, asked anew for each of its incarnations.
pub type Populate = Arc<dyn Fn() -> Vec<ChildSpec> + Send + Sync>;

/// A declaration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Two siblings have one id.
    #[error("{0} is declared twice")]
    DuplicateId(String),
    /// A permanent child never ends by itself, so it cannot be significant.
    #[error("{0} is permanent and cannot be significant")]
    PermanentSignificant(String),
    /// The supervisor does not end with its children.
    #[error("{0} is significant and its supervisor has no auto-shutdown")]
    SignificantWithoutAutoShutdown(String),
    /// It would break the paths that name children in events and snapshots.
    #[error("{0:?} is empty or holds a slash")]
    Id(String),
}

/// What a supervisor was declared to be.
pub(crate) struct Plan {
    pub(crate) name: Arc<str>,
    pub(crate) mode: Mode,
    pub(crate) budget: Intensity,
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

/// What a supervisor gives on to those below it.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) bus: Bus,
    /// The metric label of all below a dynamic supervisor, whose children may be named by users.
    pub(crate) label: Option<Arc<str>>,
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
    fn spec(&self) -> Option<&Arc<ChildSpec>> {
        match self {
            Self::Starting { spec, .. } | Self::Running(_, spec) => Some(spec),
            Self::Stopping(..) => None,
        }
    }
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

/// How long the remains of a killed supervisor may take to go before its next incarnation starts anyway.
const BURIAL: Duration = Duration::from_secs(30);

impl Position {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        let core = Core::new(plan.mode, plan.budget, plan.auto_shutdown, rand::random());
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
    pub(crate) fn renew(&self, actor: &ActorRef<Msg>, meter: Meter, children: Vec<ChildSpec>) {
        let mut inner = self.inner.lock();
        inner.core = Core::succeed(&mut inner.core, rand::random());
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

    /// Asks the supervisor to stop, and waits until it has.
    pub(crate) async fn stop_actor(&self) {
        if let Some(actor) = self.actor()
            && actor.get_status() != ActorStatus::Stopped
        {
            stop::stop(&actor.get_cell());
            let _ = actor.wait(None).await;
        }
    }

    /// Sees the previous incarnation off. A supervisor that was killed leaves children behind that ractor has killed too,
    /// without waiting for them; the next incarnation must not meet them.
    pub(crate) async fn bury(&self) {
        let buried = tokio::time::timeout(BURIAL, self.bury_all()).await;
        if buried.is_err() {
            tracing::error!(supervisor = %self.plan.name, "remains of a killed supervisor are still there");
        }
    }

    async fn bury_all(&self) {
        self.stop_actor().await;
        let (left, positions) = {
            let mut inner = self.inner.lock();
            let left: Vec<Live> = inner.live.drain().map(|(_, live)| live).collect();
            // A child that was being replaced runs by another spec than the one it has.
            let specs = inner.specs.values().chain(left.iter().filter_map(Live::spec));
            let positions: Vec<Arc<Self>> = specs
                .filter_map(|spec| match &spec.kind {
                    Kind::Supervisor(position) => Some(Arc::clone(position)),
                    Kind::Worker => None,
                })
                .collect();
            (left, positions)
        };
        for live in left {
            stop::discard(live).await;
        }
        for position in positions {
            Box::pin(position.bury_all()).await;
        }
    }
}

/// The time of the decision core. Taken from tokio, so that paused time is paused here too.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
