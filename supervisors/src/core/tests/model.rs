//! A reference model: OTP's rules in the simplest form. A restart is complete before the next input, so there are no actors, no
//! reports and no states in between. The core, which does have reports, must come to the same results.

use std::collections::VecDeque;

use super::*;

pub(super) const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Delays of 100 ms, 200 ms and so on up to 1 s, reset after an uptime of 3 s.
pub(super) fn delays() -> Backoff {
    Backoff {
        max: SECOND,
        reset_after: 3 * SECOND,
        ..backoff()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Is {
    Up(Instant),
    Down,
    Failed,
    Delayed(Instant),
    /// The child ended while it was suspended. The flag says whether its restart was decided before.
    Parked(bool),
}

#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and the core has them elsewhere"
)]
pub(super) struct Kid {
    pub(super) name: usize,
    pub(super) restart: Restart,
    pub(super) incarnation: u64,
    pub(super) is: Is,
    pub(super) suspended: bool,
    pub(super) restarts: u64,
    counted: bool,
    window: VecDeque<Instant>,
    streak: u32,
    ran: bool,
    abnormal: bool,
}

pub(super) struct Model {
    /// The strategy, or none for a dynamic supervisor.
    pub(super) strategy: Option<Strategy>,
    pub(super) budget: Intensity,
    pub(super) backoff: bool,
    pub(super) window: VecDeque<Instant>,
    pub(super) kids: Vec<Kid>,
    /// How many of the next starts of each child fail.
    pub(super) fails: [u32; NAMES.len()],
    pub(super) melted: bool,
    pub(super) now: Instant,
}

fn spend(window: &mut VecDeque<Instant>, budget: Intensity, now: Instant) -> bool {
    window.retain(|at| now - *at <= budget.period);
    let allowed = window.len() < budget.restarts as usize;
    if allowed {
        window.push_back(now);
    }
    allowed
}

impl Model {
    pub(super) fn kid(&self, name: usize) -> Option<usize> {
        self.kids.iter().position(|kid| kid.name == name)
    }

    /// Starts a child, and returns whether it is running.
    fn start(&mut self, kid: usize) -> bool {
        let name = self.kids[kid].name;
        let fails = self.fails[name] > 0;
        self.fails[name] = self.fails[name].saturating_sub(1);
        let kid = &mut self.kids[kid];
        kid.incarnation += 1;
        kid.counted = false;
        if fails {
            kid.abnormal = true;
            kid.is = Is::Down;
        } else {
            kid.ran = true;
            kid.is = Is::Up(self.now);
        }
        !fails
    }

    /// Starts a child, and decides about a failed start as about an exit.
    fn start_or_decide(&mut self, kid: usize) {
        if !self.start(kid) {
            self.decide(kid);
        }
    }

    pub(super) fn exit(&mut self, kid: usize, abnormal: bool) {
        let Is::Up(since) = self.kids[kid].is else {
            return;
        };
        self.kids[kid].abnormal = abnormal;
        if self.backoff && self.now - since >= delays().reset_after {
            self.kids[kid].streak = 0;
        }
        self.decide(kid);
    }

    fn decide(&mut self, kid: usize) {
        let child = &mut self.kids[kid];
        child.is = Is::Down;
        match child.restart {
            Restart::Temporary => drop(self.kids.remove(kid)),
            Restart::Transient if !child.abnormal => {}
            Restart::Transient | Restart::Permanent if child.suspended => child.is = Is::Parked(false),
            Restart::Transient | Restart::Permanent => self.restart_after_exit(kid),
        }
    }

    fn restart_after_exit(&mut self, kid: usize) {
        let child = &mut self.kids[kid];
        let window = if self.strategy.is_none() {
            &mut child.window
        } else {
            &mut self.window
        };
        if !spend(window, self.budget, self.now) {
            child.is = Is::Failed;
            self.melted |= self.strategy.is_some();
            return;
        }
        child.restarts += 1;
        child.counted = true;
        let delay = if self.backoff && child.streak > 0 {
            (delays().min * 2_u32.pow(child.streak.min(10) - 1)).min(delays().max)
        } else {
            Duration::ZERO
        };
        child.streak += 1;
        match self.strategy {
            None | Some(Strategy::OneForOne) if delay.is_zero() => self.start_or_decide(kid),
            None | Some(Strategy::OneForOne) => child.is = Is::Delayed(self.now + delay),
            Some(Strategy::OneForAll) => self.restart_from(0),
            Some(Strategy::RestForOne) => self.restart_from(kid),
        }
    }

    fn restart_from(&mut self, first: usize) {
        let mut index = 0;
        self.kids.retain(|kid| {
            index += 1;
            index <= first || kid.restart != Restart::Temporary
        });
        for kid in &mut self.kids[first..] {
            kid.is = Is::Down;
            kid.restarts += u64::from(kid.ran && !kid.counted);
            kid.counted |= kid.ran;
        }
        for kid in first..self.kids.len() {
            if self.kids[kid].suspended {
                self.kids[kid].is = Is::Parked(true);
            } else if !self.start(kid) {
                // The failed start leads to another group restart, which also starts the remaining children.
                return self.decide(kid);
            }
        }
    }

    pub(super) fn add(&mut self, name: usize, restart: Restart) {
        if self.kid(name).is_some() {
            return;
        }
        self.kids.push(Kid {
            name,
            restart,
            incarnation: 0,
            is: Is::Down,
            suspended: false,
            restarts: 0,
            counted: false,
            window: VecDeque::new(),
            streak: 0,
            ran: false,
            abnormal: false,
        });
        if !self.start(self.kids.len() - 1) {
            self.kids.pop();
        }
    }

    pub(super) fn terminate(&mut self, kid: usize) {
        self.kids[kid].is = Is::Down;
        if self.kids[kid].restart == Restart::Temporary {
            self.kids.remove(kid);
        }
    }

    pub(super) fn restart(&mut self, kid: usize) {
        let child = &mut self.kids[kid];
        child.streak = 0;
        child.window.clear();
        let down = child.is == Is::Down;
        if self.start(kid) {
            return;
        }
        if self.strategy.is_some() && down {
            self.terminate(kid);
        } else {
            self.decide(kid);
        }
    }

    pub(super) fn resume(&mut self, kid: usize) {
        self.kids[kid].suspended = false;
        match self.kids[kid].is {
            Is::Parked(true) => self.start_or_decide(kid),
            Is::Parked(false) => self.decide(kid),
            Is::Up(_) | Is::Down | Is::Failed | Is::Delayed(_) => {}
        }
    }

    pub(super) fn replace(&mut self, kid: usize, restart: Restart) {
        let child = &mut self.kids[kid];
        let old = std::mem::replace(&mut child.restart, restart);
        let (ran, down) = (child.ran, matches!(child.is, Is::Down | Is::Failed));
        if down || self.start(kid) {
            return;
        }
        if ran {
            self.kids[kid].restart = old;
            self.start_or_decide(kid);
        } else {
            self.decide(kid);
        }
    }

    pub(super) fn reconfigure(&mut self, strategy: Strategy, budget: Intensity) {
        self.strategy = Some(strategy);
        self.budget = budget;
        while self.window.len() > budget.restarts as usize {
            self.window.pop_front();
        }
    }

    pub(super) fn reset(&mut self, kid: Option<usize>) {
        if kid.is_none() {
            self.window.clear();
        }
        for (index, child) in self.kids.iter_mut().enumerate() {
            if kid.is_none_or(|kid| kid == index) {
                child.window.clear();
                child.streak = 0;
                child.restarts = 0;
            }
        }
    }

    pub(super) fn wait(&mut self, until: Instant) {
        let due = |kid: &Kid| match kid.is {
            Is::Delayed(at) if at <= until => Some(at),
            Is::Delayed(_) | Is::Up(_) | Is::Down | Is::Failed | Is::Parked(_) => None,
        };
        while !self.melted
            && let Some(at) = self.kids.iter().filter_map(due).min()
        {
            self.now = at;
            let next = self.kids.iter().position(|kid| due(kid) == Some(at));
            let kid = next.expect("it was just found");
            if self.kids[kid].suspended {
                self.kids[kid].is = Is::Parked(true);
            } else {
                self.start_or_decide(kid);
            }
        }
        self.now = until;
    }

    pub(super) fn used(&self) -> u32 {
        let counts = |at: &&Instant| self.now - **at <= self.budget.period;
        u32::try_from(self.window.iter().filter(counts).count()).expect("few")
    }
}
