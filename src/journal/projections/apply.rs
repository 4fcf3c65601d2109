//! What each record changes.
//!
//! Invariant: the tables are a function of the journal up to `applied_seq`, which is stored in the same transaction; to
//! apply the journal again from its start gives the same tables.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::{Counts, Progress, Status, address_key, answers, events, int, sessions};
use crate::id::{AgentId, MessageId, Seq};
use crate::idempotency::limits;
use crate::journal::{Batch, Dispatch, Record, Turn, TurnEnd, wire};
use crate::message::Address;
use crate::time::Timestamp;
use crate::timer::TimerChange;

pub(super) type Sql<T = ()> = rusqlite::Result<T>;

/// Who takes part in a message, as bits.
pub(super) const SENDER: i64 = 1;
pub(super) const RECEIVER: i64 = 2;

pub(super) fn load_progress(connection: &Connection) -> Sql<Progress> {
    connection.query_row(
        "SELECT applied_seq, messages, processed, failed, dead_letters, events, answers FROM progress",
        [],
        |row| {
            let count = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
            let (messages_total, processed, failed) = (count(1)?, count(2)?, count(3)?);
            let queued = messages_total.saturating_sub(processed + failed);
            let counts = Counts {
                messages_total,
                processed,
                failed,
                dead_letters: count(4)?,
                queued,
            };
            Ok(Progress {
                applied: Seq(count(0)?),
                counts,
                events: count(5)?,
                answers: count(6)?,
            })
        },
    )
}

/// Applies batches in one transaction. Those that are applied already are passed over.
///
/// `events_kept` is how many events stay in the history.
pub(super) fn apply(
    connection: &mut Connection,
    progress: Progress,
    batches: &[Arc<Batch>],
    events_kept: u64,
) -> Sql<Progress> {
    let transaction = connection.transaction()?;
    let mut step = Step {
        connection: &transaction,
        counts: progress.counts,
        events: progress.events,
        answers: progress.answers,
    };
    let mut applied = progress.applied;
    // What was read before it was followed comes twice.
    for batch in batches.iter().filter(|batch| batch.last() > progress.applied) {
        step.batch(batch)?;
        applied = applied.max(batch.last());
    }
    let (counts, answers) = (step.counts, step.answers);
    let events = events::prune(&transaction, step.events, events_kept)?;
    cached(
        &transaction,
        "UPDATE progress SET applied_seq = ?1, messages = ?2, processed = ?3, failed = ?4, dead_letters = ?5,
         events = ?6, answers = ?7",
    )?
    .execute(
        [
            applied.0,
            counts.messages_total,
            counts.processed,
            counts.failed,
            counts.dead_letters,
            events,
            answers,
        ]
        .map(int),
    )?;
    transaction.commit()?;
    Ok(Progress {
        applied,
        counts,
        events,
        answers,
    })
}

pub(super) fn cached<'a>(connection: &'a Connection, sql: &str) -> Sql<CachedStatement<'a>> {
    connection.prepare_cached(sql)
}

/// One transaction at work.
struct Step<'a> {
    connection: &'a Connection,
    counts: Counts,
    events: u64,
    answers: u64,
}

impl Step<'_> {
    fn batch(&mut self, batch: &Batch) -> Sql {
        let settled = sessions::settled_elsewhere(batch);
        for (seq, (_, record)) in (batch.first.0..).map(Seq).zip(&batch.records) {
            match record {
                Record::Message(dispatch) => self.message(seq, dispatch, &settled)?,
                Record::Turn(turn) => self.turn(turn)?,
                Record::DeadLetter {
                    message, agent, reason, ..
                } => self.dead_letter(*message, *agent, reason)?,
                Record::Agent { agent, document, .. } => {
                    let sql =
                        "INSERT INTO agents VALUES (?1, ?2) ON CONFLICT DO UPDATE SET document = excluded.document";
                    cached(self.connection, sql)?.execute(params![agent.uuid().as_bytes(), document.0])?;
                }
                Record::AgentRemoved { agent, .. } => self.agent_removed(*agent)?,
                Record::Document {
                    collection,
                    key,
                    document,
                    ..
                } => self.document(collection, key, document.as_deref())?,
                Record::TimerFired { agent, timer, next, .. } => self.timer_fired(*agent, *timer, *next)?,
                Record::Answer {
                    principal,
                    key,
                    fingerprint,
                    answer,
                    at,
                } => {
                    let row = answers::Row {
                        seq,
                        principal,
                        key,
                        fingerprint,
                        answer,
                        at: *at,
                    };
                    self.answers = answers::insert(self.connection, &row, self.answers, limits::KEPT)?;
                }
                Record::Event { kind, agent, body, at } => {
                    events::insert(self.connection, seq, kind, *agent, body, *at)?;
                    self.events += 1;
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, seq: Seq, dispatch: &Dispatch, settled: &HashSet<MessageId>) -> Sql {
        let message = &dispatch.message;
        // A receiver that is named twice has one delivery.
        let agents: HashSet<AgentId> = dispatch.deliveries.iter().copied().collect();
        let status = match (agents.is_empty(), &dispatch.undelivered) {
            (false, _) => Status::Queued,
            (true, None) => Status::Processed,
            (true, Some(_)) => Status::Failed,
        };
        cached(
            self.connection,
            "INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10)",
        )?
        .execute(params![
            int(seq.0),
            message.id.uuid().as_bytes(),
            message.conversation_id,
            message.performative.as_str(),
            message.protocol,
            message.timestamp.micros(),
            int(agents.len() as u64),
            status.code(),
            dispatch.undelivered,
            wire::encode_message(message),
        ])?;
        self.counts.messages_total += 1;
        *self.counts.of(status) += 1;

        let mut party = cached(
            self.connection,
            "INSERT INTO parties VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET role = role | excluded.role",
        )?;
        party.execute(params![address_key(&message.sender), int(seq.0), SENDER])?;
        for receiver in &message.receivers {
            party.execute(params![address_key(receiver), int(seq.0), RECEIVER])?;
        }
        let mut delivery = cached(self.connection, "INSERT INTO deliveries VALUES (?1, ?2, 0)")?;
        for agent in &agents {
            delivery.execute(params![agent.uuid().as_bytes(), int(seq.0)])?;
        }
        // An answer may be a question of its own: it ends a session before it opens one.
        sessions::close_by_answer(self.connection, message, settled)?;
        sessions::open(self.connection, seq, message, &agents)
    }

    fn document(&self, collection: &str, key: &str, document: Option<&str>) -> Sql {
        if let Some(document) = document {
            let sql =
                "INSERT INTO documents VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET document = excluded.document";
            cached(self.connection, sql)?.execute(params![collection, key, document])?;
        } else {
            let sql = "DELETE FROM documents WHERE collection = ?1 AND key = ?2";
            cached(self.connection, sql)?.execute(params![collection, key])?;
        }
        Ok(())
    }

    fn timer_fired(&self, agent: AgentId, timer: u32, next: Option<Timestamp>) -> Sql {
        let agent = agent.uuid();
        if let Some(due) = next {
            let sql = "UPDATE timers SET due = ?3 WHERE agent = ?1 AND id = ?2";
            cached(self.connection, sql)?.execute(params![agent.as_bytes(), timer, due.micros()])?;
        } else {
            let sql = "DELETE FROM timers WHERE agent = ?1 AND id = ?2";
            cached(self.connection, sql)?.execute(params![agent.as_bytes(), timer])?;
        }
        Ok(())
    }

    fn timers(&self, agent: AgentId, changes: &[TimerChange]) -> Sql {
        for change in changes {
            match change {
                TimerChange::Set(timer) => {
                    let sql = "INSERT INTO timers VALUES (?1, ?2, ?3, ?4)
                               ON CONFLICT DO UPDATE SET due = excluded.due, every = excluded.every";
                    let (due, every) = (timer.due.micros(), timer.every.map(int));
                    cached(self.connection, sql)?.execute(params![agent.uuid().as_bytes(), timer.id, due, every])?;
                }
                TimerChange::Cancel(id) => self.timer_fired(agent, *id, None)?,
            }
        }
        Ok(())
    }

    fn turn(&mut self, turn: &Turn) -> Sql {
        self.timers(turn.agent, &turn.timers)?;
        for (key, value) in &turn.writes {
            let agent = turn.agent.uuid();
            if let Some(value) = value {
                let sql = "INSERT INTO state VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = excluded.value";
                cached(self.connection, sql)?.execute(params![agent.as_bytes(), key, &value[..]])?;
            } else {
                let sql = "DELETE FROM state WHERE agent = ?1 AND key = ?2";
                cached(self.connection, sql)?.execute(params![agent.as_bytes(), key])?;
            }
        }
        let Some(seq) = turn
            .message
            .map(|message| self.delivery(message, turn.agent))
            .transpose()?
            .flatten()
        else {
            return Ok(()); // `init`, or a message whose delivery was given up meanwhile
        };
        match &turn.end {
            TurnEnd::Ok => self.settle(seq, turn.agent, turn.attempt, None),
            TurnEnd::Error { reason } => {
                sessions::close(self.connection, seq, turn.agent)?;
                self.settle(seq, turn.agent, turn.attempt, Some(reason))
            }
            TurnEnd::Crash { .. } => {
                cached(
                    self.connection,
                    "UPDATE messages SET attempts = max(attempts, ?2) WHERE seq = ?1",
                )?
                .execute(params![int(seq.0), turn.attempt])?;
                cached(
                    self.connection,
                    "UPDATE deliveries SET crashes = crashes + 1 WHERE agent = ?1 AND seq = ?2",
                )?
                .execute(params![turn.agent.uuid().as_bytes(), int(seq.0)])?;
                Ok(())
            }
        }
    }

    fn dead_letter(&mut self, message: MessageId, agent: AgentId, reason: &str) -> Sql {
        self.counts.dead_letters += 1;
        let Some(seq) = self.delivery(message, agent)? else {
            return Ok(());
        };
        sessions::close(self.connection, seq, agent)?;
        self.settle(seq, agent, 0, Some(reason))
    }

    /// The live delivery of a message to an agent.
    fn delivery(&self, message: MessageId, agent: AgentId) -> Sql<Option<Seq>> {
        let sql = "SELECT d.seq FROM messages m JOIN deliveries d ON d.seq = m.seq AND d.agent = ?2 WHERE m.id = ?1";
        cached(self.connection, sql)?
            .query_row(params![message.uuid().as_bytes(), agent.uuid().as_bytes()], |row| {
                row.get::<_, i64>(0)
            })
            .map(|seq| Seq(seq.unsigned_abs()))
            .optional()
    }

    /// Ends a delivery with its try `attempt`, 0 if without one. A message has failed when it did for one of its receivers,
    /// and stands as queued while another has it.
    fn settle(&mut self, seq: Seq, agent: AgentId, attempt: u32, failure: Option<&str>) -> Sql {
        let sql = "DELETE FROM deliveries WHERE agent = ?1 AND seq = ?2";
        cached(self.connection, sql)?.execute(params![agent.uuid().as_bytes(), int(seq.0)])?;
        // A reason is set for a failure and for nothing else, so that it stands for one.
        let sql = "UPDATE messages SET open = open - 1, attempts = max(attempts, ?3), reason = coalesce(?2, reason),
                   status = CASE WHEN open > 1 THEN 0 WHEN coalesce(?2, reason) IS NULL THEN 1 ELSE 2 END
                   WHERE seq = ?1 RETURNING status";
        let status: i64 =
            cached(self.connection, sql)?.query_row(params![int(seq.0), failure, attempt], |row| row.get(0))?;
        let status = Status::of_code(status);
        if status != Status::Queued {
            self.counts.queued = self.counts.queued.saturating_sub(1);
            *self.counts.of(status) += 1;
        }
        Ok(())
    }

    fn agent_removed(&mut self, agent: AgentId) -> Sql {
        let key = agent.uuid();
        let live: Vec<i64> = cached(
            self.connection,
            "SELECT seq FROM deliveries WHERE agent = ?1 ORDER BY seq",
        )?
        .query_map([key.as_bytes()], |row| row.get(0))?
        .collect::<Sql<_>>()?;
        for seq in live {
            self.settle(Seq(seq.unsigned_abs()), agent, 0, Some("agent_removed"))?;
        }
        for sql in [
            "DELETE FROM agents WHERE agent = ?1",
            "DELETE FROM state WHERE agent = ?1",
            "DELETE FROM timers WHERE agent = ?1",
            "DELETE FROM sessions WHERE initiator = ?1",
            "DELETE FROM sessions WHERE participant = ?1",
        ] {
            cached(self.connection, sql)?.execute([address_key(&Address::Agent(agent))])?;
        }
        Ok(())
    }
}
