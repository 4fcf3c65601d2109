//! A running tree.

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
    /// Starts the tree on the current tokio runtime. Returns when every child has started.
    pub async fn start(self) -> Result<Tree, StartError> {
        self.plan.check()?;
        let bus = Bus::new();
        let path = self.plan.name.to_string();
        let position = Position::new(self.plan);
        let scope = Scope {
            bus: bus.clone(),
            label: None,
        };
        let error = match launch(Arc::clone(&position), None, path.clone(), scope).await {
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

/// A running tree. It goes on running when this is dropped; `shutdown` ends it.
pub struct Tree {
    position: Arc<Position>,
    root: ActorCell,
    path: String,
    bus: Bus,
}

impl Tree {
    /// The whole tree as it is now. Supervisors are read one after the other, each consistent in itself.
    #[expect(
        clippy::unused_async,
        reason = "so that it may come to ask supervisors that are elsewhere"
    )]
    pub async fn snapshot(&self) -> Snapshot {
        Snapshot::of_root(&self.position, &self.path, self.root.get_status())
    }

    /// The handle to the root.
    pub fn handle(&self) -> SupervisorHandle {
        Handle::new(Arc::clone(&self.position))
    }

    /// The actor that runs at a path, such as `node/core/journal`.
    pub fn actor(&self, path: &str) -> Option<ActorCell> {
        let below = path.strip_prefix(self.path.as_str())?;
        match below.strip_prefix('/') {
            Some(below) => self.position.actor_below(below),
            None => below.is_empty().then(|| self.root.clone()),
        }
    }

    /// The events from now on.
    pub fn subscribe(&self) -> EventStream {
        self.bus.subscribe()
    }

    /// Stops the tree in order: the last child first, each with its own time. Returns when all is gone; calling it again
    /// waits for the same end.
    pub async fn shutdown(&self) {
        stop(&self.root);
        let _ = self.root.wait(None).await;
    }

    /// Resolves when the root has ended, with its reason: a meltdown is an error of kind [`crate::MELTDOWN`].
    pub async fn wait(&self) -> ExitReason {
        let _ = self.root.wait(None).await;
        // A supervisor that was killed had no time to say why.
        self.position.inner.lock().exit.clone().unwrap_or(ExitReason::Killed)
    }
}
