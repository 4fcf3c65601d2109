//! The state of one child.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exit::ExitReason;
use crate::intensity::{Intensity, Window};
use crate::rules::Rules;

/// A child's id, unique among its siblings.
pub(crate) type ChildId = Arc<str>;

/// The names of the states of a child in snapshots and metrics.
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
    /// The child waits for the timer with this token.
    Backoff {
        until: Instant,
        token: u64,
    },
    /// The child has ended and waits for its siblings, to be started with them or for the decision about its exit.
    Waiting,
    /// The child ended while it was suspended, or was due to start. The supervisor goes on when the child is resumed: it starts
    /// the child if its restart was `decided` and counted before, and otherwise decides about the exit.
    Parked {
        decided: bool,
    },
    Stopping {
        after: After,
    },
    /// The child has not started yet, has ended for good, or was terminated.
    Stopped,
    /// The child of a dynamic supervisor has exceeded its restart intensity.
    Failed,
}

/// What follows when a child that is being stopped has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The group restart continues.
    Group,
    /// The child stays down.
    Stopped,
    /// The child is started again, by command.
    Start,
    /// The child and its specification are removed.
    Delete,
    /// The child was killed because its heartbeat was lost, and the supervisor decides about this exit as about any other.
    HeartbeatLost,
}

/// What follows when the next start of a child fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IfStartFails {
    /// The supervisor decides about the failed start as about an exit.
    Retry,
    /// The child is removed: this is the first start of a child that a command adds, and the command returns the error.
    Forget,
    /// The child was down before the command that starts it, and stays down.
    StayDown,
    /// The child is started by a new specification for the first time: the old one, with these rules, is restored.
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

    /// Whether the child is running or about to run.
    pub(crate) fn is_active(self) -> bool {
        !matches!(self, Self::Stopped | Self::Failed)
    }
}

/// What the restart counts of a child have counted that a decision may still depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Nothing,
    /// The next start, which is decided and has not begun.
    NextStart,
    /// The latest start.
    LatestStart,
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
    /// The incarnation of the latest start, successful or not.
    pub(crate) incarnation: u64,
    /// The restarts of this child alone, which count only under a dynamic supervisor.
    pub(crate) window: Window,
    /// The number of restarts since the uptime was last long enough to reset the backoff.
    pub(crate) streak: u32,
    pub(crate) restarts: BTreeMap<&'static str, u64>,
    pub(crate) counted: Counted,
    pub(crate) last_exit: Option<LastExit>,
    pub(crate) down_since: Option<Instant>,
    pub(crate) started_before: bool,
    pub(crate) if_start_fails: IfStartFails,
    /// Why the new specification did not start, until the old one is running again.
    pub(crate) reverting: Option<ExitReason>,
    /// A command has terminated the child: the start of the supervisor or the group restart that is under way leaves it down.
    pub(crate) held: bool,
    /// No exit of the child is followed by a start until it is resumed.
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
            counted: Counted::Nothing,
            last_exit: None,
            down_since: None,
            started_before: false,
            if_start_fails: IfStartFails::Retry,
            reverting: None,
            held: false,
            suspended: false,
        }
    }

    /// Records an exit, and resets the backoff if the uptime was long enough.
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

    /// Counts a restart for this reason.
    pub(crate) fn count_restart(&mut self, reason: &'static str) {
        *self.restarts.entry(reason).or_default() += 1;
        self.counted = Counted::NextStart;
    }

    /// Adds to the streak and returns the delay before the restart.
    pub(crate) fn next_delay(&mut self, unit: f64) -> Duration {
        let streak = self.streak;
        self.streak = streak.saturating_add(1);
        self.rules
            .backoff
            .map_or(Duration::ZERO, |backoff| backoff.delay(streak, unit))
    }

    /// Restores the restart budget of the child, and makes its next restart immediate.
    pub(crate) fn restore_budget(&mut self) {
        self.window.clear();
        self.streak = 0;
    }

    /// Forgets all restarts of the child.
    pub(crate) fn reset(&mut self) {
        self.restore_budget();
        self.restarts.clear();
    }

    /// Whether its latest start was a restart that was counted, and not the first start or a start by command.
    pub(crate) fn was_restarted(&self) -> bool {
        self.counted == Counted::LatestStart
    }

    /// The index of its state in [`STATES`]. A suspended child counts as suspended in any state but down.
    pub(crate) fn index(&self) -> usize {
        if self.suspended && self.state.is_active() {
            SUSPENDED
        } else {
            self.state.index()
        }
    }

    /// The name of its state. A start after the first one is shown as `restarting`.
    pub(crate) fn state_name(&self) -> &'static str {
        if matches!(self.state, State::Starting { .. }) && self.started_before && !self.suspended {
            "restarting"
        } else {
            STATES[self.index()]
        }
    }
}
