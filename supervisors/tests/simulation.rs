//! Whole trees of real actors under a virtual clock, with random faults that a seed determines.

mod bench;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bench::{AMPLE, Board, Order, Start, secs};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use supervisors::{
    Backoff, ChildSpec, Dynamic, EventError, Failure, Intensity, Restart, Snapshot, Strategy, Supervisor,
};

const TREES: u64 = 300;

/// The variable for a seed that a failed test has printed: only the tree of that seed is run.
const SEED: &str = "SUPERVISORS_SEED";

/// The variable for the number of trees, in place of `TREES`.
const COUNT: &str = "SUPERVISORS_SEQUENCES";

/// A random tree that is being declared, and the names of its workers.
struct Plan<'a> {
    rng: &'a mut StdRng,
    board: &'a Board,
    workers: Vec<String>,
    supervisors: u32,
    dynamic: bool,
}

impl Plan<'_> {
    fn strategy(&mut self) -> Strategy {
        let all = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
        all[self.rng.random_range(0..all.len())]
    }

    fn worker(&mut self) -> ChildSpec {
        let name = format!("w{}-", self.workers.len());
        let mut spec = self.board.worker(&name);
        self.workers.push(name);
        if self.rng.random_ratio(1, 3) {
            spec = spec.backoff(Backoff::default());
        }
        if self.rng.random_ratio(1, 4) {
            spec = spec.restart(Restart::Transient);
        }
        spec
    }

    fn child(&mut self, depth: u32) -> ChildSpec {
        if depth == 0 || self.rng.random_ratio(1, 2) {
            return self.worker();
        }
        self.supervisors += 1;
        let name = format!("s{}", self.supervisors);
        let budget = Intensity::new(self.rng.random_range(0..6), secs(5));
        if self.rng.random_ratio(1, 4) {
            self.dynamic = true;
            let workers: Vec<ChildSpec> = (0..self.rng.random_range(0..4)).map(|_| self.worker()).collect();
            let populate = Arc::new(move || workers.clone());
            return Dynamic::new(name, budget).populate(populate).into_child().0;
        }
        let mut supervisor = Supervisor::new(name, self.strategy(), budget);
        for _ in 0..self.rng.random_range(1..4) {
            supervisor = supervisor.child(self.child(depth - 1));
        }
        supervisor.into_child()
    }
}

fn fault(rng: &mut StdRng, board: &Board, name: &str) {
    let Some(actor) = board.find(name) else {
        return;
    };
    // A message to a worker that is down has no effect.
    match rng.random_range(0..6) {
        0 => drop(actor.cast(Order::Panic)),
        1 => drop(actor.cast(Order::Fail(Failure::new("trap", "as told")))),
        2 => drop(actor.cast(Order::Finish)),
        3 => actor.kill(),
        4 => {
            let starts = [Start::Fail, Start::Panic, Start::FailLate, Start::Slow(secs(1))];
            let starts = (0..3).map(|_| starts[rng.random_range(0..starts.len())]).collect();
            board.starts(name, starts);
            actor.kill();
        }
        // The supervisor of the worker is killed, unless it is the root.
        _ => {
            let supervisor = actor.try_get_supervisor();
            if let Some(supervisor) = supervisor.filter(|actor| actor.try_get_supervisor().is_some()) {
                supervisor.kill();
            }
        }
    }
}

/// The running workers in start order.
fn running(tree: &Snapshot) -> Vec<String> {
    if tree.kind == "worker" {
        let alive = tree.state == "running";
        return alive
            .then(|| format!("{}{}", tree.name, tree.incarnation))
            .into_iter()
            .collect();
    }
    tree.children.iter().flat_map(running).collect()
}

fn at_rest(tree: &Snapshot) -> bool {
    ["running", "stopped", "failed"].contains(&tree.state) && tree.children.iter().all(at_rest)
}

/// Checks that no worker starts before its last incarnation has ended, and that none is left at the end.
fn check_lives(log: &[String]) {
    let mut alive: HashMap<&str, &str> = HashMap::new();
    for line in log {
        let (sign, incarnation) = line.split_at(1);
        let name = incarnation.split('-').next().expect("a name has a beginning");
        match sign {
            "+" => assert_eq!(
                alive.insert(name, incarnation),
                None,
                "two of {name} at a time: {log:?}"
            ),
            "-" => assert_eq!(alive.remove(name), Some(incarnation)),
            _ => {}
        }
    }
    assert!(alive.is_empty(), "left behind: {alive:?}");
}

async fn simulate(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let board = Board::default();
    let mut plan = Plan {
        rng: &mut rng,
        board: &board,
        workers: Vec::new(),
        supervisors: 0,
        dynamic: false,
    };
    let mut root = Supervisor::new("root", plan.strategy(), AMPLE);
    for _ in 0..3 {
        root = root.child(plan.child(3));
    }
    let (workers, dynamic) = (plan.workers, plan.dynamic);
    let tree = root.start().await.expect("it starts");
    let mut events = tree.subscribe();
    let events = tokio::spawn(async move {
        let mut seqs = Vec::new();
        loop {
            match events.recv().await {
                Ok(event) => seqs.push(event.seq),
                Err(EventError::Closed) => return seqs,
                Err(error @ EventError::Lagged(_)) => panic!("{error}"),
            }
        }
    });
    for _ in 0..rng.random_range(1..30) {
        let name = &workers[rng.random_range(0..workers.len())];
        fault(&mut rng, &board, name);
        if rng.random() {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..4_000))).await;
        }
    }
    tokio::time::sleep(secs(120)).await;
    let snapshot = tree.snapshot().await;
    assert!(at_rest(&snapshot), "{snapshot:#?}");
    let up = running(&snapshot);
    let mut log = board.look();
    tree.shutdown().await;
    let end = board.look();
    let stopped: Vec<String> = end
        .iter()
        .filter_map(|line| line.strip_prefix('-'))
        .map(str::to_owned)
        .collect();
    if !dynamic {
        assert!(stopped.iter().eq(up.iter().rev()), "{stopped:?} of {up:?}");
    }
    log.extend(end);
    check_lives(&log);
    drop(tree);
    let seqs = events.await.expect("it read all");
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run it again with {SEED}={}", self.0);
        }
    }
}

#[test]
fn trees_under_any_faults_come_to_rest_and_stop_in_order() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let given = number(SEED);
    let first = given.unwrap_or_else(rand::random);
    let count = given.map_or_else(|| number(COUNT).unwrap_or(TREES), |_| 1);
    for n in 0..count {
        let seed = PrintSeed(first.wrapping_add(n));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(simulate(seed.0));
    }
}
