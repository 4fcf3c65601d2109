//! Runs the node's decisions under a simulated clock and scheduler, so that the same seed gives the same run, step by
//! step.
//!
//! The simulation drives the code that decides (a partition's [`Core`](crate::router::Core), mailboxes, timers, the end
//! of a turn) and replaces the code that carries decisions out: actors, the disk, wasm. Its guests are closures. A
//! seeded scheduler chooses the next step: a client sends, a router decides, an append gets its position, an instance
//! takes a message or ends its turn, an instance, a router or the whole node is killed, the clock advances, an operator
//! suspends, stops or starts an agent, somebody sets the wall clock. Then no new cause is added until nothing is left to do, and the log is checked
//! against these invariants:
//!
//! 1. Each delivery in the log ends once: in one turn that took effect, or as one dead letter.
//! 2. Everything that was acknowledged and durable is in the log, whatever was killed.
//! 3. A message is handled only after it is in the log.
//! 4. The state of an agent is what its turns that took effect have written.
//! 5. A sender whose message became a dead letter or ended in an error gets a failure.
//! 6. No message overtakes an earlier one of its sender; with several instances, of its sender and conversation.
//! 7. A timer fires once.
//! 8. An owner that was replaced records nothing.
//! 9. One record of each message counts, and the records about an agent are in its partition, so that a partition is restored
//!    from its own records alone.
//! 10. At the end every mailbox is empty, and all of its room is free.
//!
//! ```
//! use caxton::simulation::{Ended, Simulation};
//!
//! let counter = |_: &caxton::message::Message, turn: &mut caxton::simulation::Turn<'_>| {
//!     let count: u64 = turn.get("count").map_or(0, |bytes| String::from_utf8_lossy(&bytes).parse().unwrap_or(0));
//!     turn.set("count", (count + 1).to_string());
//!     turn.inform(count + 1);
//!     Ended::Ok
//! };
//! for seed in 0..20 {
//!     Simulation::new(seed).agent("counter", 1, move || counter).run().unwrap();
//! }
//! ```

mod check;
mod fold;
mod guest;
mod world;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::message::ClientName;

pub use guest::{Ended, Guest, Turn};

/// Makes the guest of a new instance. What a guest remembers outside its state is lost with the instance.
pub(crate) type MakeGuest = Box<dyn Fn() -> Box<dyn Guest>>;

/// An agent of a simulation.
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) instances: usize,
    pub(crate) make: MakeGuest,
}

/// The faults that a run may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// Nothing is killed, and no operator acts.
    None,
    /// All faults that the module documentation lists.
    All,
}

/// The setup of a run: a seed, agents and clients.
pub struct Simulation {
    pub(crate) seed: u64,
    pub(crate) steps: usize,
    pub(crate) partitions: u16,
    pub(crate) faults: Faults,
    pub(crate) agents: Vec<Declared>,
    pub(crate) clients: Vec<ClientName>,
}

/// A run that broke an invariant. The same seed with the same agents breaks it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub seed: u64,
    /// The invariant that does not hold.
    pub what: String,
    /// The last steps of the run, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        self.trace.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl std::error::Error for Broken {}

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages in the log.
    pub messages: u64,
    /// Turns that took effect.
    pub turns: u64,
    pub dead_letters: u64,
    pub timers_fired: u64,
    /// Instances, routers and nodes that were killed.
    pub kills: u64,
    /// Each agent at the end of the run, by its name.
    pub agents: BTreeMap<String, AgentAtTheEnd>,
}

/// The result of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentAtTheEnd {
    /// Turns on messages that took effect.
    pub turns: u64,
    pub state: BTreeMap<String, Bytes>,
}

impl Simulation {
    /// A run with this seed, four partitions, three clients, all faults, and no agents yet.
    pub fn new(seed: u64) -> Self {
        let client = |name: &str| name.parse().expect("the name is visible ASCII");
        Self {
            seed,
            steps: 600,
            partitions: 4,
            faults: Faults::All,
            agents: Vec::new(),
            clients: ["ann", "bob", "eve"].map(client).into(),
        }
    }

    /// Adds an agent with this many instances. `make` makes the guest of each.
    #[must_use]
    pub fn agent<G: Guest + 'static>(mut self, name: &str, instances: usize, make: impl Fn() -> G + 'static) -> Self {
        self.agents.push(Declared {
            name: name.to_owned(),
            instances: instances.max(1),
            make: Box::new(move || Box::new(make())),
        });
        self
    }

    /// Sets how many steps happen before the run waits for everything to finish.
    #[must_use]
    pub fn steps(self, steps: usize) -> Self {
        Self { steps, ..self }
    }

    #[must_use]
    pub fn faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    /// Runs the simulation and checks the log against the invariants.
    pub fn run(self) -> Result<Summary, Box<Broken>> {
        let seed = self.seed;
        let mut world = world::World::new(self);
        world.run().and_then(|()| check::check(&world)).map_err(|what| {
            Box::new(Broken {
                seed,
                what,
                trace: world.trace(),
            })
        })
    }
}
