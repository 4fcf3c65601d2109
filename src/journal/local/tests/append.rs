//! Order, ownership and the watermark.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as signals;

use proptest::prelude::*;

use super::super::super::testing;
use super::*;

#[tokio::test]
async fn what_was_appended_is_read_again_after_a_restart() {
    let dir = written(3).await;
    let journal = open(&dir);
    assert_eq!(*journal.durable().borrow(), Seq(3));
    let fence = claimed(&*journal, HOME);
    assert_eq!(append(&journal, fence, vec![event("a"), event("b")]).await, Seq(5));
    assert_eq!(
        append(&journal, fence, vec![]).await,
        Seq(5),
        "nothing appended, nothing new to wait for"
    );
    journal.close();
    assert!(matches!(
        journal.append(HOME, fence, vec![]).placed().await,
        Err(JournalError::Closed)
    ));
    assert_eq!(texts(&open(&dir)), ["event 0", "event 1", "event 2", "a", "b"]);
}

#[tokio::test]
async fn only_the_latest_owner_appends() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir);
    let unclaimed = journal.append(HOME, Fence(0), vec![(HOME, event("x"))]).placed().await;
    assert!(matches!(unclaimed, Err(JournalError::Fenced(HOME))));
    let first = claimed(&*journal, HOME);
    let second = claimed(&*journal, HOME);
    claimed(&*journal, Partition(4));
    let stale = journal.append(HOME, first, vec![(HOME, event("x"))]).placed().await;
    assert!(matches!(stale, Err(JournalError::Fenced(HOME))));
    assert_eq!(
        append(&journal, second, vec![event("y")]).await,
        Seq(1),
        "a refusal uses no sequence up"
    );
}

#[tokio::test]
async fn a_batch_over_the_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir);
    let fence = claimed(&*journal, HOME);
    let huge = event(&"x".repeat(limits::BATCH_BYTES + 1));
    let refused = journal.append(HOME, fence, vec![(HOME, huge)]).placed().await;
    assert!(matches!(refused, Err(JournalError::TooLarge(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appenders_agree_with_the_disk_and_the_followers() {
    let dir = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        queued_batches: 16,
        follower_bytes: 4_096,
        group_batches: 5,
        ..small()
    };
    let journal = LocalJournal::open(dir.path(), options).unwrap();
    let mut follower = journal.follow();
    drop(journal.follow());
    let mut tasks = Vec::new();
    for appender in 0..8_u16 {
        let journal = Arc::clone(&journal);
        tasks.push(tokio::spawn(async move {
            let partition = Partition(appender);
            let fence = claimed(&*journal, partition);
            let mut mine = Vec::new();
            for n in 0..100 {
                let records = vec![(partition, event(&format!("{appender} {n}"))); 1 + n % 3];
                let last = journal
                    .append(partition, fence, records.clone())
                    .placed()
                    .await
                    .unwrap()
                    .seq;
                mine.push((last, records));
            }
            mine
        }));
    }
    let mut heard = Vec::new();
    while heard.len() < 800 {
        heard.push(Arc::clone(&follower.recv().await.unwrap()));
    }
    let mut appended = Vec::new();
    for task in tasks {
        let mine = task.await.unwrap();
        assert!(
            mine.is_sorted_by_key(|(last, _)| *last),
            "a caller's batches keep their order"
        );
        appended.extend(mine);
    }
    appended.sort_by_key(|(last, _)| *last);
    assert!(
        heard
            .iter()
            .map(|batch| (batch.last(), batch.records.clone()))
            .eq(appended)
    );
    assert!(
        heard.is_sorted_by(|a, b| a.last().0 + 1 == b.first.0),
        "no gap and no repetition"
    );
    drop(journal);
    let read = open(&dir).read_after(Seq(0), usize::MAX).unwrap();
    assert_eq!(read, heard);
}

/// Hooks that hold the first sync until the sender fires, and then call `after` for every sync.
pub(super) fn held_back(after: impl Fn(Seq) -> io::Result<()> + Send + 'static) -> (Hooks, signals::Sender<()>) {
    let (go, wait) = signals::channel::<()>();
    let first = AtomicBool::new(true);
    let before_sync = Box::new(move |seq| {
        if first.swap(false, Ordering::SeqCst) {
            let _ = wait.recv();
        }
        after(seq)
    });
    (
        Hooks {
            before_sync,
            ..Hooks::default()
        },
        go,
    )
}

#[tokio::test]
async fn the_watermark_never_runs_ahead_of_the_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (watermark_seen, next_sync) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let synced = Arc::clone(&next_sync);
    let (hooks, go) = held_back(move |seq| {
        synced.store(seq.0, Ordering::SeqCst);
        Ok(())
    });
    let journal = LocalJournal::open_with(dir.path(), small(), hooks).unwrap();
    let fence = claimed(&*journal, HOME);
    let mut follower = journal.follow();
    let seq = append(&journal, fence, vec![event("a")]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(*journal.durable().borrow(), Seq(0), "the sync has not returned");
    assert_eq!(journal.read_after(Seq(0), 10).unwrap(), []);
    assert!(follower.try_recv().is_none());
    go.send(()).unwrap();
    until_durable(journal.durable(), seq).await.unwrap();
    let mut watermark = journal.durable();
    for _ in 0..200 {
        append(&journal, fence, vec![event("b")]).await;
        let durable = watermark.borrow_and_update().0;
        assert!(durable <= next_sync.load(Ordering::SeqCst));
        watermark_seen.fetch_max(durable, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_durable_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let hooks = Hooks {
        before_sync: Box::new(|seq| {
            if seq < Seq(3) {
                Ok(())
            } else {
                Err(io::Error::other("the disk is gone"))
            }
        }),
        fatal: Box::new({
            let ended = Arc::clone(&ended);
            move |error| {
                assert!(matches!(error, JournalError::Sync { .. }));
                ended.store(true, Ordering::SeqCst);
            }
        }),
        ..Hooks::default()
    };
    let journal = LocalJournal::open_with(dir.path(), small(), hooks).unwrap();
    let fence = claimed(&*journal, HOME);
    let mut follower = journal.follow();
    commit(&journal, fence, "a").await;
    commit(&journal, fence, "b").await;
    let seq = append(&journal, fence, vec![event("c")]).await;
    assert!(matches!(
        until_durable(journal.durable(), seq).await,
        Err(JournalError::Closed)
    ));
    assert!(ended.load(Ordering::SeqCst), "the process would have ended");
    assert_eq!(*journal.durable().borrow(), Seq(2));
    assert!(matches!(
        journal.append(HOME, fence, vec![(HOME, event("d"))]).placed().await,
        Err(JournalError::Closed)
    ));
    assert_eq!(follower.recv().await.unwrap().last(), Seq(1));
    assert_eq!(follower.recv().await.unwrap().last(), Seq(2));
    assert!(follower.recv().await.is_none(), "a follower hears of the end");
    assert!(journal.follow().recv().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_records_go_through_full_segments() {
    let dir = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        segment_bytes: 4 << 20,
        ..LocalOptions::default()
    };
    let journal = LocalJournal::open(dir.path(), options).unwrap();
    let fence = claimed(&*journal, HOME);
    let mut last = Seq(0);
    for n in 0..50_000 {
        last = append(&journal, fence, vec![event(&format!("{n:0400}"))]).await;
    }
    until_durable(journal.durable(), last).await.unwrap();
    drop(journal);
    let journal = LocalJournal::open(dir.path(), options).unwrap();
    let (mut after, mut read) = (Seq(0), 0);
    loop {
        let batches = journal.read_after(after, 1_000).unwrap();
        let Some(batch) = batches.last() else { break };
        after = batch.last();
        read += batches.len();
    }
    assert_eq!((after, read), (last, 50_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn any_records_are_read_again(batches in prop::collection::vec(prop::collection::vec(testing::records(), 1..4), 1..10)) {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let journal = open(&dir);
        let fence = claimed(&*journal, HOME);
        for records in &batches {
            runtime.block_on(append(&journal, fence, records.clone()));
        }
        drop(journal);
        let read = open(&dir).read_after(Seq(0), usize::MAX).unwrap();
        let read: Vec<Vec<Record>> = read
            .iter()
            .map(|batch| batch.records.iter().map(|(_, record)| record.clone()).collect())
            .collect();
        prop_assert_eq!(read, batches);
    }
}
