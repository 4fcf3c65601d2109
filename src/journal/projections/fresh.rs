//! Messages that arrived in the group that is being applied.
//!
//! Nearly every message is finished moments after it arrives. A message that arrives and ends in the same group is
//! written once, in its final status. It need not be queued, found again and removed from the queue.
//!
//! Invariant: the rows are those that applying each record separately would have left. They do not depend on where
//! groups end.

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter;

use rusqlite::{Connection, params};

use super::apply::{RECEIVER, SENDER, Sql, cached};
use super::{Counts, address_key, code, int, sessions};
use crate::id::{AgentId, MessageId, Partition, Seq};
use crate::journal::{Dispatch, wire};
use crate::message::{Address, FailureReason, Message, Status};

/// The figures that give a message its status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing<'a> {
    /// Number of receivers that have not finished it.
    pub(super) open: u32,
    /// The highest number of attempts that any receiver made.
    pub(super) attempts: u32,
    /// The status but for receivers that have not finished it.
    pub(super) outcome: Status,
    /// Set if and only if a receiver failed.
    pub(super) reason: Option<Cow<'a, str>>,
}

/// Why a receiver failed, and what status that gives the message.
pub(super) type Failure<'a> = (Status, Cow<'a, str>);

impl<'a> Standing<'a> {
    /// How a message stands that no agent has yet.
    fn of(dispatch: &'a Dispatch) -> Self {
        let outcome = match dispatch.undelivered.as_deref() {
            Some(reason) if reason == FailureReason::Expired.as_str() => Status::Expired,
            Some(_) => Status::Failed,
            None if dispatch.unread => Status::Queued,
            None => Status::Processed,
        };
        Self {
            open: 0,
            attempts: 0,
            outcome,
            reason: dispatch.undelivered.as_deref().map(Cow::Borrowed),
        }
    }

    pub(super) fn status(&self) -> Status {
        if self.open > 0 { Status::Delivered } else { self.outcome }
    }

    /// Counts one receiver as finished. `attempt` is the number of the turn that ended the delivery, or 0 if no turn
    /// did.
    pub(super) fn finish(&mut self, attempt: u32, failure: Option<Failure<'a>>) {
        self.open = self.open.saturating_sub(1);
        self.attempts = self.attempts.max(attempt);
        if let Some((status, reason)) = failure {
            self.outcome = self.outcome.and(status);
            self.reason = Some(reason);
        }
    }
}

/// An open delivery.
struct Live {
    partition: Partition,
    agent: AgentId,
    /// How many of the agent's turns on the message crashed.
    crashes: u32,
}

/// A message with its open deliveries and sessions.
pub(super) struct Row<'a> {
    pub(super) seq: Seq,
    pub(super) message: &'a Message,
    standing: Standing<'a>,
    /// Agents that have not finished it.
    live: Vec<Live>,
    /// Agents from whom an answer is awaited.
    pub(super) awaited: Vec<AgentId>,
}

impl<'a> Row<'a> {
    /// Ends the delivery to an agent. `attempt` is the number of the turn that ended it, or 0 if no turn did.
    pub(super) fn finish(&mut self, agent: AgentId, attempt: u32, failure: Option<Failure<'a>>) {
        let Some(at) = self.live.iter().position(|live| live.agent == agent) else {
            return; // the delivery became a dead letter meanwhile
        };
        self.live.swap_remove(at);
        if failure.is_some() {
            self.awaited.retain(|awaited| *awaited != agent);
        }
        self.standing.finish(attempt, failure);
    }
}

/// The messages of one group; see [the module](self).
#[derive(Default)]
pub(super) struct Fresh<'a> {
    rows: Vec<Row<'a>>,
    /// Indexes into `rows`; message ids are unique.
    by_id: HashMap<MessageId, usize>,
    /// The questions among the messages, by `reply_with` and conversation.
    questions: HashMap<(&'a str, &'a str), Vec<usize>>,
}

impl<'a> Fresh<'a> {
    /// Adds a message with the deliveries of its first record.
    pub(super) fn add(&mut self, seq: Seq, partition: Partition, dispatch: &'a Dispatch) {
        let message = &*dispatch.message;
        let at = self.rows.len();
        self.by_id.insert(message.id, at);
        self.rows.push(Row {
            seq,
            message,
            standing: Standing::of(dispatch),
            live: Vec::new(),
            awaited: Vec::new(),
        });
        self.deliver(at, partition, dispatch);
    }

    /// Adds the deliveries of a further record of a message, which is in the same batch as the first one.
    pub(super) fn further(&mut self, partition: Partition, dispatch: &'a Dispatch) {
        if let Some(at) = self.by_id.get(&dispatch.message.id) {
            self.deliver(*at, partition, dispatch);
        }
    }

    fn deliver(&mut self, at: usize, partition: Partition, dispatch: &'a Dispatch) {
        // A receiver that is named twice gets one delivery.
        let mut agents = dispatch.deliveries.clone();
        agents.sort_unstable();
        agents.dedup();
        let row = &mut self.rows[at];
        row.standing.open += u32::try_from(agents.len()).expect("a batch is below 4 GiB");
        row.live.extend(agents.iter().map(|agent| Live {
            partition,
            agent: *agent,
            crashes: 0,
        }));
        let message = row.message;
        if let Some(reply_with) = sessions::question(message).filter(|_| !agents.is_empty()) {
            if row.awaited.is_empty() {
                let rows = self.questions.entry((reply_with, &message.conversation_id));
                rows.or_default().push(at);
            }
            row.awaited.append(&mut agents);
        }
    }

    /// The row of a message, or None if the message came in an earlier group.
    pub(super) fn row(&mut self, message: MessageId) -> Option<&mut Row<'a>> {
        self.by_id.get(&message).map(|at| &mut self.rows[*at])
    }

    /// Records that a turn on the message crashed. False if the message came in an earlier group.
    pub(super) fn crash(&mut self, message: MessageId, agent: AgentId, attempt: u32) -> bool {
        let Some(row) = self.row(message) else { return false };
        if let Some(live) = row.live.iter_mut().find(|live| live.agent == agent) {
            live.crashes += 1;
            row.standing.attempts = row.standing.attempts.max(attempt);
        }
        true
    }

    /// Ends the sessions of `initiator` that `answer` answers: those with `participant`, or with every agent when the
    /// platform answers.
    pub(super) fn answer(&mut self, answer: &Message, initiator: &Address, participant: Option<AgentId>) {
        let Some(reply) = &answer.in_reply_to else { return };
        let asked = self.questions.get(&(reply.as_str(), answer.conversation_id.as_str()));
        for at in asked.into_iter().flatten() {
            let row = &mut self.rows[*at];
            match participant {
                _ if row.message.sender != *initiator => {}
                None => row.awaited.clear(),
                Some(agent) if answer.performative.ends_wait_for(row.message.performative) => {
                    row.awaited.retain(|awaited| *awaited != agent);
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn remove_agent(&mut self, agent: AgentId, reason: &'a str) {
        for row in &mut self.rows {
            row.finish(agent, 0, Some((Status::Dead, reason.into())));
            row.awaited.retain(|awaited| *awaited != agent);
            if row.message.sender == Address::Agent(agent) {
                row.awaited.clear();
            }
        }
    }

    /// Writes the rows in the order of the journal.
    pub(super) fn write(self, connection: &Connection, counts: &mut Counts) -> Sql {
        let mut insert = cached(
            connection,
            "INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?;
        let mut delivery = cached(connection, "INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4)")?;
        let mut parties: Vec<(&Address, i64, i64)> = Vec::with_capacity(2 * self.rows.len());
        for row in &self.rows {
            let Row { message, standing, .. } = row;
            let (seq, status) = (int(row.seq.0), standing.status());
            insert.execute(params![
                seq,
                message.id.uuid().as_bytes(),
                message.conversation_id,
                message.performative.as_str(),
                message.protocol,
                message.timestamp.micros(),
                standing.open,
                code(status),
                code(standing.outcome),
                standing.attempts,
                standing.reason,
                wire::encode_message(message),
            ])?;
            counts.messages_total += 1;
            *counts.of(status) += 1;
            let receivers = message.receivers.iter().map(|receiver| (receiver, seq, RECEIVER));
            parties.extend(iter::once((&message.sender, seq, SENDER)).chain(receivers));
            for live in &row.live {
                delivery.execute(params![
                    live.partition.0,
                    live.agent.uuid().as_bytes(),
                    seq,
                    live.crashes
                ])?;
            }
            sessions::open(connection, row)?;
        }
        // Rows are inserted in the order of the key, so that the rows of one party go to the same page one after the
        // other.
        parties.sort_unstable();
        let mut party = cached(connection, "INSERT INTO parties VALUES (?1, ?2, ?3)")?;
        for same in parties.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
            let (address, seq, _) = same[0];
            let role = same.iter().fold(0, |role, (_, _, another)| role | another);
            party.execute(params![address_key(address), seq, role])?;
        }
        Ok(())
    }
}
