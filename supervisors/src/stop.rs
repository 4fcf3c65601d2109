//! How a child ends: stop, wait, kill, wait, and no longer than that.
//!
//! ractor's `stop_and_wait` returns at once with an error when a stop was already sent, so stopping and waiting are apart
//! here.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorStatus};

use crate::position::{Ended, Live, Position};
use crate::rules::Shutdown;
use crate::spec::{ChildSpec, Kind, Started};
use crate::termination::SHUTDOWN;

/// How long a killed actor may take to be gone. A handler that never yields cannot be killed at all.
pub const KILL_WAIT: Duration = Duration::from_secs(5);

/// Asks an actor to stop.
pub(crate) fn stop(cell: &ActorCell) {
    cell.stop(Some(SHUTDOWN.to_owned()));
}

/// Takes a child from a supervisor that reads its events no more. The event of a stopped actor holds its last state: linked,
/// that state would lie in the supervisor's port until the supervisor itself is gone, with all files and sockets in it.
/// Unlinked, it is dropped with the child, but ractor kills the child no more when the supervisor is killed meanwhile: this does.
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

/// Ends whatever there is of a child, as the spec says that it was started by, or at once. `closing` is the supervisor when
/// it ends itself.
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
                // Its children are starting; they stop in order too.
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

/// Waits until an actor that has ended is really gone, with all it held.
pub(crate) async fn wait_until_gone(started: Started) {
    let all = async {
        let _ = started.cell.wait(None).await;
        if let Some(task) = started.task {
            let _ = task.await;
        }
    };
    let _ = tokio::time::timeout(KILL_WAIT, all).await;
}

/// Ends what a dead supervisor left behind.
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

/// How long the remains of a killed supervisor may take to go before its next incarnation starts anyway.
const REMAINS_WAIT: Duration = Duration::from_secs(30);

impl Position {
    /// Asks the supervisor to stop, and waits until it has.
    pub(crate) async fn stop_actor(&self) {
        if let Some(actor) = self.actor()
            && actor.get_status() != ActorStatus::Stopped
        {
            stop(&actor.get_cell());
            let _ = actor.wait(None).await;
        }
    }

    /// Sees the previous incarnation off. A supervisor that was killed leaves children behind that ractor has killed too,
    /// without waiting for them; the next incarnation must not meet them.
    pub(crate) async fn end_remains(&self) {
        let ended = tokio::time::timeout(REMAINS_WAIT, self.end_all_remains()).await;
        if ended.is_err() {
            tracing::error!(supervisor = %self.plan.name, "remains of a killed supervisor are still there");
        }
    }

    async fn end_all_remains(&self) {
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
            discard(live).await;
        }
        for position in positions {
            Box::pin(position.end_all_remains()).await;
        }
    }
}
