//! What many starts and stops leave behind in memory. The test is alone in its process, because it measures the whole process.

mod bench;

use bench::{AMPLE, Board, Start};
use supervisors::{Dynamic, Strategy, Supervisor, SupervisorHandle};

const CYCLES: usize = 100_000;

/// The cycles after which the memory is measured first: what is allocated once and kept is allocated by then.
const WARM: usize = 20_000;

/// The growth that is allowed after that. A leak of 50 bytes in each cycle would be 4 MB.
const GROWTH: usize = 2 << 20;

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// The resident memory of the process in bytes, or 0 where `/proc` does not exist.
fn resident() -> usize {
    const PAGE: usize = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * PAGE
}

/// Under both kinds of supervisor, one start fails for every four that succeed.
#[tokio::test]
async fn a_hundred_thousand_starts_and_stops_leave_nothing_behind() {
    let board = Board::default();
    let (child, agents) = Dynamic::new("agents", AMPLE).into_child();
    let (crew_child, crew) = Supervisor::new("crew", Strategy::RestForOne, AMPLE).into_child_with_handle();
    let tree = Supervisor::new("node", Strategy::OneForOne, AMPLE)
        .child(child)
        .child(crew_child)
        .start()
        .await
        .expect("it starts");
    let before = tasks();
    let mut warm = 0;
    for cycle in 0..CYCLES {
        if cycle == WARM {
            warm = resident();
        }
        let id = (cycle % 7).to_string();
        let fails = cycle % 5 == 0;
        if fails {
            board.starts(&id, vec![Start::Fail]);
        }
        let started = if cycle % 2 == 0 {
            agents.start_child(board.worker(&id)).await
        } else {
            crew.start_child(board.worker(&id)).await
        };
        assert_eq!(started.is_err(), fails);
        if !fails && cycle % 2 == 0 {
            agents.delete(&id).await.expect("it goes");
        } else if !fails {
            delete_in_two_steps(&crew, &id).await;
        }
        board.look();
    }
    let grown = resident().saturating_sub(warm);
    assert!(grown < GROWTH, "{grown} bytes more than after {WARM} cycles");
    assert_eq!(agents.which_children().len() + crew.which_children().len(), 0);
    while tasks() > before {
        tokio::task::yield_now().await;
    }
    tree.shutdown().await;
}

async fn delete_in_two_steps(crew: &SupervisorHandle, id: &str) {
    crew.terminate(id).await.expect("it stops");
    crew.delete(id).await.expect("it goes");
}
