//! What a child is: how it starts, when it comes back, how it stops.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorRef, Message};
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::event::EventStream;
use crate::exit::ExitReason;
use crate::heartbeat::{Heartbeat, Pulse};
use crate::intensity::Intensity;
use crate::position::Position;
use crate::rules::{Restart, Rules, Shutdown};
use crate::scope::Scope;

/// The error of a start, as actors and ractor give it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// How long a worker may take to stop unless its spec says otherwise.
pub const WORKER_SHUTDOWN: Duration = Duration::from_secs(5);

/// How long a worker may take to start unless its spec says otherwise.
pub const WORKER_START: Duration = Duration::from_secs(30);

/// Where an incarnation of a child is being started.
#[derive(Debug, Clone)]
pub struct StartContext {
    /// The supervisor, to be given to `Actor::spawn_linked`.
    pub supervisor: ActorCell,
    /// The child's path in the tree, such as `node/core/journal`.
    pub path: String,
    /// 1 for the first start, one more for each that follows.
    pub incarnation: u64,
    /// The child's sign of life, looked at only when its spec has a heartbeat.
    pub pulse: Pulse,
    pub(crate) scope: Scope,
}

impl StartContext {
    /// The tree's events from now on, for a child that writes them down.
    pub fn events(&self) -> EventStream {
        self.scope.bus.subscribe()
    }
}

/// A child that has started.
///
/// Made of an `ActorCell`, an `ActorRef`, or the pair that `Actor::spawn_linked` returns. The pair is best: ractor drops the
/// state of a failed actor after its exit was announced, and only the task tells when a file or a port it held is free.
#[derive(Debug)]
pub struct Started {
    pub(crate) cell: ActorCell,
    pub(crate) task: Option<JoinHandle<()>>,
}

impl From<ActorCell> for Started {
    fn from(cell: ActorCell) -> Self {
        Self { cell, task: None }
    }
}

impl<M: Message> From<ActorRef<M>> for Started {
    fn from(actor: ActorRef<M>) -> Self {
        actor.get_cell().into()
    }
}

impl<M: Message> From<(ActorRef<M>, JoinHandle<()>)> for Started {
    fn from((actor, task): (ActorRef<M>, JoinHandle<()>)) -> Self {
        Self {
            cell: actor.get_cell(),
            task: Some(task),
        }
    }
}

pub(crate) type StartFuture = Pin<Box<dyn Future<Output = Result<Started, BoxError>> + Send>>;
pub(crate) type StartFn = Arc<dyn Fn(StartContext) -> StartFuture + Send + Sync>;
/// Called when a child will not come back by itself, with its last exit.
pub type GiveUpFn = Arc<dyn Fn(&ExitReason) + Send + Sync>;

/// What a child is below its supervisor.
#[derive(Clone)]
pub(crate) enum Kind {
    Worker,
    Supervisor(Arc<Position>),
}

/// One child: how it starts, when it comes back, how it stops.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) id: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) start: StartFn,
    pub(crate) rules: Rules,
    pub(crate) shutdown: Shutdown,
    pub(crate) start_timeout: Option<Duration>,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) on_give_up: Option<GiveUpFn>,
}

impl ChildSpec {
    /// A worker, permanent unless said otherwise, started anew by `start` for each incarnation.
    ///
    /// `start` should return as soon as the actor is spawned: a start that is given up is dropped, and an actor that it had
    /// linked by then would stay.
    pub fn worker<F, Fut, S>(id: impl Into<String>, start: F) -> Self
    where
        F: Fn(StartContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, BoxError>> + Send + 'static,
        S: Into<Started>,
    {
        let start = Arc::new(move |context| -> StartFuture {
            let started = start(context);
            Box::pin(async move { started.await.map(Into::into) })
        });
        Self {
            id: id.into().into(),
            kind: Kind::Worker,
            start,
            rules: Rules::default(),
            shutdown: Shutdown::Timeout(WORKER_SHUTDOWN),
            start_timeout: Some(WORKER_START),
            heartbeat: None,
            on_give_up: None,
        }
    }

    pub(crate) fn supervisor(id: Arc<str>, position: Arc<Position>, start: StartFn) -> Self {
        Self {
            id,
            kind: Kind::Supervisor(position),
            start,
            rules: Rules::default(),
            shutdown: Shutdown::Infinity,
            start_timeout: None,
            heartbeat: None,
            on_give_up: None,
        }
    }

    /// The child's id, unique among its siblings.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it comes back.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self
    }

    /// How it is stopped.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// How long to wait between restarts; without it they are immediate.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.rules.backoff = Some(backoff);
        self
    }

    /// Whether its own end may end the supervisor, see [`AutoShutdown`].
    #[must_use]
    pub fn significant(mut self, significant: bool) -> Self {
        self.rules.significant = significant;
        self
    }

    /// Its own budget, in place of the one its dynamic supervisor gives to each child. A static supervisor has one budget
    /// for all and ignores this.
    #[must_use]
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.rules.intensity = Some(intensity);
        self
    }

    /// How long its start may take.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// Kills and restarts it when it shows no sign of life through [`StartContext::pulse`].
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }

    /// Called when the child has ended and will not come back by itself: its budget is spent and it is `failed`, or it is
    /// temporary, or transient and ended normally. Not called for a child that was told to stop.
    #[must_use]
    pub fn on_give_up(mut self, call: GiveUpFn) -> Self {
        self.on_give_up = Some(call);
        self
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("rules", &self.rules)
            .field("shutdown", &self.shutdown)
            .finish_non_exhaustive()
    }
}
