//! The schedule of faults. A seed always makes the same schedule.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::TestNode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// `kill -9`.
    Kill,
    /// SIGSTOP, SIGCONT after a while, and `kill -9` some time later.
    Pause,
    /// SIGSTOP, and `kill -9` without SIGCONT.
    PauseAndKill,
    /// SIGTERM, and nothing else: the server ends by itself.
    Terminate,
    /// SIGTERM, and `kill -9` during the shutdown or shortly after it.
    TerminateAndKill,
}

impl Fault {
    const ALL: [Self; 5] = [
        Self::Kill,
        Self::Pause,
        Self::PauseAndKill,
        Self::Terminate,
        Self::TerminateAndKill,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Pause => "stop, continue, kill -9",
            Self::PauseAndKill => "stop, kill -9",
            Self::Terminate => "SIGTERM",
            Self::TerminateAndKill => "SIGTERM, kill -9",
        }
    }
}

/// One round: the clients work, a fault ends the server, and perhaps some starts are killed as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// How long the clients work before the fault.
    pub after: Duration,
    pub fault: Fault,
    /// The length of the pause, or the time between SIGTERM and `kill -9`.
    pub lasts: Duration,
    /// Before the start that succeeds, there is one start for each of these times, which is killed after it.
    pub starts_killed_after: Vec<Duration>,
}

impl Round {
    fn roll(dice: &mut StdRng) -> Self {
        let mut within =
            |millis: Range<u64>| Duration::from_micros(dice.random_range(millis.start * 1_000..millis.end * 1_000));
        let after = within(50..500);
        let pause = within(20..400);
        let ending = within(0..60);
        let start = within(0..300);
        // About half of all faults are a plain `kill -9`.
        let fault = if dice.random_bool(0.4) {
            Fault::Kill
        } else {
            Fault::ALL[dice.random_range(0..Fault::ALL.len())]
        };
        let killed_starts = if dice.random_bool(0.25) {
            dice.random_range(1..=2)
        } else {
            0
        };
        Self {
            after,
            fault,
            lasts: if fault == Fault::TerminateAndKill {
                ending
            } else {
                pause
            },
            starts_killed_after: (1..=killed_starts).map(|n| start * n).collect(),
        }
    }

    /// Applies the fault to a server under load. Afterwards there is no process.
    pub(crate) async fn happen(&self, node: &mut TestNode) {
        tokio::time::sleep(self.after).await;
        match self.fault {
            Fault::Kill => node.kill_nine(),
            Fault::Pause => {
                node.signal("STOP");
                tokio::time::sleep(self.lasts).await;
                node.signal("CONT");
                tokio::time::sleep(self.after / 2).await;
                node.kill_nine();
            }
            Fault::PauseAndKill => {
                node.signal("STOP");
                tokio::time::sleep(self.lasts).await;
                node.kill_nine();
            }
            Fault::Terminate => {
                let status = node.terminate().await;
                assert_eq!(status.code(), Some(0), "SIGTERM is an ordinary end");
            }
            Fault::TerminateAndKill => {
                node.signal("TERM");
                tokio::time::sleep(self.lasts).await;
                node.kill_nine();
            }
        }
        for after in &self.starts_killed_after {
            node.begin_start();
            tokio::time::sleep(*after).await;
            node.kill_nine();
        }
    }
}

pub(crate) fn schedule(seed: u64, rounds: usize) -> Vec<Round> {
    let mut dice = StdRng::seed_from_u64(seed);
    (0..rounds).map(|_| Round::roll(&mut dice)).collect()
}

#[test]
fn a_seed_gives_one_schedule_and_a_longer_run_begins_as_a_shorter_one() {
    assert_eq!(schedule(7, 50)[..20], schedule(7, 20));
    assert_ne!(schedule(7, 20), schedule(8, 20));
}

#[test]
fn every_fault_comes() {
    let rounds = schedule(1, 100);
    for fault in Fault::ALL {
        assert!(rounds.iter().any(|round| round.fault == fault), "{fault:?}");
    }
    assert!(rounds.iter().any(|round| !round.starts_killed_after.is_empty()));
}
