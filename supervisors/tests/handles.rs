//! Commands on supervisors with declared children.

mod bench;

use std::sync::Arc;

use bench::{AMPLE, Board, Order, Start, secs, until};
use supervisors::{
    AutoShutdown, Backoff, EventKind, ExitReason, Intensity, Restart, SpecError, StartChildError, Strategy, Supervisor,
    SupervisorHandle, Tree,
};

async fn group(supervisor: Supervisor) -> (Tree, SupervisorHandle) {
    let (child, handle) = supervisor.into_child_with_handle();
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(child)
        .start()
        .await
        .expect("it starts");
    (tree, handle)
}

fn crew(board: &Board, strategy: Strategy) -> Supervisor {
    Supervisor::new("crew", strategy, Intensity::new(5, secs(60)))
        .child(board.worker("a"))
        .child(board.worker("b"))
}

fn states(handle: &SupervisorHandle) -> Vec<(String, &'static str)> {
    let children = handle.which_children();
    children.into_iter().map(|child| (child.id, child.state)).collect()
}

fn named(states: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    states.iter().map(|(id, state)| ((*id).to_owned(), *state)).collect()
}

#[tokio::test(start_paused = true)]
async fn declared_children_are_terminated_restarted_and_deleted() {
    let board = Board::default();
    let (tree, crew) = group(crew(&board, Strategy::OneForAll)).await;
    board.look();
    crew.terminate("a").await.expect("it stops");
    assert_eq!(states(&crew), named(&[("a", "stopped"), ("b", "running")]));
    crew.restart("a").await.expect("it starts");
    crew.restart("a").await.expect("it starts");
    assert_eq!(board.look(), ["~a1", "-a1", "+a2", "~a2", "-a2", "+a3"]);
    crew.delete("a").await.expect("it goes");
    let counts = crew.count_children();
    assert_eq!((counts.specs, counts.active, counts.workers), (1, 1, 1));
    assert_eq!(crew.restart("a").await, Err(StartChildError::NotFound));
    assert_eq!(board.look(), ["~a3", "-a3"]);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_childs_restart_type_and_backoff_are_changed_while_it_runs() {
    let board = Board::default();
    let (tree, crew) = group(crew(&board, Strategy::OneForOne)).await;
    let mut events = tree.subscribe();
    let backoff = Backoff {
        min: secs(7),
        jitter: 0.0,
        ..Backoff::default()
    };
    crew.reconfigure_child("a", Restart::Transient, Some(backoff))
        .expect("it may be");
    board.tell("a", Order::Panic);
    until(&mut events, EventKind::Restarted, "node/crew/a").await;
    board.tell("a", Order::Panic);
    let delayed = until(&mut events, EventKind::Backoff, "node/crew/a").await;
    assert_eq!(delayed.delay, Some(secs(7)));
    until(&mut events, EventKind::Restarted, "node/crew/a").await;
    board.tell("a", Order::Finish);
    until(&mut events, EventKind::ChildExited, "node/crew/a").await;
    assert_eq!(states(&crew), named(&[("a", "stopped"), ("b", "running")]));
    assert_eq!(
        crew.reconfigure_child("x", Restart::Transient, None),
        Err(StartChildError::NotFound)
    );
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_terminate_that_a_restart_overtakes_is_answered() {
    let board = Board::default();
    let (tree, crew) = group(crew(&board, Strategy::OneForOne)).await;
    board.look();
    let (terminated, restarted) = tokio::join!(crew.terminate("a"), crew.restart("a"));
    assert_eq!(terminated, Ok(()));
    restarted.expect("it starts");
    assert_eq!(board.look(), ["~a1", "-a1", "+a2"]);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_added_child_is_the_last_and_stops_first() {
    let board = Board::default();
    let (tree, crew) = group(crew(&board, Strategy::RestForOne)).await;
    let cell = crew.start_child(board.worker("c")).await.expect("it starts");
    assert_eq!(crew.child("c"), Some(cell));
    let again = crew.start_child(board.worker("c")).await;
    assert_eq!(again, Err(StartChildError::AlreadyStarted));
    board.look();
    let mut events = tree.subscribe();
    board.tell("b", Order::Panic);
    until(&mut events, EventKind::Restarted, "node/crew/c").await;
    assert_eq!(board.look(), ["-b1", "~c1", "-c1", "+b2", "+c2"]);
    tree.shutdown().await;
    assert_eq!(board.look(), ["~c2", "-c2", "~b2", "-b2", "~a1", "-a1"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_child_that_fails_is_not_kept_and_touches_nobody() {
    let board = Board::default();
    board.starts("c", vec![Start::Fail]);
    let (tree, crew) = group(crew(&board, Strategy::OneForAll)).await;
    board.look();
    let result = crew.start_child(board.worker("c")).await;
    assert!(matches!(result, Err(StartChildError::Failed(_))));
    assert_eq!(states(&crew), named(&[("a", "running"), ("b", "running")]));
    assert_eq!(board.look(), [""; 0]);
    let snapshot = tree.snapshot().await;
    let used = snapshot.find("node/crew").and_then(|crew| crew.intensity.as_ref());
    assert_eq!(used.map(|intensity| intensity.used), Some(0));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_supervisor_begins_with_its_declared_and_populated_children() {
    let board = Board::default();
    let workers = board.clone();
    let populate = Arc::new(move || vec![workers.worker("p"), workers.worker("q")]);
    let (tree, crew) = group(crew(&board, Strategy::RestForOne).populate(populate)).await;
    assert_eq!(board.look(), ["+a1", "+b1", "+p1", "+q1"]);
    crew.start_child(board.worker("x")).await.expect("it starts");
    crew.delete("b").await.expect("it goes");
    crew.terminate("p").await.expect("it stops");
    crew.reconfigure(Strategy::OneForOne, Intensity::new(9, secs(60)), AutoShutdown::Never)
        .expect("it may be");
    let supervisor = board.actor("a").try_get_supervisor().expect("it has one");
    let mut events = tree.subscribe();
    board.look();
    supervisor.stop(None);
    until(&mut events, EventKind::Restarted, "node/crew").await;
    let expected = ["~x1", "-x1", "~q1", "-q1", "~a1", "-a1", "+a2", "+b1", "+p2", "+q2"];
    assert_eq!(board.look(), expected);
    let snapshot = tree.snapshot().await;
    let again = snapshot.find("node/crew").expect("it is there");
    assert_eq!(again.strategy, Some("one_for_one"));
    assert_eq!(again.intensity.as_ref().map(|intensity| intensity.limit), Some(9));
    assert_eq!(states(&crew).len(), 4);
    tree.shutdown().await;
    assert_eq!(crew.terminate("a").await, Err(StartChildError::Gone));
}

#[tokio::test(start_paused = true)]
async fn reconfigure_changes_a_running_supervisor_and_restarts_nothing() {
    let board = Board::default();
    let worker = board.worker("s").restart(Restart::Transient).significant(true);
    let supervisor = crew(&board, Strategy::OneForOne)
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(worker);
    let (tree, crew) = group(supervisor).await;
    board.look();
    let budget = Intensity::new(0, secs(9));
    let refused = crew.reconfigure(Strategy::OneForAll, budget, AutoShutdown::Never);
    let expected = SpecError::SignificantWithoutAutoShutdown("s".to_owned());
    assert_eq!(refused, Err(expected));
    crew.reconfigure(Strategy::OneForAll, budget, AutoShutdown::AllSignificant)
        .expect("it may be");
    let snapshot = tree.snapshot().await;
    let view = snapshot.find("node/crew").expect("it is there");
    assert_eq!(view.strategy, Some("one_for_all"));
    let intensity = view.intensity.as_ref().expect("it has one");
    assert_eq!((intensity.limit, intensity.period_seconds), (0, 9.0));
    assert_eq!(board.look(), [""; 0]);
    let mut events = tree.subscribe();
    board.tell("a", Order::Panic);
    until(&mut events, EventKind::Meltdown, "node/crew").await;
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn reset_gives_the_budget_back() {
    let board = Board::default();
    let (tree, crew) = group(crew(&board, Strategy::OneForOne)).await;
    let mut events = tree.subscribe();
    for _ in 0..3 {
        for _ in 0..5 {
            board.tell("a", Order::Panic);
            until(&mut events, EventKind::Restarted, "node/crew/a").await;
        }
        crew.reset();
    }
    let snapshot = tree.snapshot().await;
    assert!(snapshot.find("node/crew/a").is_some_and(|a| a.restarts.is_empty()));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_root_has_a_handle_too() {
    let board = Board::default();
    let tree = crew(&board, Strategy::OneForOne).start().await.expect("it starts");
    let root = tree.handle();
    root.start_child(board.worker("c")).await.expect("it starts");
    assert_eq!(root.count_children().active, 3);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_given_while_the_tree_starts_is_carried_out() {
    let board = Board::default();
    board.starts("b", vec![Start::Slow(secs(5))]);
    let (child, crew) = crew(&board, Strategy::OneForOne).into_child_with_handle();
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE).child(child).start();
    let early = async {
        tokio::time::sleep(secs(1)).await;
        crew.start_child(board.worker("c")).await
    };
    let (tree, early) = tokio::join!(tree, early);
    early.expect("it starts");
    assert_eq!(board.look(), ["+a1", "+b1", "+c1"]);
    tree.expect("it starts").shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_child_comes_back_when_it_is_resumed() {
    let board = Board::default();
    let (tree, crew) = group(crew(&board, Strategy::OneForOne)).await;
    let mut events = tree.subscribe();
    crew.suspend("a").await.expect("it is there");
    board.tell("a", Order::Panic);
    until(&mut events, EventKind::ChildExited, "node/crew/a").await;
    tokio::time::sleep(secs(60)).await;
    let snapshot = tree.snapshot().await;
    let view = snapshot.find("node/crew/a").expect("it is there");
    assert_eq!((view.state, view.incarnation), ("suspended", 1));
    crew.resume("a").await.expect("it is there");
    until(&mut events, EventKind::Restarted, "node/crew/a").await;
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_is_replaced_in_its_place() {
    let board = Board::default();
    let (tree, crew) = group(crew(&board, Strategy::OneForAll)).await;
    board.look();
    let mut events = tree.subscribe();
    let other = board.named("a", "other");
    crew.replace(other).await.expect("it starts");
    assert_eq!(board.look(), ["~a1", "-a1", "+other2"]);
    let event = until(&mut events, EventKind::Replaced, "node/crew/a").await;
    assert_eq!(event.incarnation, 2);
    assert_eq!(states(&crew), named(&[("a", "running"), ("b", "running")]));
    assert!(
        tree.snapshot()
            .await
            .find("node/crew/a")
            .is_some_and(|a| a.restarts.is_empty())
    );
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_replacement_does_not_start_is_put_back() {
    let board = Board::default();
    board.starts("other", vec![Start::Fail]);
    let (tree, crew) = group(crew(&board, Strategy::OneForOne)).await;
    board.look();
    let result = crew.replace(board.named("a", "other")).await;
    let Err(StartChildError::Failed(ExitReason::StartFailed { reason, .. })) = result else {
        panic!("it should have failed");
    };
    assert_eq!(reason.label(), "trap");
    assert_eq!(board.look(), ["~a1", "-a1", "+a3"]);
    let mut events = tree.subscribe();
    board.tell("a", Order::Panic);
    until(&mut events, EventKind::Restarted, "node/crew/a").await;
    assert_eq!(board.look(), ["-a3", "+a4"]);
    let missing = crew.replace(board.worker("x")).await;
    assert_eq!(missing, Err(StartChildError::NotFound));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whole_trees_can_be_replaced() {
    let board = Board::default();
    let team = |worker: &str| {
        Supervisor::new("team", Strategy::OneForAll, AMPLE)
            .child(board.worker(worker))
            .into_child()
    };
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(team("old"))
        .start()
        .await
        .expect("it starts");
    tree.handle().replace(team("new")).await.expect("it starts");
    assert_eq!(board.look(), ["+old1", "~old1", "-old1", "+new1"]);
    assert!(tree.snapshot().await.find("node/team/new").is_some());
    tree.shutdown().await;
}
