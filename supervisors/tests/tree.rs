//! Declared trees: start, restart, meltdown, shutdown.

mod bench;

use bench::{AMPLE, Board, Order, SECOND, Start, secs, until};
use supervisors::{
    AutoShutdown, Backoff, EventError, EventKind, ExitReason, Failure, Intensity, MELTDOWN, Restart, SUPERVISOR,
    Shutdown, SpecError, StartError, Strategy, Supervisor,
};

fn trap() -> Order {
    Order::Fail(Failure::new("trap", "unreachable"))
}

#[tokio::test(start_paused = true)]
async fn children_start_left_to_right_and_stop_in_reverse() {
    let board = Board::default();
    let inner = Supervisor::new("inner", Strategy::OneForOne, AMPLE)
        .child(board.worker("b"))
        .child(board.worker("c"));
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(board.worker("a"))
        .child(inner.into_child())
        .child(board.worker("d"))
        .start()
        .await
        .expect("it starts");
    assert_eq!(board.look(), ["+a1", "+b1", "+c1", "+d1"]);
    tree.shutdown().await;
    let stopped = ["~d1", "-d1", "~c1", "-c1", "~b1", "-b1", "~a1", "-a1"];
    assert_eq!(board.look(), stopped);
    assert_eq!(tree.wait().await, ExitReason::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_stops_the_started_ones_in_reverse_order_and_says_which_and_why() {
    let board = Board::default();
    board.starts("c", vec![Start::Fail]);
    let inner = Supervisor::new("inner", Strategy::OneForOne, AMPLE)
        .child(board.worker("b"))
        .child(board.worker("c"));
    let result = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(board.worker("a"))
        .child(inner.into_child())
        .start()
        .await;
    let error = result.err().expect("c does not start");
    let reason = ExitReason::Error {
        kind: "trap",
        detail: "in pre_start".to_owned(),
    };
    let path = "node/inner/c".to_owned();
    assert_eq!(error, StartError::Child { path, reason });
    assert_eq!(board.look(), ["+a1", "+b1", "~b1", "-b1", "~a1", "-a1"]);
}

#[tokio::test]
async fn a_tree_that_cannot_be_is_rejected_before_anything_starts() {
    let board = Board::default();
    let twice = || Supervisor::new("s", Strategy::OneForOne, AMPLE).child(board.worker("a"));
    let error = |tree: Supervisor| async { tree.start().await.err().expect("it is refused") };
    let duplicate =
        Supervisor::new("node", Strategy::OneForOne, AMPLE).child(twice().child(board.worker("a")).into_child());
    let expected = SpecError::DuplicateId("a".to_owned());
    assert_eq!(error(duplicate).await, StartError::Invalid(expected));

    let permanent = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(board.worker("a").significant(true));
    let expected = SpecError::PermanentSignificant("a".to_owned());
    assert_eq!(error(permanent).await, StartError::Invalid(expected));

    let worker = board.worker("a").significant(true).restart(Restart::Transient);
    let never = Supervisor::new("node", Strategy::OneForOne, AMPLE).child(worker);
    let expected = SpecError::SignificantWithoutAutoShutdown("a".to_owned());
    assert_eq!(error(never).await, StartError::Invalid(expected));
    assert_eq!(board.look(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_told_as_exit_then_backoff_then_restart() {
    let board = Board::default();
    let backoff = Backoff {
        jitter: 0.0,
        ..Backoff::default()
    };
    let tree = Supervisor::new("node", Strategy::OneForOne, Intensity::new(5, secs(60)))
        .child(board.worker("a").backoff(backoff))
        .start()
        .await
        .expect("it starts");
    let mut events = tree.subscribe();
    board.tell("a", trap());
    let exit = events.recv().await.expect("an event");
    assert_eq!((exit.kind, exit.incarnation), (EventKind::ChildExited, 1));
    assert_eq!(exit.reason.map(|reason| reason.label()), Some("trap"));
    let restart = events.recv().await.expect("an event");
    assert_eq!((restart.kind, restart.incarnation), (EventKind::Restarted, 2));
    assert_eq!((restart.attempt, restart.limit), (Some(1), Some(5)));
    assert!(restart.recovery.is_some());

    board.tell("a", Order::Panic);
    let mut seqs = vec![exit.seq, restart.seq];
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let event = events.recv().await.expect("an event");
        seqs.push(event.seq);
        kinds.push(event.kind.name());
        if event.kind == EventKind::Backoff {
            assert_eq!(event.delay, Some(backoff.min));
        }
    }
    assert_eq!(kinds, ["child_exited", "backoff", "restarted"]);
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_for_all_starts_the_new_generation_when_the_old_one_is_gone() {
    let board = Board::default();
    let tree = Supervisor::new("node", Strategy::OneForAll, AMPLE)
        .child(board.worker("a"))
        .child(board.worker("b"))
        .child(board.worker("c"))
        .start()
        .await
        .expect("it starts");
    let mut events = tree.subscribe();
    board.look();
    board.tell("b", trap());
    until(&mut events, EventKind::Restarted, "node/c").await;
    let expected = ["-b1", "~c1", "-c1", "~a1", "-a1", "+a2", "+b2", "+c2"];
    assert_eq!(board.look(), expected);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_meltdown_stops_all_in_reverse_order_and_the_parent_decides() {
    let board = Board::default();
    let inner = Supervisor::new("inner", Strategy::OneForOne, Intensity::new(1, secs(5)))
        .child(board.worker("a"))
        .child(board.worker("b"))
        .child(board.worker("c"));
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(inner.into_child())
        .start()
        .await
        .expect("it starts");
    let mut events = tree.subscribe();
    board.tell("a", trap());
    until(&mut events, EventKind::Restarted, "node/inner/a").await;
    board.look();
    board.tell("a", trap());
    let meltdown = until(&mut events, EventKind::Meltdown, "node/inner").await;
    assert_eq!((meltdown.attempt, meltdown.limit), (Some(2), Some(1)));
    let exit = until(&mut events, EventKind::ChildExited, "node/inner").await;
    assert_eq!(exit.reason.map(|reason| reason.label()), Some(MELTDOWN));
    until(&mut events, EventKind::Restarted, "node/inner").await;
    let expected = ["-a2", "~c1", "-c1", "~b1", "-b1", "+a3", "+b2", "+c2"];
    assert_eq!(board.look(), expected);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_restarts_with_its_supervisor_is_counted_so_unless_that_was_a_command() {
    let board = Board::default();
    let innermost = Supervisor::new("innermost", Strategy::OneForOne, AMPLE).child(board.worker("b"));
    let inner = Supervisor::new("inner", Strategy::OneForOne, Intensity::new(0, secs(5)))
        .child(board.worker("a"))
        .child(innermost.into_child());
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(inner.into_child())
        .start()
        .await
        .expect("it starts");
    let counted = async |path: &str| {
        let snapshot = tree.snapshot().await;
        let child = snapshot.find(path).expect("it is there");
        (
            child.incarnation,
            child.restarts.clone().into_iter().collect::<Vec<_>>(),
        )
    };
    tree.handle().restart("inner").await.expect("it starts");
    assert_eq!(counted("node/inner/a").await, (2, vec![]));
    let mut events = tree.subscribe();
    board.tell("a", trap());
    until(&mut events, EventKind::Restarted, "node/inner").await;
    assert_eq!(counted("node/inner").await, (3, vec![(MELTDOWN, 1)]));
    for path in ["node/inner/a", "node/inner/innermost", "node/inner/innermost/b"] {
        assert_eq!(counted(path).await, (3, vec![(SUPERVISOR, 1)]), "{path}");
    }
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_meltdown_of_the_root_ends_the_tree() {
    let board = Board::default();
    let tree = Supervisor::new("node", Strategy::OneForOne, Intensity::new(0, secs(5)))
        .child(board.worker("a"))
        .start()
        .await
        .expect("it starts");
    board.tell("a", trap());
    assert_eq!(tree.wait().await.label(), MELTDOWN);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_significant_child_ends_the_supervisor_normally() {
    let board = Board::default();
    let worker = board.worker("a").significant(true).restart(Restart::Transient);
    let inner = Supervisor::new("inner", Strategy::OneForOne, AMPLE)
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(worker)
        .into_child()
        .restart(Restart::Transient);
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(inner)
        .start()
        .await
        .expect("it starts");
    let mut events = tree.subscribe();
    board.tell("a", Order::Finish);
    until(&mut events, EventKind::AutoShutdown, "node/inner").await;
    let exit = until(&mut events, EventKind::ChildExited, "node/inner").await;
    let cause = ExitReason::AutoShutdown {
        path: "node/inner/a".to_owned(),
        reason: Box::new(ExitReason::Normal),
    };
    assert_eq!(exit.reason, Some(cause));
    let snapshot = tree.snapshot().await;
    assert_eq!(snapshot.find("node/inner").expect("it is there").state, "stopped");
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_exit_reason_of_an_auto_shutdown_has_the_failure_that_caused_it() {
    let board = Board::default();
    let worker = board.worker("a").significant(true).restart(Restart::Temporary);
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(worker)
        .child(board.worker("b"))
        .start()
        .await
        .expect("it starts");
    board.tell("a", Order::Fail(Failure::new("trap", "unreachable")));
    let reason = tree.wait().await;
    assert_eq!(reason.to_string(), "auto-shutdown: node/a ended: trap: unreachable");
    assert_eq!((reason.label(), reason.is_abnormal()), ("auto_shutdown", false));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_comes_between_retries() {
    let board = Board::default();
    let backoff = Backoff {
        min: secs(3_600),
        max: secs(3_600),
        ..Backoff::default()
    };
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(board.worker("a").backoff(backoff))
        .start()
        .await
        .expect("it starts");
    let mut events = tree.subscribe();
    board.starts("a", vec![Start::Fail]);
    board.tell("a", trap());
    until(&mut events, EventKind::Backoff, "node/a").await;
    let began = tokio::time::Instant::now();
    tree.shutdown().await;
    assert!(began.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_start() {
    let board = Board::default();
    let inner = Supervisor::new("inner", Strategy::OneForOne, AMPLE)
        .child(board.worker("b"))
        .child(board.worker("c"));
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(board.worker("a"))
        .child(inner.into_child())
        .start()
        .await
        .expect("it starts");
    let mut events = tree.subscribe();
    board.starts("c", vec![Start::Hang]);
    board.look();
    let inner = board.actor("b").try_get_supervisor().expect("it has one");
    inner.stop(None);
    until(&mut events, EventKind::ChildStarted, "node/inner/b").await;
    board.look();
    tree.shutdown().await;
    // The supervisor that was starting has stopped its children that had started, in order and before its older sibling.
    assert_eq!(board.look(), ["~b2", "-b2", "~a1", "-a1"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_in_time_is_killed() {
    let board = Board::default();
    let shutdown = Shutdown::Timeout(secs(2));
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(board.slow_to_stop("a", secs(1), shutdown))
        .child(board.slow_to_stop("b", secs(60), shutdown))
        .child(board.slow_to_stop("c", secs(60), Shutdown::BrutalKill))
        .start()
        .await
        .expect("it starts");
    let mut events = tree.subscribe();
    board.look();
    let began = tokio::time::Instant::now();
    tree.shutdown().await;
    assert_eq!(board.look(), ["-c1", "-b1", "~a1", "-a1"]);
    assert_eq!(began.elapsed().as_secs(), 3);
    let mut reasons = Vec::new();
    for _ in 0..3 {
        let event = events.recv().await.expect("an event");
        assert_eq!(event.kind, EventKind::ChildTerminated);
        reasons.push(event.reason.map(|reason| reason.label()));
    }
    assert_eq!(reasons, [Some("killed"), Some("killed"), Some("shutdown")]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_stalls_nobody_and_is_told_what_it_lost() {
    let board = Board::default();
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(board.worker("a"))
        .start()
        .await
        .expect("it starts");
    let mut slow = tree.subscribe();
    let mut quick = tree.subscribe();
    for _ in 0..supervisors::EVENT_CAPACITY {
        board.tell("a", trap());
        until(&mut quick, EventKind::Restarted, "node/a").await;
    }
    let lost = slow.recv().await.expect_err("it has lost some");
    assert_eq!(lost, EventError::Lagged(supervisors::EVENT_CAPACITY as u64));
    assert!(slow.recv().await.is_ok());
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_shows_the_whole_tree() {
    let board = Board::default();
    let inner = Supervisor::new("inner", Strategy::RestForOne, Intensity::new(3, secs(5))).child(board.worker("a"));
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(inner.into_child())
        .start()
        .await
        .expect("it starts");
    let mut events = tree.subscribe();
    tokio::time::sleep(secs(2)).await;
    board.tell("a", trap());
    until(&mut events, EventKind::Restarted, "node/inner/a").await;
    tokio::time::sleep(secs(1)).await;
    let snapshot = tree.snapshot().await;
    assert_eq!((snapshot.kind, snapshot.state), ("supervisor", "running"));
    assert_eq!(snapshot.uptime_seconds, Some(3.0));
    let inner = snapshot.find("node/inner").expect("it is there");
    assert_eq!(inner.strategy, Some("rest_for_one"));
    let intensity = inner.intensity.as_ref().expect("a supervisor has one");
    assert_eq!((intensity.used, intensity.limit), (1, 3));
    let worker = snapshot.find("node/inner/a").expect("it is there");
    assert_eq!(
        (worker.kind, worker.state, worker.incarnation),
        ("worker", "running", 2)
    );
    assert_eq!(worker.uptime_seconds, Some(1.0));
    assert_eq!(worker.restarts.get("trap"), Some(&1));
    let exit = worker.last_exit.as_ref().expect("it has ended once");
    assert_eq!((exit.reason, exit.detail.as_str()), ("trap", "trap: unreachable"));
    tree.shutdown().await;
    assert_eq!(tree.snapshot().await.state, "stopped");
}
