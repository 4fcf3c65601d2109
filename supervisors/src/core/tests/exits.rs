use super::*;

fn restarts(restart: Restart, reason: ExitReason) -> bool {
    let mode = Mode::Static(Strategy::OneForOne);
    let mut bench = Bench::new(mode, Intensity::new(3, SECOND), &[("a", rules(restart))]);
    bench.settle();
    bench.look();
    bench.exit("a", reason);
    bench.look().contains(&"start a2".to_owned())
}

fn abnormal() -> Vec<ExitReason> {
    let of_kind = |kind| ExitReason::Error {
        kind,
        detail: String::new(),
    };
    vec![
        ExitReason::Killed,
        ExitReason::Cancelled,
        ExitReason::Panic(String::new()),
        ExitReason::HeartbeatLost,
        of_kind("trap"),
        of_kind("out_of_memory"),
        of_kind("out_of_fuel"),
        of_kind("deadline"),
    ]
}

#[test]
fn a_permanent_child_is_always_restarted() {
    for reason in abnormal().into_iter().chain([ExitReason::Normal, ExitReason::Shutdown]) {
        assert!(restarts(Restart::Permanent, reason));
    }
}

#[test]
fn a_transient_child_is_restarted_unless_it_ended_normally_or_by_shutdown() {
    for reason in abnormal() {
        assert!(restarts(Restart::Transient, reason));
    }
    assert!(!restarts(Restart::Transient, ExitReason::Normal));
    assert!(!restarts(Restart::Transient, ExitReason::Shutdown));
}

#[test]
fn a_temporary_child_is_never_restarted_and_its_spec_goes() {
    for reason in abnormal().into_iter().chain([ExitReason::Normal]) {
        assert!(!restarts(Restart::Temporary, reason));
    }
    let mode = Mode::Static(Strategy::OneForOne);
    let budget = Intensity::new(3, SECOND);
    let mut bench = Bench::new(mode, budget, &[("a", rules(Restart::Temporary))]);
    bench.settle();
    bench.look();
    bench.crash("a");
    assert_eq!(bench.look(), ["give up a", "forget a"]);
    assert!(bench.core.children().is_empty());
}

#[test]
fn abnormal_reasons_are_distinct() {
    let mut labels: Vec<_> = abnormal().iter().map(ExitReason::label).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), abnormal().len());
}

#[test]
fn exits_of_stale_incarnations_and_unknown_children_are_ignored() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a"]);
    bench.crash("a");
    bench.settle();
    bench.look();
    assert_eq!(bench.core.on_exit(&id("a"), 1, ExitReason::Killed, bench.now), []);
    assert_eq!(bench.core.on_exit(&id("x"), 1, ExitReason::Killed, bench.now), []);
    assert_eq!(bench.core.on_stopped(&id("a"), 2, false, bench.now), []);
    assert_eq!(bench.core.on_timer(&id("a"), 99, bench.now), []);
    assert_eq!(bench.state("a"), "running");
}

#[test]
fn a_lost_heartbeat_is_a_kill_and_then_an_exit_of_its_own_reason() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a"]);
    let incarnation = bench.latest("a");
    let actions = bench.core.on_heartbeat_lost(&id("a"), incarnation, bench.now);
    bench.log.extend(actions);
    assert_eq!(bench.look(), ["kill a1"]);
    bench.crash("a");
    assert_eq!(bench.look(), [""; 0]);
    bench.stopped("a");
    assert_eq!(bench.core.children()["a"].last_reason(), ExitReason::HeartbeatLost);
    assert_eq!(bench.look(), ["start a2"]);
}

#[test]
fn a_new_incarnation_of_the_supervisor_does_not_repeat_incarnations() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a"]);
    bench.crash("a");
    bench.settle();
    let mut next = Core::next_incarnation(&mut bench.core, 0);
    next.declare(&id("a"), Rules::default());
    let child = &next.children()["a"];
    assert_eq!(
        (child.last_reason(), child.restarts.get("killed")),
        (ExitReason::Killed, Some(&1))
    );
    assert_eq!(bench.core.counts(), [0; STATES.len()]);
    assert_eq!(next.begin(bench.now), [Action::Start(id("a"), 3)]);
}
