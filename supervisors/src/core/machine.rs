//! The state of the decision core, and the steps that reports and commands share.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::action::{Action, Outcome};
use super::child::{After, Child, ChildId, LastExit, STATES, State};
use super::group::Group;
use crate::exit::{ExitReason, SUPERVISOR};
use crate::intensity::{Intensity, Window};
use crate::note::{EventKind, Note};
use crate::rules::{AutoShutdown, Restart, Rules, Strategy};

/// The kind of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The children are declared with the supervisor, start in order and share one restart intensity.
    Static(Strategy),
    /// Children are added and removed, are independent of each other, and have a restart intensity each.
    Dynamic { max_children: usize },
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Static(Strategy::OneForOne) => "one_for_one",
            Self::Static(Strategy::OneForAll) => "one_for_all",
            Self::Static(Strategy::RestForOne) => "rest_for_one",
            Self::Dynamic { .. } => "dynamic",
        }
    }
}

/// What a supervisor is doing.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// The children are starting for the first time.
    Init,
    /// No start of the supervisor and no group restart is under way.
    Running,
    /// A group restart is under way.
    Group(Group),
    /// The end of the supervisor is decided, and nothing is started any more.
    Closed,
}

/// What the next incarnation of a supervisor keeps of a child of the last one.
#[derive(Debug, Clone)]
struct Carried {
    incarnation: u64,
    restarts: std::collections::BTreeMap<&'static str, u64>,
    last_exit: Option<LastExit>,
}

/// The decision core of one incarnation of a supervisor.
pub(crate) struct Core {
    pub(super) mode: Mode,
    pub(super) auto_shutdown: AutoShutdown,
    /// The restarts of all children. A dynamic supervisor uses only its intensity, as the default of its children.
    pub(super) window: Window,
    pub(super) children: IndexMap<ChildId, Child>,
    pub(super) phase: Phase,
    /// Children that ended while others were starting for the first time. They are decided about when those have started.
    pub(super) deferred: VecDeque<ChildId>,
    /// Children of a dynamic supervisor whose first start is under way.
    pub(super) first_starts: HashSet<ChildId>,
    /// What is kept of the children of earlier incarnations, until children with the same ids are declared.
    carried: HashMap<ChildId, Carried>,
    /// The number of children in each state, in the order of [`STATES`].
    pub(super) counts: [i64; STATES.len()],
    pub(super) last_token: u64,
    pub(super) rng: StdRng,
    /// The actions that the input which is being handled has led to so far.
    pub(super) out: Vec<Action>,
}

impl Core {
    pub(crate) fn new(mode: Mode, intensity: Intensity, auto_shutdown: AutoShutdown, seed: u64) -> Self {
        Self {
            mode,
            auto_shutdown,
            window: Window::new(intensity),
            children: IndexMap::new(),
            phase: Phase::Init,
            deferred: VecDeque::new(),
            first_starts: HashSet::new(),
            carried: HashMap::new(),
            counts: [0; STATES.len()],
            last_token: 0,
            rng: StdRng::seed_from_u64(seed),
            out: Vec::new(),
        }
    }

    /// The core of the next incarnation of a supervisor. It has the latest strategy, intensity and auto-shutdown, a full restart
    /// budget and no children. The incarnations of its children continue to count where those of the old core ended, so that
    /// none occurs twice at one path.
    pub(crate) fn next_incarnation(old: &mut Self, seed: u64) -> Self {
        let mut next = Self::new(old.mode, old.window.intensity(), old.auto_shutdown, seed);
        next.carried = std::mem::take(&mut old.carried);
        for (id, child) in std::mem::take(&mut old.children) {
            next.carried.insert(
                id,
                Carried {
                    incarnation: child.incarnation,
                    restarts: child.restarts,
                    last_exit: child.last_exit,
                },
            );
        }
        old.counts = [0; STATES.len()];
        next
    }

    /// Declares a child. Returns false when the id is taken.
    pub(crate) fn declare(&mut self, id: &ChildId, rules: Rules) -> bool {
        if self.children.contains_key(id) {
            return false;
        }
        let mut child = Child::new(rules, rules.intensity.unwrap_or(self.window.intensity()));
        if let Some(carried) = self.carried.remove(id) {
            child.incarnation = carried.incarnation;
            child.restarts = carried.restarts;
            child.last_exit = carried.last_exit;
        }
        self.counts[child.index()] += 1;
        self.children.insert(Arc::clone(id), child);
        true
    }

    /// Declares a child of a supervisor that was restarted. The restart is counted for a child that the last incarnation had.
    pub(crate) fn declare_again(&mut self, id: &ChildId, rules: Rules) -> bool {
        if !self.declare(id, rules) {
            return false;
        }
        let child = &mut self.children[id];
        if child.incarnation > 0 {
            child.count_restart(SUPERVISOR);
            self.out.push(Action::Count(SUPERVISOR));
        }
        true
    }

    /// Begins the end of the supervisor. Returns the children in the order in which they have to stop, in batches that stop
    /// together.
    pub(crate) fn close(&mut self) -> Vec<Vec<ChildId>> {
        self.phase = Phase::Closed;
        let ids = self.children.keys().rev().cloned();
        match self.mode {
            Mode::Static(_) => ids.map(|id| vec![id]).collect(),
            Mode::Dynamic { .. } => vec![ids.collect()],
        }
    }

    /// Records and publishes the exit of a child, and decides about it or defers the decision.
    pub(super) fn ended(&mut self, id: &ChildId, reason: ExitReason, uptime: Duration, now: Instant) {
        let child = &mut self.children[id];
        child.end(reason.clone(), uptime, now);
        let note = Note::new(EventKind::ChildExited, child.incarnation).because(reason);
        self.out.push(Action::Emit(Arc::clone(id), note));
        match (&self.phase, self.mode) {
            (Phase::Closed, _) => self.set(id, State::Stopped),
            (Phase::Init, Mode::Static(_)) => {
                self.set(id, State::Waiting);
                self.deferred.push_back(Arc::clone(id));
            }
            (Phase::Group(_), _) => self.ended_in_group(id, now),
            (Phase::Init | Phase::Running, _) => self.decide(id, now),
        }
    }

    /// Has a child stopped.
    pub(super) fn stop(&mut self, id: &ChildId, after: After) {
        self.set(id, State::Stopping { after });
        let incarnation = self.children[id].incarnation;
        self.out.push(Action::Stop(Arc::clone(id), incarnation));
    }

    /// Records and publishes that a child has ended because its supervisor stopped it.
    pub(super) fn terminated(&mut self, id: &ChildId, now: Instant) {
        let child = &mut self.children[id];
        if child
            .last_exit
            .as_ref()
            .is_none_or(|exit| exit.incarnation < child.incarnation)
        {
            child.end(ExitReason::Shutdown, Duration::ZERO, now);
        }
        let note = Note::new(EventKind::ChildTerminated, child.incarnation);
        let note = note.because(child.last_reason());
        self.out.push(Action::Emit(Arc::clone(id), note));
    }

    /// Leaves a child down. Its specification is kept, unless it is temporary.
    pub(super) fn stay_down(&mut self, id: &ChildId) {
        self.set(id, State::Stopped);
        self.first_starts.remove(id);
        if self.children[id].rules.restart == Restart::Temporary {
            self.forget(id);
        } else {
            self.settle(id, Outcome::Stopped);
        }
    }

    /// Removes a child and its specification.
    pub(super) fn forget(&mut self, id: &ChildId) {
        if let Some(child) = self.children.shift_remove(id) {
            self.counts[child.index()] -= 1;
            self.first_starts.remove(id);
            if let Phase::Group(group) = &mut self.phase {
                group.forget(id);
            }
            self.settle(id, Outcome::Gone);
            self.out.push(Action::Forget(Arc::clone(id)));
        }
    }

    pub(super) fn push_note(&mut self, id: &ChildId, note: Note) {
        self.out.push(Action::Emit(Arc::clone(id), note));
    }

    /// Answers the commands that wait for a child. When its new specification did not start, they get that reason first.
    pub(super) fn settle(&mut self, id: &ChildId, outcome: Outcome) {
        let reverting = self.children.get_mut(id).and_then(|child| child.reverting.take());
        if let Some(reason) = reverting {
            self.out
                .push(Action::Settled(Arc::clone(id), Outcome::Reverted(reason)));
        }
        self.out.push(Action::Settled(Arc::clone(id), outcome));
    }

    pub(super) fn set(&mut self, id: &ChildId, state: State) {
        self.change(id, |child| child.state = state);
    }

    /// Changes a child and keeps the counts of children by state right.
    pub(super) fn change(&mut self, id: &ChildId, change: impl FnOnce(&mut Child)) {
        let child = &mut self.children[id];
        self.counts[child.index()] -= 1;
        change(child);
        self.counts[child.index()] += 1;
    }

    /// The child, if this incarnation is its latest.
    pub(super) fn latest(&mut self, id: &ChildId, incarnation: u64) -> Option<&mut Child> {
        self.children
            .get_mut(id)
            .filter(|child| child.incarnation == incarnation)
    }

    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn auto_shutdown(&self) -> AutoShutdown {
        self.auto_shutdown
    }

    pub(crate) fn children(&self) -> &IndexMap<ChildId, Child> {
        &self.children
    }

    /// The number of children in each state, in the order of [`STATES`].
    pub(crate) fn counts(&self) -> [i64; STATES.len()] {
        self.counts
    }

    /// The restart intensity of the supervisor, and the restarts that count toward it.
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// How many restarts count toward the restart intensity that applies to this child, and how many it allows.
    pub(crate) fn usage(&self, id: &ChildId, now: Instant) -> (u32, u32) {
        let window = match self.mode {
            Mode::Static(_) => &self.window,
            Mode::Dynamic { .. } => &self.children[id].window,
        };
        (window.used(now), window.intensity().restarts)
    }
}
