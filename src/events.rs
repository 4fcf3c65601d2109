//! Events for subscribers. Each is made from one durable record of the journal and has the record's sequence number. Events
//! therefore come in the order of the journal, and no crash can undo what an event reported.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::{Map, Value};
use supervisors::{EventError, EventStream, Failure};
use tokio::sync::broadcast;

use crate::directory::Directory;
use crate::event::{EventBody, EventKind, HandledMessage, SentMessage, SupervisorReport};
use crate::fipa::Performative;
use crate::id::{AgentId, Fence, Partition, Seq};
use crate::journal::{Follower, Journal, Record, TurnEnd};
use crate::message::{Address, MessageView};
use crate::telemetry::Recoveries;
use crate::time::Timestamp;

/// How many events a subscriber may lag behind. Beyond that it loses the oldest, and learns how many it lost.
pub const SUBSCRIBER_EVENTS: usize = 8_192;
/// How many batches the announcer reads before it lets other tasks use the worker thread.
const ANNOUNCED_BATCHES: usize = 64;

/// One event, as subscribers get it.
#[derive(Clone, Debug)]
pub struct Event {
    pub seq: Seq,
    pub kind: EventKind,
    pub timestamp: Timestamp,
    /// The agents that the event concerns. For a message: its sender and its receivers.
    pub agents: Vec<AgentId>,
    pub performative: Option<Performative>,
    /// The members that this kind of event has beside those of every event.
    pub body: Map<String, Value>,
}

impl Event {
    /// The event of a record, if the record has one.
    pub fn of(seq: Seq, record: &Record) -> Option<Self> {
        let (timestamp, agents, performative, body) = match record {
            Record::Message(dispatch) if dispatch.first => {
                let message = &dispatch.message;
                let receivers = MessageView::receivers(message);
                let ends = message
                    .sender
                    .agent()
                    .into_iter()
                    .chain(message.receivers.iter().filter_map(Address::agent));
                let body = EventBody::MessageSent(SentMessage {
                    message_id: message.id,
                    from: message.sender.clone(),
                    to: receivers.clone(),
                    sender: message.sender.clone(),
                    receiver: receivers,
                    performative: message.performative,
                    conversation_id: message.conversation_id.clone(),
                    protocol: message.protocol.clone(),
                });
                (message.timestamp, ends.collect(), Some(message.performative), body)
            }
            Record::Turn(turn) => {
                let mut handled = HandledMessage {
                    message_id: turn.message?,
                    agent_id: turn.agent,
                    attempt: turn.attempt,
                    reason: None,
                    detail: None,
                };
                let body = match &turn.end {
                    TurnEnd::Ok => EventBody::MessageProcessed(handled),
                    TurnEnd::Error { reason } => {
                        handled.reason = Some(reason.clone());
                        EventBody::MessageFailed(handled)
                    }
                    TurnEnd::Crash { kind, detail } => {
                        (handled.reason, handled.detail) = (Some(kind.clone()), Some(detail.clone()));
                        EventBody::MessageCrashed(handled)
                    }
                };
                (turn.at, vec![turn.agent], None, body)
            }
            Record::DeadLetter {
                message,
                agent,
                reason,
                detail,
                at,
            } => {
                let body = EventBody::DeadLetter {
                    message_id: *message,
                    agent_id: *agent,
                    reason: *reason,
                    detail: detail.clone(),
                };
                (*at, vec![*agent], None, body)
            }
            Record::Event { kind, agent, body, at } => {
                return Some(Self {
                    seq,
                    kind: *kind,
                    timestamp: *at,
                    agents: agent.iter().copied().collect(),
                    performative: None,
                    body: serde_json::from_str(body).unwrap_or_default(),
                });
            }
            // These records have no event of their own. A timer that fires sends a message, and the message has an event: that of
            // its first record.
            Record::Message(_)
            | Record::Agent { .. }
            | Record::AgentRemoved { .. }
            | Record::Document { .. }
            | Record::TimerFired { .. }
            | Record::Answer { .. } => return None,
        };
        let Ok(Value::Object(members)) = serde_json::to_value(&body) else {
            return None;
        };
        Some(Self {
            seq,
            kind: body.kind(),
            timestamp,
            agents,
            performative,
            body: members,
        })
    }

    /// The event as its subscribers get it.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("type".to_owned(), self.kind.as_str().into());
        members.insert("id".to_owned(), format!("evt_{}", self.seq).into());
        members.insert("seq".to_owned(), self.seq.0.into());
        members.insert("timestamp".to_owned(), self.timestamp.to_string().into());
        members.extend(self.body.clone());
        Value::Object(members)
    }
}

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
        let agent = agent_name(&event.path)
            .and_then(|name| self.directory.find(name))
            .map(|entry| entry.id);
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

/// The name of the agent at a path of the tree: `node/core/partitions/7/agents/[<group>/…]<name>`.
fn agent_name(path: &str) -> Option<&str> {
    path.split_once("/agents/")
        .map(|(_, below)| below.rsplit('/').next().unwrap_or(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_agent() {
        assert_eq!(agent_name("node/core/partitions/partition-7/agents/cart"), Some("cart"));
        assert_eq!(
            agent_name("node/core/partitions/7/agents/shop/checkout/cart"),
            Some("cart")
        );
        assert_eq!(agent_name("node/core/partitions/partition-7/agents"), None);
        assert_eq!(agent_name("node/events"), None);
    }

    #[test]
    fn a_message_to_two_partitions_has_one_event() {
        let message = Arc::new(crate::journal::testing::message(
            Address::Platform,
            vec![Address::Platform],
        ));
        let events = [true, false].map(|first| {
            let dispatch = crate::journal::Dispatch {
                message: message.clone(),
                first,
                deliveries: Vec::new(),
                undelivered: None,
            };
            Event::of(Seq(1), &Record::Message(dispatch)).map(|event| event.kind)
        });
        assert_eq!(events, [Some(EventKind::MessageSent), None]);
    }

    #[test]
    fn an_event_has_id_seq_type_and_timestamp() {
        let record = Record::Event {
            kind: EventKind::AgentDeployed,
            agent: Some(AgentId::new()),
            body: r#"{"agent_id":"x"}"#.to_owned(),
            at: Timestamp::from_micros(0),
        };
        let json = Event::of(Seq(7), &record).unwrap().to_json();
        assert_eq!(json["type"], "agent.deployed");
        assert_eq!(
            (json["seq"].clone(), json["id"].clone(), json["agent_id"].clone()),
            (7.into(), "evt_7".into(), "x".into())
        );
        assert_eq!(json["timestamp"], "1970-01-01T00:00:00.000000Z");
    }
}
