//! What the owner of a partition needs to resume: everything of the partition that was open at one point of the journal.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::address_of;
use super::apply::load_progress;
use crate::fipa::Performative;
use crate::id::{AgentId, MessageId, Partition, Seq};
use crate::journal::{JournalError, wire};
use crate::message::{Address, Message};
use crate::time::Timestamp;
use crate::timer::Timer;

/// A message that an agent has not finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    pub seq: Seq,
    pub message: Arc<Message>,
    /// How many turns on it have crashed so far.
    pub attempts: u32,
}

/// A question that has not been answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// Who asked.
    pub initiator: Address,
    /// The agent that was asked and accepted the message.
    pub participant: Address,
    /// The performative of the question.
    pub act: Performative,
    pub conversation_id: String,
    pub reply_with: String,
    pub message_id: MessageId,
}

/// What the journal holds of one partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// The partition's agents, each with its catalog document, by id.
    pub agents: Vec<(AgentId, String)>,
    /// The catalog's other documents: collection, key and document, ordered by collection and key.
    pub documents: Vec<(String, String, String)>,
    /// Open deliveries in the order of the journal.
    pub queues: HashMap<AgentId, Vec<Pending>>,
    pub states: HashMap<AgentId, BTreeMap<String, Bytes>>,
    /// The timers of each agent that are set.
    pub timers: HashMap<AgentId, Vec<Timer>>,
    /// Open sessions that the partition's agents initiated, in the order of the journal.
    pub sessions: Vec<OpenSession>,
    /// The last record that all these fields include.
    pub last_seq: Seq,
}

fn agent(row: &Row<'_>, at: usize) -> rusqlite::Result<AgentId> {
    row.get::<_, [u8; 16]>(at)
        .map(|id| AgentId::from_uuid(Uuid::from_bytes(id)))
}

/// The time depends on how much is open and not on the length of the history.
pub(super) fn recover(
    connection: &mut Connection,
    path: &Path,
    partition: Partition,
) -> Result<Recovered, JournalError> {
    // One transaction, so that the parts are from the same point of the journal.
    let connection = connection.transaction()?;
    let damaged = |seq: Seq, problem| JournalError::Damaged {
        file: path.display().to_string(),
        offset: seq.0,
        problem,
    };
    let mut recovered = Recovered {
        last_seq: load_progress(&connection)?.applied,
        ..Recovered::default()
    };

    let mut statement = connection.prepare("SELECT agent, document FROM agents WHERE partition = ?1 ORDER BY agent")?;
    let mut rows = statement.query([partition.0])?;
    while let Some(row) = rows.next()? {
        recovered.agents.push((agent(row, 0)?, row.get(1)?));
    }

    let mut statement = connection
        .prepare("SELECT collection, key, document FROM documents WHERE partition = ?1 ORDER BY collection, key")?;
    let mut rows = statement.query([partition.0])?;
    while let Some(row) = rows.next()? {
        recovered.documents.push((row.get(0)?, row.get(1)?, row.get(2)?));
    }

    let mut statement = connection.prepare(
        "SELECT d.agent, d.seq, d.crashes, m.body FROM deliveries d JOIN messages m ON m.seq = d.seq
         WHERE d.partition = ?1 ORDER BY d.seq, d.agent",
    )?;
    let mut rows = statement.query([partition.0])?;
    let mut shared: Option<(Seq, Arc<Message>)> = None;
    while let Some(row) = rows.next()? {
        let seq = Seq(row.get::<_, i64>(1)?.unsigned_abs());
        let message = match &shared {
            Some((same, message)) if *same == seq => Arc::clone(message),
            _ => {
                let body: Vec<u8> = row.get(3)?;
                let message = wire::decode_message(body.into()).map_err(|malformed| damaged(seq, malformed.0))?;
                let message = Arc::new(message);
                shared = Some((seq, Arc::clone(&message)));
                message
            }
        };
        let pending = Pending {
            seq,
            message,
            attempts: row.get(2)?,
        };
        recovered.queues.entry(agent(row, 0)?).or_default().push(pending);
    }

    let mut statement = connection.prepare("SELECT agent, key, value FROM state WHERE partition = ?1")?;
    let mut rows = statement.query([partition.0])?;
    while let Some(row) = rows.next()? {
        let value = Bytes::from(row.get::<_, Vec<u8>>(2)?);
        recovered
            .states
            .entry(agent(row, 0)?)
            .or_default()
            .insert(row.get(1)?, value);
    }

    let mut statement = connection.prepare("SELECT agent, id, due, every FROM timers WHERE partition = ?1")?;
    let mut rows = statement.query([partition.0])?;
    while let Some(row) = rows.next()? {
        let timer = Timer {
            id: row.get(1)?,
            due: Timestamp::from_micros(row.get(2)?),
            every: row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs),
        };
        recovered.timers.entry(agent(row, 0)?).or_default().push(timer);
    }

    let mut statement = connection.prepare(
        "SELECT s.initiator, s.participant, s.conversation, s.reply_with, s.message, s.seq, s.performative
         FROM agents a JOIN sessions s ON s.initiator = a.agent WHERE a.partition = ?1 ORDER BY s.seq, s.participant",
    )?;
    let mut rows = statement.query([partition.0])?;
    while let Some(row) = rows.next()? {
        let seq = Seq(row.get::<_, i64>(5)?.unsigned_abs());
        let initiator = address_of(&row.get(0)?);
        let act: String = row.get(6)?;
        recovered.sessions.push(OpenSession {
            initiator: initiator.ok_or_else(|| damaged(seq, "an address cannot be read"))?,
            participant: Address::Agent(agent(row, 1)?),
            act: act.parse().map_err(|_| damaged(seq, "an act is unknown"))?,
            conversation_id: row.get(2)?,
            reply_with: row.get(3)?,
            message_id: MessageId::from_uuid(Uuid::from_bytes(row.get(4)?)),
        });
    }
    Ok(recovered)
}
