mod append;
mod damage;
mod folder;
mod retention;
mod room;

use tempfile::TempDir;

use super::super::testing::{claimed, event};
use super::super::until_durable;
use super::*;

const HOME: Partition = Partition(3);

fn small() -> LocalOptions {
    LocalOptions {
        segment_bytes: 4_096,
        ..LocalOptions::default()
    }
}

fn open(dir: &TempDir) -> Arc<LocalJournal> {
    LocalJournal::open(dir.path(), small()).unwrap()
}

fn open_error(dir: &TempDir, options: LocalOptions) -> JournalError {
    LocalJournal::open(dir.path(), options).expect_err("must not open")
}

async fn append(journal: &LocalJournal, fence: Fence, records: Vec<Record>) -> Seq {
    let records = records.into_iter().map(|record| (HOME, record)).collect();
    journal.append(HOME, fence, records).placed().await.unwrap().seq
}

/// Appends a batch and waits until it is durable, so that it has a group commit of its own.
async fn commit(journal: &LocalJournal, fence: Fence, text: &str) -> Seq {
    let seq = append(journal, fence, vec![event(text)]).await;
    until_durable(journal.durable(), seq).await.unwrap();
    seq
}

fn texts(journal: &LocalJournal) -> Vec<String> {
    let batches = journal.read_after(Seq(0), usize::MAX).unwrap();
    let records = batches.iter().flat_map(|batch| &batch.records);
    records
        .map(|(_, record)| match record {
            Record::Event { body, .. } => body.clone(),
            Record::Message(_)
            | Record::Turn(_)
            | Record::DeadLetter { .. }
            | Record::Agent { .. }
            | Record::AgentRemoved { .. }
            | Record::TimerFired { .. }
            | Record::Answer { .. }
            | Record::Document { .. } => panic!("{record:?}"),
        })
        .collect()
}

fn segment_files(dir: &TempDir) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// A closed journal of `count` events, each in a group of its own.
async fn written(count: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir);
    let fence = claimed(&*journal, HOME);
    for n in 0..count {
        commit(&journal, fence, &format!("event {n}")).await;
    }
    dir
}
