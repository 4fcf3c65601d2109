//! Compares the core with the reference model, step by step.

use std::collections::VecDeque;

use rand::Rng;
use rand::rngs::StdRng;

use super::model::{Is, Model, NAMES, delays};
use super::sequences::{pick, sequences};
use super::*;

const RESTARTS: [Restart; 4] = [
    Restart::Permanent,
    Restart::Permanent,
    Restart::Transient,
    Restart::Temporary,
];
const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

#[derive(Debug, Clone, Copy)]
enum Step {
    Exit {
        abnormal: bool,
    },
    HeartbeatLost,
    /// This many of the next starts of a child fail.
    Fail {
        starts: u32,
    },
    /// Reports that come in a state in which they mean nothing.
    Stale,
    Wait {
        millis: u64,
    },
    Add(Restart),
    Terminate,
    Restart,
    Delete,
    Suspend,
    Resume,
    Replace(Restart),
    Reconfigure(Strategy, u32),
    Reset,
    ResetChild,
}

fn step(rng: &mut StdRng) -> Step {
    match rng.random_range(0..32) {
        0..8 => Step::Exit {
            abnormal: rng.random_ratio(3, 4),
        },
        8 => Step::HeartbeatLost,
        9..12 => Step::Fail {
            starts: rng.random_range(1..4),
        },
        12 => Step::Stale,
        13..18 => Step::Wait {
            millis: rng.random_range(0..3_000),
        },
        18..20 => Step::Add(pick(rng, &RESTARTS)),
        20 | 21 => Step::Terminate,
        22 | 23 => Step::Restart,
        24 => Step::Delete,
        25 => Step::Suspend,
        26 | 27 => Step::Resume,
        28 | 29 => Step::Replace(pick(rng, &RESTARTS)),
        30 => Step::Reconfigure(pick(rng, &STRATEGIES), rng.random_range(1..8)),
        _ => pick(rng, &[Step::Reset, Step::ResetChild]),
    }
}

/// The core, with a shell whose starts fail as planned and whose timers fire.
struct Driven {
    bench: Bench,
    fails: [u32; NAMES.len()],
    timers: Vec<(Instant, ChildId, u64)>,
    backoff: bool,
}

impl Driven {
    fn rules(&self, restart: Restart) -> Rules {
        Rules {
            backoff: self.backoff.then(delays),
            ..rules(restart)
        }
    }

    /// Carries out all actions, until there are no more.
    fn settle(&mut self) {
        let bench = &mut self.bench;
        let mut done = 0;
        while done < bench.log.len() {
            let action = bench.log[done].clone();
            done += 1;
            let more = match action {
                Action::Start(id, n) => {
                    let name = NAMES.iter().position(|name| **name == *id).expect("it has a name");
                    if self.fails[name] > 0 {
                        self.fails[name] -= 1;
                        bench.core.on_start_failed(&id, n, ExitReason::StartTimeout, bench.now)
                    } else {
                        bench.core.on_started(&id, n, bench.now)
                    }
                }
                Action::Stop(id, n) | Action::Kill(id, n) => bench.core.on_stopped(&id, n, false, bench.now),
                Action::SetTimer(id, token, delay) => {
                    self.timers.push((bench.now + delay, id, token));
                    Vec::new()
                }
                _ => Vec::new(),
            };
            bench.log.extend(more);
        }
        bench.log.clear();
    }

    fn wait(&mut self, until: Instant) {
        loop {
            let due = self.timers.iter().filter(|timer| timer.0 <= until);
            let Some(next) = due.min_by_key(|timer| (timer.0, timer.2)).cloned() else {
                break;
            };
            self.timers.retain(|timer| timer.2 != next.2);
            self.bench.now = next.0;
            self.bench.log = self.bench.core.on_timer(&next.1, next.2, next.0);
            self.settle();
        }
        self.bench.now = until;
    }

    fn step(&mut self, name: &str, step: Step) {
        let now = self.bench.now;
        let child = id(name);
        let incarnation = self
            .bench
            .core
            .children()
            .get(name)
            .map_or(0, |child| child.incarnation);
        let spec = |driven: &Self| match step {
            Step::Add(restart) | Step::Replace(restart) => driven.rules(restart),
            _ => Rules::default(),
        };
        let spec = spec(self);
        let core = &mut self.bench.core;
        let done = match step {
            Step::Exit { abnormal } => {
                let reason = if abnormal {
                    ExitReason::Killed
                } else {
                    ExitReason::Normal
                };
                Ok(core.on_exit(&child, incarnation, reason, now))
            }
            Step::HeartbeatLost => Ok(core.on_heartbeat_lost(&child, incarnation, now)),
            Step::Stale => {
                // These reports must have no effect.
                assert_eq!(core.on_start_failed(&child, incarnation, ExitReason::Killed, now), []);
                assert_eq!(core.on_started(&child, incarnation, now), []);
                assert_eq!(core.on_stopped(&child, incarnation, false, now), []);
                assert_eq!(core.on_timer(&child, 0, now), []);
                Ok(core.on_exit(&child, incarnation.wrapping_sub(1), ExitReason::Killed, now))
            }
            Step::Add(_) => core.add(&child, spec, now),
            Step::Terminate => core.terminate(&child, now),
            Step::Restart => core.restart(&child, now),
            Step::Delete => core.delete(&child, now),
            Step::Suspend => core.suspend(&child),
            Step::Resume => core.resume(&child, now),
            Step::Replace(_) => core.replace(&child, spec, now),
            Step::Reset => {
                core.reset();
                Ok(Vec::new())
            }
            Step::ResetChild => core.reset_child(name).map(|()| Vec::new()),
            Step::Reconfigure(..) | Step::Wait { .. } | Step::Fail { .. } => Ok(Vec::new()),
        };
        self.bench.log = done.unwrap_or_default();
        self.settle();
    }
}

fn apply(model: &mut Model, name: usize, step: Step) {
    if let Step::Add(restart) = step {
        return model.add(name, restart);
    }
    if let Step::Reset = step {
        return model.reset(None);
    }
    let Some(kid) = model.kid(name) else {
        return;
    };
    match step {
        Step::Exit { abnormal } => model.exit(kid, abnormal),
        Step::HeartbeatLost => model.exit(kid, true),
        Step::Terminate => model.terminate(kid),
        Step::Restart => model.restart(kid),
        Step::Delete => drop(model.kids.remove(kid)),
        Step::Suspend => model.kids[kid].suspended = true,
        Step::Resume => model.resume(kid),
        Step::Replace(restart) => model.replace(kid, restart),
        Step::ResetChild => model.reset(Some(kid)),
        Step::Add(_) | Step::Reset | Step::Stale | Step::Reconfigure(..) | Step::Wait { .. } | Step::Fail { .. } => {}
    }
}

fn compare(driven: &Driven, model: &Model) {
    let core = &driven.bench.core;
    assert_eq!(matches!(core.phase, Phase::Closed), model.melted);
    if model.melted {
        return;
    }
    assert!(matches!(core.phase, Phase::Running));
    let names: Vec<&str> = model.kids.iter().map(|kid| NAMES[kid.name]).collect();
    assert!(core.children().keys().map(|id| &**id).eq(names));
    let mut counts = [0; STATES.len()];
    for (kid, (id, child)) in model.kids.iter().zip(core.children()) {
        let state = match (kid.is, kid.suspended) {
            (Is::Down, _) => "stopped",
            (Is::Failed, _) => "failed",
            (Is::Up(_) | Is::Delayed(_) | Is::Parked(_), true) => "suspended",
            (Is::Up(_), false) => "running",
            (Is::Delayed(_), false) => "backoff",
            (Is::Parked(_), false) => "forgotten",
        };
        assert_eq!(child.state_name(), state, "{id}");
        assert_eq!(child.incarnation, kid.incarnation, "{id}");
        assert_eq!(child.restarts.values().sum::<u64>(), kid.restarts, "{id}");
        assert_eq!(child.rules.restart, kid.restart, "{id}");
        counts[STATES.iter().position(|name| *name == state).expect("it is a state")] += 1;
    }
    assert_eq!(core.counts(), counts);
    if model.strategy.is_some() {
        assert_eq!(driven.bench.used(), model.used());
    }
}

fn run(rng: &mut StdRng) {
    let strategy = pick(rng, &STRATEGIES.map(Some).into_iter().chain([None]).collect::<Vec<_>>());
    let backoff = matches!(strategy, None | Some(Strategy::OneForOne)) && rng.random();
    let budget = Intensity::new(rng.random_range(1..8), Duration::from_secs(5));
    let mode = strategy.map_or(Mode::Dynamic { max_children: 100 }, Mode::Static);
    let mut driven = Driven {
        bench: Bench::new(mode, budget, &[]),
        fails: [0; NAMES.len()],
        timers: Vec::new(),
        backoff,
    };
    let mut model = Model {
        strategy,
        budget,
        backoff,
        window: VecDeque::new(),
        kids: Vec::new(),
        fails: [0; NAMES.len()],
        melted: false,
        now: driven.bench.now,
    };
    for (kid, name) in NAMES.iter().enumerate().take(4) {
        let added = Step::Add(pick(rng, &RESTARTS));
        driven.step(name, added);
        apply(&mut model, kid, added);
    }
    for _ in 0..rng.random_range(1..40) {
        let step = step(rng);
        let name = rng.random_range(0..NAMES.len());
        match step {
            Step::Wait { millis } => {
                let until = model.now + Duration::from_millis(millis);
                model.wait(until);
                driven.wait(until);
            }
            Step::Fail { starts } => {
                model.fails[name] = starts;
                driven.fails[name] = starts;
            }
            Step::Reconfigure(strategy, restarts) if model.strategy.is_some() => {
                // The delays of group restarts have tests of their own.
                let strategy = if backoff { Strategy::OneForOne } else { strategy };
                let budget = Intensity::new(restarts, Duration::from_secs(u64::from(restarts)));
                model.reconfigure(strategy, budget);
                driven.bench.core.reconfigure(strategy, budget, AutoShutdown::Never);
            }
            _ => {
                driven.step(NAMES[name], step);
                apply(&mut model, name, step);
            }
        }
        compare(&driven, &model);
        if model.melted {
            break;
        }
    }
}

#[test]
fn a_hundred_thousand_random_sequences_end_as_the_reference_says() {
    sequences(100_000, run);
}
