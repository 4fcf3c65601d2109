//! Open sessions: who waits for an answer, and from whom.
//!
//! A message that expects a reply and has a `reply_with` opens a session with each agent that accepted it. The session
//! ends when that agent answers in the same conversation, when the platform reports that no answer will come, or when
//! the initiator or that agent is removed.

use std::collections::HashSet;

use rusqlite::{Connection, params};

use super::apply::cached;
use super::fresh::{Fresh, Row};
use super::{address_key, int};
use crate::fipa::Performative;
use crate::id::{AgentId, MessageId, Seq};
use crate::journal::{Batch, Record, TurnEnd};
use crate::message::{Address, Message};

type Sql<T = ()> = rusqlite::Result<T>;

/// Messages that failed in this batch for only some receivers: either another record names the receiver, or the
/// receiver never had a session. The platform's failure reply in the same batch is about those receivers, and the
/// others may still answer.
pub(super) fn settled_elsewhere(batch: &Batch) -> HashSet<MessageId> {
    let failed = |record: &Record| match record {
        Record::DeadLetter { message, .. } => Some(*message),
        Record::Turn(turn) if matches!(turn.end, TurnEnd::Error { .. }) => turn.message,
        Record::Message(dispatch) if dispatch.undelivered.is_some() => Some(dispatch.message.id),
        Record::Turn(_)
        | Record::Message(_)
        | Record::Agent { .. }
        | Record::AgentRemoved { .. }
        | Record::Document { .. }
        | Record::TimerFired { .. }
        | Record::Answer { .. }
        | Record::Event { .. } => None,
    };
    batch.records.iter().filter_map(|(_, record)| failed(record)).collect()
}

/// The `reply_with` of a message that opens sessions, or None if it opens none.
pub(super) fn question(message: &Message) -> Option<&str> {
    let reply_with = message.reply_with.as_deref();
    reply_with.filter(|_| message.performative.expects_reply())
}

/// Inserts the sessions of a message that are still open.
pub(super) fn open(connection: &Connection, row: &Row<'_>) -> Sql {
    if row.awaited.is_empty() {
        return Ok(());
    }
    let mut insert = cached(connection, "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for agent in &row.awaited {
        insert.execute(params![
            address_key(&row.message.sender),
            agent.uuid().as_bytes(),
            int(row.seq.0),
            row.message.id.uuid().as_bytes(),
            row.message.performative.as_str(),
            row.message.conversation_id,
            row.message.reply_with,
        ])?;
    }
    Ok(())
}

/// Closes the sessions that `answer` answers.
pub(super) fn close_by_answer(
    connection: &Connection,
    fresh: &mut Fresh<'_>,
    answer: &Message,
    settled: &HashSet<MessageId>,
) -> Sql {
    if answer.in_reply_to.is_none() {
        return Ok(());
    }
    match &answer.sender {
        Address::Agent(agent) => {
            for initiator in &answer.receivers {
                fresh.answer(answer, initiator, Some(*agent));
                close_by_participant(connection, answer, *agent, initiator)?;
            }
            Ok(())
        }
        Address::Platform
            if answer.performative == Performative::Failure
                && !answer.causation_id.is_some_and(|about| settled.contains(&about)) =>
        {
            for initiator in &answer.receivers {
                fresh.answer(answer, initiator, None);
                close_by_platform(connection, answer, initiator)?;
            }
            Ok(())
        }
        Address::Platform | Address::Client(_) => Ok(()),
    }
}

fn close_by_participant(connection: &Connection, answer: &Message, participant: AgentId, initiator: &Address) -> Sql {
    let (initiator, participant) = (address_key(initiator), participant.uuid());
    let sql = "SELECT seq, performative FROM sessions
               WHERE initiator = ?1 AND participant = ?2 AND reply_with = ?3 AND conversation = ?4";
    let answered = params![
        initiator,
        participant.as_bytes(),
        answer.in_reply_to,
        answer.conversation_id
    ];
    let candidates: Vec<(i64, String)> = cached(connection, sql)?
        .query_map(answered, |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Sql<_>>()?;
    for (seq, asked) in candidates {
        // If the performative of the question cannot be parsed, any answer ends the session.
        if asked
            .parse()
            .map_or(true, |asked| answer.performative.ends_wait_for(asked))
        {
            cached(
                connection,
                "DELETE FROM sessions WHERE initiator = ?1 AND participant = ?2 AND seq = ?3",
            )?
            .execute(params![initiator, participant.as_bytes(), seq])?;
        }
    }
    Ok(())
}

fn close_by_platform(connection: &Connection, failure: &Message, initiator: &Address) -> Sql {
    cached(
        connection,
        "DELETE FROM sessions WHERE initiator = ?1 AND reply_with = ?2 AND conversation = ?3",
    )?
    .execute(params![
        address_key(initiator),
        failure.in_reply_to,
        failure.conversation_id
    ])?;
    Ok(())
}

/// Closes the session of a message with one agent.
pub(super) fn close(connection: &Connection, seq: Seq, participant: AgentId) -> Sql {
    cached(connection, "DELETE FROM sessions WHERE participant = ?1 AND seq = ?2")?
        .execute(params![participant.uuid().as_bytes(), int(seq.0)])?;
    Ok(())
}
