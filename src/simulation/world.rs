//! The world of a run: what carries decisions out, and the scheduler that chooses what happens next.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use super::fold::Fold;
use super::guest::draft;
use super::{Ended, Faults, Guest, MakeGuest, Simulation, Turn};
use crate::agent::spec::AgentSpec;
use crate::agent::turn::conclude;
use crate::agent::{Agent, Command, Document, Outbox, Outcome};
use crate::directory::Directory;
use crate::error::Result as Answered;
use crate::fipa::Performative;
use crate::id::{AgentId, DeploymentId, Digest, Fence, MessageId, Partition, Seq};
use crate::journal::memory::MemoryJournal;
use crate::journal::{Batch as Recorded, Journal, JournalError, Record};
use crate::mailbox::{Consumer, Lease};
use crate::message::{Address, ClientName};
use crate::router::{Awaited, Batch, Change, Core, Orphans, Receipt, ReplyTo, RouterMessage, Shared, Waiters};
use crate::telemetry::{Recoveries, Turns};
use crate::time::{Moment, Timestamp};
use crate::{timer, wasm};

/// Steps that are told of a broken run.
const TRACED: usize = 60;
/// Times that the clock may be moved on to the next timer before a run that does not become quiet is broken.
const PATIENCE: usize = 10_000;

/// Where outcomes of turns wait for the router of a partition.
#[derive(Default)]
struct Inbox(Mutex<VecDeque<RouterMessage>>);

struct Posted(Arc<Inbox>);

impl Outbox for Posted {
    fn commit(&self, outcome: Outcome) {
        self.0.0.lock().push_back(RouterMessage::Commit(Box::new(outcome)));
    }
}

/// A partition, and its router while it lives.
struct Owned {
    core: Core,
    fence: Fence,
    inbox: Arc<Inbox>,
    /// What is decided and has no position in the log yet.
    appending: VecDeque<Batch>,
    /// What routers before this one had decided, with their fences. A late append must be refused.
    late: Vec<(Fence, Batch)>,
}

/// An instance of an agent.
struct Instance {
    guest: Box<dyn Guest>,
    consumer: Consumer,
    turn: Option<Open>,
}

/// A turn that is not over.
struct Open {
    lease: Lease,
    turn: wasm::Turn,
    /// It holds the lease of the agent's state.
    touched: bool,
}

struct Staged {
    agent: Arc<Agent>,
    make: MakeGuest,
    instances: Vec<Instance>,
    wanted: usize,
}

/// The messages that a log has, read as it grows.
#[derive(Default)]
struct Logged {
    upto: Seq,
    messages: HashSet<MessageId>,
}

impl Logged {
    fn has(&mut self, journal: &MemoryJournal, message: MessageId) -> bool {
        for batch in journal.read_after(self.upto, usize::MAX).unwrap_or_default() {
            self.upto = batch.last();
            for (_, record) in &batch.records {
                if let Record::Message(dispatch) = record {
                    self.messages.insert(dispatch.message.id);
                }
            }
        }
        self.messages.contains(&message)
    }
}

/// A message of a client whose sending was answered.
pub(super) struct Acknowledged {
    pub(super) message: MessageId,
    pub(super) seq: Seq,
}

type Waiting = Awaited<Answered<(Receipt, Seq)>>;

pub(super) struct World {
    random: StdRng,
    steps: usize,
    faults: Faults,
    clients: Vec<ClientName>,
    began: Moment,
    /// Since the run began, on both clocks.
    elapsed: Duration,
    journal: Arc<MemoryJournal>,
    /// What a `kill -9` leaves for certain.
    durable: Seq,
    shared: Arc<Shared>,
    owned: Vec<Owned>,
    staged: Vec<Staged>,
    waiting: Vec<Waiting>,
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) kills: u64,
    logged: Logged,
    trace: VecDeque<String>,
}

impl World {
    pub(super) fn new(simulation: Simulation) -> Self {
        let random = StdRng::seed_from_u64(simulation.seed);
        let journal = MemoryJournal::new();
        let shared = shared(&journal);
        let began = Moment {
            wall: Timestamp::from_micros(1_700_000_000_000_000),
            monotonic: Instant::now(),
        };
        let mut world = Self {
            random,
            steps: simulation.steps,
            faults: simulation.faults,
            clients: simulation.clients,
            began,
            elapsed: Duration::ZERO,
            owned: Vec::new(),
            staged: Vec::new(),
            waiting: Vec::new(),
            acknowledged: Vec::new(),
            kills: 0,
            logged: Logged::default(),
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

    /// Whether each agent has more than one instance.
    pub(super) fn several_instances(&self) -> impl Iterator<Item = (AgentId, bool)> {
        self.staged.iter().map(|staged| (staged.agent.id, staged.wanted > 1))
    }

    pub(super) fn now(&self) -> Moment {
        Moment {
            wall: self.began.wall.plus(self.elapsed),
            monotonic: self.began.monotonic + self.elapsed,
        }
    }

    /// Lets things happen, and then lets all become quiet.
    pub(super) fn run(&mut self) -> Result<(), String> {
        self.drain()?; // the deploys
        for _ in 0..self.steps {
            self.step()?;
        }
        self.note("nothing new happens from here on".to_owned());
        self.quiet()
    }

    /// One thing happens, as the dice say.
    fn step(&mut self) -> Result<(), String> {
        let faults = self.faults == Faults::All;
        match self.random.random_range(0..1_000) {
            0..200 => self.send(),
            200..400 => self.decide_somewhere(),
            400..600 => self.append_somewhere(),
            600..780 => self.begin_a_turn(),
            780..930 => self.end_a_turn(),
            930..950 => {
                let wait = Duration::from_millis(self.random.random_range(1..2_000));
                self.wait(wait);
                Ok(())
            }
            950..960 => {
                self.durable = self.journal.appended();
                Ok(())
            }
            960..975 if faults => self.kill_an_instance(),
            975..985 if faults => self.kill_a_router(),
            985..988 if faults => self.kill_the_node(),
            988..1_000 if faults => self.operate(),
            _ => Ok(()),
        }
    }

    /// Goes on until nothing is left to do, with every agent running.
    fn quiet(&mut self) -> Result<(), String> {
        for _ in 0..PATIENCE {
            if self.drain()? {
                continue;
            }
            // What is suspended, stopped or failed would never be quiet.
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
                    let wait = next.since(self.now().wall).max(Duration::from_micros(1));
                    self.wait(wait);
                }
                None => return Ok(()),
            }
        }
        Err("it never becomes quiet".to_owned())
    }

    /// Does all that can be done without a new cause. False: there was nothing.
    fn drain(&mut self) -> Result<bool, String> {
        let mut any = false;
        loop {
            let mut more = false;
            for at in 0..self.owned.len() {
                while self.decide(at) || self.append(at)? {
                    more = true;
                }
            }
            for at in 0..self.staged.len() {
                self.staff(at);
                // From the last to the first, as one that crashes goes.
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

    // What happens by itself.

    fn send(&mut self) -> Result<(), String> {
        let client = self.clients[self.random.random_range(0..self.clients.len())].clone();
        let receiver = self.staged[self.random.random_range(0..self.staged.len())]
            .agent
            .name
            .clone();
        let acts = [Performative::Request, Performative::Inform, Performative::QueryRef];
        let act = acts[self.random.random_range(0..acts.len())];
        let conversation = format!("{}-{}", client.as_str(), self.random.random_range(0..3));
        let mut draft = draft(act, receiver.as_str(), &self.random.random_range(0..1_000));
        draft.conversation_id = Some(conversation);
        let (reply, answered) = ReplyTo::channel();
        let sender = Address::Client(client.clone());
        let partitions = u16::try_from(self.owned.len()).expect("partitions are numbered by u16");
        let partition = Partition::of(&sender.to_string(), partitions);
        self.note(format!("{} sends {act} to {receiver}", client.as_str()));
        self.waiting.push(answered);
        self.tell(
            partition,
            RouterMessage::Send {
                sender,
                draft: Box::new(draft),
                expected: None,
                key: None,
                in_flight: None,
                reply,
            },
        );
        Ok(())
    }

    /// Clients hear what was answered.
    fn hear(&mut self) {
        let acknowledged = &mut self.acknowledged;
        self.waiting.retain_mut(|answered| match answered.try_recv() {
            Ok(Ok((receipt, seq))) => {
                acknowledged.push(Acknowledged {
                    message: receipt.message_id,
                    seq,
                });
                false
            }
            Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => false,
            Err(oneshot::error::TryRecvError::Empty) => true,
        });
    }

    fn decide_somewhere(&mut self) -> Result<(), String> {
        let at = self.random.random_range(0..self.owned.len());
        self.decide(at);
        Ok(())
    }

    /// A router decides its next input, when all that it decided before has its position.
    fn decide(&mut self, at: usize) -> bool {
        let now = self.now();
        let owned = &mut self.owned[at];
        if !owned.appending.is_empty() {
            return false;
        }
        let due = owned.core.next_timer().is_some_and(|next| next <= now.wall);
        let input = if due {
            Some(RouterMessage::Alarm)
        } else {
            owned.inbox.0.lock().pop_front()
        };
        let Some(input) = input else { return false };
        owned.appending.extend(owned.core.decide(input, now));
        true
    }

    fn append_somewhere(&mut self) -> Result<(), String> {
        let at = self.random.random_range(0..self.owned.len());
        self.append(at).map(|_| ())
    }

    /// A batch gets its position in the log, and what follows from it is done: nothing comes between the two in a node either.
    fn append(&mut self, at: usize) -> Result<bool, String> {
        let now = self.now();
        let owned = &mut self.owned[at];
        if let Some((fence, batch)) = owned.late.pop() {
            return match record(&self.journal, owned.core.partition(), fence, batch) {
                Err(JournalError::Fenced(_)) => Ok(true),
                other => Err(format!(
                    "an owner that was replaced could append: {:?}",
                    other.map(|(seq, _)| seq)
                )),
            };
        }
        let Some(batch) = owned.appending.pop_front() else {
            return Ok(false);
        };
        let (seq, batch) = record(&self.journal, owned.core.partition(), owned.fence, batch)
            .map_err(|error| format!("the owner of a partition could not append: {error}"))?;
        for more in owned.core.placed(batch, seq, now).into_iter().rev() {
            owned.appending.push_front(more);
        }
        self.hear();
        Ok(true)
    }

    fn begin_a_turn(&mut self) -> Result<(), String> {
        let at = self.random.random_range(0..self.staged.len());
        self.staff(at);
        match self.staged[at].instances.len() {
            0 => Ok(()),
            instances => {
                let instance = self.random.random_range(0..instances);
                self.begin(at, instance).map(|_| ())
            }
        }
    }

    /// An agent that runs has its instances, as its supervisor would see to; one that does not has none.
    fn staff(&mut self, at: usize) {
        let staged = &mut self.staged[at];
        if !staged.agent.standing.read().runs() {
            staged.instances.clear();
            return;
        }
        while staged.instances.len() < staged.wanted {
            staged.instances.push(Instance {
                guest: (staged.make)(),
                consumer: staged.agent.mailbox.attach(Arc::new(|| {})),
                turn: None,
            });
        }
    }

    /// An instance takes a message and handles it; its turn is not over until [`Self::end`].
    fn begin(&mut self, at: usize, instance: usize) -> Result<bool, String> {
        let now = self.now();
        let staged = &mut self.staged[at];
        if staged.instances[instance].turn.is_some() {
            return Ok(false);
        }
        let Some(lease) = staged.instances[instance].consumer.lease() else {
            return Ok(false);
        };
        let message = lease.message().clone();
        for other in &staged.instances {
            if let Some(open) = &other.turn
                && open.lease.message().sender == message.sender
                && open.lease.message().conversation_id == message.conversation_id
            {
                return Err(format!(
                    "two turns of {} overlap in one conversation",
                    staged.agent.name
                ));
            }
        }
        let is_logged = self.logged.has(&self.journal, message.id);
        if !is_logged {
            return Err(format!(
                "{} handles {}, which the log does not have",
                staged.agent.name, message.id
            ));
        }
        let mut turn = Turn {
            agent: &staged.agent,
            message: &message,
            attempt: lease.attempt(),
            now: now.wall,
            random: &mut self.random,
            effects: wasm::Effects::default(),
            touched: Cell::new(false),
        };
        let ended = staged.instances[instance].guest.handle(&message, &mut turn);
        let (effects, touched) = (std::mem::take(&mut turn.effects), turn.touched.get());
        if touched
            && staged
                .instances
                .iter()
                .any(|other| other.turn.as_ref().is_some_and(|open| open.touched))
        {
            // It waits for the state's lease, and the message for its turn.
            return Ok(false);
        }
        let (end, effects) = match ended {
            Ended::Ok => (wasm::End::Ok, effects),
            Ended::Error(reason) => (wasm::End::Error(reason), wasm::Effects::default()),
            Ended::Crash(detail) => {
                let crash = wasm::Crash {
                    kind: wasm::CrashKind::Trap,
                    detail,
                    backtrace: Vec::new(),
                };
                (wasm::End::Crash(crash), wasm::Effects::default())
            }
        };
        let what = format!("{}#{instance} handles {} ({end:?})", staged.agent.name, message.id);
        let usage = wasm::Usage::default();
        let turn = wasm::Turn { end, effects, usage };
        staged.instances[instance].turn = Some(Open { lease, turn, touched });
        self.note(what);
        Ok(true)
    }

    fn end_a_turn(&mut self) -> Result<(), String> {
        let at = self.random.random_range(0..self.staged.len());
        if !self.staged[at].instances.is_empty() {
            let instance = self.random.random_range(0..self.staged[at].instances.len());
            self.end(at, instance);
        }
        Ok(())
    }

    /// A turn is over: its outcome goes to the router, and an instance that crashed is replaced.
    fn end(&mut self, at: usize, instance: usize) -> bool {
        let now = self.now();
        let staged = &mut self.staged[at];
        let Some(Open { lease, turn, .. }) = staged.instances[instance].turn.take() else {
            return false;
        };
        let crashed = matches!(turn.end, wasm::End::Crash(_));
        let what = format!(
            "{}#{instance} ends the turn of {}",
            staged.agent.name,
            lease.message().id
        );
        if let Some(outcome) = conclude(&staged.agent, MAX_DELIVERIES, lease, turn, None, now.monotonic) {
            staged.agent.outbox.commit(outcome);
        }
        if crashed {
            staged.instances.remove(instance);
        }
        self.note(what);
        true
    }

    fn wait(&mut self, time: Duration) {
        self.elapsed += time;
        self.note(format!("{} ms pass", time.as_millis()));
    }

    // Faults.

    fn kill_an_instance(&mut self) -> Result<(), String> {
        let at = self.random.random_range(0..self.staged.len());
        let staged = &mut self.staged[at];
        if staged.instances.is_empty() {
            return Ok(());
        }
        let instance = self.random.random_range(0..staged.instances.len());
        staged.instances.remove(instance);
        let what = format!("{}#{instance} is killed", staged.agent.name);
        self.kills += 1;
        self.note(what);
        Ok(())
    }

    /// A router dies with what it had not appended, and its agents' instances with it; the next one goes by the log.
    fn kill_a_router(&mut self) -> Result<(), String> {
        let at = self.random.random_range(0..self.owned.len());
        let partition = self.owned[at].core.partition();
        self.kills += 1;
        self.note(format!("the router of partition {partition} is killed"));
        for staged in &mut self.staged {
            if staged.agent.partition == partition {
                staged.instances.clear();
            }
        }
        let (inbox, fence) = (self.owned[at].inbox.clone(), self.owned[at].fence);
        inbox.0.lock().clear();
        let late: Vec<_> = self.owned[at].appending.drain(..).map(|batch| (fence, batch)).collect();
        let recovered = self.own(partition, late, inbox);
        self.owned[at] = recovered;
        Ok(())
    }

    /// The process dies. The log keeps what was durable, and perhaps some of what came after it.
    fn kill_the_node(&mut self) -> Result<(), String> {
        self.kills += 1;
        let log = self.log();
        let durable = log.partition_point(|batch| batch.last() <= self.durable);
        let kept = self.random.random_range(durable..=log.len());
        self.note(format!("the node is killed; {kept} of {} batches are left", log.len()));
        let journal = MemoryJournal::new();
        for batch in &log[..kept] {
            let fence = journal.claim(Partition(0));
            let records = batch.records.clone();
            let appended = journal.append(Partition(0), fence, records).now_or_never();
            appended
                .ok_or("an append to memory waits")?
                .map_err(|error| error.to_string())?;
        }
        self.journal = journal;
        self.logged = Logged::default();
        self.durable = self.journal.appended();
        self.hear();
        self.waiting.clear();
        let durable = self.durable;
        self.acknowledged.retain(|acknowledged| acknowledged.seq <= durable);
        self.shared = shared(&self.journal);
        let partitions = u16::try_from(self.owned.len()).expect("partitions are numbered by u16");
        let fold = Fold::of(&self.log());
        self.owned.clear();
        let mut inboxes = BTreeMap::new();
        for number in 0..partitions {
            inboxes.insert(number, Arc::<Inbox>::default());
        }
        for staged in &mut self.staged {
            staged.instances.clear();
            let document = staged.agent.document.read().clone();
            let document = fold.documents.get(&staged.agent.id).cloned().unwrap_or(document);
            let inbox = inboxes[&document.home(partitions).0].clone();
            staged.agent = agent(document, partitions, inbox);
            self.shared.directory.put(staged.agent.clone());
        }
        for number in 0..partitions {
            let owned = self.own(Partition(number), Vec::new(), inboxes[&number].clone());
            self.owned.push(owned);
        }
        Ok(())
    }

    fn operate(&mut self) -> Result<(), String> {
        let at = self.random.random_range(0..self.staged.len());
        let agent = self.staged[at].agent.clone();
        let until = self.now().wall;
        let commands: &[Command] = match self.random.random_range(0..4) {
            0 => &[Command::Suspend],
            1 => &[Command::Resume],
            2 => &[Command::Stop { until }, Command::Drained],
            _ => &[Command::Start, Command::Started],
        };
        for command in commands {
            self.command(&agent, command.clone());
        }
        Ok(())
    }

    // Recovery.

    /// A new owner of a partition: it claims it, and brings its agents back as the log has them.
    fn own(&self, partition: Partition, late: Vec<(Fence, Batch)>, inbox: Arc<Inbox>) -> Owned {
        let fence = self.journal.claim(partition);
        let mut fold = Fold::of(&self.log());
        let (mut orphans, mut timers) = (Orphans::new(), Vec::new());
        for staged in &self.staged {
            let agent = &staged.agent;
            if agent.partition != partition {
                continue;
            }
            let Some(document) = fold.documents.remove(&agent.id) else {
                continue;
            };
            let recovered = document.recovered();
            *agent.document.write() = document;
            agent.enter(recovered);
            *agent.state.write() = fold.state.remove(&agent.id).unwrap_or_default();
            let live: Vec<_> = fold
                .timers
                .remove(&agent.id)
                .unwrap_or_default()
                .into_values()
                .collect();
            let queue = fold.live.remove(&agent.id).unwrap_or_default();
            let fired = queue.iter().filter_map(|live| timer::fired(&live.message));
            agent.timers.restore(&live, fired);
            timers.extend(live.into_iter().map(|timer| (agent.id, timer)));
            if agent.standing.read().runs() {
                let queue = queue.into_iter().map(|live| (live.message, live.crashes + 1, live.seq));
                agent
                    .mailbox
                    .restore(fold.last, queue, Vec::new(), self.now().monotonic);
            } else {
                orphans.extend(queue.into_iter().map(|live| (agent.id, live.message)));
                drop(agent.mailbox.close());
            }
        }
        let core = Core::new(partition, self.shared.clone(), timers);
        let burial = core.bury(orphans, "the agent is stopped", self.now());
        Owned {
            core,
            fence,
            inbox,
            appending: burial.into(),
            late,
        }
    }

    fn document(&self, number: u128, name: &str) -> Document {
        let declaration =
            serde_json::json!({"name": name, "permissions": {"state": true, "timers": true, "message": ["*"]}});
        let spec = AgentSpec::from_json(declaration.to_string().as_bytes()).expect("the declaration is complete");
        Document {
            id: AgentId::from_uuid(Uuid::from_u128(number)),
            spec,
            sealed: BTreeMap::new(),
            version: semver::Version::new(1, 0, 0),
            digest: Digest::of(name.as_bytes()),
            deployment_id: DeploymentId::new(),
            created_at: self.now().wall,
            deployed_at: self.now().wall,
            deployed_by: "simulation".to_owned(),
            stopped_at: None,
            suspended_at: None,
            placement: None,
        }
    }

    fn agent(&self, document: Document, partitions: u16) -> Arc<Agent> {
        let home = document.home(partitions);
        agent(document, partitions, self.owned[usize::from(home.0)].inbox.clone())
    }
}

/// Deliveries of one message, in all.
pub(super) const MAX_DELIVERIES: u32 = 3;

fn agent(document: Document, partitions: u16, inbox: Arc<Inbox>) -> Arc<Agent> {
    let outcome_kib = Arc::new(Semaphore::new(crate::agent::OUTCOME_KIB));
    let agent = Agent::new(
        document,
        partitions,
        Arc::new(Posted(inbox)),
        outcome_kib,
        Arc::default(),
    );
    agent.mailbox.drain(); // opened by the record of its deploy
    Arc::new(agent)
}

fn shared(journal: &Arc<MemoryJournal>) -> Arc<Shared> {
    Arc::new(Shared {
        journal: journal.clone(),
        directory: Arc::new(Directory::default()),
        waiters: Waiters::default(),
        key_locks: Arc::default(),
        turns: Turns::default(),
        spawns: Arc::default(),
        recoveries: Arc::new(Recoveries::default()),
    })
}

/// Appends a batch to the journal in memory, which never waits.
fn record(
    journal: &MemoryJournal,
    partition: Partition,
    fence: Fence,
    mut batch: Batch,
) -> Result<(Seq, Batch), JournalError> {
    let records: Vec<(Partition, Record)> = batch
        .take_records()
        .into_iter()
        .map(|record| (partition, record))
        .collect();
    let appended = journal.append(partition, fence, records).now_or_never();
    appended
        .expect("an append to memory does not wait")
        .map(|seq| (seq, batch))
}
