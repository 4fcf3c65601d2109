//! Dynamic supervisors: children that are added and removed at run time.

mod bench;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bench::{AMPLE, Board, Order, SECOND, Start, secs, until};
use ractor::Actor;
use supervisors::{
    Backoff, ChildSpec, Dynamic, DynamicHandle, EventKind, ExitReason, Heartbeat, Intensity, Restart, Shutdown,
    StartChildError, StartContext, Strategy, Supervisor, Tree,
};

async fn pool(dynamic: Dynamic) -> (Tree, DynamicHandle) {
    let (child, handle) = dynamic.into_child();
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(child)
        .start()
        .await
        .expect("it starts");
    (tree, handle)
}

fn agents() -> Dynamic {
    Dynamic::new("agents", Intensity::new(2, secs(60)))
}

#[tokio::test(start_paused = true)]
async fn a_child_is_added_terminated_restarted_and_deleted() {
    let board = Board::default();
    let (tree, agents) = pool(agents()).await;
    let cell = agents.start_child(board.worker("a")).await.expect("it starts");
    assert_eq!(agents.child("a"), Some(cell));
    let again = agents.start_child(board.worker("a")).await;
    assert_eq!(again, Err(StartChildError::AlreadyStarted));
    agents.terminate("a").await.expect("it stops");
    assert_eq!(board.look(), ["+a1", "~a1", "-a1"]);
    assert_eq!(agents.which_children()[0].state, "stopped");
    let again = agents.start_child(board.worker("a")).await;
    assert_eq!(again, Err(StartChildError::AlreadyPresent));
    agents.restart("a").await.expect("it starts");
    agents.restart("a").await.expect("it starts");
    assert_eq!(board.look(), ["+a2", "~a2", "-a2", "+a3"]);
    let counts = agents.count_children();
    assert_eq!(
        (counts.specs, counts.active, counts.supervisors, counts.workers),
        (1, 1, 0, 1)
    );
    agents.delete("a").await.expect("it goes");
    assert_eq!(agents.count_children().specs, 0);
    assert_eq!(agents.delete("a").await, Err(StartChildError::NotFound));
    tree.shutdown().await;
    assert_eq!(agents.start_child(board.worker("a")).await, Err(StartChildError::Gone));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_id_does_no_harm_to_the_child_that_has_it() {
    let board = Board::default();
    let (tree, agents) = pool(agents()).await;
    agents.start_child(board.worker("a")).await.expect("it starts");
    for _ in 0..10 {
        assert!(agents.start_child(board.worker("a")).await.is_err());
    }
    assert_eq!(board.look(), ["+a1"]);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_first_start_that_fails_is_the_callers_error() {
    let board = Board::default();
    board.starts("a", vec![Start::Fail]);
    let (tree, agents) = pool(agents()).await;
    let result = agents.start_child(board.worker("a")).await;
    let Err(StartChildError::Failed(ExitReason::StartFailed { path, reason })) = result else {
        panic!("it should have failed");
    };
    assert_eq!((path.as_str(), reason.label()), ("node/agents/a", "trap"));
    assert_eq!(agents.count_children().specs, 0);
    agents.start_child(board.worker("a")).await.expect("it starts");
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_looping_child_fails_and_its_siblings_live() {
    let board = Board::default();
    let (tree, agents) = pool(agents()).await;
    let given_up = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&given_up);
    let spec = board.worker("a").on_give_up(Arc::new(move |reason| {
        assert_eq!(reason.label(), "panic");
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    agents.start_child(spec).await.expect("it starts");
    agents.start_child(board.worker("b")).await.expect("it starts");
    let mut events = tree.subscribe();
    for _ in 0..2 {
        board.tell("a", Order::Panic);
        until(&mut events, EventKind::Restarted, "node/agents/a").await;
    }
    board.tell("a", Order::Panic);
    let failed = until(&mut events, EventKind::ChildFailed, "node/agents/a").await;
    assert_eq!((failed.attempt, failed.limit), (Some(3), Some(2)));
    assert_eq!(given_up.load(Ordering::Relaxed), 1);
    let snapshot = tree.snapshot().await;
    assert_eq!(snapshot.find("node/agents/a").expect("it is there").state, "failed");
    assert_eq!(snapshot.find("node/agents/b").expect("it is there").state, "running");
    agents.restart("a").await.expect("it is revived");
    assert!(agents.child("a").is_some());
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_handle_and_the_populated_children_survive_a_restart_of_the_supervisor() {
    let board = Board::default();
    board.starts("bad", vec![Start::Fail; 9]);
    let workers = board.clone();
    let populate = move || vec![workers.worker("a"), workers.worker("bad"), workers.worker("b")];
    let (tree, agents) = pool(agents().populate(Arc::new(populate))).await;
    agents.start_child(board.worker("c")).await.expect("it starts");
    let states = || -> Vec<_> {
        let children = agents.which_children();
        children.into_iter().map(|child| (child.id, child.state)).collect()
    };
    let mut events = tree.subscribe();
    let supervisor = board.actor("a").try_get_supervisor().expect("it has one");
    supervisor.kill();
    until(&mut events, EventKind::ChildFailed, "node/agents/bad").await;
    let expected = [("a", "running"), ("bad", "failed"), ("b", "running")];
    assert_eq!(states(), expected.map(|(id, state)| (id.to_owned(), state)));
    assert_eq!(agents.which_children()[0].incarnation, 2);
    agents.start_child(board.worker("c")).await.expect("it starts");
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_holds_up_nobody() {
    let board = Board::default();
    let (tree, agents) = pool(agents()).await;
    agents.start_child(board.worker("quick")).await.expect("it starts");
    board.starts("slow", vec![Start::Slow(secs(20))]);
    let mut events = tree.subscribe();
    let slow = agents.start_child(board.worker("slow"));
    let quick = async {
        let began = tokio::time::Instant::now();
        board.tell("quick", Order::Panic);
        until(&mut events, EventKind::Restarted, "node/agents/quick").await;
        assert!(began.elapsed() < SECOND);
    };
    let (slow, ()) = tokio::join!(slow, quick);
    slow.expect("it starts in the end");
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_terminated_during_backoff_does_not_resurrect() {
    let board = Board::default();
    let (tree, agents) = pool(agents()).await;
    let spec = board.worker("a").backoff(Backoff::default());
    agents.start_child(spec).await.expect("it starts");
    let mut events = tree.subscribe();
    board.tell("a", Order::Panic);
    until(&mut events, EventKind::Restarted, "node/agents/a").await;
    board.tell("a", Order::Panic);
    until(&mut events, EventKind::Backoff, "node/agents/a").await;
    assert_eq!(agents.which_children()[0].state, "backoff");
    agents.terminate("a").await.expect("it is down");
    tokio::time::sleep(secs(60)).await;
    assert_eq!(agents.which_children()[0].state, "stopped");
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn dynamic_children_stop_in_parallel() {
    let board = Board::default();
    let (tree, agents) = pool(agents()).await;
    for n in 0..50 {
        let limit = Shutdown::Timeout(secs(5));
        let spec = board.slow_to_stop(&format!("a{n}"), secs(3), limit);
        agents.start_child(spec).await.expect("it starts");
    }
    let began = tokio::time::Instant::now();
    tree.shutdown().await;
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_goes_with_its_spec() {
    let board = Board::default();
    let (tree, agents) = pool(agents()).await;
    let spec = board.worker("a").restart(Restart::Temporary);
    agents.start_child(spec).await.expect("it starts");
    let mut events = tree.subscribe();
    board.tell("a", Order::Panic);
    until(&mut events, EventKind::ChildExited, "node/agents/a").await;
    assert_eq!(agents.count_children().specs, 0);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn max_children_are_all_there_may_be() {
    let board = Board::default();
    let (tree, agents) = pool(agents().max_children(1)).await;
    agents.start_child(board.worker("a")).await.expect("it starts");
    let refused = agents.start_child(board.worker("b")).await;
    assert_eq!(refused, Err(StartChildError::MaxChildren));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whole_trees_can_be_added() {
    let board = Board::default();
    let (tree, agents) = pool(agents()).await;
    let partition = Supervisor::new("partition-7", Strategy::OneForAll, AMPLE)
        .child(board.worker("router"))
        .into_child();
    agents.start_child(partition).await.expect("it starts");
    let snapshot = tree.snapshot().await;
    let router = snapshot.find("node/agents/partition-7/router").expect("it is there");
    assert_eq!(router.state, "running");
    assert_eq!(agents.count_children().supervisors, 1);
    agents.delete("partition-7").await.expect("it goes");
    assert_eq!(board.look(), ["+router1", "~router1", "-router1"]);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_without_a_sign_of_life_is_killed_and_restarted_and_a_busy_one_is_not() {
    let board = Board::default();
    let (tree, agents) = pool(agents()).await;
    let heartbeat = Heartbeat {
        every: secs(1),
        busy_for: secs(10),
        grace: secs(2),
    };
    let workers = board.clone();
    let spec = ChildSpec::worker("a", move |context: StartContext| {
        let arguments = bench::Arguments {
            board: workers.clone(),
            name: format!("a{}", context.incarnation),
            start: Start::Well,
            stop: std::time::Duration::ZERO,
        };
        async move {
            let busy = context.pulse.busy();
            tokio::spawn(async move {
                tokio::time::sleep(secs(8)).await;
                drop(busy);
            });
            Ok(Actor::spawn_linked(None, bench::Worker, arguments, context.supervisor).await?)
        }
    });
    let mut events = tree.subscribe();
    let began = tokio::time::Instant::now();
    agents.start_child(spec.heartbeat(heartbeat)).await.expect("it starts");
    let exit = until(&mut events, EventKind::ChildExited, "node/agents/a").await;
    assert_eq!(exit.reason, Some(ExitReason::HeartbeatLost));
    // The child was busy for eight seconds and then silent for one.
    assert!((9..=10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    until(&mut events, EventKind::Restarted, "node/agents/a").await;
    tree.shutdown().await;
}
