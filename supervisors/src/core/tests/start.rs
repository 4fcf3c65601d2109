use super::*;

#[test]
fn children_start_left_to_right_each_after_the_one_before() {
    let children = [("a", Rules::default()), ("b", Rules::default())];
    let mode = Mode::Static(Strategy::OneForOne);
    let mut bench = Bench::new(mode, Intensity::new(1, SECOND), &children);
    assert_eq!(bench.look(), ["start a1"]);
    bench.started("a");
    assert_eq!(bench.look(), ["start b1"]);
    bench.started("b");
    assert_eq!(bench.look(), ["ready"]);
}

#[test]
fn a_failed_start_ends_the_supervisor_in_reverse_order() {
    let children = [
        ("a", Rules::default()),
        ("b", Rules::default()),
        ("c", Rules::default()),
    ];
    let mode = Mode::Static(Strategy::OneForOne);
    let mut bench = Bench::new(mode, Intensity::new(1, SECOND), &children);
    bench.started("a");
    bench.started("b");
    bench.look();
    bench.start_failed("c");
    assert_eq!(bench.look(), ["exit"]);
    assert_eq!(bench.core.close(), [[id("c")], [id("b")], [id("a")]]);
}

#[test]
fn an_exit_while_others_start_is_decided_when_they_have() {
    let children = [("a", Rules::default()), ("b", Rules::default())];
    let mode = Mode::Static(Strategy::OneForOne);
    let mut bench = Bench::new(mode, Intensity::new(1, SECOND), &children);
    bench.started("a");
    bench.crash("a");
    assert_eq!(bench.look(), ["start a1", "start b1"]);
    bench.started("b");
    assert_eq!(bench.look(), ["ready", "start a2"]);
}

#[test]
fn strategies_have_the_names_of_the_documentation() {
    let all = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne].map(Mode::Static);
    assert_eq!(all.map(Mode::name), ["one_for_one", "one_for_all", "rest_for_one"]);
    assert_eq!(Mode::Dynamic { max_children: 1 }.name(), "dynamic");
}

#[test]
fn duplicate_ids_are_rejected() {
    let mut bench = Bench::running(Strategy::OneForOne, &["a"]);
    assert!(!bench.core.declare(&id("a"), Rules::default()));
}
