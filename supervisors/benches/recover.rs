//! The cost of supervision in comparison with raw ractor: from an exit until the child is running again, and while it is idle.
//!
//! `cargo bench -p supervisors` runs it. Both sides of a ratio are measured in the same run, so the ratios hold on any machine.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use parking_lot::Mutex;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use supervisors::{ChildSpec, Dynamic, DynamicHandle, Failure, Intensity, StartContext, Strategy, Supervisor, Tree};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// An intensity that no benchmark exceeds.
const AMPLE: Intensity = Intensity::new(u32::MAX, Duration::from_millis(1));

const IDLE: usize = 20_000;

/// An actor that reports when it is running, and fails when it gets a message.
struct Worker;

impl Actor for Worker {
    type Msg = ();
    type State = ();
    type Arguments = UnboundedSender<ActorRef<()>>;

    async fn pre_start(&self, myself: ActorRef<()>, running: Self::Arguments) -> Result<(), ActorProcessingErr> {
        // Nobody receives the reports of the idle actors.
        let _ = running.send(myself);
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err(Box::new(Failure::new("told", "to fail")))
    }
}

fn worker(id: impl Into<String>, running: UnboundedSender<ActorRef<()>>) -> ChildSpec {
    ChildSpec::worker(id, move |context: StartContext| {
        let running = running.clone();
        async move { Ok(Actor::spawn_linked(None, Worker, running, context.supervisor).await?) }
    })
}

async fn next(running: &mut UnboundedReceiver<ActorRef<()>>) -> ActorRef<()> {
    running.recv().await.expect("somebody starts")
}

/// A worker fails and is spawned again by hand when it has ended.
async fn raw(count: u64) -> Duration {
    let (sender, mut running) = unbounded_channel();
    let mut actor = Actor::spawn(None, Worker, sender.clone()).await.expect("it starts").0;
    next(&mut running).await;
    let began = Instant::now();
    for _ in 0..count {
        actor.cast(()).expect("it runs");
        let _ = actor.wait(None).await;
        actor = Actor::spawn(None, Worker, sender.clone()).await.expect("it starts").0;
        black_box(next(&mut running).await);
    }
    let took = began.elapsed();
    actor.stop(None);
    took
}

async fn raw_spawn(count: u64) -> Duration {
    let (sender, mut running) = unbounded_channel();
    let mut took = Duration::ZERO;
    for _ in 0..count {
        let began = Instant::now();
        let actor = Actor::spawn(None, Worker, sender.clone()).await.expect("it starts").0;
        black_box(next(&mut running).await);
        took += began.elapsed();
        actor.stop(None);
        let _ = actor.wait(None).await;
    }
    took
}

/// A worker fails and its supervisor restarts it.
async fn supervised(count: u64, strategy: Strategy, siblings: usize) -> Duration {
    let (sender, mut running) = unbounded_channel();
    let mut supervisor = Supervisor::new("bench", strategy, AMPLE);
    for n in 0..=siblings {
        supervisor = supervisor.child(worker(n.to_string(), sender.clone()));
    }
    let tree = supervisor.start().await.expect("it starts");
    let mut actors = Vec::new();
    for _ in 0..=siblings {
        actors.push(next(&mut running).await);
    }
    let restarted = if strategy == Strategy::OneForOne {
        1
    } else {
        siblings + 1
    };
    let began = Instant::now();
    for _ in 0..count {
        actors[0].cast(()).expect("it runs");
        for actor in actors.iter_mut().take(restarted) {
            *actor = next(&mut running).await;
        }
    }
    let took = began.elapsed();
    tree.shutdown().await;
    took
}

/// Runs one benchmark and returns its mean.
fn measure<F: Future<Output = Duration>>(
    criterion: &mut Criterion,
    runtime: &Runtime,
    name: &str,
    run: impl Fn(u64) -> F,
) -> f64 {
    let total = Arc::new(Mutex::new((0.0, 0.0)));
    criterion.bench_function(name, |bencher| {
        bencher.to_async(runtime).iter_custom(|count| {
            let (measured, total) = (run(count), Arc::clone(&total));
            async move {
                let took = measured.await;
                let mut total = total.lock();
                total.0 += took.as_secs_f64();
                total.1 += count as f64;
                took
            }
        });
    });
    let (seconds, count) = *total.lock();
    seconds / count
}

/// The resident memory of the process in bytes, where `/proc` exists.
fn resident() -> f64 {
    const PAGE: f64 = 4_096.0;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * PAGE
}

async fn idle_raw() -> Vec<ActorCell> {
    let (sender, _) = unbounded_channel();
    let mut actors = Vec::new();
    for _ in 0..IDLE {
        let (actor, _) = Actor::spawn(None, Worker, sender.clone()).await.expect("it starts");
        actors.push(actor.get_cell());
    }
    actors
}

async fn idle_supervised() -> (Tree, DynamicHandle) {
    let (sender, _) = unbounded_channel();
    let (child, handle) = Dynamic::new("idle", AMPLE).into_child();
    let root = Supervisor::new("bench", Strategy::OneForOne, AMPLE).child(child);
    let tree = root.start().await.expect("it starts");
    for n in 0..IDLE {
        let spec = worker(n.to_string(), sender.clone());
        handle.start_child(spec).await.expect("it starts");
    }
    (tree, handle)
}

/// Compares the memory and the start time of idle children with those of raw actors. The actors of both sides are kept to the
/// end.
fn idle(runtime: &Runtime) {
    let per_child = |bytes: f64| bytes / IDLE as f64;
    let (start, before) = (Instant::now(), resident());
    let raw = runtime.block_on(idle_raw());
    let (raw_start, raw_bytes) = (start.elapsed(), per_child(resident() - before));
    let (start, before) = (Instant::now(), resident());
    let (tree, handle) = runtime.block_on(idle_supervised());
    let (start, bytes) = (start.elapsed(), per_child(resident() - before));
    println!(
        "idle child: {bytes:.0} bytes, raw {raw_bytes:.0}: ratio {:.2}",
        bytes / raw_bytes
    );
    println!(
        "its start: {:.1} us, raw {:.1} us: ratio {:.2}",
        per_child(start.as_secs_f64()) * 1e6,
        per_child(raw_start.as_secs_f64()) * 1e6,
        start.as_secs_f64() / raw_start.as_secs_f64()
    );
    // An idle child has no timer and gets no message, so it takes no processor time.
    let alive = runtime.metrics().num_alive_tasks();
    println!("tasks a child: {:.2}, raw 1", per_child((alive - raw.len()) as f64));
    assert_eq!(handle.count_children().active, IDLE);
    runtime.block_on(tree.shutdown());
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut measured = Vec::new();
    let spawn = measure(&mut criterion, &runtime, "raw spawn", raw_spawn);
    let again = measure(&mut criterion, &runtime, "raw exit and spawn", raw);
    let names = ["one_for_one", "one_for_all of 4", "rest_for_one of 4"];
    let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
    for (name, strategy) in names.into_iter().zip(strategies) {
        let siblings = if strategy == Strategy::OneForOne { 0 } else { 3 };
        let run = |count| supervised(count, strategy, siblings);
        measured.push((name, measure(&mut criterion, &runtime, name, run)));
    }
    for (name, seconds) in measured {
        println!(
            "{name}: exit to running {:.1} us; ratio to a raw spawn {:.2}, to a raw exit and spawn {:.2}",
            seconds * 1e6,
            seconds / spawn,
            seconds / again
        );
    }
    if std::env::args().any(|argument| argument == "--bench") {
        idle(&runtime);
    }
    criterion.final_summary();
}
