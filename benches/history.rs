//! How long a query of a big history takes during writes: 1,000,000 messages, pages of 50 by conversation.
//!
//! `cargo bench --bench history` runs the journal and its projections on a disk, without a node. `HISTORY_MESSAGES` sets the number
//! of messages. The baseline is the same queries in the same run without writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use caxton::fipa::Performative;
use caxton::id::{AgentId, Fence, InstanceId, MessageId, Partition, Seq};
use caxton::journal::local::{LocalJournal, LocalOptions};
use caxton::journal::projections::{MessageQuery, Projections};
use caxton::journal::{Dispatch, Journal, Record, Turn, TurnEnd};
use caxton::message::{Address, ClientName, Content, Message};
use caxton::time::Timestamp;
use hdrhistogram::Histogram;
use serde_json::json;

const HOME: Partition = Partition(0);
/// Messages of one conversation: as many as one page has.
const CONVERSATION: u64 = 50;
const QUERIES: u64 = 2_000;
const BATCH: u64 = 16;

struct World {
    journal: Arc<LocalJournal>,
    projections: Arc<Projections>,
    fence: Fence,
    agents: Vec<AgentId>,
    written: AtomicU64,
}

impl World {
    /// The records of message `n`: the message itself, and the turn of the agent that handled it.
    fn records(&self, n: u64, content: &Content) -> [(Partition, Record); 2] {
        let agent = self.agents[usize::try_from(n).expect("few") % self.agents.len()];
        let message = Message {
            id: MessageId::new(),
            performative: Performative::Request,
            sender: Address::Client(ClientName::anonymous()),
            receivers: vec![Address::Agent(agent)],
            reply_to: None,
            content: content.clone(),
            language: None,
            ontology: None,
            protocol: Some("fipa-request".to_owned()),
            // The messages of one conversation are far apart in the log, as in a slow conversation.
            conversation_id: format!("conv_{}", n % (total() / CONVERSATION)),
            reply_with: Some(format!("q{n}")),
            in_reply_to: None,
            reply_by: None,
            timestamp: Timestamp::now(),
            causation_id: None,
            traceparent: None,
            hops: 0,
            extensions: BTreeMap::new(),
        };
        let turn = Turn {
            agent,
            instance: InstanceId::FIRST,
            message: Some(message.id),
            attempt: 1,
            end: TurnEnd::Ok,
            writes: Vec::new(),
            timers: Vec::new(),
            at: Timestamp::now(),
            latency_micros: 10,
            guest_micros: 2,
        };
        let dispatch = Dispatch {
            first: true,
            message: Arc::new(message),
            deliveries: vec![agent],
            undelivered: None,
            unread: false,
        };
        [(HOME, Record::Message(dispatch)), (HOME, Record::Turn(turn))]
    }

    async fn write(&self, content: &Content) -> Seq {
        let first = self.written.fetch_add(BATCH, Ordering::Relaxed);
        let records = (first..first + BATCH).flat_map(|n| self.records(n, content)).collect();
        self.journal
            .append(HOME, self.fence, records)
            .placed()
            .await
            .expect("it is written")
            .seq
    }

    async fn pages(&self) -> Histogram<u64> {
        let mut times = Histogram::new(3).expect("three digits are allowed");
        for n in 0..QUERIES {
            let query = MessageQuery {
                conversation_id: Some(format!("conv_{}", (n * 7_919) % (total() / CONVERSATION))),
                limit: 50,
                ..MessageQuery::default()
            };
            let began = Instant::now();
            let page = self.projections.messages(query).await.expect("it answers");
            times += u64::try_from(began.elapsed().as_nanos()).expect("no page takes centuries");
            assert!(
                page.messages.len() as u64 >= CONVERSATION,
                "{} messages",
                page.messages.len()
            );
        }
        times
    }
}

fn total() -> u64 {
    let asked = std::env::var("HISTORY_MESSAGES")
        .ok()
        .and_then(|text| text.parse().ok());
    asked.unwrap_or(1_000_000)
}

fn print(what: &str, times: &Histogram<u64>) -> f64 {
    let millis = |quantile| times.value_at_quantile(quantile) as f64 / 1e6;
    println!(
        "{what:<28} p50 {:>7.3} ms   p99 {:>7.3} ms   max {:>7.3} ms",
        millis(0.5),
        millis(0.99),
        millis(1.0)
    );
    millis(0.99)
}

async fn run() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = LocalJournal::open(dir.path(), LocalOptions::default()).expect("it opens");
    let projections = Projections::open(dir.path(), &*journal).expect("it opens");
    let world = Arc::new(World {
        fence: journal.claim(HOME).await.expect("it is open"),
        agents: (0..100).map(|_| AgentId::new()).collect(),
        journal,
        projections,
        written: AtomicU64::new(0),
    });
    let content = Content::json(&json!({"text": "x".repeat(300)}));
    let began = Instant::now();
    let mut last = Seq(0);
    while world.written.load(Ordering::Relaxed) < total() {
        last = world.write(&content).await;
    }
    world.projections.seen(last).await.expect("it is applied");
    let rate = total() as f64 / began.elapsed().as_secs_f64();
    println!("{} messages written and indexed: {rate:.0} a second", total());

    let calm = world.pages().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (world, stop) = (world.clone(), stop.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let mut batches = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                world.write(&content).await;
                batches += 1;
                // A steady load, well below the capacity of the disk and the index.
                let due = Duration::from_millis(4) * batches;
                tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
            }
            f64::from(batches) * BATCH as f64 / began.elapsed().as_secs_f64()
        })
    };
    let busy = world.pages().await;
    stop.store(true, Ordering::Relaxed);
    let rate = writer.await.expect("it ends well");
    let calm = print("page of 50, nothing written", &calm);
    let busy = print(&format!("while {rate:.0}/s are written"), &busy);
    println!("p99 while writes go on: {:.2} x without (goal: 10 ms)", busy / calm);
    world.journal.close();
}

fn main() {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(run());
}
