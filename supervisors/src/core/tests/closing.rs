//! The end of a supervisor, and children that cannot be stopped.

use super::*;

#[test]
fn a_child_that_stops_with_its_supervisor_tells_how_it_went() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a", "b", "c"]);
    bench.terminate("c");
    bench.settle();
    bench.core.close();
    let now = bench.now;
    let stopped = bench.core.on_closed(&id("a"), ExitReason::Shutdown, false, now);
    assert_eq!(kinds(&stopped), ["child_terminated"]);
    let zombie = bench.core.on_closed(&id("b"), ExitReason::Killed, true, now);
    assert_eq!(kinds(&zombie), ["zombie", "child_terminated"]);
    assert_eq!(bench.core.children()["b"].last_reason(), ExitReason::Killed);
    assert_eq!(bench.core.on_closed(&id("c"), ExitReason::Shutdown, false, now), []);
    assert_eq!(bench.core.on_closed(&id("x"), ExitReason::Shutdown, false, now), []);
    assert!(["a", "b", "c"].iter().all(|name| bench.state(name) == "stopped"));
}

#[test]
fn a_failed_child_stays_so_when_its_supervisor_ends() {
    let mut bench = Bench::dynamic(Rules {
        intensity: Some(Intensity::new(0, SECOND)),
        ..Rules::default()
    });
    bench.crash("a");
    bench.core.close();
    assert_eq!(
        bench.core.on_closed(&id("a"), ExitReason::Shutdown, false, bench.now),
        []
    );
    assert_eq!(bench.state("a"), "failed");
}

#[test]
fn nothing_starts_once_the_end_is_decided() {
    let mut bench = Bench::dynamic(backing_off());
    bench.crash("a");
    bench.settle();
    bench.crash("a");
    bench.restart("b");
    bench.core.close();
    bench.look();
    bench.stopped("b");
    let token = bench.core.last_token;
    assert_eq!(bench.core.on_timer(&id("a"), token, bench.now), []);
    assert_eq!(bench.look(), [""; 0]);
    assert_eq!(bench.core.restart(&id("a"), bench.now), Err(Refused::Gone));
}

#[test]
fn a_zombie_is_told_of_and_counts_as_gone() {
    let mut bench = Bench::running(Strategy::OneForAll, &["a", "b"]);
    bench.crash("a");
    bench.look();
    bench.log = bench.core.on_stopped(&id("b"), 1, true, bench.now);
    assert_eq!(kinds(&bench.log), ["zombie", "child_terminated"]);
    assert_eq!(bench.look(), ["start a2"]);
}

#[test]
fn a_heartbeat_that_is_lost_while_others_start_holds_up_nobody() {
    let children = [("a", Rules::default()), ("b", Rules::default())];
    let mode = Mode::Static(Strategy::OneForOne);
    let mut bench = Bench::new(mode, Intensity::new(1, SECOND), &children);
    bench.started("a");
    let actions = bench.core.on_heartbeat_lost(&id("a"), 1, bench.now);
    bench.log.extend(actions);
    bench.started("b");
    bench.stopped("a");
    assert_eq!(bench.look(), ["start a1", "start b1", "kill a1", "ready", "start a2"]);
}
