//! The lock, the format and the modules.

use super::*;

#[test]
fn a_second_server_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir);
    let error = open_error(&dir, small());
    assert!(
        matches!(&error, JournalError::Locked(folder) if *folder == dir.path().display().to_string()),
        "{error}"
    );
    first.close();
    open(&dir);
}

#[test]
fn a_folder_of_another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    for other in [2, 7] {
        fs::write(dir.path().join("FORMAT"), format!("{other}\n")).unwrap();
        let error = open_error(&dir, small());
        assert!(
            matches!(error, JournalError::UnknownFormat { found, known: FORMAT } if found == other),
            "{error}"
        );
        let said = error.to_string();
        for part in [
            &format!("format {other},"),
            "format 3;",
            "nothing migrates",
            "new data folder",
            "release that wrote it",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
    fs::remove_file(dir.path().join("FORMAT")).unwrap();
    assert!(matches!(open_error(&dir, small()), JournalError::Damaged { .. }));
}

#[tokio::test]
async fn the_number_of_partitions_is_fixed_when_the_folder_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir);
    journal.fix_partitions(8).unwrap();
    journal.fix_partitions(8).unwrap();
    let file = dir.path().join("PARTITIONS");
    assert_eq!(fs::read_to_string(&file).unwrap(), "8\n");
    let other = journal.fix_partitions(4);
    assert!(
        matches!(other, Err(JournalError::Partitions { made: 8, asked: 4 })),
        "{other:?}"
    );
    for damage in ["", "eight\n"] {
        fs::write(&file, damage).unwrap();
        let damaged = journal.fix_partitions(8);
        assert!(matches!(damaged, Err(JournalError::Damaged { .. })), "{damaged:?}");
    }
    // A crash before the file was written: there are no records, so no agent has a partition yet.
    fs::remove_file(&file).unwrap();
    journal.fix_partitions(16).unwrap();
    fs::remove_file(&file).unwrap();
    let fence = claimed(&*journal, HOME);
    append(&journal, fence, vec![event("x")]).await;
    let lost = journal.fix_partitions(16);
    assert!(matches!(lost, Err(JournalError::Damaged { .. })), "{lost:?}");
}

#[test]
fn drafts_that_a_crash_left_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let draft = dir.path().join("journal").join(format!("{:020}.new", 9));
    let module = dir.path().join("modules").join(".tmp1");
    fs::write(&draft, "half").unwrap();
    fs::write(&module, "half").unwrap();
    drop(open(&dir));
    assert!(!draft.exists() && !module.exists());
}

#[test]
fn modules_are_kept_by_digest() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir);
    let digest = Digest::of(b"module");
    assert_eq!(journal.module(digest).unwrap(), None);
    journal.put_module(digest, b"module").unwrap();
    journal.put_module(digest, b"module").unwrap();
    drop(journal);
    let journal = open(&dir);
    assert_eq!(journal.module(digest).unwrap().unwrap(), b"module".as_slice());
    let hex = digest.to_string().replace("sha256:", "");
    let file = dir.path().join("modules").join(format!("{hex}.wasm"));
    fs::write(file, "other").unwrap();
    assert!(matches!(journal.module(digest), Err(JournalError::Damaged { .. })));
    journal.put_module(digest, b"module").unwrap();
    assert!(journal.module(digest).unwrap().is_some(), "putting it again mends it");
}

#[test]
fn modules_that_nobody_uses_go_unless_they_were_put_just_now() {
    let dir = tempfile::tempdir().unwrap();
    let idle = Duration::from_secs(60);
    let [used, unused] = [b"used", b"gone"].map(|module| {
        let journal = open(&dir);
        journal.put_module(Digest::of(module), module).unwrap();
        Digest::of(module)
    });
    fs::write(dir.path().join("modules/note.txt"), "not ours").unwrap();
    let journal = open(&dir);
    let later = Instant::now() + idle;
    let remove = |now| journal.remove_modules(&HashSet::from([used]), idle, now).unwrap();
    journal.put_module(unused, b"gone").unwrap();
    assert_eq!(remove(Instant::now()), 0, "it may be deployed in a moment");
    assert_eq!(remove(later + idle), 1);
    assert_eq!(journal.module(unused).unwrap(), None);
    assert!(journal.module(used).unwrap().is_some());
    journal.put_module(unused, b"gone").unwrap();
    assert!(journal.module(unused).unwrap().is_some(), "it can come back");
    assert!(dir.path().join("modules/note.txt").exists());
}

#[cfg(unix)]
#[test]
fn the_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b");
    drop(LocalJournal::open(&data, small()).unwrap());
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}
