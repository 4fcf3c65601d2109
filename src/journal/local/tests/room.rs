//! A full disk: the journal waits, and reports nothing durable that is not.

use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn no_room() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

/// Hooks of a disk that has room only while `room` is true.
fn disk_with_switch(room: &Arc<AtomicBool>) -> Hooks {
    failing_without(room, no_room)
}

/// Hooks of a disk whose writes fail so while `enough` is false.
fn failing_without(enough: &Arc<AtomicBool>, error: impl Fn() -> io::Error + Send + 'static) -> Hooks {
    let enough = Arc::clone(enough);
    Hooks {
        before_write: Box::new(move || {
            if enough.load(Ordering::SeqCst) {
                Ok(())
            } else {
                Err(error())
            }
        }),
        fatal: Box::new(|error| panic!("no room is no reason to end: {error}")),
        ..Hooks::default()
    }
}

#[tokio::test]
async fn a_segment_has_its_blocks_before_they_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        segment_bytes: 1 << 20,
        ..LocalOptions::default()
    };
    let blocks = |dir: &TempDir| fs::metadata(&segment_files(dir)[0]).unwrap().blocks() * 512;
    let journal = LocalJournal::open(dir.path(), options).unwrap();
    assert!(blocks(&dir) >= options.segment_bytes, "{}", blocks(&dir));
    drop(journal);
    assert!(
        blocks(&dir) < options.segment_bytes,
        "room that is not used is given back"
    );
    let _journal = LocalJournal::open(dir.path(), options).unwrap();
    assert!(
        blocks(&dir) >= options.segment_bytes,
        "and taken again: {}",
        blocks(&dir)
    );
}

#[tokio::test]
async fn a_full_disk_keeps_the_journal_waiting_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let room = Arc::new(AtomicBool::new(true));
    let journal = LocalJournal::open_with(dir.path(), small(), disk_with_switch(&room)).unwrap();
    let fence = claimed(&*journal, HOME);
    commit(&journal, fence, "before").await;
    room.store(false, Ordering::SeqCst);
    let mut last = Seq(0);
    for n in 0..100 {
        last = append(&journal, fence, vec![event(&format!("waits {n}"))]).await;
    }
    let mut lacks = journal.lacks();
    lacks.wait_for(Option::is_some).await.unwrap();
    assert_eq!(*journal.durable().borrow(), Seq(1), "nothing is durable without room");
    assert_eq!(texts(&journal), ["before"], "what is durable is read");
    room.store(true, Ordering::SeqCst);
    until_durable(journal.durable(), last).await.unwrap();
    lacks.wait_for(Option::is_none).await.unwrap();
    drop(journal);
    let texts = texts(&open(&dir));
    assert_eq!(texts.len(), 101);
    assert_eq!(texts[100], "waits 99");
}

#[tokio::test]
async fn a_lack_of_descriptors_or_memory_is_waited_for_like_a_full_disk() {
    use rustix::io::Errno;
    for (errno, shortage) in [
        (Errno::MFILE, Shortage::Descriptors),
        (Errno::NFILE, Shortage::Descriptors),
        (Errno::NOMEM, Shortage::Memory),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let enough = Arc::new(AtomicBool::new(false));
        let hooks = failing_without(&enough, move || errno.into());
        let journal = LocalJournal::open_with(dir.path(), small(), hooks).unwrap();
        let fence = claimed(&*journal, HOME);
        let seq = append(&journal, fence, vec![event("waits")]).await;
        let mut lacks = journal.lacks();
        lacks.wait_for(|lack| *lack == Some(shortage)).await.unwrap();
        enough.store(true, Ordering::SeqCst);
        until_durable(journal.durable(), seq).await.unwrap();
        assert_eq!(texts(&journal), ["waits"]);
    }
}

#[tokio::test]
async fn a_journal_that_waits_for_room_can_be_closed() {
    let dir = tempfile::tempdir().unwrap();
    let room = Arc::new(AtomicBool::new(false));
    let journal = LocalJournal::open_with(dir.path(), small(), disk_with_switch(&room)).unwrap();
    let fence = claimed(&*journal, HOME);
    let seq = append(&journal, fence, vec![event("nobody was promised this")]).await;
    journal.lacks().wait_for(Option::is_some).await.unwrap();
    journal.close();
    let waited = until_durable(journal.durable(), seq).await;
    assert!(matches!(waited, Err(JournalError::Closed)));
    assert_eq!(texts(&open(&dir)), [""; 0]);
}

#[tokio::test]
async fn a_sync_that_finds_no_room_is_a_failed_sync() {
    let dir = tempfile::tempdir().unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let hooks = Hooks {
        before_sync: Box::new(|_| Err(no_room())),
        fatal: Box::new({
            let ended = Arc::clone(&ended);
            move |_| ended.store(true, Ordering::SeqCst)
        }),
        ..Hooks::default()
    };
    let journal = LocalJournal::open_with(dir.path(), small(), hooks).unwrap();
    let fence = claimed(&*journal, HOME);
    let seq = append(&journal, fence, vec![event("a")]).await;
    assert!(until_durable(journal.durable(), seq).await.is_err());
    assert!(ended.load(Ordering::SeqCst), "the process would have ended");
}
