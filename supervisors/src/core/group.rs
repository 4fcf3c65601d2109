//! The state of a group restart that is under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::child::ChildId;

/// A group restart that is under way.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The children that it restarts, in start order.
    pub(super) members: Vec<ChildId>,
    /// The child whose exit caused it.
    pub(super) trigger: ChildId,
    /// The delay between stopping and starting.
    pub(super) delay: Duration,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone)]
pub(super) enum Stage {
    Stopping,
    Delay {
        until: Instant,
    },
    Starting {
        /// The members that have not been started again yet.
        pending: VecDeque<ChildId>,
    },
}

impl Group {
    pub(super) fn is_member(&self, id: &ChildId) -> bool {
        self.members.contains(id)
    }

    /// Whether the timer of this child ends the delay of the group restart.
    pub(super) fn is_delayed_by(&self, id: &ChildId) -> bool {
        self.trigger == *id && matches!(self.stage, Stage::Delay { .. })
    }

    /// Whether the group restart is going to stop this child.
    pub(super) fn will_stop(&self, id: &ChildId) -> bool {
        matches!(self.stage, Stage::Stopping) && self.is_member(id)
    }

    /// Adds a new child as the last member.
    pub(super) fn append(&mut self, id: &ChildId) {
        self.members.push(Arc::clone(id));
        self.schedule(id);
    }

    /// Has a child started with the others if it is a member, and returns whether it is one.
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

    /// Removes a child from the members.
    pub(super) fn forget(&mut self, id: &ChildId) {
        self.members.retain(|member| member != id);
        if let Stage::Starting { pending } = &mut self.stage {
            pending.retain(|member| member != id);
        }
    }
}
