//! The content of a log, folded into a model from which the simulation recovers and against which it checks the world.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::slice;
use std::sync::Arc;

use bytes::Bytes;

use crate::agent::Document;
use crate::id::{AgentId, MessageId, Partition, Seq};
use crate::journal::{Batch, Record, TurnEnd};
use crate::message::Message;
use crate::timer::{Timer, TimerChange};

/// A delivery that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) message: Arc<Message>,
    /// The last sequence number of the batch that brought the delivery.
    pub(super) seq: Seq,
    /// How many turns on the delivery crashed.
    pub(super) crashes: u32,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The delivery ended in a turn that took effect, or in an error.
    Turn {
        error: bool,
    },
    DeadLetter,
}

#[derive(Debug, Default)]
pub(super) struct Fold {
    pub(super) last: Seq,
    pub(super) documents: BTreeMap<AgentId, Document>,
    /// Every message, in the order of the log, with its position.
    pub(super) messages: Vec<(Seq, Arc<Message>)>,
    pub(super) known: HashMap<MessageId, Arc<Message>>,
    /// The messages of which a record has counted.
    counted: HashSet<MessageId>,
    /// The partition of each agent's records.
    homes: HashMap<AgentId, Partition>,
    /// Deliveries that have not ended, in the order of the log.
    pub(super) live: BTreeMap<AgentId, Vec<Live>>,
    /// How deliveries ended, in the order of the ends.
    pub(super) ended: Vec<(AgentId, MessageId, End)>,
    pub(super) state: BTreeMap<AgentId, BTreeMap<String, Bytes>>,
    pub(super) timers: BTreeMap<AgentId, BTreeMap<u32, Timer>>,
    pub(super) timers_set: u64,
    pub(super) timers_fired: u64,
    /// Records that contradict earlier ones.
    pub(super) contradictions: Vec<String>,
}

impl Fold {
    pub(super) fn of(batches: &[Arc<Batch>]) -> Self {
        let mut fold = Self::default();
        for batch in batches {
            fold.batch(batch);
        }
        fold
    }

    /// Folds the records of one partition alone, as its owner recovers it.
    pub(super) fn of_partition(batches: &[Arc<Batch>], partition: Partition) -> Self {
        let mut fold = Self::default();
        for batch in batches {
            for (seq, (of, record)) in (batch.first.0..).zip(&batch.records) {
                if *of == partition {
                    fold.record(Seq(seq), batch.last(), record);
                }
            }
            fold.last = batch.last();
        }
        fold
    }

    pub(super) fn batch(&mut self, batch: &Batch) {
        for (seq, (partition, record)) in (batch.first.0..).zip(&batch.records) {
            self.record(Seq(seq), batch.last(), record);
            self.place(*partition, record);
        }
        self.last = batch.last();
    }

    /// Checks that one record of each message counts, and that the records about an agent are in its partition.
    fn place(&mut self, partition: Partition, record: &Record) {
        let agents = match record {
            Record::Message(dispatch) => {
                let id = dispatch.message.id;
                if self.counted.insert(id) != dispatch.first {
                    self.contradictions
                        .push(format!("two records of {id} count, or its first one does not"));
                }
                dispatch.deliveries.as_slice()
            }
            Record::Agent { agent, .. } => {
                self.homes.insert(*agent, partition);
                &[]
            }
            Record::Turn(turn) => slice::from_ref(&turn.agent),
            Record::DeadLetter { agent, .. } | Record::TimerFired { agent, .. } => slice::from_ref(agent),
            Record::AgentRemoved { .. } | Record::Document { .. } | Record::Answer { .. } | Record::Event { .. } => &[],
        };
        for agent in agents {
            if let Some(home) = self.homes.get(agent).filter(|home| **home != partition) {
                self.contradictions.push(format!(
                    "a record about {agent}, of partition {home}, is in partition {partition}: {record:?}"
                ));
            }
        }
    }

    fn record(&mut self, seq: Seq, batch: Seq, record: &Record) {
        match record {
            Record::Message(dispatch) => {
                let message = &dispatch.message;
                if self.known.insert(message.id, message.clone()).is_none() {
                    self.messages.push((seq, message.clone()));
                }
                for agent in &dispatch.deliveries {
                    self.live.entry(*agent).or_default().push(Live {
                        message: message.clone(),
                        seq: batch,
                        crashes: 0,
                    });
                }
            }
            Record::Turn(turn) => {
                if let Some(message) = turn.message {
                    match &turn.end {
                        TurnEnd::Ok => self.end(turn.agent, message, End::Turn { error: false }),
                        TurnEnd::Error { .. } => self.end(turn.agent, message, End::Turn { error: true }),
                        TurnEnd::Crash { .. } => self.crash(turn.agent, message, turn.attempt),
                    }
                }
                let state = self.state.entry(turn.agent).or_default();
                for (key, value) in &turn.writes {
                    match value {
                        Some(value) => drop(state.insert(key.clone(), value.clone())),
                        None => drop(state.remove(key)),
                    }
                }
                let timers = self.timers.entry(turn.agent).or_default();
                for change in &turn.timers {
                    match change {
                        TimerChange::Set(timer) => {
                            self.timers_set += 1;
                            timers.insert(timer.id, *timer);
                        }
                        TimerChange::Cancel(id) => drop(timers.remove(id)),
                    }
                }
            }
            Record::DeadLetter { message, agent, .. } => self.end(*agent, *message, End::DeadLetter),
            Record::TimerFired { agent, timer, next, .. } => {
                self.timers_fired += 1;
                let timers = self.timers.entry(*agent).or_default();
                match (timers.remove(timer), next) {
                    (None, _) => self
                        .contradictions
                        .push(format!("timer {timer} of {agent} fired, and was not set")),
                    (Some(fired), Some(due)) => drop(timers.insert(*timer, Timer { due: *due, ..fired })),
                    (Some(_), None) => {}
                }
            }
            Record::Agent { agent, document, .. } => match serde_json::from_str(document) {
                Ok(document) => drop(self.documents.insert(*agent, document)),
                Err(error) => self.contradictions.push(format!("the document of {agent}: {error}")),
            },
            Record::AgentRemoved { .. } | Record::Document { .. } | Record::Answer { .. } | Record::Event { .. } => {}
        }
    }

    fn end(&mut self, agent: AgentId, message: MessageId, end: End) {
        let live = self.live.entry(agent).or_default();
        match live.iter().position(|live| live.message.id == message) {
            Some(at) => {
                live.remove(at);
                self.ended.push((agent, message, end));
            }
            None => self.contradictions.push(format!(
                "{message} ended at {agent} a second time, or was never for it ({end:?})"
            )),
        }
    }

    fn crash(&mut self, agent: AgentId, message: MessageId, attempt: u32) {
        let live = self.live.entry(agent).or_default();
        match live.iter_mut().find(|live| live.message.id == message) {
            Some(live) if attempt == live.crashes + 1 => live.crashes = attempt,
            Some(live) => {
                let crashes = live.crashes;
                self.contradictions
                    .push(format!("try {attempt} of {message} at {agent} came after {crashes}"));
            }
            // A message that went back to its mailbox after a crash can be given up before the record of the crash comes.
            None if self
                .ended
                .iter()
                .any(|(at, id, end)| (*at, *id, *end) == (agent, message, End::DeadLetter)) => {}
            None => self
                .contradictions
                .push(format!("{message} crashed {agent}, and had ended there")),
        }
    }
}
