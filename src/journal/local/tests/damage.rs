//! Damaged segments: an interrupted write is cut off, and other damage is reported.

use proptest::prelude::*;

use super::super::segment::{FRAME_HEADER_BYTES, HEADER_BYTES};
use super::append::held_back;
use super::*;

/// The offsets of a segment's frames, and the end of the last one.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut at = HEADER_BYTES;
    let mut places = vec![at];
    while bytes.len() > at + FRAME_HEADER_BYTES {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if length == 0 {
            break;
        }
        at += FRAME_HEADER_BYTES + length;
        places.push(at);
    }
    places
}

#[tokio::test]
async fn a_torn_tail_is_cut_at_whatever_byte() {
    let dir = written(3).await;
    let file = &segment_files(&dir)[0];
    let whole = fs::read(file).unwrap();
    let places = frames(&whole);
    let [.., last, end] = places[..] else {
        panic!("{places:?}")
    };
    assert_eq!(end, whole.len(), "a closed journal ends with its last frame");
    for cut in last..end {
        for zeros in [0, 700] {
            let mut torn = whole[..cut].to_vec();
            torn.resize(cut + zeros, 0);
            fs::write(file, &torn).unwrap();
            let journal = open(&dir);
            assert_eq!(texts(&journal), ["event 0", "event 1"], "cut at {cut}");
            let fence = claimed(&*journal, HOME);
            assert_eq!(commit(&journal, fence, "again").await, Seq(3));
            drop(journal);
            assert_eq!(texts(&open(&dir)), ["event 0", "event 1", "again"], "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_before_durable_batches_is_damage() {
    let dir = written(3).await;
    let file = &segment_files(&dir)[0];
    let whole = fs::read(file).unwrap();
    let places = frames(&whole);
    for at in places[1]..places[2] {
        for bit in [0, 5] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs::write(file, &bytes).unwrap();
            let error = open_error(&dir, small());
            let JournalError::Damaged {
                file: named, offset, ..
            } = error
            else {
                panic!("{error}")
            };
            assert_eq!(
                (named, offset),
                (file.display().to_string(), places[1] as u64),
                "flipped at {at}"
            );
        }
    }
    let mut bytes = whole.clone();
    bytes[places[1]..places[2]].fill(0);
    fs::write(file, &bytes).unwrap();
    assert!(
        matches!(open_error(&dir, small()), JournalError::Damaged { .. }),
        "zeros are no end when more follows"
    );
    let mut bytes = whole.clone();
    bytes[9] = 2;
    fs::write(file, &bytes).unwrap();
    assert!(matches!(open_error(&dir, small()), JournalError::UnknownFormat { .. }));
    bytes = whole.clone();
    bytes[15] ^= 1;
    fs::write(file, &bytes).unwrap();
    assert!(matches!(
        open_error(&dir, small()),
        JournalError::Damaged { offset: 0, .. }
    ));
}

#[tokio::test]
async fn a_group_that_a_crash_wrote_in_part_is_cut_whole() {
    // A disk may write the second block of a group and not the first. Neither was reported durable.
    let dir = tempfile::tempdir().unwrap();
    let (hooks, go) = held_back(|_| Ok(()));
    let journal = LocalJournal::open_with(dir.path(), small(), hooks).unwrap();
    let fence = claimed(&*journal, HOME);
    append(&journal, fence, vec![event("first group")]).await;
    // The writer must be in its sync before the others are queued, so that they form one group.
    while !journal.shared.state.lock().queue.is_empty() {
        tokio::task::yield_now().await;
    }
    for n in 0..3 {
        append(&journal, fence, vec![event(&format!("second group {n}"))]).await;
    }
    go.send(()).unwrap();
    drop(journal);
    let file = &segment_files(&dir)[0];
    let mut bytes = fs::read(file).unwrap();
    let place = frames(&bytes)[1];
    bytes[place + 30] ^= 1;
    fs::write(file, &bytes).unwrap();
    assert_eq!(texts(&open(&dir)), ["first group"]);
}

#[tokio::test]
async fn segments_follow_on_one_another() {
    let dir = written(300).await;
    let files = segment_files(&dir);
    assert!(files.len() > 3, "{files:?}");
    let journal = LocalJournal::open(
        dir.path(),
        LocalOptions {
            check: Check::Everything,
            ..small()
        },
    )
    .unwrap();
    for after in 0..=300 {
        let batches = journal.read_after(Seq(after), 10).unwrap();
        let firsts: Vec<u64> = batches.iter().map(|batch| batch.first.0).collect();
        assert_eq!(firsts, (after + 1..=300).take(10).collect::<Vec<_>>());
    }
    assert_eq!(journal.read_after(Seq(1_000), 10).unwrap(), []);
    drop(journal);

    let whole = fs::read(&files[1]).unwrap();
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    fs::write(&files[1], &bytes).unwrap();
    let damaged = |error| matches!(error, JournalError::Damaged { file, .. } if file == files[1].display().to_string());
    assert!(damaged(open_error(
        &dir,
        LocalOptions {
            check: Check::Everything,
            ..small()
        }
    )));
    let journal = open(&dir);
    assert!(damaged(
        journal.read_after(Seq(0), 1_000).expect_err("must not read over it")
    ));
    assert_eq!(
        journal.read_after(Seq(290), 1_000).unwrap().len(),
        10,
        "the end is read without it"
    );
    drop(journal);

    fs::remove_file(&files[1]).unwrap();
    let journal = open(&dir);
    assert!(
        matches!(journal.read_after(Seq(0), 1_000), Err(JournalError::Damaged { .. })),
        "a gap"
    );
    drop(journal);
    fs::remove_file(&files[0]).unwrap();
    assert!(
        matches!(open_error(&dir, small()), JournalError::Damaged { .. }),
        "no beginning"
    );
}

#[tokio::test]
async fn a_batch_larger_than_a_segment_is_taken() {
    let dir = written(1).await;
    let journal = open(&dir);
    let fence = claimed(&*journal, HOME);
    commit(&journal, fence, &"x".repeat(50_000)).await;
    commit(&journal, fence, "y").await;
    drop(journal);
    assert_eq!(texts(&open(&dir)).len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn any_damage_is_answered(at: prop::sample::Index, bytes in prop::collection::vec(any::<u8>(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = runtime.block_on(written(5));
        let file = &segment_files(&dir)[0];
        let mut whole = fs::read(file).unwrap();
        let at = at.index(whole.len());
        let end = whole.len().min(at + bytes.len());
        whole[at..end].copy_from_slice(&bytes[..end - at]);
        fs::write(file, whole).unwrap();
        if let Ok(journal) = LocalJournal::open(dir.path(), small()) {
            let read = texts(&journal);
            let expected: Vec<String> = (0..5).map(|n| format!("event {n}")).collect();
            prop_assert!(expected.starts_with(&read));
        }
    }
}
