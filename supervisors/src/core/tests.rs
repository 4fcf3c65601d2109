//! Tests of the decision core, one for each rule, without actors.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one action among many")]

mod auto_shutdown;
mod chaos;
mod closing;
mod commands;
mod delays;
mod exits;
mod intensity;
mod model;
mod reference;
mod replace;
mod sequences;
mod settings;
mod start;
mod strategies;
mod under_groups;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::machine::Phase;
use super::*;
use crate::backoff::Backoff;
use crate::exit::ExitReason;
use crate::intensity::Intensity;
use crate::rules::{AutoShutdown, Restart, Rules, Strategy};

const SECOND: Duration = Duration::from_secs(1);

/// A core, its clock, and the actions since the last call of `look`.
struct Bench {
    core: Core,
    now: Instant,
    log: Vec<Action>,
}

fn rules(restart: Restart) -> Rules {
    Rules {
        restart,
        ..Rules::default()
    }
}

fn id(name: &str) -> ChildId {
    name.into()
}

impl Bench {
    fn new(mode: Mode, budget: Intensity, children: &[(&str, Rules)]) -> Self {
        Self::with(mode, budget, AutoShutdown::Never, children)
    }

    fn with(mode: Mode, budget: Intensity, auto: AutoShutdown, children: &[(&str, Rules)]) -> Self {
        let mut core = Core::new(mode, budget, auto, 7);
        for (name, rules) in children {
            assert!(core.declare(&id(name), *rules), "{name} is declared twice");
        }
        let now = Instant::now();
        let log = core.begin(now);
        Self { core, now, log }
    }

    /// A supervisor whose children are permanent and running, with an empty log.
    fn running(strategy: Strategy, names: &[&str]) -> Self {
        let children: Vec<_> = names.iter().map(|name| (*name, Rules::default())).collect();
        let mut bench = Self::new(Mode::Static(strategy), Intensity::new(3, 5 * SECOND), &children);
        bench.settle();
        bench.look();
        bench
    }

    fn dynamic(rules: Rules) -> Self {
        let mode = Mode::Dynamic { max_children: 10 };
        let mut bench = Self::new(mode, Intensity::new(3, 5 * SECOND), &[("a", rules), ("b", rules)]);
        bench.settle();
        bench.look();
        bench
    }

    /// Lets every start and stop succeed, until there are no more actions.
    fn settle(&mut self) {
        let mut done = 0;
        while done < self.log.len() {
            let action = self.log[done].clone();
            done += 1;
            match action {
                Action::Start(id, n) => self.log.extend(self.core.on_started(&id, n, self.now)),
                Action::Stop(id, n) | Action::Kill(id, n) => {
                    self.log.extend(self.core.on_stopped(&id, n, false, self.now));
                }
                _ => {}
            }
        }
    }

    fn look(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log).iter().filter_map(brief).collect()
    }

    /// Gives a command that the core must accept.
    fn command(&mut self, decide: impl FnOnce(&mut Core, Instant) -> Result<Vec<Action>, Refused>) {
        let actions = decide(&mut self.core, self.now).expect("it is accepted");
        self.log.extend(actions);
    }

    fn add(&mut self, name: &str) {
        self.command(|core, now| core.add(&id(name), Rules::default(), now));
    }

    fn terminate(&mut self, name: &str) {
        self.command(|core, now| core.terminate(&id(name), now));
    }

    fn restart(&mut self, name: &str) {
        self.command(|core, now| core.restart(&id(name), now));
    }

    fn delete(&mut self, name: &str) {
        self.command(|core, now| core.delete(&id(name), now));
    }

    /// The answers to commands on this child.
    fn settled(&self, name: &str) -> Vec<Outcome> {
        let outcome = |action: &Action| match action {
            Action::Settled(child, outcome) if **child == *name => Some(outcome.clone()),
            _ => None,
        };
        self.log.iter().filter_map(outcome).collect()
    }

    fn used(&self) -> u32 {
        self.core.window().used(self.now)
    }

    fn latest(&self, name: &str) -> u64 {
        self.core.children()[name].incarnation
    }

    fn state(&self, name: &str) -> &'static str {
        self.core.children()[name].state_name()
    }

    fn exit(&mut self, name: &str, reason: ExitReason) {
        let incarnation = self.latest(name);
        self.log
            .extend(self.core.on_exit(&id(name), incarnation, reason, self.now));
    }

    fn crash(&mut self, name: &str) {
        self.exit(name, ExitReason::Killed);
    }

    fn started(&mut self, name: &str) {
        let incarnation = self.latest(name);
        self.log.extend(self.core.on_started(&id(name), incarnation, self.now));
    }

    fn stopped(&mut self, name: &str) {
        let incarnation = self.latest(name);
        self.log
            .extend(self.core.on_stopped(&id(name), incarnation, false, self.now));
    }

    fn start_failed(&mut self, name: &str) {
        let incarnation = self.latest(name);
        let reason = ExitReason::StartTimeout;
        self.log
            .extend(self.core.on_start_failed(&id(name), incarnation, reason, self.now));
    }

    fn delay(&mut self) -> Option<(ChildId, u64, Duration)> {
        self.log.iter().rev().find_map(|action| match action {
            Action::SetTimer(id, token, delay) => Some((id.clone(), *token, *delay)),
            _ => None,
        })
    }

    fn pass_delay(&mut self) {
        let (id, token, delay) = self.delay().expect("a timer is set");
        self.now += delay;
        self.log.extend(self.core.on_timer(&id, token, self.now));
    }

    fn pass_last_delay(&mut self) {
        let token = self.core.last_token;
        let waits = |child: &&Child| matches!(child.state, State::Backoff { .. });
        let waiting = self.core.children().iter().find(|(_, child)| waits(child));
        let waiting = Arc::clone(waiting.expect("one waits").0);
        self.now += SECOND;
        self.log.extend(self.core.on_timer(&waiting, token, self.now));
    }

    fn melted(&self) -> bool {
        self.log
            .iter()
            .any(|action| matches!(action, Action::Exit(Exit::Meltdown(..))))
    }
}

/// Short texts of the actions that tests compare.
fn brief(action: &Action) -> Option<String> {
    match action {
        Action::Start(id, n) => Some(format!("start {id}{n}")),
        Action::Stop(id, n) => Some(format!("stop {id}{n}")),
        Action::Kill(id, n) => Some(format!("kill {id}{n}")),
        Action::Forget(id) => Some(format!("forget {id}")),
        Action::GiveUp(id, _) => Some(format!("give up {id}")),
        Action::Ready => Some("ready".to_owned()),
        Action::Exit(_) => Some("exit".to_owned()),
        _ => None,
    }
}

fn kinds(log: &[Action]) -> Vec<&'static str> {
    log.iter()
        .filter_map(|action| match action {
            Action::Emit(_, note) | Action::EmitSelf(note) => Some(note.kind.name()),
            _ => None,
        })
        .collect()
}

fn backoff() -> Backoff {
    Backoff {
        jitter: 0.0,
        ..Backoff::default()
    }
}

fn backing_off() -> Rules {
    Rules {
        backoff: Some(backoff()),
        ..Rules::default()
    }
}
