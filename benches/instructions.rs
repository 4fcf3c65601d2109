//! How many instructions routing, mailboxes, encoding and the host's part of a turn take.
//!
//! `scripts/instructions` runs each case under callgrind, which counts only the instructions inside [`counted`].
//! `cargo bench --bench instructions` runs each case once, counts nothing, and prints the names of the cases.
//!
//! All cases are steps of one round, in which a client writes to a buyer, the buyer asks a seller, and the seller replies. Each
//! step gets its input from the step before it, so this file names few types of the library. The router and the instances are
//! called on one thread and without a supervision tree, because the scheduling of other tasks would differ from run to run.

#![allow(
    clippy::default_trait_access,
    reason = "the fewer types are named, the less has to be changed with them"
)]

use std::hint::black_box;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use caxton::agent::spec::AgentSpec;
use caxton::agent::{Agent, Instance, InstanceMessage, Outbox, Outcome, Standing, Start as InstanceStart, Version};
use caxton::directory::Directory;
use caxton::error::Result;
use caxton::fipa::Performative;
use caxton::id::{AgentId, Partition, Seq};
use caxton::journal::memory::MemoryJournal;
use caxton::journal::{self, Journal};
use caxton::mailbox::{Capacity, Consumer, Delivery, Mailbox, Pushed, Question};
use caxton::message::{Address, ClientName, Draft, MessageView};
use caxton::router::{InFlight, ReplyTo, Restore, Restored, Router, RouterMessage, Shared, Start};
use caxton::wasm::{Grants, Runtime, RuntimeConfig};
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::json;
use tokio::sync::Semaphore;

const CASES: &[&str] = &[
    "json-read",
    "json-write",
    "send",
    "send-to-16",
    "turn",
    "record-question",
    "record-answer",
    "mailbox",
    "mailbox-answer",
    "wire-write",
    "wire-reread",
];
const HOME: Partition = Partition(0);
const CLIENTS: &str = r#"{"performative": "inform", "receiver": "buyer", "conversation_id": "talk",
    "content": {"action": "buy", "item": "widgets", "quantity": 100}}"#;
const TO_ALL: &str = r#"{"performative": "inform", "receiver": "all:listen", "content": {"item": "widgets"}}"#;
const QUESTION: &str = r#"{"performative":"request","receiver":"seller","conversation_id":"talk","reply_with":"price","content":{"item":"widgets","quantity":100}}"#;
const ANSWER: &str = r#"{"performative":"inform","receiver":"buyer","conversation_id":"talk","in_reply_to":"price","content":{"item":"widgets","price":8.12}}"#;

/// Callgrind counts while this function runs: `scripts/instructions` names it.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

fn step<T>(case: &str, name: &str, work: impl FnOnce() -> T) -> T {
    if case == name { counted(work) } else { work() }
}

/// An actor in the place of a router or an instance. It receives the messages that they send to themselves.
struct Idle<M>(PhantomData<fn(M)>);

impl<M: ractor::Message> Actor for Idle<M> {
    type Msg = M;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<M>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

async fn idle<M: ractor::Message>() -> ActorRef<M> {
    Actor::spawn(None, Idle(PhantomData), ()).await.expect("it starts").0
}

struct NothingToRestore;

impl Restore for NothingToRestore {
    fn restore(&self, _: Partition) -> Pin<Box<dyn Future<Output = Result<Restored>> + Send + '_>> {
        Box::pin(async { Ok(Restored::default()) })
    }
}

struct AllGrants;

impl Grants for AllGrants {
    fn may_message(&self, _: &str) -> bool {
        true
    }

    fn state(&self) -> bool {
        true
    }
}

/// Keeps the outcome of the last turn.
#[derive(Default)]
struct Last(Mutex<Option<Outcome>>);

impl Outbox for Last {
    fn commit(&self, outcome: Outcome) {
        *self.0.lock() = Some(outcome);
    }

    fn sweep(&self) {}
}

/// Makes an agent, and enters it in the directory.
fn enter(directory: &Directory, name: &str, capabilities: &[&str], outbox: Arc<Last>) -> Arc<Agent> {
    let document = json!({
        "id": AgentId::new(),
        "spec": {"name": name, "capabilities": capabilities},
        "version": "1.0.0",
        "digest": format!("sha256:{}", "0".repeat(64)),
        "deployment_id": format!("deploy_{}", "0".repeat(32)),
        "created_at": "2026-01-01T00:00:00Z",
        "deployed_at": "2026-01-01T00:00:00Z",
        "deployed_by": "bench",
    });
    let document = serde_json::from_value(document).expect("it is a document");
    let agent = Agent::new(document, 1, outbox, Arc::new(Semaphore::new(1_024)), Arc::default());
    agent.enter(Standing::Running);
    let agent = Arc::new(agent);
    directory.put(agent.clone());
    agent
}

/// An agent with an instance. At each message it writes state and sends `draft`.
struct Party {
    agent: Arc<Agent>,
    instance: <Instance as Actor>::State,
    myself: ActorRef<InstanceMessage>,
    outbox: Arc<Last>,
}

impl Party {
    async fn start(directory: &Directory, name: &str, draft: &str, guests: &Runtime) -> Self {
        // The first bytes of the draft are the key and the value, too.
        let guest = format!(
            r#"(module
                (import "caxton" "send_message" (func $send (param i32 i32) (result i32)))
                (import "caxton" "store_data" (func $store (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1)
                (data (i32.const 0) "{}")
                (func (export "caxton_alloc") (param i32) (result i32) (i32.const 4096))
                (func (export "handle_message") (param i32 i32) (result i32)
                    (drop (call $store (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 64)))
                    (call $send (i32.const 0) (i32.const {}))))"#,
            draft.replace('"', "\\22"),
            draft.len()
        );
        let module = wat::parse_str(guest).expect("it is well-formed");
        let outbox = Arc::new(Last::default());
        let (agent, myself) = (enter(directory, name, &[], outbox.clone()), idle().await);
        let start = InstanceStart {
            agent: agent.clone(),
            version: Arc::new(Version {
                spec: AgentSpec::from_json(br#"{"name": "guest"}"#).expect("it is a declaration"),
                program: guests.compile(module.into(), false).await.expect("it compiles"),
                grants: Arc::new(AllGrants),
            }),
            incarnation: 1,
            pulse: Default::default(),
        };
        let instance = Instance.pre_start(myself.clone(), start).await.expect("it starts");
        Self {
            agent,
            instance,
            myself,
            outbox,
        }
    }

    async fn turn(&mut self) {
        let turn = Instance.handle(self.myself.clone(), InstanceMessage::Wake, &mut self.instance);
        turn.await.expect("the guest does not crash");
    }

    fn outcome(&self) -> RouterMessage {
        let outcome = self.outbox.0.lock().take();
        RouterMessage::Commit(Box::new(outcome.expect("it had a turn")))
    }
}

struct Bench {
    journal: Arc<MemoryJournal>,
    router: <Router as Actor>::State,
    myself: ActorRef<RouterMessage>,
    permits: Arc<Semaphore>,
    buyer: Party,
    seller: Party,
    listeners: Vec<Arc<Agent>>,
    /// A mailbox without an agent, and its consumer.
    mailbox: (Arc<Mailbox>, Consumer),
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(guests: &Runtime) -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().expect("a runtime");
        let (directory, journal) = (Arc::new(Directory::default()), MemoryJournal::new());
        let listeners = (0..16).map(|n| enter(&directory, &format!("listener-{n}"), &["listen"], Arc::default()));
        let listeners = listeners.collect();
        let mailbox = Mailbox::new(Capacity {
            messages: 100,
            bytes: 1 << 20,
        });
        let start = Start {
            partition: HOME,
            restore: Arc::new(NothingToRestore),
            shared: Arc::new(Shared {
                journal: journal.clone(),
                partitions: 1,
                stranded: Default::default(),
                directory: directory.clone(),
                waiters: Default::default(),
                key_locks: Default::default(),
                turns: Default::default(),
                spawns: Default::default(),
                recoveries: Default::default(),
            }),
        };
        let (myself, router, buyer, seller) = runtime.block_on(async {
            let myself = idle().await;
            let router = Router.pre_start(myself.clone(), start).await.expect("it starts");
            let buyer = Party::start(&directory, "buyer", QUESTION, guests).await;
            let seller = Party::start(&directory, "seller", ANSWER, guests).await;
            (myself, router, buyer, seller)
        });
        Self {
            journal,
            router,
            myself,
            permits: Arc::new(Semaphore::new(2)),
            buyer,
            seller,
            listeners,
            mailbox: (mailbox.clone(), consumer(&mailbox)),
            runtime,
        }
    }

    fn route(&mut self, message: RouterMessage) {
        let routed = Router.handle(self.myself.clone(), message, &mut self.router);
        self.runtime.block_on(routed).expect("the journal takes it");
    }

    /// Sends `draft` from a client. The client's response is read outside of the count.
    fn send(&mut self, case: &str, name: &str, draft: Draft) {
        let permit = || self.permits.clone().try_acquire_owned().expect("there are two");
        let (reply, mut answer) = ReplyTo::channel();
        let message = RouterMessage::Send {
            sender: Address::Client(ClientName::anonymous()),
            draft: Box::new(draft),
            expected: None,
            key: None,
            in_flight: Some(InFlight {
                message: permit(),
                kib: permit(),
            }),
            reply,
        };
        step(case, name, || self.route(message));
        answer.try_recv().expect("it is answered").expect("it is taken");
    }

    fn round(&mut self, case: &str) {
        let read = |json: &str| Draft::from_json(json.as_bytes()).and_then(Draft::check);
        let draft = step(case, "json-read", || read(CLIENTS));
        self.send(case, "send", draft.expect("it is a message"));
        self.send(case, "send-to-16", read(TO_ALL).expect("it is a message"));
        for listener in &self.listeners {
            take(&consumer(&listener.mailbox));
        }

        step(case, "turn", || self.runtime.block_on(self.buyer.turn()));
        let question = self.buyer.outcome();
        step(case, "record-question", || self.route(question));
        let last = Seq(self.journal.appended().0 - 1);
        let batch = self.journal.read_after(last, 1).expect("it is kept").remove(0);
        let payload = step(case, "wire-write", || journal::written(&batch.records));
        step(case, "wire-reread", || journal::reread(payload.into())).expect("it was just written");

        self.runtime.block_on(self.seller.turn());
        let answer = self.seller.outcome();
        step(case, "record-answer", || self.route(answer));
        let delivery = take(&consumer(&self.buyer.agent.mailbox));
        self.runtime.block_on(self.buyer.turn()); // it was woken and finds nothing
        let message = delivery.message.clone();
        step(case, "json-write", || MessageView::of(&message).to_json());

        let (mailbox, consumer) = &self.mailbox;
        let delivery = step(case, "mailbox", || pass(mailbox, consumer, delivery));
        let question = Question {
            conversation_id: message.conversation_id.clone(),
            reply_with: message.in_reply_to.clone().expect("it is an answer"),
            participant: message.sender.clone(),
        };
        step(case, "mailbox-answer", || {
            let slot = mailbox.reserve_reply().expect("there are some");
            mailbox.ask(question, Performative::Request, slot);
            pass(mailbox, consumer, delivery)
        });
    }
}

/// Passes a message through a mailbox, from its admission to the end of its turn.
fn pass(mailbox: &Arc<Mailbox>, consumer: &Consumer, mut delivery: Delivery) -> Delivery {
    delivery.reservation = mailbox.admit(&delivery.message).expect("there is room");
    assert_eq!(mailbox.push(delivery), Pushed::Queued);
    take(consumer)
}

fn consumer(mailbox: &Arc<Mailbox>) -> Consumer {
    mailbox.attach(Arc::new(|| ()))
}

/// Takes the message of a mailbox that has only one.
fn take(consumer: &Consumer) -> Delivery {
    let lease = consumer.lease().expect("there is a message");
    let delivery = lease.finish().expect("it was not closed");
    assert!(consumer.lease().is_none());
    delivery
}

/// `instructions CASE ROUNDS` counts one case in each of `ROUNDS` rounds. Without arguments it runs each case once, and prints their
/// names.
fn main() {
    /// Rounds with the same hash tables. The place of a key in a hash table is random, and so is the cost of finding it, so new
    /// tables are made from time to time. The old ones stay, because the order in which they are freed would change the cost of
    /// later allocations.
    const ROUNDS_EACH: usize = 10;
    let arguments: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    // Under valgrind, the address space is too small for a pool of slots of 4 GiB.
    let guests = Runtime::new(&RuntimeConfig {
        pooled: false,
        memory_reservation: 16 << 20,
        ..RuntimeConfig::default()
    });
    let guests = guests.expect("engines");
    let bench = || {
        let mut bench = Bench::new(&guests);
        bench.round(""); // the first round makes everything that is made only once
        bench
    };
    let mut benches = vec![bench()];
    match arguments.as_slice() {
        [case, rounds] => {
            let rounds: usize = rounds.parse().expect("a number of rounds");
            for _ in 0..rounds / ROUNDS_EACH {
                let mut bench = bench();
                (0..ROUNDS_EACH).for_each(|_| bench.round(case));
                benches.push(bench);
            }
        }
        _ => CASES.iter().for_each(|case| {
            benches[0].round(case);
            println!("{case}");
        }),
    }
}
