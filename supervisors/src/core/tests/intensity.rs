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
