use tempfile::TempDir;

use super::*;
use crate::id::Digest;
use crate::journal::Journal;
use crate::journal::local::Keep;
use crate::journal::testing::{Used, event, flip, segment_files};

async fn filled() -> TempDir {
    let used = Used::new();
    used.journal.put_module(Digest::of(b"module"), b"module").unwrap();
    used.fill().await;
    fs::write(used.dir.path().join("PARTITIONS"), "64\n").unwrap();
    used.close()
}

/// The folder of `filled`, without its first segments.
async fn pruned() -> TempDir {
    let used = Used::open(filled().await);
    let keep = Keep {
        age: None,
        bytes: Some(12_000),
    };
    let surplus = used.journal.surplus(keep, crate::time::Moment::now()).unwrap().unwrap();
    assert!(used.projections.checkpoint().unwrap().unwrap() >= surplus);
    used.journal.remove_upto(surplus).unwrap();
    let dir = used.close();
    assert!(segment_files(dir.path()).len() > 1);
    dir
}

fn examine(dir: &TempDir) -> Report {
    Doctor::open(dir.path()).unwrap().examine().unwrap()
}

/// The only finding of a check; panics if there is another number of them.
#[track_caller]
fn finding(dir: &TempDir) -> Finding {
    let report = examine(dir);
    let [finding] = &report.findings[..] else {
        panic!("{report:#?}")
    };
    finding.clone()
}

fn rebuild(dir: &TempDir) -> Rebuilt {
    Doctor::open(dir.path()).unwrap().rebuild().unwrap()
}

fn salvage(dir: &TempDir) -> Result<String, DoctorError> {
    Doctor::open(dir.path()).unwrap().salvage(Timestamp::now())
}

fn last(dir: TempDir) -> (Seq, TempDir) {
    let used = Used::open(dir);
    (used.projections.applied(), used.close())
}

#[tokio::test]
async fn a_sound_folder_is_sound_and_stays_as_it_is() {
    let dir = filled().await;
    let before = segment_files(dir.path());
    for dir in [dir, pruned().await] {
        let report = examine(&dir);
        assert_eq!(report.findings, []);
        assert!(
            report.notes.iter().any(|note| note.contains("up to record 100")),
            "{report:#?}"
        );
        assert!(salvage(&dir).unwrap().starts_with("Nothing was changed"));
    }
    assert!(before.len() > 3);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Doctor::open(empty.path()), Err(DoctorError::Unfit(..))));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_flipped_bit_is_found_with_its_place_and_cut_out() {
    let dir = filled().await;
    let files = segment_files(dir.path());
    let first_of_second: u64 = files[1].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    // Byte 600 is in or near the payload of the third frame. The segment is not the last, so this cannot be an
    // interrupted write.
    flip(&files[1], 600);
    let found = finding(&dir);
    assert_eq!(found.file, files[1]);
    let offset = found.offset.unwrap();
    assert!((33..=600).contains(&offset), "{offset}");
    assert!(found.mend.contains("--salvage"), "{}", found.mend);
    assert!(
        Doctor::open(dir.path()).unwrap().rebuild().is_err(),
        "not from a damaged log"
    );

    let said = salvage(&dir).unwrap();
    assert_eq!(examine(&dir).findings, []);
    let aside: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("damaged-"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(fs::read_dir(&aside[0]).unwrap().count(), files.len() - 1);
    let (last, dir) = last(dir);
    assert!(last.0 >= first_of_second && last.0 < 100, "{last}");
    let left_out = 100 - last.0 - 1;
    assert!(
        said.contains(&format!("record {last} ")) && said.contains(&format!("{left_out} records")),
        "{said}"
    );
    // The server resumes from there.
    let used = Used::open(dir);
    assert_eq!(used.write(vec![event("{}")]).await, Seq(last.0 + 1));
}

#[tokio::test]
async fn damage_at_the_begin_of_the_log_leaves_an_empty_one() {
    let dir = filled().await;
    flip(&segment_files(dir.path())[0], 9);
    let found = finding(&dir);
    assert!(found.mend.contains("release"), "another format is no damage: {found}");
    assert!(salvage(&dir).unwrap_err().to_string().contains("release"));
    flip(&segment_files(dir.path())[0], 9);
    flip(&segment_files(dir.path())[0], 20);
    assert_eq!(finding(&dir).offset, Some(0));
    salvage(&dir).unwrap();
    let (last, dir) = last(dir);
    assert_eq!((last, examine(&dir).findings), (Seq(0), Vec::new()));
}

#[tokio::test]
async fn projections_that_alone_hold_the_beginning_are_gone_on_from() {
    let dir = pruned().await;
    let files = segment_files(dir.path());
    flip(&files[0], 600);
    assert_eq!(finding(&dir).file, files[0]);
    let said = salvage(&dir).unwrap();
    assert!(
        said.contains("up to record 100") && said.contains(" 0 later records"),
        "{said}"
    );
    assert_eq!(examine(&dir).findings, []);
    let used = Used::open(dir);
    assert_eq!(*used.journal.oldest().borrow(), Seq(101));
    assert_eq!(used.write(vec![event("{}")]).await, Seq(101));
    let dir = used.close();

    flip(&segment_files(dir.path())[0], 20);
    fs::write(dir.path().join("projections.db"), "damaged").unwrap();
    let refused = salvage(&dir).unwrap_err().to_string();
    assert!(refused.contains("backup"), "{refused}");
}

#[tokio::test]
async fn missing_projections_are_found_and_made_again() {
    let dir = filled().await;
    fs::remove_file(dir.path().join("projections.db")).unwrap();
    assert!(finding(&dir).mend.contains("--rebuild"));
    let rebuilt = rebuild(&dir);
    assert_eq!((rebuilt.applied, rebuilt.before), (Seq(100), Before::Missing));
    assert_eq!(examine(&dir).findings, []);

    let ahead = "UPDATE progress SET applied_seq = 100000";
    let connection = rusqlite::Connection::open(dir.path().join("projections.db")).unwrap();
    connection.execute_batch(ahead).unwrap();
    drop(connection);
    assert!(finding(&dir).problem.contains("100000"));

    let dir = pruned().await;
    fs::remove_file(dir.path().join("projections.db")).unwrap();
    assert!(finding(&dir).mend.contains("caxton restore"));
    assert!(Doctor::open(dir.path()).unwrap().rebuild().is_err());
}

/// The names of the files in the folder itself.
fn files(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    let mut names: Vec<_> = files
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_rebuild_replaces_a_sound_file_and_keeps_a_damaged_one() {
    let dir = filled().await;
    let before = files(&dir);
    // An interrupted rebuild left these.
    for name in ["rebuilt.db", "rebuilt.db-wal"] {
        fs::write(dir.path().join(name), "half").unwrap();
    }
    let rebuilt = rebuild(&dir);
    assert_eq!((rebuilt.applied, &rebuilt.before), (Seq(100), &Before::Sound));
    assert!(rebuilt.to_string().contains("was sound"), "{rebuilt}");
    assert_eq!(files(&dir), before);
    assert_eq!(examine(&dir).findings, []);

    fs::write(dir.path().join("projections.db"), "damaged").unwrap();
    let rebuilt = rebuild(&dir);
    let kept_as = dir.path().join("projections.db.damaged");
    assert_eq!(fs::read(&kept_as).unwrap(), b"damaged");
    assert!(rebuilt.to_string().contains(kept_as.to_str().unwrap()), "{rebuilt}");
    let report = examine(&dir);
    assert_eq!(report.findings, []);
    assert!(
        report.notes.iter().any(|note| note.contains("projections.db.damaged")),
        "{report:#?}"
    );
}

#[tokio::test]
async fn every_file_is_looked_at() {
    let dir = filled().await;
    let module = fs::read_dir(dir.path().join("modules"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    flip(&module, 0);
    assert_eq!(finding(&dir).file, module);
    flip(&module, 0);
    fs::write(dir.path().join("PARTITIONS"), "some").unwrap();
    assert!(finding(&dir).file.ends_with("PARTITIONS"));
    fs::write(dir.path().join("PARTITIONS"), "64").unwrap();
    let files = segment_files(dir.path());
    let hidden = dir.path().join("hidden");
    fs::rename(&files[1], &hidden).unwrap();
    assert_eq!(finding(&dir).file, files[2], "it does not follow on the first");
    fs::rename(&hidden, &files[1]).unwrap();
    let foreign = dir.path().join("journal/notes.txt");
    fs::write(&foreign, "").unwrap();
    assert!(examine(&dir).findings.iter().any(|finding| finding.file == foreign));
    fs::remove_file(&foreign).unwrap();
    for other in [2, 7] {
        fs::write(dir.path().join("FORMAT"), format!("{other}\n")).unwrap();
        assert!(
            finding(&dir)
                .problem
                .contains(&format!("format {other}, and this release reads format 3"))
        );
        assert!(finding(&dir).mend.contains("release"));
        assert!(salvage(&dir).is_err());
    }
}

#[tokio::test]
async fn a_write_that_a_crash_cut_off_is_no_finding() {
    let dir = filled().await;
    let files = segment_files(dir.path());
    let whole = fs::read(&files[files.len() - 1]).unwrap();
    fs::write(&files[files.len() - 1], &whole[..whole.len() - 3]).unwrap();
    let report = examine(&dir);
    assert!(
        report.notes.iter().any(|note| note.contains("interrupted")),
        "{report:#?}"
    );
    // The projections still have the records: they were durable here, and the disk lost them.
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.problem.contains("at record 100"))
    );
}

#[tokio::test]
async fn a_folder_in_use_or_absent_is_refused() {
    let used = Used::new();
    let refused = Doctor::open(used.dir.path()).unwrap_err();
    assert!(
        matches!(refused, DoctorError::Journal(JournalError::Locked(_))),
        "{refused}"
    );
    let absent = used.dir.path().join("absent");
    assert!(matches!(Doctor::open(&absent), Err(DoctorError::NoFolder(_))));
    assert!(!absent.exists());
}
