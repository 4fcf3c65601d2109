use super::*;

#[test]
fn one_for_one_restarts_the_child_alone() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a", "b", "c"]);
    bench.crash("b");
    bench.settle();
    assert_eq!(bench.look(), ["start b2"]);
}

#[test]
fn one_for_all_stops_the_others_in_reverse_order_then_starts_all() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a", "b", "c"]);
    bench.crash("b");
    bench.settle();
    assert_eq!(bench.look(), ["stop c1", "stop a1", "start a2", "start b2", "start c2"]);
}

#[test]
fn rest_for_one_restarts_the_later_ones_only() {
    let mut bench = Bench::running(Strategy::RestForOne, &["a", "b", "c", "d"]);
    bench.crash("b");
    bench.settle();
    assert_eq!(bench.look(), ["stop d1", "stop c1", "start b2", "start c2", "start d2"]);
}

/// How often a child was restarted, by reason.
fn counted(bench: &Bench, name: &str) -> Vec<(&'static str, u64)> {
    let restarts = &bench.core.children()[name].restarts;
    restarts.iter().map(|(reason, count)| (*reason, *count)).collect()
}

#[test]
fn a_restart_is_counted_by_the_childs_own_exit_or_as_that_of_a_sibling() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a", "b", "c"]);
    bench.crash("b");
    bench.exit("a", ExitReason::Normal);
    bench.settle();
    assert_eq!(counted(&bench, "a"), [("normal", 1)]);
    assert_eq!(counted(&bench, "b"), [("killed", 1)]);
    assert_eq!(counted(&bench, "c"), [("sibling", 1)]);
    bench.crash("b");
    bench.settle();
    assert_eq!(counted(&bench, "a"), [("normal", 1), ("sibling", 1)]);
    assert_eq!(counted(&bench, "b"), [("killed", 2)]);
    assert_eq!(counted(&bench, "c"), [("sibling", 2)]);
    assert_eq!(bench.used(), 2, "what siblings cause spends no intensity");
}

#[test]
fn a_restart_that_another_one_supersedes_is_counted_once() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a", "b", "c"]);
    bench.crash("b");
    bench.stopped("c");
    bench.stopped("a");
    bench.start_failed("a");
    bench.settle();
    assert_eq!(counted(&bench, "a"), [("sibling", 1), ("start_timeout", 1)]);
    assert_eq!(counted(&bench, "b"), [("killed", 1)]);
    assert_eq!(counted(&bench, "c"), [("sibling", 1)]);
}

#[test]
fn a_first_start_and_a_start_by_command_are_not_counted() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a", "b"]);
    bench.crash("a");
    bench.add("x");
    bench.settle();
    assert_eq!(counted(&bench, "x"), []);
    bench.restart("x");
    bench.settle();
    assert_eq!((bench.latest("x"), counted(&bench, "x")), (2, vec![]));
}

#[test]
fn the_old_incarnation_is_gone_before_the_new_one_starts() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a", "b", "c"]);
    bench.crash("b");
    assert_eq!(bench.look(), ["stop c1"]);
    // The exit is not enough, because what the child held may not be free yet.
    bench.crash("c");
    assert_eq!(bench.look(), [""; 0]);
    bench.stopped("c");
    assert_eq!(bench.look(), ["stop a1"]);
    bench.stopped("a");
    assert_eq!(bench.look(), ["start a2"]);
}

#[test]
fn failures_while_a_group_stops_coalesce_into_one_restart() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a", "b", "c"]);
    bench.crash("b");
    bench.crash("a");
    bench.crash("c");
    bench.settle();
    assert_eq!(bench.look(), ["stop c1", "start a2", "start b2", "start c2"]);
    assert_eq!(bench.core.window().used(bench.now), 1);
}

#[test]
fn a_failure_of_the_new_generation_is_another_restart() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a", "b"]);
    bench.crash("b");
    bench.stopped("a");
    bench.started("a");
    assert_eq!(bench.look(), ["stop a1", "start a2", "start b2"]);
    bench.crash("a");
    assert_eq!(bench.look(), ["stop b2"]);
    bench.settle();
    bench.stopped("b");
    bench.settle();
    assert_eq!(bench.look(), ["start a3", "start b3"]);
    assert_eq!(bench.core.window().used(bench.now), 2);
}

#[test]
fn a_failure_before_the_group_widens_it() {
    let mut bench = Bench::running(Strategy::RestForOne, &["a", "b", "c"]);
    bench.crash("c");
    assert_eq!(bench.look(), ["start c2"]);
    bench.crash("a");
    assert_eq!(bench.look(), ["stop c2"]);
    bench.stopped("c");
    bench.settle();
    assert_eq!(bench.look(), ["stop b1", "start a2", "start b2", "start c3"]);
}

#[test]
fn a_group_that_is_widened_starts_its_terminated_new_members_too() {
    let mut bench = Bench::running(Strategy::RestForOne, &["a", "b", "c"]);
    bench.terminate("b");
    bench.settle();
    bench.look();
    bench.crash("c");
    bench.crash("a");
    bench.stopped("c");
    bench.settle();
    assert_eq!(
        bench.look(),
        ["start c2", "stop c2", "start a2", "start b2", "start c3"]
    );
}

#[test]
fn a_temporary_child_does_not_come_back_through_its_siblings() {
    let children = [
        ("a", Rules::default()),
        ("t", rules(Restart::Temporary)),
        ("c", Rules::default()),
    ];
    let mode = Mode::Static(Strategy::OneForAll);
    let mut bench = Bench::new(mode, Intensity::new(3, SECOND), &children);
    bench.settle();
    bench.look();
    bench.crash("a");
    bench.settle();
    assert_eq!(bench.look(), ["stop c1", "stop t1", "forget t", "start a2", "start c2"]);
}

#[test]
fn a_temporary_child_that_ends_restarts_nobody() {
    let children = [("a", Rules::default()), ("t", rules(Restart::Temporary))];
    let mode = Mode::Static(Strategy::OneForAll);
    let mut bench = Bench::new(mode, Intensity::new(3, SECOND), &children);
    bench.settle();
    bench.look();
    bench.crash("t");
    assert_eq!(bench.look(), ["give up t", "forget t"]);
}

#[test]
fn a_group_waits_its_delay_after_stopping_and_before_starting() {
    let children = [("a", backing_off()), ("b", Rules::default())];
    let mode = Mode::Static(Strategy::OneForAll);
    let mut bench = Bench::new(mode, Intensity::new(3, 60 * SECOND), &children);
    bench.settle();
    bench.crash("a");
    bench.settle();
    bench.look();
    bench.crash("a");
    bench.settle();
    assert_eq!(bench.state("a"), "backoff");
    assert_eq!(bench.state("b"), "restarting");
    let timer = bench.log.clone();
    assert_eq!(bench.look(), ["stop b2"]);
    bench.log = timer;
    bench.pass_delay();
    bench.log.retain(|action| !matches!(action, Action::Stop(..)));
    bench.settle();
    assert_eq!(bench.look(), ["start a3", "start b3"]);
}

#[test]
fn under_rest_for_one_a_failed_start_keeps_those_started_before_it() {
    let mut bench = Bench::running(Strategy::RestForOne, &["a", "b"]);
    bench.crash("a");
    bench.stopped("b");
    bench.started("a");
    bench.start_failed("b");
    assert_eq!(bench.look(), ["stop b1", "start a2", "start b2", "start b3"]);
    bench.started("b");
    assert_eq!(bench.latest("a"), 2);
}
