//! Running trees: the start of a supervisor that has none above it, and what can be asked of its tree.

use std::sync::Arc;

use ractor::ActorCell;

use crate::actor::launch;
use crate::error::StartError;
use crate::event::{Bus, EventStream};
use crate::exit::ExitReason;
use crate::handle::Handle;
use crate::position::Position;
use crate::scope::Scope;
use crate::snapshot::Snapshot;
use crate::stop::stop;
use crate::supervisor::{Supervisor, SupervisorHandle};

impl Supervisor {
    /// Starts this supervisor as the root of a tree, on the current tokio runtime. Returns when all its children have started.
    pub async fn start(self) -> Result<Tree, StartError> {
        self.plan.check()?;
        let bus = Bus::new();
        let path = self.plan.name.to_string();
        let position = Position::new(self.plan);
        let scope = Scope {
            bus: bus.clone(),
            label: None,
        };
        let error = match launch(Arc::clone(&position), None, path.clone(), scope, false).await {
            Ok(started) => {
                return Ok(Tree {
                    position,
                    root: started.cell,
                    path,
                    bus,
                });
            }
            Err(error) => error,
        };
        let reason = ExitReason::from_start_error(&path, &*error);
        let ExitReason::StartFailed { path: failed, reason } = reason else {
            return Err(StartError::Interrupted(reason));
        };
        if failed == path {
            return Err(StartError::Interrupted(*reason));
        }
        Err(StartError::Child {
            path: failed,
            reason: *reason,
        })
    }
}

/// A running tree. `shutdown` ends it. When this value is dropped, the tree goes on running.
pub struct Tree {
    position: Arc<Position>,
    root: ActorCell,
    path: String,
    bus: Bus,
}

impl Tree {
    /// Returns the whole tree as it is now. Supervisors are read one after the other. The data of each one is consistent, the
    /// whole need not be.
    #[expect(
        clippy::unused_async,
        reason = "so that a later version can ask supervisors in other processes"
    )]
    pub async fn snapshot(&self) -> Snapshot {
        Snapshot::of_root(&self.position, &self.path, self.root.get_status())
    }

    /// The handle to the root supervisor.
    pub fn handle(&self) -> SupervisorHandle {
        Handle::new(Arc::clone(&self.position))
    }

    /// The actor that is running at a path, such as `node/core/journal`.
    pub fn actor(&self, path: &str) -> Option<ActorCell> {
        let below = path.strip_prefix(self.path.as_str())?;
        match below.strip_prefix('/') {
            Some(below) => self.position.actor_below(below),
            None => below.is_empty().then(|| self.root.clone()),
        }
    }

    /// Subscribes to the events of the tree from now on.
    pub fn subscribe(&self) -> EventStream {
        self.bus.subscribe()
    }

    /// Stops the tree: the last child first, each within its shutdown timeout. Returns when the whole tree has ended. Further
    /// calls wait for the same end.
    pub async fn shutdown(&self) {
        stop(&self.root);
        let _ = self.root.wait(None).await;
    }

    /// Waits until the root supervisor has ended, and returns its exit reason. A meltdown is an error of the kind
    /// [`crate::MELTDOWN`].
    pub async fn wait(&self) -> ExitReason {
        let _ = self.root.wait(None).await;
        // A supervisor that was killed has recorded no exit reason.
        self.position.inner.lock().exit.clone().unwrap_or(ExitReason::Killed)
    }
}
