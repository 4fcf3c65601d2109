//! A worker that obeys orders, and a board that records what happens to all workers.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{ChildSpec, Event, EventKind, EventStream, Failure, Intensity, Shutdown, StartContext};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// An intensity that no test exceeds.
pub(crate) const AMPLE: Intensity = Intensity::new(100_000, SECOND);

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The orders to a worker.
pub(crate) enum Order {
    Panic,
    Fail(Failure),
    Finish,
    /// The handler waits for ever.
    Hang,
    /// The handler blocks its thread, so that not even a kill takes effect.
    Block(Duration),
}

/// How the next start of a worker goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Well,
    Fail,
    Panic,
    Hang,
    Slow(Duration),
    /// The worker starts and fails in `post_start`, so that its exit comes before the report of the start.
    FailLate,
}

/// Records what happens to the workers, and knows their actors and how their next starts go.
#[derive(Default, Clone)]
pub(crate) struct Board(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    log: Vec<String>,
    actors: HashMap<String, ActorRef<Order>>,
    starts: HashMap<String, Vec<Start>>,
}

impl Board {
    pub(crate) fn worker(&self, id: &str) -> ChildSpec {
        self.named(id, id)
    }

    /// A worker that has another name on the board than its id.
    pub(crate) fn named(&self, id: &str, name: &str) -> ChildSpec {
        let board = self.clone();
        let name = name.to_owned();
        ChildSpec::worker(id, move |context: StartContext| {
            let arguments = Arguments {
                board: board.clone(),
                name: format!("{name}{}", context.incarnation),
                start: board.next_start(&name),
                stop: Duration::ZERO,
            };
            let (board, name) = (board.clone(), name.clone());
            async move {
                let started = Actor::spawn_linked(None, Worker, arguments, context.supervisor).await?;
                board.0.lock().actors.insert(name, started.0.clone());
                Ok(started)
            }
        })
    }

    /// A worker whose `post_stop` takes this time.
    pub(crate) fn slow_to_stop(&self, id: &str, stop: Duration, shutdown: Shutdown) -> ChildSpec {
        let board = self.clone();
        let name = id.to_owned();
        ChildSpec::worker(id, move |context: StartContext| {
            let arguments = Arguments {
                board: board.clone(),
                name: format!("{name}{}", context.incarnation),
                start: Start::Well,
                stop,
            };
            async move { Ok(Actor::spawn_linked(None, Worker, arguments, context.supervisor).await?) }
        })
        .shutdown(shutdown)
    }

    /// Sets how the next starts of a worker go. All later starts succeed.
    pub(crate) fn starts(&self, id: &str, mut starts: Vec<Start>) {
        starts.reverse();
        self.0.lock().starts.insert(id.to_owned(), starts);
    }

    fn next_start(&self, id: &str) -> Start {
        let mut notes = self.0.lock();
        notes.starts.get_mut(id).and_then(Vec::pop).unwrap_or(Start::Well)
    }

    pub(crate) fn tell(&self, id: &str, order: Order) {
        let actor = self.actor(id);
        actor.cast(order).expect("the worker is there");
    }

    pub(crate) fn actor(&self, id: &str) -> ActorRef<Order> {
        self.0.lock().actors[id].clone()
    }

    pub(crate) fn find(&self, id: &str) -> Option<ActorRef<Order>> {
        self.0.lock().actors.get(id).cloned()
    }

    pub(crate) fn write(&self, line: impl Into<String>) {
        self.0.lock().log.push(line.into());
    }

    /// Takes what was recorded since the last call.
    pub(crate) fn look(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().log)
    }
}

pub(crate) struct Worker;

pub(crate) struct Arguments {
    pub(crate) board: Board,
    pub(crate) name: String,
    pub(crate) start: Start,
    pub(crate) stop: Duration,
}

/// Records when it is dropped, because only then has an incarnation ended completely.
pub(crate) struct Held {
    board: Board,
    name: String,
    stop: Duration,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.board.write(format!("-{}", self.name));
    }
}

impl Actor for Worker {
    type Msg = Order;
    type State = Held;
    type Arguments = Arguments;

    async fn pre_start(&self, _myself: ActorRef<Order>, arguments: Arguments) -> Result<Held, ActorProcessingErr> {
        match arguments.start {
            Start::Well | Start::FailLate => {}
            Start::Fail => return Err(Box::new(Failure::new("trap", "in pre_start"))),
            Start::Panic => panic!("in pre_start"),
            Start::Hang => std::future::pending().await,
            Start::Slow(delay) => tokio::time::sleep(delay).await,
        }
        arguments.board.write(format!("+{}", arguments.name));
        Ok(Held {
            board: arguments.board,
            name: arguments.name,
            // The maximum marks a late failure. No test combines that with a slow stop.
            stop: if arguments.start == Start::FailLate {
                Duration::MAX
            } else {
                arguments.stop
            },
        })
    }

    async fn post_start(&self, _myself: ActorRef<Order>, state: &mut Held) -> Result<(), ActorProcessingErr> {
        if state.stop == Duration::MAX {
            return Err(Box::new(Failure::new("late", "in post_start")));
        }
        Ok(())
    }

    async fn handle(&self, myself: ActorRef<Order>, order: Order, _state: &mut Held) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Panic => panic!("as told"),
            Order::Fail(failure) => return Err(Box::new(failure)),
            Order::Finish => myself.stop(None),
            Order::Hang => std::future::pending().await,
            Order::Block(time) => std::thread::sleep(time),
        }
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Order>, state: &mut Held) -> Result<(), ActorProcessingErr> {
        if !state.stop.is_zero() {
            tokio::time::sleep(state.stop).await;
        }
        state.board.write(format!("~{}", state.name));
        Ok(())
    }
}

/// Waits for the next event of this kind at this path.
pub(crate) async fn until(events: &mut EventStream, kind: EventKind, path: &str) -> Event {
    loop {
        let event = events.recv().await.expect("the tree is there and we keep up");
        if event.kind == kind && event.path == path {
            return event;
        }
    }
}
