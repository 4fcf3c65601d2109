//! Storms: many exits and many children, of which nothing is left.

mod bench;

use bench::{AMPLE, Board, Order, until};
use supervisors::{Dynamic, EventError, EventKind, Strategy, Supervisor};

fn alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_exits_are_ten_thousand_restarts() {
    const CHILDREN: usize = 100;
    const EXITS: usize = 10_000;
    let board = Board::default();
    let (child, agents) = Dynamic::new("agents", AMPLE).into_child();
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(child)
        .start()
        .await
        .expect("it starts");
    for n in 0..CHILDREN {
        agents
            .start_child(board.worker(&n.to_string()))
            .await
            .expect("it starts");
    }
    let before = alive();
    let mut events = tree.subscribe();
    for n in 0..CHILDREN {
        board.tell(&n.to_string(), Order::Panic);
    }
    let (mut exits, mut restarts) = (CHILDREN, 0);
    while restarts < EXITS {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(error @ (EventError::Lagged(_) | EventError::Closed)) => panic!("{error}"),
        };
        if event.kind == EventKind::Restarted {
            restarts += 1;
            if exits < EXITS {
                exits += 1;
                let id = event.path.rsplit('/').next().expect("a path has an end");
                agents.child(id).expect("it runs").kill();
            }
        }
    }
    let restarted: u64 = tree
        .snapshot()
        .await
        .find("node/agents")
        .expect("it is there")
        .children
        .iter()
        .flat_map(|child| child.restarts.values())
        .sum();
    assert_eq!(usize::try_from(restarted), Ok(EXITS));
    assert_eq!(agents.count_children().active, CHILDREN);
    tokio::time::sleep(bench::SECOND / 10).await;
    assert!(alive() <= before + 2, "{} tasks before, {} after", before, alive());
    tree.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_kills_under_one_for_all_comes_to_rest() {
    let board = Board::default();
    let mut supervisor = Supervisor::new("node", Strategy::OneForAll, AMPLE);
    for n in 0..10 {
        supervisor = supervisor.child(board.worker(&n.to_string()));
    }
    let tree = supervisor.start().await.expect("it starts");
    let mut events = tree.subscribe();
    for round in 0..200_usize {
        board.actor(&(round % 10).to_string()).kill();
        board.actor(&((round * 7 + 3) % 10).to_string()).kill();
        if round % 3 == 0 {
            until(&mut events, EventKind::Restarted, "node/9").await;
        }
    }
    while tree
        .snapshot()
        .await
        .children
        .iter()
        .any(|child| child.state != "running")
    {
        tokio::task::yield_now().await;
    }
    tree.shutdown().await;
    let mut held = std::collections::HashMap::<String, i32>::new();
    for line in board.look() {
        let (sign, name) = line.split_at(1);
        *held.entry(name.to_owned()).or_default() += match sign {
            "+" => 1,
            "-" => -1,
            _ => 0,
        };
    }
    assert!(held.values().all(|count| *count == 0), "{held:?}");
}
