//! The remembered answers to requests that had an idempotency key.
//!
//! Invariant: what is kept depends only on the order of the records. So the table is a function of the journal, however
//! the records are grouped into transactions.

use rusqlite::{Connection, OptionalExtension, params};

use super::apply::{Sql, cached};
use super::int;
use super::query::QueryError;
use crate::id::{Digest, Seq};
use crate::idempotency::{Key, limits};
use crate::time::Timestamp;

/// A remembered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The digest of the request.
    pub fingerprint: Digest,
    /// The JSON that was recorded.
    pub answer: String,
}

/// An answer with the fields of its record.
pub(super) struct Row<'a> {
    pub(super) seq: Seq,
    pub(super) principal: &'a str,
    pub(super) key: &'a str,
    pub(super) fingerprint: &'a Digest,
    pub(super) answer: &'a str,
    pub(super) at: Timestamp,
}

/// Adds an answer to `count` others and replaces an older one of the same key. Then it removes up to two answers that
/// are too old or exceed `kept`, and returns how many are left.
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
    // Each insert removes at most two: more than comes in, so old answers do disappear, and few enough to keep the
    // transaction short.
    let sql = "DELETE FROM answers WHERE seq IN (SELECT seq FROM answers ORDER BY seq LIMIT 2) AND (at < ?1 OR
               seq IN (SELECT seq FROM answers ORDER BY seq LIMIT ?2))";
    let expired = row.at.minus(limits::KEPT_FOR).micros();
    let surplus = count.saturating_sub(kept);
    let gone = cached(connection, sql)?.execute(params![expired, int(surplus)])?;
    Ok(count - gone as u64)
}

/// The remembered answer under the client's key, unless it is too old at `now`.
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
