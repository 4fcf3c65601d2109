//! Properties that hold for any sequence of exits, checked against a model that is simpler than the core.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, prop, prop_oneof, proptest};
use proptest::strategy::Strategy as Generate;

use super::tests::{Bench, rules};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Exit { child: usize, abnormal: bool },
    StartFailure { child: usize },
    Stale { child: usize },
    Wait { millis: u64 },
}

fn steps() -> impl Generate<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_usize, any::<bool>()).prop_map(|(child, abnormal)| Step::Exit { child, abnormal }),
        1 => (0..4_usize).prop_map(|child| Step::StartFailure { child }),
        1 => (0..4_usize).prop_map(|child| Step::Stale { child }),
        3 => (0..3_000_u64).prop_map(|millis| Step::Wait { millis }),
    ];
    prop::collection::vec(step, 0..120)
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const KINDS: [Restart; 4] = [
    Restart::Permanent,
    Restart::Transient,
    Restart::Temporary,
    Restart::Permanent,
];

/// What OTP's rules say, told in the simplest way: every restart is over before the next exit.
struct Model {
    strategy: Strategy,
    budget: Intensity,
    restarts: VecDeque<Instant>,
    /// The incarnation of each child, none once its spec is gone.
    children: [Option<u64>; 4],
    running: [bool; 4],
    melted: bool,
}

impl Model {
    fn exit(&mut self, child: usize, abnormal: bool, now: Instant) {
        if self.melted || !self.running[child] {
            return;
        }
        self.running[child] = false;
        match KINDS[child] {
            Restart::Temporary => self.children[child] = None,
            Restart::Transient if !abnormal => {}
            Restart::Transient | Restart::Permanent => self.restart(child, now),
        }
    }

    fn restart(&mut self, child: usize, now: Instant) {
        self.restarts.retain(|at| now - *at <= self.budget.period);
        self.restarts.push_back(now);
        if self.restarts.len() > self.budget.restarts as usize {
            self.melted = true;
            return;
        }
        let members = match self.strategy {
            Strategy::OneForOne => child..child + 1,
            Strategy::OneForAll => 0..4,
            Strategy::RestForOne => child..4,
        };
        for member in members {
            if KINDS[member] == Restart::Temporary {
                self.children[member] = None;
                self.running[member] = false;
            } else {
                self.children[member] = self.children[member].map(|incarnation| incarnation + 1);
                self.running[member] = true;
            }
        }
    }
}

fn compare(bench: &Bench, model: &Model) {
    let melted = matches!(bench.core.phase, Phase::Closed);
    assert_eq!(melted, model.melted);
    if melted {
        return;
    }
    assert!(matches!(bench.core.phase, Phase::Running));
    for (index, name) in NAMES.iter().enumerate() {
        let child = bench.core.children().get(*name);
        assert_eq!(child.map(|child| child.incarnation), model.children[index], "{name}");
        let running = child.is_some_and(|child| matches!(child.state, State::Running { .. }));
        assert_eq!(running, model.running[index], "{name}");
    }
    let total: i64 = bench.core.counts().iter().sum();
    assert_eq!(usize::try_from(total), Ok(bench.core.children().len()));
    assert!(bench.core.counts().iter().all(|count| *count >= 0));
}

fn run(strategy: Strategy, steps: Vec<Step>) {
    let budget = Intensity::new(5, Duration::from_secs(5));
    let children: Vec<_> = NAMES.into_iter().zip(KINDS.map(rules)).collect();
    let mut bench = Bench::new(Mode::Static(strategy), budget, &children);
    bench.settle();
    let mut model = Model {
        strategy,
        budget,
        restarts: VecDeque::new(),
        children: [Some(1); 4],
        running: [true; 4],
        melted: false,
    };
    for step in steps {
        bench.log.clear();
        let latest = |bench: &Bench, child: usize| {
            bench
                .core
                .children()
                .get(NAMES[child])
                .map_or(0, |child| child.incarnation)
        };
        match step {
            Step::Exit { child, abnormal } => {
                let reason = if abnormal {
                    ExitReason::Killed
                } else {
                    ExitReason::Normal
                };
                let incarnation = latest(&bench, child);
                let id = NAMES[child].into();
                bench.log = bench.core.on_exit(&id, incarnation, reason, bench.now);
                model.exit(child, abnormal, bench.now);
            }
            // Nothing is starting between steps, so neither means anything.
            Step::StartFailure { child } => {
                let incarnation = latest(&bench, child);
                let reason = ExitReason::StartTimeout;
                let id = NAMES[child].into();
                let actions = bench.core.on_start_failed(&id, incarnation, reason, bench.now);
                assert_eq!(actions, []);
            }
            Step::Stale { child } => {
                let incarnation = latest(&bench, child).saturating_sub(1);
                let id = NAMES[child].into();
                if incarnation > 0 {
                    let actions = bench.core.on_exit(&id, incarnation, ExitReason::Killed, bench.now);
                    assert_eq!(actions, []);
                }
            }
            Step::Wait { millis } => bench.now += Duration::from_millis(millis),
        }
        bench.settle();
        compare(&bench, &model);
    }
}

/// Any reports in any order, also while restarts are under way: the core asks for nothing impossible.
fn chaos(strategy: Strategy, choices: &[(u8, u8)]) {
    let budget = Intensity::new(1_000, Duration::from_secs(5));
    let children: Vec<_> = NAMES.into_iter().zip(KINDS.map(rules)).collect();
    let mut bench = Bench::new(Mode::Static(strategy), budget, &children);
    for (what, who) in choices {
        let id: ChildId = NAMES[usize::from(*who) % 4].into();
        let incarnation = bench.core.children().get(&id).map_or(0, |child| child.incarnation);
        let now = bench.now;
        let actions = match what % 4 {
            0 => bench.core.on_exit(&id, incarnation, ExitReason::Killed, now),
            1 => bench.core.on_started(&id, incarnation, now),
            2 => bench.core.on_stopped(&id, incarnation, false, now),
            _ => {
                let ready = !matches!(bench.core.phase, Phase::Init);
                if ready {
                    bench
                        .core
                        .on_start_failed(&id, incarnation, ExitReason::StartTimeout, now)
                } else {
                    Vec::new()
                }
            }
        };
        // Members of a group stop one after the other and start one after the other.
        if strategy != Strategy::OneForOne {
            let moving = |state: &State| matches!(state, State::Starting { .. } | State::Stopping { .. });
            let moving = bench
                .core
                .children()
                .values()
                .filter(|child| moving(&child.state))
                .count();
            assert!(moving <= 2, "{actions:?}");
        }
        bench.log = actions;
    }
    // Left alone, it comes to rest with everybody up.
    bench.log.clear();
    for _ in 0..64 {
        let pending: Vec<_> = bench
            .core
            .children()
            .iter()
            .map(|(id, child)| (id.clone(), child.clone()))
            .collect();
        for (id, child) in pending {
            let now = bench.now;
            match child.state {
                State::Starting { .. } => drop(bench.core.on_started(&id, child.incarnation, now)),
                State::Stopping { .. } => {
                    drop(bench.core.on_stopped(&id, child.incarnation, false, now));
                }
                State::Running { .. }
                | State::Backoff { .. }
                | State::Waiting
                | State::Parked { .. }
                | State::Stopped
                | State::Failed => {}
            }
        }
    }
    assert!(matches!(bench.core.phase, Phase::Running), "{:?}", bench.core.phase);
    for (id, child) in bench.core.children() {
        assert!(matches!(child.state, State::Running { .. }), "{id}: {:?}", child.state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn any_exits_end_as_the_model_says(
        strategy in prop::sample::select(vec![Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne]),
        steps in steps(),
    ) {
        run(strategy, steps);
    }

    #[test]
    fn any_order_of_reports_comes_to_rest(
        strategy in prop::sample::select(vec![Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne]),
        choices in prop::collection::vec(any::<(u8, u8)>(), 0..200),
    ) {
        chaos(strategy, &choices);
    }
}
