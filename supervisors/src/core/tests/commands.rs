use super::*;

fn add(bench: &mut Bench, name: &str) -> Result<(), Refused> {
    let actions = bench.core.add(&id(name), Rules::default(), bench.now)?;
    bench.log.extend(actions);
    Ok(())
}

#[test]
fn a_present_child_and_a_started_one_are_told_apart() {
    let mut bench = Bench::dynamic(Rules::default());
    assert_eq!(add(&mut bench, "a"), Err(Refused::AlreadyStarted));
    let actions = bench.core.terminate(&id("a"), bench.now).expect("it is there");
    bench.log.extend(actions);
    assert_eq!(add(&mut bench, "a"), Err(Refused::AlreadyStarted));
    bench.settle();
    assert_eq!(add(&mut bench, "a"), Err(Refused::AlreadyPresent));
    assert_eq!(bench.look(), ["stop a1"]);
}

#[test]
fn a_child_whose_first_start_fails_is_not_kept() {
    let mut bench = Bench::dynamic(Rules::default());
    add(&mut bench, "x").expect("it is new");
    bench.start_failed("x");
    assert_eq!(bench.look(), ["start x1", "forget x"]);
    assert_eq!(add(&mut bench, "x"), Ok(()));
}

#[test]
fn a_populated_child_whose_start_fails_is_retried_under_its_budget() {
    let mode = Mode::Dynamic { max_children: 10 };
    let budget = Intensity::new(1, SECOND);
    let mut bench = Bench::new(mode, budget, &[("a", Rules::default()), ("b", Rules::default())]);
    assert_eq!(bench.look(), ["start a1", "start b1"]);
    bench.start_failed("a");
    bench.started("b");
    assert_eq!(bench.look(), ["start a2", "ready"]);
    bench.start_failed("a");
    assert_eq!(bench.look(), ["give up a"]);
    assert_eq!(bench.state("a"), "failed");
}

#[test]
fn children_in_backoff_count_toward_max_children() {
    let mode = Mode::Dynamic { max_children: 1 };
    let budget = Intensity::new(9, SECOND);
    let mut bench = Bench::new(mode, budget, &[("a", backing_off())]);
    bench.settle();
    bench.crash("a");
    bench.settle();
    bench.crash("a");
    assert_eq!(bench.state("a"), "backoff");
    assert_eq!(add(&mut bench, "b"), Err(Refused::MaxChildren));
    bench.core.terminate(&id("a"), bench.now).expect("it is there");
    assert_eq!(add(&mut bench, "b"), Ok(()));
}

#[test]
fn children_that_are_down_take_no_place() {
    let mode = Mode::Dynamic { max_children: 2 };
    let spent = Rules {
        intensity: Some(Intensity::new(0, SECOND)),
        ..Rules::default()
    };
    let mut bench = Bench::new(
        mode,
        Intensity::new(9, SECOND),
        &[("a", spent), ("b", Rules::default())],
    );
    bench.settle();
    assert_eq!(add(&mut bench, "x"), Err(Refused::MaxChildren));
    bench.crash("a");
    bench.terminate("b");
    bench.settle();
    assert_eq!((bench.state("a"), bench.state("b")), ("failed", "stopped"));
    assert_eq!(add(&mut bench, "x"), Ok(()));
    assert_eq!(add(&mut bench, "y"), Ok(()));
    assert_eq!(add(&mut bench, "z"), Err(Refused::MaxChildren));
}

#[test]
fn restart_revives_a_failed_child_with_its_budget_restored() {
    let mut bench = Bench::dynamic(Rules::default());
    for _ in 0..4 {
        bench.crash("a");
        bench.settle();
    }
    bench.look();
    let actions = bench.core.restart(&id("a"), bench.now).expect("it is there");
    bench.log.extend(actions);
    bench.settle();
    bench.crash("a");
    assert_eq!(bench.look(), ["start a5", "start a6"]);
}

#[test]
fn restart_stops_a_running_child_before_it_starts_it() {
    let mut bench = Bench::dynamic(Rules::default());
    let actions = bench.core.restart(&id("a"), bench.now).expect("it is there");
    bench.log.extend(actions);
    assert_eq!(bench.look(), ["stop a1"]);
    bench.stopped("a");
    assert_eq!(bench.look(), ["start a2"]);
}

#[test]
fn delete_stops_a_child_and_forgets_it() {
    let mut bench = Bench::dynamic(Rules::default());
    let actions = bench.core.delete(&id("a"), bench.now).expect("it is there");
    bench.log.extend(actions);
    bench.settle();
    assert_eq!(bench.look(), ["stop a1", "forget a"]);
    assert_eq!(bench.core.delete(&id("a"), bench.now), Err(Refused::NotFound));
}

#[test]
fn a_terminated_child_ends_by_shutdown_unless_it_ended_otherwise_meanwhile() {
    for killed in [false, true] {
        let mut bench = Bench::dynamic(Rules::default());
        bench.crash("a");
        bench.settle();
        bench.terminate("a");
        if killed {
            bench.crash("a");
        }
        bench.stopped("a");
        let last = bench.core.children()["a"].last_exit.clone().expect("it has ended");
        let expected = if killed {
            ExitReason::Killed
        } else {
            ExitReason::Shutdown
        };
        assert_eq!((last.incarnation, last.reason), (2, expected));
    }
}

#[test]
fn a_start_can_be_terminated_before_it_is_done() {
    let mut bench = Bench::dynamic(Rules::default());
    add(&mut bench, "x").expect("it is new");
    let actions = bench.core.terminate(&id("x"), bench.now).expect("it is there");
    bench.log.extend(actions);
    bench.started("x");
    bench.stopped("x");
    assert_eq!(bench.look(), ["start x1", "stop x1"]);
    assert_eq!(bench.state("x"), "stopped");
}

#[test]
fn dynamic_children_stop_together() {
    let mut bench = Bench::dynamic(Rules::default());
    assert_eq!(bench.core.close(), [[id("b"), id("a")]]);
    assert_eq!(add(&mut bench, "x"), Err(Refused::Gone));
}
