//! The homes of agents and groups: which supervisor has them as its children.

use ractor::ActorCell;
use supervisors::{Backoff, ChildSpec, DynamicHandle, Restart, StartChildError, SupervisorHandle};

/// The supervisor that has an agent or a group as its child.
#[derive(Clone)]
pub enum Home {
    /// The partition's supervisor: the child has a restart intensity of its own, and no siblings.
    Partition(DynamicHandle),
    Group(SupervisorHandle),
}

impl Home {
    pub async fn start_child(&self, spec: ChildSpec) -> Result<ActorCell, StartChildError> {
        match self {
            Self::Partition(handle) => handle.start_child(spec).await,
            Self::Group(handle) => handle.start_child(spec).await,
        }
    }

    pub async fn restart(&self, id: &str) -> Result<ActorCell, StartChildError> {
        match self {
            Self::Partition(handle) => handle.restart(id).await,
            Self::Group(handle) => handle.restart(id).await,
        }
    }

    pub async fn delete(&self, id: &str) -> Result<(), StartChildError> {
        match self {
            Self::Partition(handle) => handle.delete(id).await,
            Self::Group(handle) => handle.delete(id).await,
        }
    }

    /// Ends a child that an operator stopped. A partition keeps the child's entry with its restart counts. A group forgets the
    /// child, because the group's next restart would bring it back, as in OTP. A child that is gone already is no error.
    pub async fn retire(&self, id: &str) {
        let _ = match self {
            Self::Partition(handle) => handle.terminate(id).await,
            Self::Group(handle) => handle.delete(id).await,
        };
    }

    pub fn reset(&self, id: &str) -> Result<(), StartChildError> {
        match self {
            Self::Partition(handle) => handle.reset(id),
            Self::Group(handle) => handle.reset_child(id),
        }
    }

    /// Changes when a child is restarted, from its next exit on.
    pub fn reconfigure(&self, id: &str, restart: Restart, backoff: Backoff) -> Result<(), StartChildError> {
        match self {
            Self::Partition(handle) => handle.reconfigure_child(id, restart, Some(backoff)),
            Self::Group(handle) => handle.reconfigure_child(id, restart, Some(backoff)),
        }
    }
}
