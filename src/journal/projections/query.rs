//! Queries on the history of messages.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::apply::{RECEIVER, SENDER};
use super::{address_key, code, int, of_code};
use crate::error::Error;
use crate::fipa::Performative;
use crate::id::{MessageId, Seq};
use crate::journal::{JournalError, wire};
use crate::message::{Address, Message, Status};
use crate::time::Timestamp;

/// Limits of a query.
pub mod limits {
    /// Most messages in one page.
    pub const PAGE: usize = 1_000;
    /// A page that has reached this many bytes of messages ends, whatever its limit.
    pub const PAGE_BYTES: usize = 16 << 20;
    /// The total of a query is counted up to this number.
    pub const COUNTED: u64 = 10_000;
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("`{0}` is no cursor of this server; begin again without one")]
    BadCursor(String),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<QueryError> for Error {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::BadCursor(_) => Self::invalid("cursor", "is none of this server; begin again without one"),
            QueryError::Journal(error) => error.into(),
        }
    }
}

impl From<rusqlite::Error> for QueryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Journal(error.into())
    }
}

/// Which messages to return. A filter that is None matches all of them.
#[derive(Clone, Debug, Default)]
pub struct MessageQuery {
    pub conversation_id: Option<String>,
    /// This address is the sender or a receiver.
    pub party: Option<Address>,
    pub sender: Option<Address>,
    pub receiver: Option<Address>,
    pub performative: Option<Performative>,
    pub protocol: Option<String>,
    /// Messages at or after this time.
    pub since: Option<Timestamp>,
    /// Messages before this time.
    pub until: Option<Timestamp>,
    pub status: Option<Status>,
    /// Most messages in the page, 1 to [`limits::PAGE`]; another number is replaced by the nearer end of that range.
    pub limit: usize,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Leaves the total at 0, because a caller who reads page after page need not count each time.
    pub uncounted: bool,
}

/// A message of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub seq: Seq,
    pub message: Message,
    pub status: Status,
    /// Why it failed, if it failed for at least one receiver.
    pub reason: Option<String>,
    /// The highest number of attempts that any receiver has made.
    pub attempts: u32,
}

/// Messages in the order of the journal, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub messages: Vec<Stored>,
    /// How many messages match on all pages; a lower bound unless `total_is_exact`.
    pub total: u64,
    pub total_is_exact: bool,
    /// The cursor of the next page. None if this is the last page for now.
    pub next_cursor: Option<String>,
}

const COLUMNS: &str = "m.seq, m.body, m.status, m.reason, m.attempts";

fn cursor_of(seq: Seq) -> String {
    format!("s{:x}", seq.0)
}

fn parse_cursor(cursor: &str) -> Result<Seq, QueryError> {
    cursor
        .strip_prefix('s')
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .map(Seq)
        // Only a cursor in our own spelling is valid: without a sign or leading zeros.
        .filter(|seq| cursor_of(*seq) == cursor)
        .ok_or_else(|| QueryError::BadCursor(cursor.chars().take(80).collect()))
}

/// A query in SQL: `FROM … WHERE …`, its parameters, and the column of the sequence number.
struct Selection {
    from: &'static str,
    seq: &'static str,
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Selection {
    fn of(query: &MessageQuery) -> Self {
        let mut parties = [
            (query.sender.as_ref(), SENDER),
            (query.receiver.as_ref(), RECEIVER),
            (query.party.as_ref(), SENDER | RECEIVER),
        ]
        .into_iter()
        .filter_map(|(address, role)| address.map(|address| (address_key(address), role)));
        let mut selection = Self {
            from: "messages m",
            seq: "m.seq",
            conditions: Vec::new(),
            values: Vec::new(),
        };
        // A conversation selects fewer messages than a party does. Without one, a party's messages are read along the
        // key of `parties`, which has them in order; CROSS JOIN keeps `SQLite` from swapping the two tables.
        if let Some(conversation) = &query.conversation_id {
            selection.require("m.conversation = ?", [conversation.clone().into()]);
        } else if let Some((address, role)) = parties.next() {
            selection.from = "parties p CROSS JOIN messages m ON m.seq = p.seq";
            selection.seq = "p.seq";
            selection.require("p.address = ? AND p.role & ? <> 0", [address, role.into()]);
        }
        for (address, role) in parties {
            selection.require(
                "EXISTS (SELECT 1 FROM parties q WHERE q.address = ? AND q.seq = m.seq AND q.role & ? <> 0)",
                [address, role.into()],
            );
        }
        if let Some(act) = query.performative {
            selection.require("m.performative = ?", [act.as_str().to_owned().into()]);
        }
        if let Some(protocol) = &query.protocol {
            selection.require("m.protocol = ?", [protocol.clone().into()]);
        }
        if let Some(since) = query.since {
            selection.require("m.timestamp >= ?", [since.micros().into()]);
        }
        if let Some(until) = query.until {
            selection.require("m.timestamp < ?", [until.micros().into()]);
        }
        if let Some(status) = query.status {
            selection.require("m.status = ?", [code(status).into()]);
        }
        selection
    }

    fn require<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        self.conditions.push(condition.to_owned());
        self.values.extend(values);
    }

    fn sql(&self, columns: &str) -> String {
        let conditions = if self.conditions.is_empty() {
            "TRUE".to_owned()
        } else {
            self.conditions.join(" AND ")
        };
        format!("SELECT {columns} FROM {} WHERE {conditions}", self.from)
    }
}

pub(super) fn messages(connection: &mut Connection, path: &Path, query: &MessageQuery) -> Result<Page, QueryError> {
    let limit = query.limit.clamp(1, limits::PAGE);
    let after = query.cursor.as_deref().map(parse_cursor).transpose()?;
    // One transaction, so that the total fits the page.
    let connection = connection.transaction()?;
    let mut selection = Selection::of(query);

    let total = if query.uncounted {
        0
    } else {
        let counted = format!(
            "SELECT COUNT(*) FROM ({} LIMIT {})",
            selection.sql("1"),
            limits::COUNTED + 1
        );
        let total: i64 = connection
            .prepare_cached(&counted)?
            .query_row(params_from_iter(&selection.values), |row| row.get(0))?;
        total.unsigned_abs()
    };

    if let Some(after) = after {
        let condition = format!("{} > ?", selection.seq);
        selection.require(&condition, [int(after.0).into()]);
    }
    let page = format!(
        "{} ORDER BY {} LIMIT {}",
        selection.sql(COLUMNS),
        selection.seq,
        limit + 1
    );
    let mut statement = connection.prepare_cached(&page)?;
    let mut rows = statement.query(params_from_iter(&selection.values))?;
    let mut messages = Vec::new();
    let (mut more, mut bytes) = (false, 0);
    while let Some(row) = rows.next()? {
        more = messages.len() == limit || bytes >= limits::PAGE_BYTES;
        if more {
            break;
        }
        bytes += row.get_ref(1)?.as_blob().map_or(0, <[u8]>::len);
        messages.push(stored(row, path)?);
    }
    Ok(Page {
        next_cursor: messages.last().filter(|_| more).map(|last| cursor_of(last.seq)),
        messages,
        total: total.min(limits::COUNTED),
        total_is_exact: total <= limits::COUNTED,
    })
}

pub(super) fn knows(connection: &Connection, address: &Address) -> Result<bool, QueryError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM parties WHERE address = ?1 LIMIT 1")?;
    Ok(statement.exists([address_key(address)])?)
}

pub(super) fn message(connection: &Connection, path: &Path, id: MessageId) -> Result<Option<Stored>, QueryError> {
    let sql = format!("SELECT {COLUMNS} FROM messages m WHERE m.id = ?1 ORDER BY m.seq DESC LIMIT 1");
    connection
        .prepare_cached(&sql)?
        .query_row(params![id.uuid().as_bytes()], |row| Ok(stored(row, path)))
        .optional()?
        .transpose()
}

fn stored(row: &Row<'_>, path: &Path) -> Result<Stored, QueryError> {
    let seq = Seq(row.get::<_, i64>(0)?.unsigned_abs());
    let body: Vec<u8> = row.get(1)?;
    let message = wire::decode_message(body.into()).map_err(|malformed| JournalError::Damaged {
        file: path.display().to_string(),
        offset: seq.0,
        problem: malformed.0,
    })?;
    Ok(Stored {
        seq,
        message,
        status: of_code(row.get(2)?),
        reason: row.get(3)?,
        attempts: row.get(4)?,
    })
}
