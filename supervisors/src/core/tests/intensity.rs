use super::*;

#[test]
fn more_than_the_intensity_within_the_period_is_a_meltdown() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a", "b"]);
    for _ in 0..3 {
        bench.crash("a");
        bench.settle();
        assert!(!bench.melted());
    }
    bench.log.clear();
    bench.crash("b");
    assert!(bench.melted());
    assert_eq!(kinds(&bench.log), ["child_exited", "meltdown"]);
    assert_eq!(bench.core.close(), [[id("b")], [id("a")]]);
}

#[test]
fn failed_restart_attempts_count_too() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a"]);
    bench.crash("a");
    bench.start_failed("a");
    bench.start_failed("a");
    assert!(!bench.melted());
    bench.start_failed("a");
    assert!(bench.melted());
}

#[test]
fn failed_attempts_of_a_group_count_too() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a"]);
    bench.crash("a");
    bench.start_failed("a");
    bench.start_failed("a");
    assert!(!bench.melted());
    bench.start_failed("a");
    assert!(bench.melted());
}

#[test]
fn a_failure_every_four_seconds_with_five_in_five_seconds_never_melts_down() {
    let mode = Mode::Static(Strategy::OneForOne);
    let mut bench = Bench::new(mode, Intensity::new(5, 5 * SECOND), &[("a", Rules::default())]);
    bench.settle();
    for _ in 0..1_000 {
        bench.log.clear();
        bench.now += 4 * SECOND;
        bench.crash("a");
        bench.settle();
        assert!(!bench.melted());
    }
    assert_eq!(bench.state("a"), "running");
}

/// Events say which restart within the period this is, and how many are allowed.
fn attempts(log: &[Action]) -> Vec<(&'static str, u32, u32)> {
    let attempt = |action: &Action| match action {
        Action::Emit(_, note) => Some((note.kind.name(), note.attempt?, note.limit?)),
        _ => None,
    };
    log.iter().filter_map(attempt).collect()
}

#[test]
fn events_tell_which_restart_of_how_many_it_is() {
    for mode in [Mode::Static(Strategy::OneForOne), Mode::Dynamic { max_children: 9 }] {
        let budget = Intensity::new(3, 60 * SECOND);
        let mut bench = Bench::new(mode, budget, &[("a", backing_off())]);
        bench.settle();
        bench.log.clear();
        bench.crash("a");
        bench.settle();
        bench.crash("a");
        let expected = [("restarted", 1, 3), ("backoff", 2, 3)];
        assert_eq!(attempts(&bench.log), expected);
    }
    let mut bench = Bench::running(Strategy::OneForAll, &["a"]);
    bench.crash("a");
    bench.settle();
    let expected = [("group_restart", 1, 3), ("restarted", 1, 3)];
    assert_eq!(attempts(&bench.log), expected);
}

#[test]
fn nothing_restarts_after_a_meltdown() {
    let mode = Mode::Static(Strategy::OneForOne);
    let children = [("a", Rules::default()), ("b", Rules::default())];
    let mut bench = Bench::new(mode, Intensity::new(0, SECOND), &children);
    bench.settle();
    bench.crash("a");
    assert!(bench.melted());
    bench.look();
    bench.crash("b");
    assert_eq!(bench.look(), [""; 0]);
}

#[test]
fn under_a_dynamic_supervisor_the_budget_is_per_child() {
    let mut bench = Bench::dynamic(Rules::default());
    for _ in 0..4 {
        bench.crash("a");
        bench.settle();
    }
    assert_eq!(bench.state("a"), "failed");
    assert_eq!(bench.state("b"), "running");
    let ends = ["start a2", "start a3", "start a4", "give up a"];
    assert_eq!(bench.look(), ends);
    bench.crash("b");
    assert_eq!(bench.look(), ["start b2"]);
}

#[test]
fn a_childs_own_budget_replaces_the_default() {
    let mut bench = Bench::dynamic(Rules {
        intensity: Some(Intensity::new(0, SECOND)),
        ..Rules::default()
    });
    bench.crash("a");
    assert_eq!(bench.state("a"), "failed");
}
