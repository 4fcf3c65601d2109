//! Suspended children and replaced specifications.

use super::*;

const ALL: [Mode; 4] = [
    Mode::Static(Strategy::OneForOne),
    Mode::Static(Strategy::OneForAll),
    Mode::Static(Strategy::RestForOne),
    Mode::Dynamic { max_children: 10 },
];

fn bench(mode: Mode, children: &[(&str, Rules)]) -> Bench {
    let mut bench = Bench::new(mode, Intensity::new(3, 60 * SECOND), children);
    bench.settle();
    bench.log.clear();
    bench
}

fn pair(mode: Mode) -> Bench {
    bench(mode, &[("a", Rules::default()), ("b", Rules::default())])
}

impl Bench {
    fn suspend(&mut self, name: &str) {
        self.command(|core, _| core.suspend(&id(name)));
    }

    fn resume(&mut self, name: &str) {
        self.command(|core, now| core.resume(&id(name), now));
    }

    fn replace(&mut self, name: &str, rules: Rules) {
        self.command(|core, now| core.replace(&id(name), rules, now));
    }

    fn restarts_of(&self, name: &str) -> u64 {
        self.core.children()[name].restarts.values().sum()
    }
}

#[test]
fn the_exit_of_a_suspended_child_is_decided_when_it_is_resumed() {
    for mode in ALL {
        let mut bench = pair(mode);
        bench.suspend("a");
        assert_eq!(bench.state("a"), "suspended");
        bench.crash("a");
        assert_eq!(kinds(&bench.log), ["suspended", "child_exited"]);
        assert_eq!((bench.state("a"), bench.restarts_of("a")), ("suspended", 0));
        assert_eq!(bench.look(), [""; 0]);
        bench.resume("a");
        bench.settle();
        assert_eq!((bench.latest("a"), bench.state("a")), (2, "running"));
        assert_eq!(bench.restarts_of("a"), 1);
    }
}

#[test]
fn a_resumed_child_that_had_ended_for_good_stays_down() {
    let mut bench = bench(ALL[0], &[("a", rules(Restart::Transient))]);
    bench.suspend("a");
    bench.exit("a", ExitReason::Normal);
    assert_eq!(bench.state("a"), "stopped");
    bench.resume("a");
    assert_eq!(bench.look(), ["give up a"]);
}

#[test]
fn to_suspend_or_resume_twice_is_to_do_it_once() {
    let mut bench = pair(ALL[0]);
    bench.resume("a");
    bench.suspend("a");
    bench.suspend("a");
    bench.resume("a");
    bench.resume("a");
    assert_eq!(kinds(&bench.log), ["suspended", "resumed"]);
    assert_eq!(bench.core.suspend(&id("x")), Err(Refused::NotFound));
}

#[test]
fn a_suspended_child_is_not_started_with_its_siblings_and_holds_up_none() {
    let mut bench = bench(
        ALL[1],
        &[
            ("a", Rules::default()),
            ("b", Rules::default()),
            ("c", Rules::default()),
        ],
    );
    bench.suspend("b");
    bench.crash("a");
    bench.settle();
    assert_eq!(bench.look(), ["stop c1", "stop b1", "start a2", "start c2"]);
    assert_eq!(bench.state("b"), "suspended");
    bench.resume("b");
    bench.settle();
    // The restart of this child was part of the group restart, which has been counted.
    assert_eq!(bench.look(), ["start b2"]);
    assert_eq!(bench.used(), 1);
}

#[test]
fn a_delay_that_ends_while_the_child_is_suspended_starts_it_when_it_is_resumed() {
    let mut bench = bench(ALL[3], &[("a", backing_off())]);
    for _ in 0..2 {
        bench.crash("a");
        bench.settle();
    }
    assert_eq!(bench.state("a"), "backoff");
    bench.suspend("a");
    bench.look();
    let timers = bench.core.children()["a"].state;
    assert!(matches!(timers, State::Backoff { .. }));
    bench.now += backoff().min;
    let token = bench.core.last_token;
    let actions = bench.core.on_timer(&id("a"), token, bench.now);
    bench.log.extend(actions);
    assert_eq!(bench.look(), [""; 0]);
    bench.resume("a");
    assert_eq!(bench.look(), ["start a3"]);
    assert_eq!(bench.restarts_of("a"), 2);
}

#[test]
fn a_suspended_child_that_is_terminated_stays_down_when_it_is_resumed() {
    let mut bench = pair(ALL[0]);
    bench.suspend("a");
    bench.crash("a");
    bench.terminate("a");
    assert_eq!(bench.state("a"), "stopped");
    bench.look();
    bench.resume("a");
    assert_eq!(bench.look(), [""; 0]);
}

#[test]
fn suspended_children_are_counted_as_such_and_take_their_place() {
    let mut bench = bench(
        Mode::Dynamic { max_children: 2 },
        &[("a", Rules::default()), ("b", Rules::default())],
    );
    bench.suspend("a");
    let count = |bench: &Bench, state: &str| {
        let index = STATES.iter().position(|name| *name == state).expect("it is a state");
        bench.core.counts()[index]
    };
    assert_eq!((count(&bench, "suspended"), count(&bench, "running")), (1, 1));
    bench.crash("a");
    assert_eq!((count(&bench, "suspended"), count(&bench, "running")), (1, 1));
    let added = bench.core.add(&id("c"), Rules::default(), bench.now);
    assert_eq!(added, Err(Refused::MaxChildren));
    bench.resume("a");
    bench.settle();
    assert_eq!((count(&bench, "suspended"), count(&bench, "running")), (0, 2));
}

#[test]
fn replace_is_an_ordered_stop_and_start_and_no_restart() {
    for mode in ALL {
        let mut bench = pair(mode);
        bench.replace("a", rules(Restart::Transient));
        assert_eq!(bench.look(), ["stop a1"]);
        bench.stopped("a");
        bench.started("a");
        assert_eq!(kinds(&bench.log), ["child_terminated", "replaced"]);
        assert_eq!(bench.settled("a"), [Outcome::Running]);
        assert_eq!(bench.look(), ["start a2"]);
        assert_eq!((bench.restarts_of("a"), bench.used()), (0, 0));
        // The new rules apply from now on.
        bench.exit("a", ExitReason::Normal);
        assert_eq!(bench.state("a"), "stopped");
    }
}

#[test]
fn a_replacement_that_does_not_start_puts_the_old_spec_back_and_is_no_restart() {
    for mode in ALL {
        let mut bench = pair(mode);
        bench.replace("a", rules(Restart::Temporary));
        assert!(bench.core.may_revert(&id("a")) && !bench.core.may_revert(&id("b")));
        bench.stopped("a");
        bench.start_failed("a");
        assert!(!bench.core.may_revert(&id("a")));
        assert!(bench.log.contains(&Action::Revert(id("a"))));
        // The command is answered when the old specification is running again.
        assert_eq!(bench.settled("a"), []);
        bench.started("a");
        let told = bench.settled("a");
        assert!(matches!(told[..], [Outcome::Reverted(_), Outcome::Running]), "{told:?}");
        assert_eq!(bench.look(), ["stop a1", "start a2", "start a3"]);
        assert_eq!((bench.restarts_of("a"), bench.used()), (0, 0));
        assert_eq!(bench.core.children()["a"].rules.restart, Restart::Permanent);
        assert_eq!(bench.latest("b"), 1);
        bench.crash("a");
        assert_eq!(bench.restarts_of("a"), 1);
    }
}

#[test]
fn an_old_spec_that_does_not_start_either_is_a_failed_restart() {
    let mut bench = pair(ALL[0]);
    bench.replace("a", Rules::default());
    bench.stopped("a");
    bench.start_failed("a");
    bench.start_failed("a");
    let told = bench.settled("a");
    assert!(
        matches!(told[..], [Outcome::Reverted(_), Outcome::StartFailed(_)]),
        "{told:?}"
    );
    assert_eq!(bench.used(), 1);
    assert_eq!(bench.look(), ["stop a1", "start a2", "start a3", "start a4"]);
}

#[test]
fn one_replacement_after_the_other_goes_back_to_the_one_that_ran() {
    let mut bench = bench(ALL[0], &[("a", rules(Restart::Transient))]);
    bench.replace("a", Rules::default());
    bench.stopped("a");
    bench.replace("a", rules(Restart::Temporary));
    bench.stopped("a");
    bench.start_failed("a");
    assert_eq!(bench.core.children()["a"].rules.restart, Restart::Transient);
}

#[test]
fn a_child_that_is_down_gets_its_new_spec_and_stays_down() {
    for mode in ALL {
        let mut bench = pair(mode);
        bench.terminate("a");
        bench.settle();
        bench.log.clear();
        bench.replace("a", rules(Restart::Transient));
        assert_eq!(bench.settled("a"), [Outcome::Stopped]);
        assert_eq!(bench.look(), [""; 0]);
        assert_eq!(bench.core.children()["a"].rules.restart, Restart::Transient);
    }
}

#[test]
fn a_replacement_during_backoff_starts_at_once() {
    let mut bench = bench(ALL[3], &[("a", backing_off())]);
    for _ in 0..2 {
        bench.crash("a");
        bench.settle();
    }
    bench.look();
    bench.replace("a", Rules::default());
    assert!(bench.log.contains(&Action::CancelTimer(id("a"))));
    assert_eq!(bench.look(), ["start a3"]);
}

#[test]
fn a_suspended_child_that_is_replaced_starts_by_its_new_spec_and_stays_suspended() {
    for crashed in [false, true] {
        let mut bench = pair(ALL[2]);
        bench.suspend("a");
        if crashed {
            bench.crash("a");
        }
        bench.replace("a", Rules::default());
        bench.settle();
        let expected: &[&str] = if crashed {
            &["start a2"]
        } else {
            &["stop a1", "start a2"]
        };
        assert_eq!(bench.look(), expected);
        assert_eq!(bench.state("a"), "suspended");
        bench.crash("a");
        assert_eq!(bench.look(), [""; 0]);
    }
}

#[test]
fn a_replacement_while_the_group_restarts_is_part_of_it() {
    let mut bench = pair(ALL[1]);
    bench.crash("a");
    bench.replace("b", Rules::default());
    bench.stopped("b");
    bench.started("a");
    bench.start_failed("b");
    bench.started("b");
    assert_eq!(bench.look(), ["stop b1", "start a2", "start b2", "start b3"]);
    assert_eq!(bench.used(), 1);
    assert!(matches!(bench.core.phase, Phase::Running));
}
