//! How each record changes the tables.
//!
//! Invariant: the tables are a function of the journal up to `applied_seq`, which is stored in the same transaction.
//! Applying the journal again from its start gives the same tables.

use std::borrow::Cow;
use std::collections::HashSet;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::fresh::{Failure, Fresh, Standing};
use super::{Counts, Progress, address_key, answers, code, events, int, of_code, sessions};
use crate::id::{AgentId, MessageId, Partition, Seq};
use crate::idempotency::limits;
use crate::journal::{Batch, Dispatch, Record, Turn, TurnEnd};
use crate::message::{Address, Status};
use crate::time::Timestamp;
use crate::timer::TimerChange;

pub(super) type Sql<T = ()> = rusqlite::Result<T>;

/// The role of a party in a message, as bits.
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

/// Applies batches in one transaction, and skips those that are already applied.
///
/// `events_kept` is how many events stay in the history.
pub(super) fn apply(
    connection: &mut Connection,
    progress: Progress,
    batches: &[impl AsRef<Batch>],
    events_kept: u64,
) -> Sql<Progress> {
    let transaction = connection.transaction()?;
    let mut step = Step {
        connection: &transaction,
        fresh: Fresh::default(),
        counts: progress.counts,
        events: progress.events,
        answers: progress.answers,
    };
    let mut applied = progress.applied;
    // A batch that was read after the subscription began is also delivered by it.
    for batch in batches
        .iter()
        .map(AsRef::as_ref)
        .filter(|batch| batch.last() > progress.applied)
    {
        step.batch(batch)?;
        applied = applied.max(batch.last());
    }
    let (mut counts, answers) = (step.counts, step.answers);
    step.fresh.write(&transaction, &mut counts)?;
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

/// An agent, and the partition that its records belong to.
type Place = (Partition, AgentId);

/// The state of one transaction.
struct Step<'a> {
    connection: &'a Connection,
    fresh: Fresh<'a>,
    counts: Counts,
    events: u64,
    answers: u64,
}

impl<'a> Step<'a> {
    fn batch(&mut self, batch: &'a Batch) -> Sql {
        let settled = sessions::settled_elsewhere(batch);
        for (seq, (partition, record)) in (batch.first.0..).map(Seq).zip(&batch.records) {
            let partition = *partition;
            match record {
                Record::Message(dispatch) => self.message(seq, partition, dispatch, &settled)?,
                Record::Turn(turn) => self.turn(partition, turn)?,
                Record::DeadLetter {
                    message,
                    agent,
                    reason,
                    detail,
                    ..
                } => self.dead_letter(*message, (partition, *agent), format!("{reason}: {detail}"))?,
                Record::Agent { agent, document, .. } => {
                    let sql =
                        "INSERT INTO agents VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET document = excluded.document";
                    cached(self.connection, sql)?.execute(params![partition.0, agent.uuid().as_bytes(), document])?;
                }
                Record::AgentRemoved { agent, .. } => self.agent_removed((partition, *agent))?,
                Record::Document {
                    collection,
                    key,
                    document,
                    ..
                } => self.document(partition, collection, key, document.as_deref())?,
                Record::TimerFired { agent, timer, next, .. } => {
                    self.timer_fired((partition, *agent), *timer, *next)?;
                }
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
                    events::insert(self.connection, seq, kind.as_str(), *agent, body, *at)?;
                    self.events += 1;
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, seq: Seq, partition: Partition, dispatch: &'a Dispatch, settled: &HashSet<MessageId>) -> Sql {
        if !dispatch.first {
            self.fresh.further(partition, dispatch);
            return Ok(());
        }
        // An answer may also be a question, so it ends a session before it opens one.
        sessions::close_by_answer(self.connection, &mut self.fresh, &dispatch.message, settled)?;
        self.fresh.add(seq, partition, dispatch);
        Ok(())
    }

    fn document(&self, partition: Partition, collection: &str, key: &str, document: Option<&str>) -> Sql {
        if let Some(document) = document {
            let sql =
                "INSERT INTO documents VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET document = excluded.document";
            cached(self.connection, sql)?.execute(params![partition.0, collection, key, document])?;
        } else {
            let sql = "DELETE FROM documents WHERE partition = ?1 AND collection = ?2 AND key = ?3";
            cached(self.connection, sql)?.execute(params![partition.0, collection, key])?;
        }
        Ok(())
    }

    fn timer_fired(&self, (partition, agent): Place, timer: u32, next: Option<Timestamp>) -> Sql {
        let agent = agent.uuid();
        if let Some(due) = next {
            let sql = "UPDATE timers SET due = ?4 WHERE partition = ?1 AND agent = ?2 AND id = ?3";
            cached(self.connection, sql)?.execute(params![partition.0, agent.as_bytes(), timer, due.micros()])?;
        } else {
            let sql = "DELETE FROM timers WHERE partition = ?1 AND agent = ?2 AND id = ?3";
            cached(self.connection, sql)?.execute(params![partition.0, agent.as_bytes(), timer])?;
        }
        Ok(())
    }

    fn timers(&self, (partition, agent): Place, changes: &[TimerChange]) -> Sql {
        for change in changes {
            match change {
                TimerChange::Set(timer) => {
                    let sql = "INSERT INTO timers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                               ON CONFLICT DO UPDATE SET due = excluded.due, every = excluded.every,
                               revision = excluded.revision, instance = excluded.instance";
                    let (due, every, set_by) = (timer.due.micros(), timer.every.map(int), timer.set_by);
                    let agent = agent.uuid();
                    cached(self.connection, sql)?.execute(params![
                        partition.0,
                        agent.as_bytes(),
                        timer.id,
                        due,
                        every,
                        set_by.revision,
                        set_by.number
                    ])?;
                }
                TimerChange::Cancel(id) => self.timer_fired((partition, agent), *id, None)?,
            }
        }
        Ok(())
    }

    fn turn(&mut self, partition: Partition, turn: &'a Turn) -> Sql {
        let place = (partition, turn.agent);
        self.timers(place, &turn.timers)?;
        for (key, value) in &turn.writes {
            let agent = turn.agent.uuid();
            if let Some(value) = value {
                let sql = "INSERT INTO state VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET value = excluded.value";
                cached(self.connection, sql)?.execute(params![partition.0, agent.as_bytes(), key, &value[..]])?;
            } else {
                let sql = "DELETE FROM state WHERE partition = ?1 AND agent = ?2 AND key = ?3";
                cached(self.connection, sql)?.execute(params![partition.0, agent.as_bytes(), key])?;
            }
        }
        let Some(message) = turn.message else {
            return Ok(()); // `init`
        };
        match &turn.end {
            TurnEnd::Ok => self.finish(message, place, turn.attempt, None),
            TurnEnd::Error { reason } => {
                self.finish(message, place, turn.attempt, Some((Status::Failed, reason.into())))
            }
            TurnEnd::Crash { .. } => self.crash(message, place, turn.attempt),
        }
    }

    fn crash(&mut self, message: MessageId, place: Place, attempt: u32) -> Sql {
        let (partition, agent) = place;
        if self.fresh.crash(message, agent, attempt) {
            return Ok(());
        }
        let Some((seq, _)) = self.stored(message, place)? else {
            return Ok(()); // the delivery became a dead letter meanwhile
        };
        let sql = "UPDATE messages SET attempts = max(attempts, ?2) WHERE seq = ?1";
        cached(self.connection, sql)?.execute(params![int(seq.0), attempt])?;
        let sql = "UPDATE deliveries SET crashes = crashes + 1 WHERE partition = ?1 AND agent = ?2 AND seq = ?3";
        cached(self.connection, sql)?.execute(params![partition.0, agent.uuid().as_bytes(), int(seq.0)])?;
        Ok(())
    }

    fn dead_letter(&mut self, message: MessageId, place: Place, reason: String) -> Sql {
        self.counts.dead_letters += 1;
        self.finish(message, place, 0, Some((Status::Dead, reason.into())))
    }

    /// Ends a delivery if it is open. `attempt` is the number of the turn that ended it, or 0 if no turn did. A failed
    /// receiver will not answer any more, so its session is closed.
    fn finish(&mut self, message: MessageId, place: Place, attempt: u32, failure: Option<Failure<'a>>) -> Sql {
        let (_, agent) = place;
        if let Some(row) = self.fresh.row(message) {
            row.finish(agent, attempt, failure);
            return Ok(());
        }
        let Some((seq, mut standing)) = self.stored(message, place)? else {
            return Ok(());
        };
        if failure.is_some() {
            sessions::close(self.connection, seq, agent)?;
        }
        standing.finish(attempt, failure);
        self.settle(seq, place, &standing)
    }

    /// The open delivery to an agent of a message from an earlier group.
    fn stored(&self, message: MessageId, (partition, agent): Place) -> Sql<Option<(Seq, Standing<'a>)>> {
        let sql = "SELECT m.seq, m.open, m.attempts, m.reason, m.outcome FROM messages m
                   JOIN deliveries d ON d.partition = ?3 AND d.agent = ?2 AND d.seq = m.seq WHERE m.id = ?1";
        cached(self.connection, sql)?
            .query_row(
                params![message.uuid().as_bytes(), agent.uuid().as_bytes(), partition.0],
                standing,
            )
            .optional()
    }

    /// Removes a delivery from the queue and updates the status of its message, which came in an earlier group.
    fn settle(&mut self, seq: Seq, (partition, agent): Place, standing: &Standing<'a>) -> Sql {
        let sql = "DELETE FROM deliveries WHERE partition = ?1 AND agent = ?2 AND seq = ?3";
        cached(self.connection, sql)?.execute(params![partition.0, agent.uuid().as_bytes(), int(seq.0)])?;
        let status = standing.status();
        let sql = "UPDATE messages SET open = ?2, status = ?3, attempts = ?4, reason = ?5, outcome = ?6 WHERE seq = ?1";
        cached(self.connection, sql)?.execute(params![
            int(seq.0),
            standing.open,
            code(status),
            standing.attempts,
            standing.reason,
            code(standing.outcome),
        ])?;
        if status != Status::Delivered {
            self.counts.queued = self.counts.queued.saturating_sub(1);
            *self.counts.of(status) += 1;
        }
        Ok(())
    }

    fn agent_removed(&mut self, place: Place) -> Sql {
        const REASON: &str = "agent_removed";
        let (partition, agent) = place;
        self.fresh.remove_agent(agent, REASON);
        let key = agent.uuid();
        let sql =
            "SELECT m.seq, m.open, m.attempts, m.reason, m.outcome FROM deliveries d JOIN messages m ON m.seq = d.seq
                   WHERE d.partition = ?1 AND d.agent = ?2 ORDER BY d.seq";
        let live: Vec<(Seq, Standing<'a>)> = cached(self.connection, sql)?
            .query_map(params![partition.0, key.as_bytes()], standing)?
            .collect::<Sql<_>>()?;
        for (seq, mut standing) in live {
            standing.finish(0, Some((Status::Dead, REASON.into())));
            self.settle(seq, place, &standing)?;
        }
        for table in ["agents", "state", "timers"] {
            let sql = format!("DELETE FROM {table} WHERE partition = ?1 AND agent = ?2");
            cached(self.connection, &sql)?.execute(params![partition.0, key.as_bytes()])?;
        }
        for sql in [
            "DELETE FROM sessions WHERE initiator = ?1",
            "DELETE FROM sessions WHERE participant = ?1",
        ] {
            cached(self.connection, sql)?.execute([address_key(&Address::Agent(agent))])?;
        }
        Ok(())
    }
}

/// Reads the columns `seq, open, attempts, reason, outcome`.
fn standing<'a>(row: &Row<'_>) -> Sql<(Seq, Standing<'a>)> {
    let standing = Standing {
        open: row.get(1)?,
        attempts: row.get(2)?,
        reason: row.get::<_, Option<String>>(3)?.map(Cow::Owned),
        outcome: of_code(row.get(4)?),
    };
    Ok((Seq(row.get::<_, i64>(0)?.unsigned_abs()), standing))
}
