//! The history of events.
//!
//! Invariant: after each transaction the table contains exactly the newest [`super::EVENTS_KEPT`] events. So it is a
//! function of the journal, however the records are grouped into transactions.

use std::borrow::Cow;

use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde::Deserialize;
use uuid::Uuid;

use super::apply::{Sql, cached, load_progress};
use super::int;
use super::query::{QueryError, limits};
use crate::event::EventKind;
use crate::id::{AgentId, Seq};
use crate::time::Timestamp;

/// Which events to return. A filter that is None matches all of them.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// A prefix of the event's kind, such as `supervisor.`.
    pub kind_prefix: Option<String>,
    pub agent: Option<AgentId>,
    /// The event's body has a member `path` with this path or one below it.
    pub path_prefix: Option<String>,
    /// Only events after this record.
    pub since: Seq,
    /// Most events in the page, 1 to [`limits::PAGE`]; another number is replaced by the nearer end of that range.
    pub limit: usize,
}

/// An event of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub seq: Seq,
    pub kind: EventKind,
    pub agent: Option<AgentId>,
    /// The JSON object that was recorded.
    pub body: String,
    pub at: Timestamp,
}

/// Events in the order of the journal, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    pub events: Vec<StoredEvent>,
    /// The `since` of the next query: the last event if the page is full, otherwise the last record that the query has
    /// seen.
    pub next_seq: Seq,
}

/// The member of a body that events are filtered by.
#[derive(Deserialize)]
struct Placed<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
}

pub(super) fn insert(
    connection: &Connection,
    seq: Seq,
    kind: &str,
    agent: Option<AgentId>,
    body: &str,
    at: Timestamp,
) -> Sql {
    let path = serde_json::from_str::<Placed<'_>>(body).ok().map(|placed| placed.path);
    cached(connection, "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        int(seq.0),
        kind,
        agent.as_ref().map(|agent| agent.uuid().into_bytes()),
        path,
        body,
        at.micros(),
    ])?;
    Ok(())
}

/// Removes the oldest of `count` events so that `kept` remain, and returns how many are left.
pub(super) fn prune(connection: &Connection, count: u64, kept: u64) -> Sql<u64> {
    let surplus = count.saturating_sub(kept);
    if surplus > 0 {
        let sql = "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?1)";
        cached(connection, sql)?.execute([int(surplus)])?;
    }
    Ok(count - surplus)
}

/// How many events a query scans in the order of the journal before it uses an index. A query that matches many events
/// fills its page during the scan, and so does one that follows the end of the journal. The index serves queries with
/// few matches, which are cheap to sort.
const LOOKED_AT: u64 = 4_096;

const COLUMNS: &str = "e.seq, e.kind, e.agent, e.body, e.at";

/// The conditions on an event, in SQL, and the index that serves them best.
struct Selection {
    index: Option<&'static str>,
    conditions: String,
    values: Vec<Value>,
}

impl Selection {
    fn of(query: &EventQuery) -> Self {
        let mut selection = Self {
            index: None,
            conditions: String::new(),
            values: Vec::new(),
        };
        if let Some(agent) = query.agent {
            let agent = selection.bind(agent.uuid().as_bytes().to_vec());
            selection.require("events_by_agent", &format!("agent = {agent}"));
        }
        if let Some(path) = &query.path_prefix {
            let [itself, below, end] = ["", "/", "0"].map(|sign| selection.bind(format!("{path}{sign}")));
            // Other paths sort between a path and those below it: they begin like it and go on with a character before
            // `/`.
            let condition = format!("path >= {itself} AND path < {end} AND (path = {itself} OR path >= {below})");
            selection.require("events_by_path", &condition);
        }
        if let Some(kind) = &query.kind_prefix {
            // Kinds are dotted words, so none contains the last Unicode character.
            let [begin, end] = [kind.clone(), format!("{kind}{}", char::MAX)].map(|kind| selection.bind(kind));
            selection.require("events_by_kind", &format!("kind >= {begin} AND kind < {end}"));
        }
        selection
    }

    /// Adds a parameter and returns its name. The first two numbers belong to the statement itself.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len() + 2)
    }

    fn require(&mut self, index: &'static str, condition: &str) {
        self.index.get_or_insert(index);
        self.conditions.push_str(" AND ");
        self.conditions.push_str(condition);
    }

    fn read(&self, connection: &Connection, sql: &str, first: [u64; 2]) -> Sql<Vec<StoredEvent>> {
        let values = first.map(|number| Value::from(int(number)));
        let values = values.iter().chain(&self.values);
        cached(connection, sql)?
            .query_map(params_from_iter(values), event)?
            .collect()
    }
}

pub(super) fn events(connection: &mut Connection, query: &EventQuery) -> Result<EventPage, QueryError> {
    let limit = query.limit.clamp(1, limits::PAGE);
    // One transaction, so that `next_seq` fits the events of the page.
    let connection = connection.transaction()?;
    let applied = load_progress(&connection)?.applied;
    let selection = Selection::of(query);
    let conditions = &selection.conditions;
    let nearest = format!(
        "SELECT {COLUMNS} FROM (SELECT * FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2) e
         WHERE TRUE{conditions} ORDER BY seq LIMIT {limit}"
    );
    let mut events = selection.read(&connection, &nearest, [query.since.0, LOOKED_AT])?;
    if let Some(index) = selection.index.filter(|_| events.len() < limit) {
        let last = "SELECT seq FROM events WHERE seq > ?1 ORDER BY seq LIMIT 1 OFFSET ?2";
        let last: Option<i64> = cached(&connection, last)?
            .query_row([query.since.0, LOOKED_AT - 1].map(int), |row| row.get(0))
            .optional()?;
        if let Some(last) = last {
            // The inner query finds the sequence numbers alone, so that bodies are read only for the page.
            let rest = format!(
                "SELECT {COLUMNS} FROM events e WHERE seq IN (SELECT seq FROM events INDEXED BY {index}
                 WHERE seq > ?1{conditions} ORDER BY seq LIMIT ?2) ORDER BY seq"
            );
            events.extend(selection.read(&connection, &rest, [last.unsigned_abs(), (limit - events.len()) as u64])?);
        }
    }
    let full = events.len() == limit;
    let next_seq = events
        .last()
        .filter(|_| full)
        // A caller may know, from the journal itself, of a later record than the projections do. `next_seq` never goes
        // back behind that.
        .map_or_else(|| applied.max(query.since), |last| last.seq);
    Ok(EventPage { events, next_seq })
}

fn kind(row: &Row<'_>) -> Sql<EventKind> {
    let name: String = row.get(1)?;
    EventKind::parse(&name).ok_or_else(|| {
        let unknown = format!("no event is of the kind {name}");
        rusqlite::Error::FromSqlConversionFailure(1, Type::Text, unknown.into())
    })
}

fn event(row: &Row<'_>) -> Sql<StoredEvent> {
    let agent: Option<[u8; 16]> = row.get(2)?;
    Ok(StoredEvent {
        seq: Seq(row.get::<_, i64>(0)?.unsigned_abs()),
        kind: kind(row)?,
        agent: agent.map(|id| AgentId::from_uuid(Uuid::from_bytes(id))),
        body: row.get(3)?,
        at: Timestamp::from_micros(row.get(4)?),
    })
}
