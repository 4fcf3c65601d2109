//! Commands on a supervisor with declared children.

use super::*;

const ALL: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

fn grouped(strategy: Strategy, children: &[(&str, Rules)]) -> Bench {
    let mut bench = Bench::new(Mode::Static(strategy), Intensity::new(3, 60 * SECOND), children);
    bench.settle();
    bench.look();
    bench
}

/// A group restart that waits for its delay. Its cause is the exit of `a`.
fn delayed() -> Bench {
    let children = [("a", backing_off()), ("b", Rules::default())];
    let mut bench = grouped(Strategy::OneForAll, &children);
    bench.crash("a");
    bench.settle();
    bench.crash("a");
    bench.settle();
    assert_eq!(bench.state("a"), "backoff");
    bench
}

#[test]
fn start_child_adds_at_the_right_end() {
    for strategy in ALL {
        let mut bench = Bench::running(strategy, &["a", "b"]);
        bench.add("x");
        bench.settle();
        assert_eq!(bench.look(), ["start x1"]);
        assert_eq!(bench.core.close(), [[id("x")], [id("b")], [id("a")]]);
    }
}

#[test]
fn who_waits_for_a_restart_restarts_with_the_one_that_takes_its_place() {
    let mut bench = Bench::running(Strategy::RestForOne, &["a", "b"]);
    bench.crash("a");
    bench.stopped("b");
    bench.started("a");
    bench.terminate("a");
    bench.stopped("a");
    bench.restart("a"); // it waits until `b` has started
    bench.look();
    bench.start_failed("b");
    bench.settle();
    assert_eq!(bench.look(), ["start a3", "start b3"]);
    assert_eq!((bench.state("a"), bench.state("b")), ("running", "running"));
}

#[test]
fn an_added_child_is_the_last_of_its_group() {
    let mut bench = Bench::running(Strategy::RestForOne, &["a", "b"]);
    bench.add("x");
    bench.settle();
    bench.look();
    bench.crash("b");
    bench.settle();
    assert_eq!(bench.look(), ["stop x1", "start b2", "start x2"]);
}

#[test]
fn a_start_child_whose_first_start_fails_is_not_kept_and_is_no_restart() {
    for strategy in ALL {
        let mut bench = Bench::running(strategy, &["a"]);
        bench.add("x");
        bench.start_failed("x");
        assert!(matches!(
            bench.settled("x")[..],
            [Outcome::StartFailed(_), Outcome::Gone]
        ));
        assert_eq!(bench.look(), ["start x1", "forget x"]);
        assert_eq!(bench.used(), 0);
        assert!(matches!(bench.core.phase, Phase::Running));
    }
}

#[test]
fn a_child_added_while_the_declared_ones_start_waits_for_its_turn() {
    let children = [("a", Rules::default()), ("b", Rules::default())];
    let mode = Mode::Static(Strategy::OneForOne);
    let mut bench = Bench::new(mode, Intensity::new(1, SECOND), &children);
    bench.add("x");
    bench.started("a");
    assert_eq!(bench.look(), ["start a1", "start b1"]);
    bench.started("b");
    bench.start_failed("x");
    assert_eq!(bench.look(), ["start x1", "forget x", "ready"]);
}

#[test]
fn a_child_added_while_its_group_restarts_starts_last() {
    for stopped_first in [true, false] {
        let mut bench = Bench::running(Strategy::OneForAll, &["a", "b"]);
        bench.crash("a");
        if stopped_first {
            bench.stopped("b");
        }
        bench.add("x");
        bench.settle();
        if !stopped_first {
            bench.stopped("b");
            bench.settle();
        }
        bench.log.retain(|action| !matches!(action, Action::Stop(..)));
        bench.settle();
        assert_eq!(bench.look(), ["start a2", "start b2", "start x1"]);
    }
}

#[test]
fn a_terminated_child_keeps_its_spec_and_is_no_exit() {
    for strategy in ALL {
        let mut bench = Bench::running(strategy, &["a", "b"]);
        bench.terminate("a");
        bench.settle();
        assert_eq!(bench.look(), ["stop a1"]);
        assert_eq!(bench.state("a"), "stopped");
        assert_eq!(bench.used(), 0);
        let again = bench.core.add(&id("a"), Rules::default(), bench.now);
        assert_eq!(again, Err(Refused::AlreadyPresent));
    }
}

#[test]
fn a_terminated_temporary_child_goes_with_its_spec() {
    let mut bench = grouped(Strategy::OneForOne, &[("t", rules(Restart::Temporary))]);
    bench.terminate("t");
    bench.settle();
    assert_eq!(bench.look(), ["stop t1", "forget t"]);
}

/// `restart_multiple_children` in OTP's `supervisor.erl` starts every child from the failed one on, also those whose pid is
/// `undefined`: terminated ones, and transient ones that had ended.
#[test]
fn a_group_restart_starts_its_terminated_and_ended_members_too() {
    let children = [
        ("a", Rules::default()),
        ("b", Rules::default()),
        ("t", rules(Restart::Transient)),
    ];
    let mut bench = grouped(Strategy::RestForOne, &children);
    bench.terminate("b");
    bench.settle();
    bench.exit("t", ExitReason::Normal);
    assert_eq!(bench.state("t"), "stopped");
    bench.look();
    bench.crash("a");
    bench.settle();
    assert_eq!(bench.look(), ["start a2", "start b2", "start t2"]);
}

#[test]
fn a_terminated_child_before_the_group_stays_down() {
    let mut bench = Bench::running(Strategy::RestForOne, &["a", "b", "c"]);
    bench.terminate("a");
    bench.settle();
    bench.crash("b");
    bench
        .log
        .retain(|action| !matches!(action, Action::Stop(child, _) if **child == *"a"));
    bench.settle();
    assert_eq!(bench.look(), ["stop c1", "start b2", "start c2"]);
    assert_eq!(bench.state("a"), "stopped");
}

#[test]
fn a_child_terminated_while_its_group_restarts_stays_down() {
    // The moments are: before the child is stopped, while it is being stopped, when it is down, and while it starts again.
    for moment in 0..4 {
        let mut bench = Bench::running(Strategy::OneForAll, &["a", "b", "c"]);
        bench.crash("a");
        if moment == 0 {
            bench.terminate("b");
            bench.stopped("b");
        }
        bench.stopped("c");
        if moment == 1 {
            bench.terminate("b");
        }
        if moment > 0 {
            bench.stopped("b");
        }
        if moment == 2 {
            bench.terminate("b");
        }
        bench.started("a");
        if moment == 3 {
            bench.terminate("b");
            bench.stopped("b");
        }
        bench.started("c");
        assert_eq!(bench.state("b"), "stopped", "at moment {moment}");
        assert!(bench.settled("b").contains(&Outcome::Stopped));
        assert!(matches!(bench.core.phase, Phase::Running), "at moment {moment}");
        assert_eq!((bench.state("a"), bench.state("c")), ("running", "running"));
    }
}

#[test]
fn a_group_whose_first_member_goes_while_it_restarts_spares_those_before_it() {
    let mut bench = Bench::running(Strategy::RestForOne, &["a", "b", "c"]);
    bench.crash("b");
    bench.delete("b");
    bench.settle();
    bench.stopped("c");
    bench.settle();
    assert_eq!(bench.look(), ["stop c1", "forget b", "start c2"]);
    assert_eq!(bench.latest("a"), 1);
}

#[test]
fn a_group_does_not_wait_for_the_delay_of_a_child_that_is_terminated_or_deleted() {
    for delete in [false, true] {
        let mut bench = delayed();
        bench.look();
        if delete {
            bench.delete("a");
        } else {
            bench.terminate("a");
        }
        assert!(bench.log.contains(&Action::CancelTimer(id("a"))));
        bench.settle();
        let forgotten: &[&str] = if delete {
            &["start b3", "forget a"]
        } else {
            &["start b3"]
        };
        assert_eq!(bench.look(), forgotten);
        assert_eq!(bench.core.children().contains_key("a"), !delete);
        assert!(matches!(bench.core.phase, Phase::Running));
    }
}

#[test]
fn restart_of_the_child_that_delays_its_group_starts_all_at_once() {
    let mut bench = delayed();
    bench.look();
    bench.restart("a");
    bench.settle();
    assert_eq!(bench.look(), ["start a3", "start b3"]);
}

#[test]
fn restart_of_a_running_child_is_no_restart_and_touches_no_sibling() {
    for strategy in ALL {
        let mut bench = Bench::running(strategy, &["a", "b", "c"]);
        bench.restart("a");
        bench.settle();
        assert_eq!(bench.look(), ["stop a1", "start a2"]);
        assert_eq!(bench.used(), 0);
    }
}

/// When a start fails, OTP's `restart_child` returns the error and leaves the child without a pid.
#[test]
fn a_restart_that_does_not_start_leaves_a_terminated_child_down() {
    for strategy in ALL {
        let mut bench = Bench::running(strategy, &["a", "b"]);
        bench.terminate("a");
        bench.settle();
        bench.look();
        bench.restart("a");
        bench.start_failed("a");
        assert!(matches!(bench.settled("a")[0], Outcome::StartFailed(_)));
        assert_eq!(bench.look(), ["start a2"]);
        assert_eq!(bench.state("a"), "stopped");
        assert_eq!(bench.used(), 0);
        bench.restart("a");
        bench.started("a");
        bench.crash("a");
        assert_eq!(bench.used(), 1);
    }
}

#[test]
fn a_restart_that_does_not_start_is_a_failed_attempt_of_a_child_that_ran() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a", "b"]);
    bench.restart("a");
    bench.stopped("a");
    bench.start_failed("a");
    assert_eq!(bench.look(), ["stop a1", "start a2", "start a3"]);
    assert_eq!(bench.used(), 1);
}

#[test]
fn restart_while_the_group_restarts_is_part_of_it() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a", "b", "c"]);
    bench.crash("a");
    for name in ["a", "b", "c"] {
        bench.restart(name);
    }
    bench.settle();
    bench.stopped("c");
    bench.settle();
    let expected = ["stop c1", "stop b1", "start a2", "start b2", "start c2"];
    assert_eq!(bench.look(), expected);
}

#[test]
fn delete_of_a_running_child_stops_it_first_and_touches_no_sibling() {
    for strategy in ALL {
        let mut bench = Bench::running(strategy, &["a", "b", "c"]);
        bench.delete("b");
        assert_eq!(bench.look(), ["stop b1"]);
        bench.stopped("b");
        assert_eq!(bench.look(), ["forget b"]);
        bench.add("b");
        bench.settle();
        assert_eq!(bench.core.close(), [[id("b")], [id("c")], [id("a")]]);
    }
}

#[test]
fn terminating_a_significant_child_ends_nothing() {
    let significant = Rules {
        significant: true,
        ..rules(Restart::Transient)
    };
    let mode = Mode::Static(Strategy::OneForOne);
    let auto = AutoShutdown::AnySignificant;
    let mut bench = Bench::with(mode, Intensity::new(3, SECOND), auto, &[("a", significant)]);
    bench.settle();
    bench.look();
    bench.terminate("a");
    bench.settle();
    assert_eq!(bench.look(), ["stop a1"]);
}

#[test]
fn a_child_terminated_before_its_first_start_is_left_out() {
    let children = [
        ("a", Rules::default()),
        ("b", Rules::default()),
        ("c", Rules::default()),
    ];
    let mode = Mode::Static(Strategy::OneForOne);
    let mut bench = Bench::new(mode, Intensity::new(1, SECOND), &children);
    bench.terminate("b");
    bench.terminate("a");
    assert_eq!(bench.look(), ["start a1", "stop a1"]);
    bench.stopped("a");
    bench.started("c");
    assert_eq!(bench.look(), ["start c1", "ready"]);
    assert_eq!((bench.state("a"), bench.state("b")), ("stopped", "stopped"));
}
