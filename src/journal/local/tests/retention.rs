//! Which segments are removed, and what reads return afterwards.

use std::time::Duration;

use super::super::retention::Removed;
use super::*;
use crate::time::Moment;

const ALL: Keep = Keep { age: None, bytes: None };

fn firsts(journal: &LocalJournal) -> Vec<Seq> {
    let segments = journal.shared.segments.read();
    segments.iter().map(|segment| segment.first).collect()
}

#[tokio::test]
async fn the_oldest_go_by_size_and_by_age_and_the_last_stays() {
    let dir = written(300).await;
    let journal = open(&dir);
    let now = Moment::now();
    let firsts = firsts(&journal);
    assert!(firsts.len() > 3, "{firsts:?}");
    assert_eq!(journal.surplus(ALL, now).unwrap(), None);

    let sizes: Vec<u64> = segment_files(&dir)
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .collect();
    let keep = |bytes| Keep {
        age: None,
        bytes: Some(bytes),
    };
    let total: u64 = sizes.iter().sum();
    assert_eq!(journal.surplus(keep(total), now).unwrap(), None);
    let one = journal.surplus(keep(total - 1), now).unwrap();
    assert_eq!(one, Some(Seq(firsts[1].0 - 1)), "one is enough");
    let all_but_last = Some(Seq(firsts[firsts.len() - 1].0 - 1));
    assert_eq!(journal.surplus(keep(0), now).unwrap(), all_but_last);

    let aged = Keep {
        age: Some(Duration::from_secs(60)),
        bytes: None,
    };
    assert_eq!(journal.surplus(aged, now).unwrap(), None);
    let past = Duration::from_secs(120);
    let set_on = Moment {
        wall: now.wall.plus(past),
        ..now
    };
    assert_eq!(journal.surplus(aged, set_on).unwrap(), None, "only the clock was moved");
    let later = Moment {
        steady: now.steady.plus(past),
        ..set_on
    };
    assert_eq!(journal.surplus(aged, later).unwrap(), all_but_last);
}

#[tokio::test]
async fn what_is_not_durable_elsewhere_stays() {
    let dir = written(300).await;
    let journal = open(&dir);
    let second = firsts(&journal)[1];
    let within_the_first = Seq(second.0 - 2);
    assert_eq!(journal.remove_upto(within_the_first).unwrap(), Removed::default());
    let removed = journal.remove_upto(second).unwrap();
    assert_eq!(removed.segments, 1, "the second has a record that must stay");
    assert_eq!(*journal.oldest().borrow(), second);
    journal.remove_upto(Seq(u64::MAX)).unwrap();
    assert_eq!(segment_files(&dir).len(), 1, "the last is the writer's");
}

#[tokio::test]
async fn what_is_read_begins_with_the_oldest_that_is_there() {
    let dir = written(300).await;
    let journal = open(&dir);
    let third = firsts(&journal)[2];
    journal.remove_upto(Seq(third.0 - 1)).unwrap();
    for again in [false, true] {
        let journal = if again { open(&dir) } else { Arc::clone(&journal) };
        assert_eq!(*journal.oldest().borrow(), third);
        for after in [0, third.0 - 2, third.0 - 1] {
            assert_eq!(journal.read_after(Seq(after), 1).unwrap()[0].first, third);
        }
        let fence = claimed(&*journal, HOME);
        let next = commit(&journal, fence, "later").await;
        assert_eq!(journal.read_after(Seq(next.0 - 1), 1).unwrap()[0].last(), next);
        journal.close();
    }
}

#[tokio::test]
async fn a_segment_that_retention_took_is_told_from_one_that_is_lost() {
    let dir = written(300).await;
    let journal = open(&dir);
    let firsts = firsts(&journal);
    journal.remove_upto(Seq(firsts[2].0 - 1)).unwrap();
    journal.close();
    let files = segment_files(&dir);
    // A crash during removal may leave a segment behind.
    let left = Segment::new(&dir.path().join("journal"), firsts[1]);
    drop(left.create(0).unwrap());
    let journal = open(&dir);
    assert_eq!(*journal.oldest().borrow(), firsts[1]);
    journal.close();
    fs::remove_file(&left.path).unwrap();
    fs::remove_file(&files[0]).unwrap();
    assert!(matches!(open_error(&dir, small()), JournalError::Damaged { .. }));
    for file in segment_files(&dir) {
        fs::remove_file(file).unwrap();
    }
    assert!(matches!(open_error(&dir, small()), JournalError::Damaged { .. }));
}
