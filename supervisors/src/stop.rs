//! How a child is stopped: it is asked to stop, waited for, killed, and waited for again, each for a limited time.
//!
//! ractor's `stop_and_wait` returns an error at once when a stop was already sent. Stopping and waiting are therefore two steps
//! here.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorStatus};

use crate::position::{Ended, Live, Position};
use crate::rules::Shutdown;
use crate::spec::{ChildSpec, Kind, Started};
use crate::termination::SHUTDOWN;

/// How long a supervisor waits for a child that it has killed. A handler that never yields cannot be killed at all.
pub const KILL_WAIT: Duration = Duration::from_secs(5);

/// Asks an actor to stop.
pub(crate) fn stop(cell: &ActorCell) {
    cell.stop(Some(SHUTDOWN.to_owned()));
}

/// A child that is no longer linked to its supervisor, because the supervisor is ending and reads no more events.
///
/// The event of a stopped actor contains its last state. While the child is linked, that state with all its files and sockets
/// would stay in the supervisor's port until the supervisor has ended. Without the link the state is dropped with the child,
/// but ractor no longer kills the child when the supervisor is killed meanwhile. Dropping this guard does.
struct Unlinked(Option<ActorCell>);

impl Unlinked {
    fn from(supervisor: Option<&ActorCell>, child: &ActorCell) -> Self {
        let Some(supervisor) = supervisor else {
            return Self(None);
        };
        child.unlink(supervisor.clone());
        Self(Some(child.clone()))
    }
}

impl Drop for Unlinked {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            child.kill();
        }
    }
}

/// Ends a child in any state, as the specification says that its start was made by, or by a kill if `kill` is set. `closing` is
/// the supervisor, if the child ends because the supervisor does.
pub(crate) async fn end(live: Live, kill: bool, closing: Option<&ActorCell>) -> Ended {
    let shutdown = |spec: &ChildSpec| if kill { Shutdown::BrutalKill } else { spec.shutdown };
    match live {
        Live::Running(started, spec) => {
            let _unlinked = Unlinked::from(closing, &started.cell);
            end_actor(started, shutdown(&spec)).await
        }
        Live::Stopping(task, cell) => {
            let _unlinked = cell.map(|cell| Unlinked::from(closing, &cell));
            task.await.unwrap_or(Ended::Zombie)
        }
        Live::Starting { task, slot, spec, .. } => {
            task.abort();
            let _ = task.await;
            let started = slot.lock().take();
            match (started, &spec.kind) {
                (Some(Ok(started)), _) => {
                    let _unlinked = Unlinked::from(closing, &started.cell);
                    end_actor(started, shutdown(&spec)).await
                }
                // The children of this supervisor are starting. They are stopped in order too.
                (_, Kind::Supervisor(position)) => {
                    position.stop_actor().await;
                    Ended::Stopped
                }
                (_, Kind::Worker) => Ended::Stopped,
            }
        }
    }
}

async fn end_actor(started: Started, shutdown: Shutdown) -> Ended {
    let cell = &started.cell;
    let asked_in_vain = match shutdown {
        Shutdown::BrutalKill => true,
        Shutdown::Timeout(limit) => {
            stop(cell);
            cell.wait(Some(limit)).await.is_err()
        }
        Shutdown::Infinity => {
            stop(cell);
            cell.wait(None).await.is_err()
        }
    };
    if asked_in_vain {
        cell.kill();
        if cell.wait(Some(KILL_WAIT)).await.is_err() {
            return Ended::Zombie;
        }
    }
    wait_until_gone(started).await;
    if asked_in_vain { Ended::Killed } else { Ended::Stopped }
}

/// Waits until an actor that has ended is dropped, with everything that it held.
pub(crate) async fn wait_until_gone(started: Started) {
    let all = async {
        let _ = started.cell.wait(None).await;
        if let Some(task) = started.task {
            let _ = task.await;
        }
    };
    let _ = tokio::time::timeout(KILL_WAIT, all).await;
}

/// Kills a child that a dead supervisor has left behind.
pub(crate) async fn discard(live: Live) {
    match live {
        Live::Running(started, _) => {
            started.cell.kill();
            wait_until_gone(started).await;
        }
        Live::Stopping(task, _) => {
            let _ = task.await;
        }
        Live::Starting { task, slot, .. } => {
            task.abort();
            let _ = task.await;
            let started = slot.lock().take();
            if let Some(Ok(started)) = started {
                started.cell.kill();
                wait_until_gone(started).await;
            }
        }
    }
}

/// How long the next incarnation of a killed supervisor waits until the children of the killed one have ended.
const REMAINS_WAIT: Duration = Duration::from_secs(30);

impl Position {
    /// Asks the supervisor to stop, and waits until it has ended.
    pub(crate) async fn stop_actor(&self) {
        if let Some(actor) = self.actor()
            && actor.get_status() != ActorStatus::Stopped
        {
            stop(&actor.get_cell());
            let _ = actor.wait(None).await;
        }
    }

    /// Ends what is left of the previous incarnation. When a supervisor is killed, ractor kills its children too but does not
    /// wait for them, and the next incarnation must not start while they are still running.
    pub(crate) async fn end_remains(&self) {
        let ended = tokio::time::timeout(REMAINS_WAIT, self.end_all_remains()).await;
        if ended.is_err() {
            tracing::error!(supervisor = %self.plan.name, "children of a killed supervisor are still running; its next incarnation starts anyway");
        }
    }

    async fn end_all_remains(&self) {
        self.stop_actor().await;
        let (left, positions) = {
            let mut inner = self.inner.lock();
            let left: Vec<Live> = inner.live.drain().map(|(_, live)| live).collect();
            // The incarnation of a child that was being replaced belongs to the specification that its start was made by.
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
            discard(live).await;
        }
        for position in positions {
            Box::pin(position.end_all_remains()).await;
        }
    }
}
