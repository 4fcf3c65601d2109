use super::*;

fn bench(auto: AutoShutdown) -> Bench {
    let significant = Rules {
        significant: true,
        ..rules(Restart::Transient)
    };
    let children = [("a", significant), ("b", significant), ("c", Rules::default())];
    let mode = Mode::Static(Strategy::OneForOne);
    let mut bench = Bench::with(mode, Intensity::new(3, SECOND), auto, &children);
    bench.settle();
    bench.look();
    bench
}

#[test]
fn any_significant_child_that_ends_by_itself_ends_the_supervisor() {
    let mut bench = bench(AutoShutdown::AnySignificant);
    bench.exit("a", ExitReason::Normal);
    assert_eq!(bench.look(), ["give up a", "exit"]);
}

#[test]
fn with_all_significant_the_last_one_ends_the_supervisor() {
    let mut bench = bench(AutoShutdown::AllSignificant);
    bench.exit("a", ExitReason::Normal);
    assert_eq!(bench.look(), ["give up a"]);
    bench.exit("b", ExitReason::Normal);
    assert_eq!(bench.look(), ["give up b", "exit"]);
}

#[test]
fn a_significant_child_that_is_restarted_ends_nothing() {
    let mut bench = bench(AutoShutdown::AnySignificant);
    bench.crash("a");
    assert_eq!(bench.look(), ["start a2"]);
}
