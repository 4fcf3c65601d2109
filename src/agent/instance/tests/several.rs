//! Tests of several instances of one version of an agent.

use std::collections::BTreeMap;

use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc::error::TryRecvError;

use super::*;
use crate::fipa::Performative;
use crate::id::Seq;
use crate::journal::TurnEnd;
use crate::mailbox::{Delivery, Order, Pushed};
use crate::message::{Address, Content, Message};

/// A guest that reports when it enters and leaves a turn, by asking whether it may message certain names, and sleeps
/// and counts in between. It traps if it may message `trap`.
fn guest(sleep: Duration) -> String {
    let draft = |to: &str| format!(r"{{\22performative\22:\22inform\22,\22receiver\22:\22{to}\22}}");
    let nanos = u64::try_from(sleep.as_nanos()).unwrap().to_le_bytes();
    let timeout = nanos.map(|byte| format!("\\{byte:02x}")).concat();
    let length = |to: &str| draft(to).replace("\\22", "'").len();
    format!(
        r#"(module
            (import "caxton" "send_message" (func $send (param i32 i32) (result i32)))
            (import "caxton" "load_data" (func $load (param i32 i32 i32 i32) (result i32)))
            (import "caxton" "store_data" (func $store (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "{in_}")
            (data (i32.const 100) "{out}")
            (data (i32.const 200) "{trap}")
            (data (i32.const 324) "{timeout}")
            (data (i32.const 400) "count")
            (func (export "caxton_alloc") (param i32) (result i32) (i32.const 4096))
            (func (export "handle_message") (param i32 i32) (result i32)
              (drop (call $send (i32.const 0) (i32.const {in_length})))
              (if (i32.eqz (call $send (i32.const 200) (i32.const {trap_length}))) (then (unreachable)))
              (i64.store (i32.const 416) (i64.const 0))
              (drop (call $load (i32.const 400) (i32.const 5) (i32.const 416) (i32.const 8)))
              (drop (call $poll (i32.const 300) (i32.const 500) (i32.const 1) (i32.const 600)))
              (i64.store (i32.const 416) (i64.add (i64.load (i32.const 416)) (i64.const 1)))
              (drop (call $store (i32.const 400) (i32.const 5) (i32.const 416) (i32.const 8)))
              (drop (call $send (i32.const 100) (i32.const {out_length})))
              (i32.const 0)))"#,
        in_ = draft("in"),
        in_length = length("in"),
        out = draft("out"),
        out_length = length("out"),
        trap = draft("trap"),
        trap_length = length("trap"),
    )
}

/// Watches the turns of the guest. It permits no message, so none is sent.
#[derive(Default)]
struct Watch {
    turns: Mutex<Turns>,
    entered: Condvar,
    /// How many turns must run at once before any of them goes on.
    together: usize,
    state: bool,
}

#[derive(Default)]
struct Turns {
    /// How many turns are to trap.
    traps: usize,
    begun: usize,
    now: usize,
    most: usize,
}

impl Watch {
    fn most(&self) -> usize {
        self.turns.lock().most
    }
}

impl Grants for Watch {
    fn may_message(&self, receiver: &str) -> bool {
        const LONGEST: Duration = Duration::from_secs(10);
        let mut turns = self.turns.lock();
        match receiver {
            "in" => {
                turns.begun += 1;
                turns.now += 1;
                turns.most = turns.most.max(turns.now);
                self.entered.notify_all();
                self.entered
                    .wait_while_for(&mut turns, |turns| turns.most < self.together, LONGEST);
            }
            "out" => turns.now -= 1,
            _ if turns.traps > 0 => {
                turns.traps -= 1;
                turns.now -= 1;
                return true;
            }
            _ => {}
        }
        false
    }

    fn state(&self) -> bool {
        self.state
    }
}

pub(super) struct Several {
    pub(super) agent: Arc<Agent>,
    version: Arc<Version>,
    pub(super) outcomes: UnboundedReceiver<Outcome>,
    instances: Vec<ActorRef<InstanceMessage>>,
}

impl Several {
    async fn start(instances: u32, watch: &Arc<Watch>, sleep: Duration) -> Self {
        let made = agent(&guest(sleep), watch.clone()).await;
        Self::of(made, instances).await
    }

    /// Starts this many instances of an agent.
    pub(super) async fn of(
        (agent, version, outcomes): (Arc<Agent>, Arc<Version>, UnboundedReceiver<Outcome>),
        instances: u32,
    ) -> Self {
        agent.mailbox.set_order(Order::Conversation);
        agent.document.write().instances = instances;
        let mut several = Self {
            agent,
            version,
            outcomes,
            instances: Vec::new(),
        };
        for number in 1..=instances {
            several.add(number, 1).await;
        }
        several
    }

    async fn add(&mut self, number: u32, incarnation: u64) {
        let start = Start {
            agent: self.agent.clone(),
            version: self.version.clone(),
            number,
            incarnation,
            pulse: Pulse::default(),
        };
        let (instance, _) = Actor::spawn(None, Instance, start).await.unwrap();
        self.instances.push(instance);
    }

    /// Kills the first instance, and starts its next incarnation.
    pub(super) async fn restart_first(&mut self) {
        self.instances[0].kill_and_wait(None).await.unwrap();
        self.add(1, 2).await;
    }

    /// Puts a client's message into the mailbox.
    pub(super) fn send(&self, sender: &str, conversation: &str) -> MessageId {
        let id = MessageId::new();
        let message = Arc::new(Message {
            id,
            performative: Performative::Inform,
            sender: Address::Client(sender.parse().unwrap()),
            receivers: vec![Address::Agent(self.agent.id)],
            reply_to: None,
            content: Content::default(),
            language: None,
            ontology: None,
            protocol: None,
            conversation_id: conversation.to_owned(),
            reply_with: None,
            in_reply_to: None,
            reply_by: None,
            timestamp: Timestamp::now(),
            causation_id: None,
            traceparent: None,
            hops: 0,
            extensions: BTreeMap::new(),
        });
        let reservation = self.agent.mailbox.admit(&message).unwrap();
        let delivery = Delivery {
            message,
            attempt: 1,
            admitted: Instant::now(),
            seq: Seq(1),
            reservation,
        };
        assert_eq!(self.agent.mailbox.push(delivery), Pushed::Queued);
        id
    }

    /// The messages of the next turns that were recorded, each with its attempt and whether it ended without an error.
    async fn ended(&mut self, turns: usize) -> Vec<(MessageId, u32, bool)> {
        let mut ended = Vec::new();
        while ended.len() < turns {
            let outcome = self.outcomes.recv().await.unwrap();
            let id = outcome.message.unwrap().id;
            ended.push((id, outcome.attempt, outcome.end == TurnEnd::Ok));
        }
        ended
    }

    /// Ends all instances, and checks that nothing is left in the mailbox and that nothing more was recorded.
    pub(super) async fn end(mut self) {
        assert_eq!(self.agent.mailbox.depth(), 0);
        for instance in &self.instances {
            let _ = instance.stop_and_wait(None, None).await;
        }
        assert_eq!(self.outcomes.try_recv().map(|_| ()), Err(TryRecvError::Empty));
    }
}

const SHORT: Duration = Duration::from_millis(1);

fn well(ids: &[MessageId]) -> Vec<(MessageId, u32, bool)> {
    ids.iter().map(|id| (*id, 1, true)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_of_one_sender_in_one_conversation_never_overlap_or_overtake() {
    let watch = Arc::new(Watch::default());
    let mut several = Several::start(3, &watch, SHORT).await;
    let sent: Vec<_> = (0..50).map(|_| several.send("a", "c")).collect();
    assert_eq!(several.ended(50).await, well(&sent));
    assert_eq!(watch.most(), 1);
    several.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn those_of_two_senders_or_conversations_overlap() {
    for other in [("b", "c"), ("a", "d")] {
        let watch = Arc::new(Watch {
            together: 2,
            ..Watch::default()
        });
        let mut several = Several::start(2, &watch, SHORT).await;
        several.send("a", "c");
        several.send(other.0, other.1);
        several.ended(2).await;
        assert_eq!(watch.most(), 2);
        several.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_instance_loses_nothing() {
    let watch = Arc::new(Watch::default());
    let mut several = Several::start(1, &watch, Duration::from_millis(200)).await;
    let sent = [several.send("a", "c"), several.send("a", "c"), several.send("b", "c")];
    {
        let mut turns = watch.turns.lock();
        watch.entered.wait_while(&mut turns, |turns| turns.begun == 0);
    }
    several.add(2, 1).await;
    several.instances[0].kill();
    let mut ended = several.ended(3).await;
    let at = |id| ended.iter().position(|(ended, ..)| *ended == id).unwrap();
    assert!(at(sent[0]) < at(sent[1]));
    ended.sort_unstable();
    assert_eq!(ended, well(&sent), "a kill is not a crash of its own turn");
    several.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_whose_turn_crashed_is_tried_again_by_another_instance_before_the_next_of_its_lane() {
    let watch = Arc::new(Watch::default());
    watch.turns.lock().traps = 1;
    let mut several = Several::start(2, &watch, SHORT).await;
    let (first, second) = (several.send("a", "c"), several.send("a", "c"));
    assert_eq!(
        several.ended(3).await,
        [(first, 1, false), (first, 2, true), (second, 1, true)]
    );
    several.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn increments_of_state_by_turns_at_once_lose_nothing() {
    let watch = Arc::new(Watch {
        state: true,
        ..Watch::default()
    });
    let mut several = Several::start(4, &watch, SHORT).await;
    for sender in 0..10 {
        for _ in 0..10 {
            several.send(&sender.to_string(), "c");
        }
    }
    for count in 1..=100_u64 {
        let outcome = several.outcomes.recv().await.unwrap();
        let written = ("count".to_owned(), Some(Bytes::copy_from_slice(&count.to_le_bytes())));
        assert_eq!(
            outcome.writes,
            [written],
            "each turn sees what the one before committed"
        );
    }
    assert!(watch.most() > 1, "until they use the state, turns run at once");
    several.end().await;
}
