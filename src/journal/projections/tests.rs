mod answers;
mod events;
mod files;
mod queries;
mod records;
mod sessions;
mod upkeep;

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;

use super::super::local::{LocalJournal, LocalOptions};
use super::super::testing::{claimed, dispatched, message, turn};
use super::super::{Dispatch, Record, Turn, TurnEnd};
use super::*;
use crate::fipa::Performative;
use crate::id::Fence;
use crate::message::{FailureReason, Message};
use crate::time::Timestamp;

const HOME: Partition = Partition(0);

/// A journal with its projections, and one partition owner that writes.
struct World {
    projections: Arc<Projections>,
    journal: Arc<LocalJournal>,
    fence: Fence,
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        Self::reopen(tempfile::tempdir().unwrap())
    }

    fn reopen(dir: TempDir) -> Self {
        let journal = LocalJournal::open(dir.path(), LocalOptions::default()).unwrap();
        let projections = Projections::open(dir.path(), &*journal).unwrap();
        let fence = claimed(&*journal, HOME);
        Self {
            projections,
            journal,
            fence,
            dir,
        }
    }

    fn close(self) -> TempDir {
        self.journal.close();
        self.dir
    }

    async fn write(&self, records: Vec<Record>) -> Seq {
        let records = records.into_iter().map(|record| (HOME, record)).collect();
        let seq = self
            .journal
            .append(HOME, self.fence, records)
            .placed()
            .await
            .unwrap()
            .seq;
        self.projections.seen(seq).await.unwrap();
        seq
    }

    fn recover(&self) -> Recovered {
        self.projections.recover(HOME).unwrap()
    }

    fn sessions(&self) -> Vec<(Address, AgentId)> {
        let connection = Connection::open(self.dir.path().join(FILE)).unwrap();
        let sql = "SELECT initiator, participant FROM sessions ORDER BY seq, participant";
        let mut statement = connection.prepare(sql).unwrap();
        let parties = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let parties = parties.map(|parties| {
            let (initiator, participant) = parties.unwrap();
            let participant = address_of(&participant).unwrap();
            (
                address_of(&initiator).unwrap(),
                participant.agent().expect("only agents are asked"),
            )
        });
        parties.collect()
    }

    async fn status(&self, message: &Message) -> (Status, Option<String>, u32) {
        let stored = self.projections.message(message.id).await.unwrap().unwrap();
        assert_eq!(stored.message, *message);
        (stored.status, stored.reason, stored.attempts)
    }

    async fn page(&self, query: MessageQuery) -> Vec<MessageId> {
        let page = self
            .projections
            .messages(MessageQuery { limit: 1_000, ..query })
            .await
            .unwrap();
        assert_eq!((page.total, page.total_is_exact), (page.messages.len() as u64, true));
        page.messages.into_iter().map(|stored| stored.message.id).collect()
    }
}

/// Every row of every table, as text.
fn dump(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let connection = schema::open_reader(&dir.join("projections.db")).unwrap();
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .unwrap();
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let rows = |name: &String| {
        let mut statement = connection.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns)
                .map(|at| row.get::<_, Value>(at))
                .collect::<Result<Vec<_>, _>>()
        };
        let rows = statement.query_map([], row).unwrap();
        let mut rows: Vec<String> = rows.map(|row| format!("{:?}", row.unwrap())).collect();
        rows.sort();
        rows
    };
    names.iter().map(|name| (name.clone(), rows(name))).collect()
}

fn agents(count: usize) -> Vec<AgentId> {
    (0..count).map(|_| AgentId::new()).collect()
}

fn client() -> Address {
    Address::Client("ann".parse().unwrap())
}

fn ask(from: Address, to: &[AgentId], reply_with: Option<&str>) -> Message {
    let receivers = to.iter().copied().map(Address::Agent).collect();
    Message {
        reply_with: reply_with.map(str::to_owned),
        ..message(from, receivers)
    }
}

fn dead_letter(message: &Message, agent: AgentId) -> Record {
    Record::DeadLetter {
        message: message.id,
        agent,
        reason: FailureReason::Crashed,
        detail: "trap".to_owned(),
        at: Timestamp::now(),
    }
}

fn crash() -> TurnEnd {
    TurnEnd::Crash {
        kind: "trap".to_owned(),
        detail: String::new(),
    }
}

fn refusal() -> TurnEnd {
    TurnEnd::Error {
        reason: "no".to_owned(),
    }
}
