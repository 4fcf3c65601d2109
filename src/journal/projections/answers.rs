//! The answers of requests that had a key of their client's.
//!
//! Invariant: what is kept depends on the order of the records alone, so that the table is a function of the journal whatever the
//! transactions were.

use rusqlite::{Connection, OptionalExtension, params};

use super::apply::{Sql, cached};
use super::int;
use super::query::QueryError;
use crate::id::{Digest, Seq};
use crate::idempotency::{Key, limits};
use crate::time::Timestamp;

/// The answer of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Of the request.
    pub fingerprint: Digest,
    /// JSON, as it was recorded.
    pub answer: String,
}

/// One answer, as its record has it.
pub(super) struct Row<'a> {
    pub(super) seq: Seq,
    pub(super) principal: &'a str,
    pub(super) key: &'a str,
    pub(super) fingerprint: &'a Digest,
    pub(super) answer: &'a str,
    pub(super) at: Timestamp,
}

/// Adds an answer to `count` others, in place of an older one of the same key, and lets go of what is too old or too many.
/// Answers with how many there are then.
pub(super) fn insert(connection: &Connection, row: &Row<'_>, count: u64, kept: u64) -> Sql<u64> {
    let replaced = cached(connection, "DELETE FROM answers WHERE principal = ?1 AND key = ?2")?
        .execute(params![row.principal, row.key])?;
    cached(connection, "INSERT INTO answers VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        int(row.seq.0),
        row.principal,
        row.key,
        row.fingerprint.as_bytes(),
        row.answer,
        row.at.micros(),
    ])?;
    let count = count + 1 - replaced as u64;
    // Two for each that comes, so that old ones go faster than new ones come, and no transaction is long for it.
    let sql = "DELETE FROM answers WHERE seq IN (SELECT seq FROM answers ORDER BY seq LIMIT 2) AND (at < ?1 OR
               seq IN (SELECT seq FROM answers ORDER BY seq LIMIT ?2))";
    let expired = row.at.minus(limits::KEPT_FOR).micros();
    let surplus = count.saturating_sub(kept);
    let gone = cached(connection, sql)?.execute(params![expired, int(surplus)])?;
    Ok(count - gone as u64)
}

/// The answer to the request of a client, unless it is too old at `now`.
pub(super) fn find(
    connection: &Connection,
    principal: &str,
    key: &Key,
    now: Timestamp,
) -> Result<Option<Answered>, QueryError> {
    let sql = "SELECT fingerprint, answer FROM answers WHERE principal = ?1 AND key = ?2 AND at >= ?3";
    let oldest = now.minus(limits::KEPT_FOR).micros();
    let found = cached(connection, sql)?
        .query_row(params![principal, key.as_str(), oldest], |row| {
            Ok(Answered {
                fingerprint: Digest::from_bytes(row.get(0)?),
                answer: row.get(1)?,
            })
        })
        .optional()?;
    Ok(found)
}
