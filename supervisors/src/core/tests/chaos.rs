//! Reports and commands in random order, also during restarts. No action is impossible to carry out, every command is answered,
//! and the supervisor comes to rest when nothing more happens.

use std::collections::HashMap;

use rand::Rng;
use rand::rngs::StdRng;

use super::model::{NAMES, delays};
use super::sequences::{pick, sequences};
use super::*;
use crate::core::child::After;

/// The actor of a child, as the shell would know it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Actor {
    Starting(u64),
    Up(u64),
    Stopping(u64),
}

struct World {
    core: Core,
    now: Instant,
    actors: HashMap<ChildId, Actor>,
    timers: HashMap<ChildId, u64>,
    /// The commands that wait for an answer.
    waiting: HashMap<ChildId, u32>,
    over: bool,
    /// There are no commands, and every restart is a group restart.
    in_groups: bool,
}

impl World {
    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(id, n) => {
                    let before = self.actors.insert(id.clone(), Actor::Starting(n));
                    assert_eq!(before, None, "{id}: its old incarnation is still there");
                }
                Action::Stop(id, n) | Action::Kill(id, n) => {
                    let before = self.actors.insert(id.clone(), Actor::Stopping(n));
                    let there = [Some(Actor::Starting(n)), Some(Actor::Up(n))];
                    assert!(there.contains(&before), "{id}{n} cannot be stopped: {before:?}");
                }
                Action::SetTimer(id, token, _) => drop(self.timers.insert(id, token)),
                Action::CancelTimer(id) => assert!(self.timers.remove(&id).is_some(), "{id} has no timer"),
                Action::Settled(id, _) => drop(self.waiting.remove(&id)),
                Action::Forget(id) => assert!(!self.actors.contains_key(&id), "{id} is forgotten alive"),
                Action::Exit(_) => self.over = true,
                Action::Emit(..)
                | Action::EmitSelf(_)
                | Action::GiveUp(..)
                | Action::Revert(_)
                | Action::Count(_)
                | Action::Ready => {}
            }
        }
        // The members of a group are stopped one after the other and started one after the other.
        if self.in_groups {
            let starting = |child: &&Child| matches!(child.state, State::Starting { .. });
            let stopping = |child: &&Child| child.state == State::Stopping { after: After::Group };
            assert!(self.core.children().values().filter(starting).count() <= 1);
            assert!(self.core.children().values().filter(stopping).count() <= 1);
        }
        let total: i64 = self.core.counts().iter().sum();
        assert_eq!(usize::try_from(total), Ok(self.core.children().len()));
        let counted = |state: &str| {
            self.core
                .children()
                .values()
                .filter(|child| STATES[child.index()] == state)
                .count()
        };
        for (state, count) in STATES.iter().zip(self.core.counts()) {
            assert_eq!(usize::try_from(count), Ok(counted(state)), "{state}");
        }
    }

    /// Reports that what is under way for this child has succeeded or failed.
    fn report(&mut self, id: &ChildId, well: bool) {
        let now = self.now;
        let actions = match self.actors.get(id).copied() {
            Some(Actor::Starting(n)) if well => {
                self.actors.insert(id.clone(), Actor::Up(n));
                self.core.on_started(id, n, now)
            }
            Some(Actor::Starting(n)) => {
                self.actors.remove(id);
                self.core.on_start_failed(id, n, ExitReason::StartTimeout, now)
            }
            Some(Actor::Stopping(n)) => {
                // The report of its exit may come before that of the stop.
                let exit = if well {
                    Vec::new()
                } else {
                    self.core.on_exit(id, n, ExitReason::Killed, now)
                };
                assert_eq!(exit, []);
                self.actors.remove(id);
                self.core.on_stopped(id, n, false, now)
            }
            Some(Actor::Up(_)) | None => return,
        };
        self.perform(actions);
    }

    fn exit(&mut self, id: &ChildId, reason: ExitReason) {
        if let Some(Actor::Up(n)) = self.actors.get(id).copied() {
            self.actors.remove(id);
            let actions = self.core.on_exit(id, n, reason, self.now);
            self.perform(actions);
        }
    }

    fn fire(&mut self, id: &ChildId) {
        if let Some(token) = self.timers.remove(id) {
            let actions = self.core.on_timer(id, token, self.now);
            self.perform(actions);
        }
    }

    fn command(&mut self, id: &ChildId, what: u32, rng: &mut StdRng) {
        let now = self.now;
        let rules = any_rules(rng);
        let waits = what < 5;
        let result = match what {
            0 => self.core.add(id, rules, now),
            1 => self.core.terminate(id, now),
            2 => self.core.restart(id, now),
            3 => self.core.delete(id, now),
            4 => self.core.replace(id, rules, now),
            5 => self.core.suspend(id),
            _ => self.core.resume(id, now),
        };
        if let Ok(actions) = result {
            if waits {
                *self.waiting.entry(id.clone()).or_default() += 1;
            }
            self.perform(actions);
        }
    }

    fn any(&mut self, rng: &mut StdRng) {
        let id: ChildId = pick(rng, &NAMES).into();
        match rng.random_range(0..20) {
            0..9 => {
                let well = rng.random_ratio(3, 4);
                self.report(&id, well);
            }
            9..12 => self.exit(&id, ExitReason::Killed),
            12 => self.exit(&id, ExitReason::Normal),
            13 => self.fire(&id),
            14 => {
                if let Some(Actor::Up(n)) = self.actors.get(&id).copied() {
                    let actions = self.core.on_heartbeat_lost(&id, n, self.now);
                    self.perform(actions);
                }
            }
            15 => self.now += Duration::from_millis(rng.random_range(0..2_000)),
            16 if rng.random() => {
                if matches!(self.core.mode(), Mode::Static(_)) {
                    let budget = self.core.window().intensity();
                    self.core.reconfigure(any_strategy(rng), budget, AutoShutdown::Never);
                }
            }
            _ => {
                let what = rng.random_range(0..7);
                self.command(&id, what, rng);
            }
        }
    }

    fn any_but_commands(&mut self, rng: &mut StdRng) {
        let id: ChildId = pick(rng, &NAMES).into();
        match rng.random_range(0..4) {
            0 => self.exit(&id, ExitReason::Killed),
            1 => self.fire(&id),
            _ => {
                let well = rng.random_ratio(3, 4);
                self.report(&id, well);
            }
        }
    }

    /// Lets everything succeed from now on, until nothing more is under way.
    fn come_to_rest(&mut self, rng: &mut StdRng) {
        let names: Vec<ChildId> = NAMES.iter().map(|name| (*name).into()).collect();
        for id in &names {
            self.command(id, 6, rng);
        }
        for _ in 0..64 {
            for id in &names {
                self.report(id, true);
                self.fire(id);
            }
        }
        if self.over {
            return;
        }
        assert!(matches!(self.core.phase, Phase::Running), "{:?}", self.core.phase);
        for (id, child) in self.core.children() {
            let up = matches!(child.state, State::Running { .. });
            assert!(up || !child.state.is_active(), "{id}: {:?}", child.state);
            let actor = up.then_some(Actor::Up(child.incarnation));
            assert_eq!(self.actors.get(id).copied(), actor, "{id}");
            assert!(child.reverting.is_none(), "{id}");
        }
        assert!(self.waiting.is_empty(), "nobody answered {:?}", self.waiting);
    }
}

fn any_strategy(rng: &mut StdRng) -> Strategy {
    pick(rng, &[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne])
}

fn any_rules(rng: &mut StdRng) -> Rules {
    let kinds = [
        Restart::Permanent,
        Restart::Permanent,
        Restart::Transient,
        Restart::Temporary,
    ];
    Rules {
        backoff: rng.random_ratio(1, 3).then(delays),
        ..rules(pick(rng, &kinds))
    }
}

fn run(rng: &mut StdRng) {
    let dynamic = Mode::Dynamic { max_children: 5 };
    let mode = if rng.random_ratio(1, 4) {
        dynamic
    } else {
        Mode::Static(any_strategy(rng))
    };
    let budget = Intensity::new(pick(rng, &[2, 10, 1_000]), 5 * SECOND);
    let mut core = Core::new(mode, budget, AutoShutdown::Never, rng.random());
    for name in &NAMES[..4] {
        core.declare(&id(name), any_rules(rng));
    }
    let now = Instant::now();
    let mut world = World {
        core,
        now,
        actors: HashMap::new(),
        timers: HashMap::new(),
        waiting: HashMap::new(),
        over: false,
        in_groups: matches!(mode, Mode::Static(Strategy::OneForAll | Strategy::RestForOne)) && rng.random(),
    };
    let actions = world.core.begin(now);
    world.perform(actions);
    for _ in 0..rng.random_range(1..80) {
        if world.in_groups {
            world.any_but_commands(rng);
        } else {
            world.any(rng);
        }
        if world.over {
            return;
        }
    }
    world.come_to_rest(rng);
}

#[test]
fn any_order_of_reports_and_commands_comes_to_rest() {
    sequences(50_000, run);
}
