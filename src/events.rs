//! Events for subscribers. Each is made from one durable record of the journal and has the record's sequence number. Events
//! therefore come in the order of the journal, and no crash can undo what an event reported.

mod event;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{EventError, EventStream, Failure};
use tokio::sync::broadcast;

pub use self::event::{Event, SentContent, ShownEvent};

use crate::directory::{Directory, Place};
use crate::event::{EventBody, SupervisorReport};
use crate::id::{Fence, Partition, Seq};
use crate::journal::{Follower, Journal, Record};
use crate::telemetry::Recoveries;
use crate::time::Timestamp;

/// How many events a subscriber may lag behind. Beyond that it loses the oldest, and learns how many it lost.
pub const SUBSCRIBER_EVENTS: usize = 8_192;
/// How many batches the announcer reads before it lets other tasks use the worker thread.
const ANNOUNCED_BATCHES: usize = 64;

/// Sends every event to all subscribers. It waits for none of them: a slow subscriber loses events, and learns how many.
#[derive(Clone, Debug)]
pub struct Fanout {
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for Fanout {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(SUBSCRIBER_EVENTS).0,
        }
    }
}

impl Fanout {
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }
}

/// The actor that follows the journal and sends its events to subscribers.
#[derive(Debug)]
pub struct Announcer;

pub struct AnnouncerState {
    tail: Follower,
    fanout: Fanout,
}

/// The only message of both actors here, which each sends to itself: wait for the next records or reports.
#[derive(Debug)]
pub struct Next;

impl Actor for Announcer {
    type Msg = Next;
    type State = AnnouncerState;
    type Arguments = (Arc<dyn Journal>, Fanout);

    async fn pre_start(
        &self,
        myself: ActorRef<Next>,
        (journal, fanout): Self::Arguments,
    ) -> Result<AnnouncerState, ActorProcessingErr> {
        myself.cast(Next)?;
        Ok(AnnouncerState {
            tail: journal.follow(),
            fanout,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Next>,
        Next: Next,
        state: &mut AnnouncerState,
    ) -> Result<(), ActorProcessingErr> {
        let mut batches = Vec::new();
        let received = state.tail.recv_many(&mut batches, ANNOUNCED_BATCHES).await;
        if received == 0 {
            return Err(Box::new(Failure::new("journal", "the journal closed")));
        }
        metrics::counter!("caxton_journal_batches_total").increment(received as u64);
        // An event costs more to make than a message, and most of the time nobody is subscribed.
        let subscribed = state.fanout.sender.receiver_count() > 0;
        let records = batches
            .iter()
            .filter(|_| subscribed)
            .flat_map(|batch| (batch.first.0..).zip(&batch.records));
        for (seq, (_, record)) in records {
            if let Some(event) = Event::of(Seq(seq), record) {
                let _ = state.fanout.sender.send(Arc::new(event)); // an error means that the last subscriber left meanwhile
            }
        }
        myself.cast(Next)?;
        Ok(())
    }
}

/// The actor that records the reports of supervisors in the journal. They get sequence numbers there, and survive a crash.
#[derive(Debug)]
pub struct Chronicler;

pub struct ChroniclerState {
    stream: EventStream,
    journal: Arc<dyn Journal>,
    directory: Arc<Directory>,
    recoveries: Arc<Recoveries>,
    /// A partition for these records alone: no agent is in it.
    partition: Partition,
    fence: Fence,
}

pub struct ChroniclerStart {
    pub stream: EventStream,
    pub journal: Arc<dyn Journal>,
    pub directory: Arc<Directory>,
    /// Counts how long restarted children were down.
    pub recoveries: Arc<Recoveries>,
    pub partition: Partition,
}

impl Actor for Chronicler {
    type Msg = Next;
    type State = ChroniclerState;
    type Arguments = ChroniclerStart;

    async fn pre_start(
        &self,
        myself: ActorRef<Next>,
        start: ChroniclerStart,
    ) -> Result<ChroniclerState, ActorProcessingErr> {
        myself.cast(Next)?;
        Ok(ChroniclerState {
            fence: start.journal.claim(start.partition).await?,
            stream: start.stream,
            journal: start.journal,
            directory: start.directory,
            recoveries: start.recoveries,
            partition: start.partition,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Next>,
        Next: Next,
        state: &mut ChroniclerState,
    ) -> Result<(), ActorProcessingErr> {
        let record = match state.stream.recv().await {
            Ok(event) => {
                if let Some(recovery) = event.recovery {
                    state.recoveries.add(recovery);
                }
                state.record(&event)
            }
            Err(EventError::Closed) => return Err(Box::new(Failure::new("tree", "the supervision tree is gone"))),
            Err(EventError::Lagged(dropped)) => {
                Record::event(None, &EventBody::SupervisorLagged { dropped }, Timestamp::now())
            }
        };
        let batch = vec![(state.partition, record)];
        let appended = state.journal.append(state.partition, state.fence, batch).placed().await;
        appended.map_err(|error| Failure::new("journal", error.to_string()))?;
        myself.cast(Next)?;
        Ok(())
    }
}

impl ChroniclerState {
    fn record(&self, event: &supervisors::Event) -> Record {
        let agent = match self.directory.at(&event.path) {
            Some(Place::Agent(agent) | Place::Instance(agent, _)) => Some(agent.id),
            Some(Place::Group(_)) | None => None,
        };
        let body = EventBody::Supervisor(SupervisorReport {
            kind: event.kind.into(),
            path: event.path.clone(),
            agent_id: agent,
            incarnation: event.incarnation,
            reason: event.reason.as_ref().map(supervisors::ExitReason::label),
            detail: event.reason.as_ref().map(ToString::to_string),
            attempt: event.attempt,
            limit: event.limit,
            delay_seconds: event.delay.map(|delay| delay.as_secs_f64()),
            recovery_seconds: event.recovery.map(|recovery| recovery.as_secs_f64()),
        });
        Record::event(agent, &body, event.at.into())
    }
}
