//! Child specifications: how a child starts, when it is restarted, and how it stops.

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

/// The error of a start function, as actors and ractor return it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The shutdown timeout of a worker whose specification does not set another.
pub const WORKER_SHUTDOWN: Duration = Duration::from_secs(5);

/// The start timeout of a worker whose specification does not set another.
pub const WORKER_START: Duration = Duration::from_secs(30);

/// What a start function is given: which incarnation of which child it starts, and under which supervisor.
#[derive(Debug, Clone)]
pub struct StartContext {
    /// The supervisor, for `Actor::spawn_linked`.
    pub supervisor: ActorCell,
    /// The path of the child, such as `node/core/journal`.
    pub path: String,
    /// 1 for the first start, and one more for each start that follows.
    pub incarnation: u64,
    /// The sign of life of the child. It is checked only when the specification has a heartbeat.
    pub pulse: Pulse,
    pub(crate) scope: Scope,
    /// The start is a restart that was counted, and not the first start or a start by command.
    pub(crate) restarted: bool,
}

impl StartContext {
    /// Subscribes to the events of the tree from now on.
    pub fn events(&self) -> EventStream {
        self.scope.bus.subscribe()
    }
}

/// A child that has started.
///
/// It is made from an `ActorCell`, an `ActorRef`, or the pair that `Actor::spawn_linked` returns. The pair is best. ractor drops
/// the state of a failed actor after it has announced the exit, so only the end of the task shows that a file or a port that
/// the actor held is free.
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
/// A function that is called with the exit reason of a child that its supervisor does not restart.
pub type GiveUpFn = Arc<dyn Fn(&ExitReason) + Send + Sync>;

/// Whether a child is a worker or a supervisor. Its supervisor finds the position of the latter here.
#[derive(Clone)]
pub(crate) enum Kind {
    Worker,
    Supervisor(Arc<Position>),
}

/// A child specification: how a child starts, when it is restarted, and how it stops.
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
    /// Makes the specification of a worker. It is permanent, its shutdown timeout is [`WORKER_SHUTDOWN`] and its start timeout
    /// [`WORKER_START`], unless the methods below say otherwise. `start` is called for each incarnation.
    ///
    /// `start` should return as soon as the actor is spawned. When a start takes too long or the child is stopped meanwhile, the
    /// future is dropped, and an actor that it had already spawned would go on running.
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

    /// The id of the child, which is unique among its siblings.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sets when the child is restarted.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self
    }

    /// Sets how the child is stopped.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Sets the delays before restarts. Without a backoff every restart is immediate.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.rules.backoff = Some(backoff);
        self
    }

    /// Sets whether the end of the child may end the supervisor, see [`AutoShutdown`](crate::AutoShutdown).
    #[must_use]
    pub fn significant(mut self, significant: bool) -> Self {
        self.rules.significant = significant;
        self
    }

    /// Sets the restart intensity of this child, in place of the one that its dynamic supervisor has for each child. A supervisor
    /// with declared children has one intensity for all of them and ignores this.
    #[must_use]
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.rules.intensity = Some(intensity);
        self
    }

    /// Sets how long a start may take.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// Has the child killed when it shows no sign of life through [`StartContext::pulse`]. The child is then restarted as after
    /// any other abnormal exit.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }

    /// Sets a function that is called when the child has ended and its supervisor does not restart it. That is so when the child
    /// has exceeded its restart intensity and is `failed`, when it is temporary, and when it is transient and did not end
    /// abnormally. The function is not called for a child that was stopped by a command.
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
