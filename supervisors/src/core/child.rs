//! What is known of one child.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exit::ExitReason;
use crate::intensity::{Intensity, Window};
use crate::rules::Rules;

/// A child's id, unique among its siblings.
pub(crate) type ChildId = Arc<str>;

/// The names of all states a child can be in, as people and metrics see them.
pub(crate) const STATES: [&str; 8] = [
    "running",
    "starting",
    "backoff",
    "restarting",
    "failed",
    "stopping",
    "stopped",
    "suspended",
];

const SUSPENDED: usize = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Starting {
        since: Instant,
    },
    Running {
        since: Instant,
    },
    /// Waits for the timer with this token.
    Backoff {
        until: Instant,
        token: u64,
    },
    /// Waits for its siblings to stop or start.
    Waiting,
    /// Ended while it was suspended, and goes on when it is resumed. One whose restart was decided before needs no budget.
    Parked {
        decided: bool,
    },
    Stopping {
        after: After,
    },
    /// Not started yet, ended for good, or terminated.
    Stopped,
    /// Its budget is spent.
    Failed,
}

/// What follows when a child has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The group restart goes on.
    Group,
    Stopped,
    Start,
    Delete,
    /// It was killed for want of a heartbeat, which is an exit like any other.
    HeartbeatLost,
}

/// What becomes of a child whose start fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IfStartFails {
    /// A failed restart, under its supervisor's rules.
    Retry,
    /// It goes: somebody is just adding it, and gets the error instead.
    Forget,
    /// It was down, and stays down.
    StayDown,
    /// It has a new spec: the old one, of these rules, is put back.
    Revert(Rules),
}

impl State {
    /// The index of its name in [`STATES`].
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Running { .. } => 0,
            Self::Starting { .. } => 1,
            Self::Backoff { .. } => 2,
            Self::Waiting => 3,
            Self::Failed => 4,
            Self::Stopping { .. } => 5,
            Self::Stopped => 6,
            Self::Parked { .. } => SUSPENDED,
        }
    }

    /// Whether the child runs or is about to.
    pub(crate) fn is_active(self) -> bool {
        !matches!(self, Self::Stopped | Self::Failed)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LastExit {
    pub(crate) incarnation: u64,
    pub(crate) reason: ExitReason,
    pub(crate) at: Instant,
}

#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) rules: Rules,
    pub(crate) state: State,
    /// Of the latest start, successful or not.
    pub(crate) incarnation: u64,
    /// Its own budget; used only under a dynamic supervisor.
    pub(crate) window: Window,
    /// Restarts since it was last up for long enough.
    pub(crate) streak: u32,
    pub(crate) restarts: BTreeMap<&'static str, u64>,
    pub(crate) last_exit: Option<LastExit>,
    pub(crate) down_since: Option<Instant>,
    pub(crate) started_before: bool,
    pub(crate) if_start_fails: IfStartFails,
    /// Why its new spec did not start, until the old one runs again.
    pub(crate) reverting: Option<ExitReason>,
    /// Terminated by command: what starts all, or a group that is under way, leaves it down.
    pub(crate) held: bool,
    /// Its exit is decided when it is resumed.
    pub(crate) suspended: bool,
}

impl Child {
    pub(crate) fn new(rules: Rules, intensity: Intensity) -> Self {
        Self {
            rules,
            state: State::Stopped,
            incarnation: 0,
            window: Window::new(intensity),
            streak: 0,
            restarts: BTreeMap::new(),
            last_exit: None,
            down_since: None,
            started_before: false,
            if_start_fails: IfStartFails::Retry,
            reverting: None,
            held: false,
            suspended: false,
        }
    }

    pub(crate) fn end(&mut self, reason: ExitReason, uptime: Duration, now: Instant) {
        if self.rules.backoff.is_some_and(|backoff| uptime >= backoff.reset_after) {
            self.streak = 0;
        }
        self.down_since.get_or_insert(now);
        self.last_exit = Some(LastExit {
            incarnation: self.incarnation,
            reason,
            at: now,
        });
    }

    pub(crate) fn last_reason(&self) -> ExitReason {
        self.last_exit
            .as_ref()
            .map_or(ExitReason::Normal, |exit| exit.reason.clone())
    }

    /// The delay before its next restart, which it thereby counts.
    pub(crate) fn next_delay(&mut self, unit: f64) -> Duration {
        let streak = self.streak;
        self.streak = streak.saturating_add(1);
        self.rules
            .backoff
            .map_or(Duration::ZERO, |backoff| backoff.delay(streak, unit))
    }

    /// A full budget, and no delay before the next restart.
    pub(crate) fn restore_budget(&mut self) {
        self.window.clear();
        self.streak = 0;
    }

    /// As if it had never failed.
    pub(crate) fn reset(&mut self) {
        self.restore_budget();
        self.restarts.clear();
    }

    /// The index of its state in [`STATES`]. To be suspended outdoes whatever else it is, except down.
    pub(crate) fn index(&self) -> usize {
        if self.suspended && self.state.is_active() {
            SUSPENDED
        } else {
            self.state.index()
        }
    }

    /// The name of its state. A start that is not the first is a restart to those who look.
    pub(crate) fn state_name(&self) -> &'static str {
        if matches!(self.state, State::Starting { .. }) && self.started_before && !self.suspended {
            "restarting"
        } else {
            STATES[self.index()]
        }
    }
}
