//! Behaviour of ractor that a supervisor must allow for.

mod bench;

use bench::{AMPLE, Arguments, Board, Order, SECOND, Start, Worker, secs, until};
use ractor::Actor;
use supervisors::{ChildSpec, EventKind, ExitReason, Restart, Shutdown, StartContext, Strategy, Supervisor, Tree};

async fn alone(spec: ChildSpec) -> Tree {
    Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(spec)
        .start()
        .await
        .expect("it starts")
}

#[tokio::test(start_paused = true)]
async fn a_killed_transient_child_is_restarted() {
    let board = Board::default();
    let tree = alone(board.worker("a").restart(Restart::Transient)).await;
    let mut events = tree.subscribe();
    board.actor("a").kill();
    let exit = until(&mut events, EventKind::ChildExited, "node/a").await;
    assert_eq!(exit.reason, Some(ExitReason::Killed));
    until(&mut events, EventKind::Restarted, "node/a").await;
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_killed_in_its_handler_is_restarted() {
    let board = Board::default();
    let tree = alone(board.worker("a")).await;
    let mut events = tree.subscribe();
    board.tell("a", Order::Hang);
    tokio::task::yield_now().await;
    board.actor("a").kill();
    let exit = until(&mut events, EventKind::ChildExited, "node/a").await;
    assert_eq!(exit.reason, Some(ExitReason::Killed));
    until(&mut events, EventKind::Restarted, "node/a").await;
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_from_a_failure() {
    let board = Board::default();
    let tree = alone(board.worker("a")).await;
    let mut events = tree.subscribe();
    board.tell("a", Order::Panic);
    let exit = until(&mut events, EventKind::ChildExited, "node/a").await;
    assert_eq!(exit.reason, Some(ExitReason::Panic("as told".to_owned())));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_news_of_the_start_is_an_exit() {
    let board = Board::default();
    let tree = alone(board.worker("a")).await;
    let mut events = tree.subscribe();
    board.starts("a", vec![Start::FailLate, Start::FailLate]);
    board.tell("a", Order::Panic);
    for incarnation in 2..=3 {
        let exit = loop {
            let exit = until(&mut events, EventKind::ChildExited, "node/a").await;
            if exit.incarnation > 1 {
                break exit;
            }
        };
        assert_eq!(exit.incarnation, incarnation);
        assert_eq!(exit.reason.map(|reason| reason.label()), Some("late"));
    }
    let restart = until(&mut events, EventKind::Restarted, "node/a").await;
    assert_eq!(restart.incarnation, 4);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn failed_panicking_and_hanging_restarts_are_retried() {
    let board = Board::default();
    let tree = alone(board.worker("a").start_timeout(secs(3))).await;
    let mut events = tree.subscribe();
    board.starts("a", vec![Start::Fail, Start::Panic, Start::Hang]);
    board.tell("a", Order::Panic);
    let mut reasons = Vec::new();
    for _ in 0..3 {
        let event = until(&mut events, EventKind::StartFailed, "node/a").await;
        let Some(ExitReason::StartFailed { reason, .. }) = event.reason else {
            panic!("not a failed start");
        };
        reasons.push(reason.label());
    }
    assert_eq!(reasons, ["trap", "panic", "start_timeout"]);
    let restart = until(&mut events, EventKind::Restarted, "node/a").await;
    assert_eq!(restart.incarnation, 5);
    assert!(restart.recovery.is_some_and(|recovery| recovery >= secs(3)));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_function_that_panics_is_a_failed_start() {
    fn broken() -> ractor::ActorCell {
        panic!("in the start function");
    }
    let spec = ChildSpec::worker("a", |_: StartContext| async move { Ok(broken()) });
    let result = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(spec)
        .start()
        .await;
    assert!(result.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_was_not_linked_is_supervised_all_the_same() {
    let board = Board::default();
    let workers = board.clone();
    let spec = ChildSpec::worker("a", move |context: StartContext| {
        let arguments = Arguments {
            board: workers.clone(),
            name: format!("a{}", context.incarnation),
            start: Start::Well,
            stop: std::time::Duration::ZERO,
        };
        async move {
            let (actor, _) = Actor::spawn(None, Worker, arguments).await?;
            let cell = actor.get_cell();
            if context.incarnation < 3 {
                // The actor ends before it is linked, so there is no event.
                cell.kill();
                let _ = cell.wait(None).await;
            }
            Ok(cell)
        }
    });
    let supervisor = Supervisor::new("node", Strategy::OneForOne, AMPLE).child(spec);
    let tree = supervisor.start().await.expect("it starts");
    while tree.snapshot().await.children[0].incarnation < 3 {
        tokio::time::sleep(SECOND).await;
    }
    tree.shutdown().await;
    assert_eq!(board.look().last().map(String::as_str), Some("-a3"));
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_child_held_is_free_before_the_next_incarnation_starts() {
    let board = Board::default();
    let tree = alone(board.worker("a")).await;
    let mut events = tree.subscribe();
    board.tell("a", Order::Panic);
    until(&mut events, EventKind::Restarted, "node/a").await;
    assert_eq!(board.look(), ["+a1", "-a1", "+a2"]);
    tree.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_supervisor_leaves_nobody_to_meet_its_next_incarnation() {
    let board = Board::default();
    let deepest = Supervisor::new("deepest", Strategy::OneForOne, AMPLE).child(board.worker("b"));
    let inner = Supervisor::new("inner", Strategy::OneForOne, AMPLE)
        .child(board.worker("a"))
        .child(deepest.into_child());
    let tree = alone(inner.into_child()).await;
    let mut events = tree.subscribe();
    let supervisor = board.actor("a").try_get_supervisor().expect("it has one");
    // A kill takes effect only after the handler of this child.
    board.tell("b", Order::Block(SECOND / 4));
    tokio::time::sleep(SECOND / 20).await;
    supervisor.kill();
    until(&mut events, EventKind::Restarted, "node/inner").await;
    let log = board.look();
    let at = |line: &str| log.iter().position(|other| other == line).expect("it happened");
    assert!(at("-b1") < at("+a2") && at("-a1") < at("+a2"), "{log:?}");
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_stopped_by_anybody_stops_its_children_in_order() {
    let board = Board::default();
    let inner = Supervisor::new("inner", Strategy::OneForOne, AMPLE)
        .child(board.worker("a"))
        .child(board.worker("b"));
    let tree = alone(inner.into_child()).await;
    let mut events = tree.subscribe();
    let supervisor = board.actor("a").try_get_supervisor().expect("it has one");
    board.look();
    supervisor.stop(None);
    until(&mut events, EventKind::Restarted, "node/inner").await;
    let expected = ["~b1", "-b1", "~a1", "-a1", "+a2", "+b2"];
    assert_eq!(board.look(), expected);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_was_already_told_to_stop_is_still_waited_for() {
    let board = Board::default();
    let spec = board.slow_to_stop("a", secs(2), Shutdown::Timeout(secs(5)));
    let tree = alone(spec).await;
    board.look();
    let began = tokio::time::Instant::now();
    tokio::join!(tree.shutdown(), tree.shutdown());
    assert_eq!(board.look(), ["~a1", "-a1"]);
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_that_cannot_be_killed_is_reported_as_a_zombie() {
    let board = Board::default();
    let spec = board.worker("a").shutdown(Shutdown::BrutalKill);
    let tree = alone(spec).await;
    let mut events = tree.subscribe();
    board.tell("a", Order::Block(supervisors::KILL_WAIT + SECOND / 2));
    tokio::time::sleep(SECOND / 10).await;
    tree.shutdown().await;
    until(&mut events, EventKind::Zombie, "node/a").await;
}
