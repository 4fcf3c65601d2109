//! Changes of the rules and the restart counts of a running supervisor.

use super::*;

#[test]
fn reconfigure_restarts_nothing_and_the_next_exit_goes_by_the_new_strategy() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a", "b"]);
    let budget = Intensity::new(1, SECOND);
    bench.core.reconfigure(Strategy::OneForAll, budget, AutoShutdown::Never);
    assert_eq!(bench.look(), [""; 0]);
    bench.crash("a");
    bench.settle();
    assert_eq!(bench.look(), ["stop b1", "start a2", "start b2"]);
    bench.crash("a");
    assert!(bench.melted());
}

#[test]
fn restarts_that_were_made_count_under_the_new_budget() {
    for (allowed, melts) in [(2, true), (3, false)] {
        let mut bench = Bench::running(Strategy::OneForOne, &["a"]);
        for _ in 0..2 {
            bench.crash("a");
            bench.settle();
        }
        let budget = Intensity::new(allowed, 5 * SECOND);
        bench.core.reconfigure(Strategy::OneForOne, budget, AutoShutdown::Never);
        bench.crash("a");
        assert_eq!(bench.melted(), melts);
    }
}

#[test]
fn reconfigure_while_a_group_restarts_lets_it_end() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a", "b"]);
    bench.crash("a");
    let budget = Intensity::new(3, SECOND);
    bench.core.reconfigure(Strategy::OneForOne, budget, AutoShutdown::Never);
    bench.settle();
    assert_eq!(bench.look(), ["stop b1", "start a2", "start b2"]);
    bench.crash("a");
    assert_eq!(bench.look(), ["start a3"]);
}

#[test]
fn a_reconfigured_supervisor_stays_so_when_it_is_restarted() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a"]);
    let budget = Intensity::new(7, SECOND);
    bench
        .core
        .reconfigure(Strategy::RestForOne, budget, AutoShutdown::AllSignificant);
    let next = Core::next_incarnation(&mut bench.core, 0);
    assert_eq!(next.mode(), Mode::Static(Strategy::RestForOne));
    assert_eq!(next.window().intensity(), budget);
    assert_eq!(next.auto_shutdown(), AutoShutdown::AllSignificant);
}

#[test]
fn reset_empties_the_window_the_delays_and_the_counts() {
    let mut bench = Bench::new(
        Mode::Static(Strategy::OneForOne),
        Intensity::new(3, 60 * SECOND),
        &[("a", backing_off())],
    );
    bench.settle();
    for _ in 0..2 {
        bench.crash("a");
        bench.settle();
        if bench.state("a") == "backoff" {
            bench.pass_delay();
            bench.settle();
        }
    }
    assert_eq!(bench.used(), 2);
    bench.core.reset();
    assert_eq!(bench.used(), 0);
    assert!(bench.core.children()["a"].restarts.is_empty());
    bench.look();
    bench.crash("a");
    // The child is restarted at once, because the backoff was reset too.
    assert_eq!(bench.look(), ["start a4"]);
}

#[test]
fn the_next_exit_of_a_child_goes_by_its_new_restart_type_and_backoff() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a", "b"]);
    let changed = bench.core.reconfigure_child("a", Restart::Transient, Some(backoff()));
    assert_eq!((changed, bench.look()), (Ok(()), vec![]));
    for _ in 0..2 {
        bench.crash("a");
        bench.settle();
    }
    assert_eq!(bench.state("a"), "backoff");
    bench.pass_delay();
    bench.settle();
    bench.exit("a", ExitReason::Normal);
    assert_eq!(bench.state("a"), "stopped");
    let unknown = bench.core.reconfigure_child("x", Restart::Transient, None);
    assert_eq!(unknown, Err(Refused::NotFound));
}

#[test]
fn reset_of_one_child_leaves_the_shared_budget_and_its_siblings() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a", "b"]);
    bench.crash("a");
    bench.settle();
    bench.crash("b");
    bench.settle();
    assert_eq!(bench.core.reset_child("a"), Ok(()));
    assert_eq!(bench.core.reset_child("x"), Err(Refused::NotFound));
    assert_eq!(bench.used(), 2);
    assert!(bench.core.children()["a"].restarts.is_empty());
    assert_eq!(bench.core.children()["b"].restarts.get("killed"), Some(&1));
}

#[test]
fn reset_of_a_dynamic_child_restores_its_own_budget() {
    let mut bench = Bench::dynamic(Rules::default());
    for _ in 0..3 {
        bench.crash("a");
        bench.settle();
    }
    assert_eq!(bench.core.reset_child("a"), Ok(()));
    bench.crash("a");
    bench.settle();
    assert_eq!(bench.state("a"), "running");
}
