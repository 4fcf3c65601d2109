//! A group restart that is under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::child::ChildId;

#[derive(Debug, Clone)]
pub(super) struct Group {
    /// In start order.
    pub(super) members: Vec<ChildId>,
    /// The child whose exit began it.
    pub(super) trigger: ChildId,
    pub(super) delay: Duration,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone)]
pub(super) enum Stage {
    Stopping,
    Delay {
        until: Instant,
    },
    /// Members that have not been started again yet.
    Starting {
        pending: VecDeque<ChildId>,
    },
}

impl Group {
    pub(super) fn is_member(&self, id: &ChildId) -> bool {
        self.members.contains(id)
    }

    /// Whether its delay is the one that this child's timer ends.
    pub(super) fn is_delayed_by(&self, id: &ChildId) -> bool {
        self.trigger == *id && matches!(self.stage, Stage::Delay { .. })
    }

    /// Whether this child is going to be stopped.
    pub(super) fn will_stop(&self, id: &ChildId) -> bool {
        matches!(self.stage, Stage::Stopping) && self.is_member(id)
    }

    /// A new child, at the right end.
    pub(super) fn append(&mut self, id: &ChildId) {
        self.members.push(Arc::clone(id));
        self.schedule(id);
    }

    /// Whether this child is a member, which is then going to be started.
    pub(super) fn schedule(&mut self, id: &ChildId) -> bool {
        let member = self.is_member(id);
        if let Stage::Starting { pending } = &mut self.stage
            && member
            && !pending.contains(id)
        {
            pending.push_back(Arc::clone(id));
        }
        member
    }

    pub(super) fn forget(&mut self, id: &ChildId) {
        self.members.retain(|member| member != id);
        if let Stage::Starting { pending } = &mut self.stage {
            pending.retain(|member| member != id);
        }
    }
}
