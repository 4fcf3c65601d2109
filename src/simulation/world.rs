//! The world of a run: it carries decisions out, and its scheduler chooses the next step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::fold::Fold;
use super::{Faults, Guest, MakeGuest, Simulation};
use crate::agent::{Agent, Command, Outbox, Outcome};
use crate::directory::Directory;
use crate::error::Result as Answered;
use crate::id::{AgentId, Fence, MessageId, Partition, Seq};
use crate::journal::memory::MemoryJournal;
use crate::journal::{Batch as Recorded, Journal as _, Placed};
use crate::mailbox::{Consumer, Lease};
use crate::message::ClientName;
use crate::router::{Awaited, Batch, Change, Core, Receipt, RouterMessage, Shared, Stranded, Waiters};
use crate::telemetry::{Recoveries, Turns};
use crate::time::{Moment, Timestamp};
use crate::wasm;

mod clients;
mod faults;
mod recovery;
mod routers;
mod turns;

/// How many steps the trace of a broken run has.
const TRACED: usize = 60;
/// The most rounds until a run must be quiet. In each round every router and instance acts; a run that needs more is
/// broken.
const PATIENCE: usize = 5_000;

/// Where outcomes of turns wait for the router of a partition.
#[derive(Default)]
struct Inbox(Mutex<VecDeque<RouterMessage>>);

struct Posted(Arc<Inbox>);

impl Outbox for Posted {
    fn commit(&self, outcome: Outcome) {
        self.0.0.lock().push_back(RouterMessage::Commit(Box::new(outcome)));
    }

    fn sweep(&self) {
        self.0.0.lock().push_back(RouterMessage::Sweep);
    }
}

/// A partition, and its router while it lives.
struct Owned {
    core: Core,
    fence: Fence,
    inbox: Arc<Inbox>,
    /// Batches that are decided and have no position in the log yet.
    appending: VecDeque<Batch>,
    /// Batches that earlier routers of the partition had decided, with their fences. The journal must refuse them.
    late: Vec<(Fence, Batch)>,
}

/// An instance of an agent.
struct Instance {
    guest: Box<dyn Guest>,
    consumer: Consumer,
    turn: Option<Open>,
}

/// A turn that has not ended.
struct Open {
    lease: Lease,
    turn: wasm::Turn,
    /// Whether the turn holds the lease of the agent's state.
    touched: bool,
}

struct Staged {
    agent: Arc<Agent>,
    make: MakeGuest,
    instances: Vec<Instance>,
    wanted: usize,
}

/// A client's message that was acknowledged.
pub(super) struct Acknowledged {
    pub(super) message: MessageId,
    pub(super) seq: Seq,
}

type Waiting = Awaited<Answered<(Receipt, Placed)>>;

pub(super) struct World {
    random: StdRng,
    steps: usize,
    faults: Faults,
    clients: Vec<ClientName>,
    began: Moment,
    /// Time since the run began.
    elapsed: Duration,
    /// By how many microseconds somebody has set the wall clock on, in all.
    clock_set_by: i64,
    journal: Arc<MemoryJournal>,
    /// The position up to which the log certainly survives a `kill -9`.
    durable: Seq,
    shared: Arc<Shared>,
    owned: Vec<Owned>,
    staged: Vec<Staged>,
    waiting: Vec<Waiting>,
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) kills: u64,
    /// The content of the log so far.
    said: Fold,
    trace: VecDeque<String>,
}

impl World {
    pub(super) fn new(simulation: Simulation) -> Self {
        let random = StdRng::seed_from_u64(simulation.seed);
        let journal = MemoryJournal::new();
        let shared = shared(&journal, simulation.partitions);
        let began = Moment {
            wall: Timestamp::from_micros(1_700_000_000_000_000),
            steady: Timestamp::from_micros(1_700_000_000_000_000),
            monotonic: Instant::now(),
        };
        let mut world = Self {
            random,
            steps: simulation.steps,
            faults: simulation.faults,
            clients: simulation.clients,
            began,
            elapsed: Duration::ZERO,
            clock_set_by: 0,
            owned: Vec::new(),
            staged: Vec::new(),
            waiting: Vec::new(),
            acknowledged: Vec::new(),
            kills: 0,
            said: Fold::default(),
            trace: VecDeque::new(),
            durable: Seq(0),
            shared,
            journal,
        };
        for number in 0..simulation.partitions {
            let owned = world.own(Partition(number), Vec::new(), Arc::default());
            world.owned.push(owned);
        }
        let partitions = simulation.partitions;
        for (number, declared) in (1..).zip(simulation.agents) {
            let document = world.document(number, &declared.name);
            let agent = world.agent(document, partitions);
            world.shared.directory.put(agent.clone());
            world.staged.push(Staged {
                agent: agent.clone(),
                make: declared.make,
                instances: Vec::new(),
                wanted: declared.instances,
            });
            world.tell(
                agent.partition,
                RouterMessage::Change {
                    change: Box::new(Change::Deployed {
                        agent: agent.id,
                        answer: None,
                    }),
                    reply: None,
                },
            );
        }
        world
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.iter().cloned().collect()
    }

    pub(super) fn log(&self) -> Vec<Arc<Recorded>> {
        self.journal
            .read_after(Seq(0), usize::MAX)
            .expect("a journal in memory is readable")
    }

    pub(super) fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.staged.iter().map(|staged| &staged.agent)
    }

    /// Each agent, and whether it has more than one instance.
    pub(super) fn several_instances(&self) -> impl Iterator<Item = (AgentId, bool)> {
        self.staged.iter().map(|staged| (staged.agent.id, staged.wanted > 1))
    }

    pub(super) fn now(&self) -> Moment {
        Moment {
            wall: Timestamp::from_micros(self.began.wall.plus(self.elapsed).micros() + self.clock_set_by),
            steady: self.began.steady.plus(self.elapsed),
            monotonic: self.began.monotonic + self.elapsed,
        }
    }

    /// Runs random steps, and then lets everything finish.
    pub(super) fn run(&mut self) -> Result<(), String> {
        self.drain()?; // records the deploys
        for _ in 0..self.steps {
            self.step()?;
        }
        self.note("nothing new happens from here on".to_owned());
        self.quiet()
    }

    /// Runs one step, which the random generator chooses.
    fn step(&mut self) -> Result<(), String> {
        let faults = self.faults == Faults::All;
        match self.random.random_range(0..1_000) {
            0..200 => self.send(),
            200..400 => self.decide_somewhere(),
            400..600 => self.append_somewhere()?,
            600..780 => self.begin_a_turn()?,
            780..930 => self.end_a_turn(),
            930..950 => {
                let wait = Duration::from_millis(self.random.random_range(1..2_000));
                self.wait(wait);
            }
            950..957 => self.durable = self.journal.appended(),
            957..960 if faults => self.set_the_clock(),
            960..975 if faults => self.kill_an_instance(),
            975..985 if faults => self.kill_a_router(),
            985..988 if faults => self.kill_the_node()?,
            988..1_000 if faults => self.operate(),
            _ => {}
        }
        Ok(())
    }

    /// Lets the run go on until nothing is left to do, with every agent running.
    fn quiet(&mut self) -> Result<(), String> {
        for _ in 0..PATIENCE {
            if self.drain()? {
                continue;
            }
            // An agent that is suspended, stopped or failed would keep its messages forever, so it is started.
            let mut idle = true;
            for at in 0..self.staged.len() {
                let agent = self.staged[at].agent.clone();
                let standing = agent.standing.read().clone();
                let commands: &[Command] = match standing {
                    crate::agent::Standing::Running => continue,
                    crate::agent::Standing::Suspended => &[Command::Resume],
                    crate::agent::Standing::Draining { .. } => &[Command::Drained],
                    crate::agent::Standing::Stopped | crate::agent::Standing::Failed { .. } => {
                        &[Command::Start, Command::Started]
                    }
                    crate::agent::Standing::Loaded { .. } => &[Command::Started],
                };
                idle = false;
                for command in commands {
                    self.command(&agent, command.clone());
                }
            }
            if !idle {
                continue;
            }
            let timers: Vec<_> = self.owned.iter().filter_map(|owned| owned.core.next_timer()).collect();
            match timers.into_iter().min() {
                Some(next) => {
                    let wait = next.since(self.now().steady).max(Duration::from_micros(1));
                    self.wait(wait);
                }
                None => return Ok(()),
            }
        }
        Err("it never becomes quiet".to_owned())
    }

    /// Does everything that can be done without a new cause. False: there was nothing to do.
    fn drain(&mut self) -> Result<bool, String> {
        let mut any = false;
        for _ in 0..PATIENCE {
            let mut more = false;
            for at in 0..self.owned.len() {
                more |= self.decide(at);
                more |= self.append(at)?;
            }
            for at in 0..self.staged.len() {
                self.staff(at);
                // The order is from the last instance to the first, because an instance that crashes is removed from
                // the list.
                for instance in (0..self.staged[at].instances.len()).rev() {
                    if self.begin(at, instance)? || self.end(at, instance) {
                        more = true;
                    }
                }
            }
            self.hear();
            if !more {
                return Ok(any);
            }
            any = true;
        }
        Err("it never becomes quiet".to_owned())
    }

    fn note(&mut self, what: String) {
        if self.trace.len() == TRACED {
            self.trace.pop_front();
        }
        self.trace.push_back(what);
    }

    fn tell(&self, partition: Partition, message: RouterMessage) {
        self.owned[usize::from(partition.0)].inbox.0.lock().push_back(message);
    }

    fn command(&mut self, agent: &Agent, command: Command) {
        self.note(format!("{}: {command:?}", agent.name));
        let change = Change::Life {
            agent: agent.id,
            command,
            by: self.clients[0].clone(),
        };
        self.tell(
            agent.partition,
            RouterMessage::Change {
                change: Box::new(change),
                reply: None,
            },
        );
    }
}

/// How often one message is delivered at most, including the first time.
pub(super) const MAX_DELIVERIES: u32 = 3;

fn shared(journal: &Arc<MemoryJournal>, partitions: u16) -> Arc<Shared> {
    Arc::new(Shared {
        journal: journal.clone(),
        partitions,
        directory: Arc::new(Directory::default()),
        waiters: Waiters::default(),
        key_locks: Arc::default(),
        stranded: Stranded::default(),
        turns: Turns::default(),
        spawns: Arc::default(),
        recoveries: Arc::new(Recoveries::default()),
    })
}
