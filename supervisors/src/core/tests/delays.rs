use super::*;

#[test]
fn the_first_restart_is_immediate_and_backoff_begins_with_the_second() {
    let mut bench = Bench::dynamic(backing_off());
    bench.crash("a");
    bench.settle();
    assert_eq!(bench.look(), ["start a2"]);
    bench.crash("a");
    assert_eq!(bench.delay().map(|timer| timer.2), Some(backoff().min));
    assert_eq!(kinds(&bench.log), ["child_exited", "backoff"]);
    bench.pass_delay();
    bench.settle();
    assert_eq!(kinds(&bench.log), ["child_exited", "backoff", "restarted"]);
    bench.crash("a");
    assert_eq!(bench.delay().map(|timer| timer.2), Some(2 * backoff().min));
}

#[test]
fn uptime_resets_the_backoff() {
    let mut bench = Bench::dynamic(backing_off());
    bench.crash("a");
    bench.settle();
    bench.now += backoff().reset_after;
    bench.look();
    bench.crash("a");
    assert_eq!(bench.look(), ["start a3"]);
}

#[test]
fn a_heartbeat_lost_after_a_long_uptime_begins_the_backoff_again() {
    let mut bench = Bench::dynamic(backing_off());
    bench.crash("a");
    bench.settle();
    bench.now += backoff().reset_after;
    bench.look();
    let incarnation = bench.latest("a");
    bench.log = bench.core.on_heartbeat_lost(&id("a"), incarnation, bench.now);
    bench.stopped("a");
    assert_eq!(bench.look(), ["kill a2", "start a3"]);
}

#[test]
fn terminating_or_deleting_a_child_cancels_its_timer() {
    for delete in [false, true] {
        let mut bench = Bench::dynamic(backing_off());
        bench.crash("a");
        bench.settle();
        bench.crash("a");
        let (child, token, _) = bench.delay().expect("a timer is set");
        let now = bench.now;
        let actions = if delete {
            bench.core.delete(&child, now)
        } else {
            bench.core.terminate(&child, now)
        };
        assert!(
            actions
                .expect("it is there")
                .contains(&Action::CancelTimer(child.clone()))
        );
        // A timer that fires nevertheless has no effect.
        assert_eq!(bench.core.on_timer(&child, token, now), []);
    }
}

#[test]
fn recovery_by_command_is_measured_from_the_command_unless_a_restart_was_due() {
    for due in [false, true] {
        let mut bench = Bench::dynamic(backing_off());
        bench.crash("a");
        bench.settle();
        bench.crash("a");
        if !due {
            bench.terminate("a");
        }
        bench.now += SECOND;
        bench.restart("a");
        bench.now += SECOND;
        bench.log.clear();
        bench.started("a");
        let recovery = bench.log.iter().find_map(|action| match action {
            Action::Emit(_, note) => note.recovery,
            _ => None,
        });
        assert_eq!(recovery, Some(if due { 2 * SECOND } else { SECOND }));
    }
}

#[test]
fn a_group_that_is_widened_while_it_waits_keeps_the_rest_of_its_delay() {
    let children = [("a", Rules::default()), ("b", backing_off()), ("c", Rules::default())];
    let mode = Mode::Static(Strategy::RestForOne);
    let mut bench = Bench::new(mode, Intensity::new(3, 60 * SECOND), &children);
    bench.settle();
    for _ in 0..2 {
        bench.crash("b");
        bench.settle();
    }
    let stale = bench.delay().expect("a timer is set");
    bench.now += stale.2 / 4;
    bench.log.clear();
    bench.crash("a");
    assert_eq!(bench.delay().map(|timer| timer.2), Some(stale.2 * 3 / 4));
    assert_eq!(bench.core.on_timer(&stale.0, stale.1, bench.now), []);
    bench.look();
    bench.pass_last_delay();
    bench.settle();
    assert_eq!(bench.look(), ["start a2", "start b3", "start c3"]);
    assert_eq!(bench.used(), 2);
}

#[test]
fn recovery_is_measured_from_the_exit_to_running() {
    let mut bench = Bench::dynamic(backing_off());
    bench.crash("a");
    bench.now += SECOND;
    bench.start_failed("a");
    bench.pass_delay();
    bench.started("a");
    let recovery = bench.log.iter().find_map(|action| match action {
        Action::Emit(_, note) => note.recovery,
        _ => None,
    });
    assert_eq!(recovery, Some(SECOND + backoff().min));
}
