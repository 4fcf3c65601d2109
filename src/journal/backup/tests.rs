use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::id::Digest;
use crate::journal::Journal as _;
use crate::journal::doctor::Doctor;
use crate::journal::testing::{Used, event, flip};

/// A folder in use, a backup of it, and the manifest of that backup.
async fn backed_up() -> (Used, TempDir, Manifest) {
    let used = Used::new();
    used.journal.put_module(Digest::of(b"module"), b"module").unwrap();
    used.fill().await;
    fs::write(used.dir.path().join("PARTITIONS"), "64\n").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let manifest = take_to(&used, &elsewhere.path().join("backup")).unwrap();
    (used, elsewhere, manifest)
}

fn take_to(used: &Used, to: &Path) -> Result<Manifest, BackupError> {
    take(
        &used.journal,
        &used.projections,
        used.dir.path(),
        to,
        &Sealer::ephemeral(),
    )
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, BackupError>, field: &str) -> String {
    match result {
        Err(BackupError::Argument { field: named, problem }) if named == field => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_backup_comes_back_whole() {
    let (used, elsewhere, manifest) = backed_up().await;
    assert_eq!(manifest.seq, Seq(100));
    let backup = elsewhere.path().join("backup");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o700);
    used.write(vec![event("after the backup")]).await;

    let data = tempfile::tempdir().unwrap();
    assert_eq!(restore(&backup, data.path(), None).unwrap(), manifest);
    let report = Doctor::open(data.path()).unwrap().examine().unwrap();
    assert_eq!(report.findings, []);
    let restored = Used::open(data);
    let (was, is) = (
        used.journal.read_after(Seq(0), 1_000),
        restored.journal.read_after(Seq(0), 1_000),
    );
    assert!(was.unwrap()[..100] == is.unwrap()[..]);
    assert_eq!(
        restored.journal.module(Digest::of(b"module")).unwrap().unwrap(),
        b"module".as_slice()
    );
    assert_eq!(restored.write(vec![event("{}")]).await, Seq(101));
}

#[tokio::test]
async fn a_backup_of_a_pruned_log_comes_back() {
    let (used, elsewhere, _) = backed_up().await;
    used.journal.remove_upto(Seq(80)).unwrap();
    let oldest = *used.journal.oldest().borrow();
    assert!(oldest > Seq(1));
    let backup = elsewhere.path().join("second");
    take_to(&used, &backup).unwrap();
    let data = tempfile::tempdir().unwrap();
    restore(&backup, data.path(), None).unwrap();
    assert_eq!(Doctor::open(data.path()).unwrap().examine().unwrap().findings, []);
    let restored = Used::open(data);
    assert_eq!(*restored.journal.oldest().borrow(), oldest);
    assert_eq!(restored.projections.applied(), Seq(100));
}

#[tokio::test]
async fn a_backup_goes_on_beside_writing() {
    let used = Used::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("backup");
    for round in 0..5 {
        used.fill().await;
        let before = used.journal.appended();
        let manifest = std::thread::scope(|scope| {
            let backup = scope.spawn(|| take_to(&used, &to).unwrap());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let used = &used;
            scope
                .spawn(move || {
                    runtime.block_on(async {
                        while !backup.is_finished() {
                            used.write(vec![event("{}")]).await;
                        }
                        backup.join().unwrap()
                    })
                })
                .join()
                .unwrap()
        });
        assert!(manifest.seq >= before, "round {round}");
        let data = tempfile::tempdir().unwrap();
        restore(&to, data.path(), None).unwrap();
        let report = Doctor::open(data.path()).unwrap().examine().unwrap();
        assert_eq!(report.findings.len(), 1, "{report:#?}"); // the folder has no number of partitions
        assert_eq!(Used::open(data).projections.applied(), manifest.seq);
        fs::remove_dir_all(&to).unwrap();
    }
}

#[tokio::test]
async fn a_target_that_cannot_be_used_is_refused_with_the_mend() {
    let (used, elsewhere, _) = backed_up().await;
    let to = |path: &Path| refused(take_to(&used, path), "to");
    assert!(to(Path::new("backup")).contains("absolute"));
    assert!(to(&elsewhere.path().join("backup")).contains("not empty"));
    assert!(to(&elsewhere.path().join("a/b")).contains("does not exist"));
    assert!(to(&used.dir.path().join("backup")).contains("inside the data folder"));
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(used.dir.path(), &link).unwrap();
    assert!(to(&link).contains("inside the data folder"));
    let file = elsewhere.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(to(&file).contains("folder"));
    let full = writing("to", &file)(io::ErrorKind::StorageFull.into());
    assert!(refused(Err::<(), _>(full), "to").contains("room"));
    // A failed backup does not prevent the next one.
    let again = elsewhere.path().join("again");
    let segment = &crate::journal::testing::segment_files(used.dir.path())[0];
    flip(segment, 600);
    let failed = take_to(&used, &again).unwrap_err();
    assert!(
        matches!(failed, BackupError::Journal(JournalError::Damaged { .. })),
        "{failed}"
    );
    assert!(!again.exists());
    flip(segment, 600);
    take_to(&used, &again).unwrap();
}

#[tokio::test]
async fn a_backup_that_is_not_whole_is_not_restored() {
    let (_used, elsewhere, manifest) = backed_up().await;
    let backup = elsewhere.path().join("backup");
    let data = elsewhere.path().join("data");
    for entry in &manifest.files {
        flip(&backup.join(&entry.path), 1);
        let error = restore(&backup, &data, None).unwrap_err();
        assert!(
            matches!(&error, BackupError::Broken { file, .. } if *file == backup.join(&entry.path)),
            "{error}"
        );
        flip(&backup.join(&entry.path), 1);
    }
    let moved = backup.join("moved");
    fs::rename(backup.join(PROJECTIONS), &moved).unwrap();
    assert!(
        restore(&backup, &data, None)
            .unwrap_err()
            .to_string()
            .contains("missing")
    );
    fs::rename(&moved, backup.join(PROJECTIONS)).unwrap();

    let write = |manifest: serde_json::Value| fs::write(backup.join(MANIFEST), manifest.to_string()).unwrap();
    let mut other = serde_json::to_value(&manifest).unwrap();
    for format in [2, 9] {
        other["format"] = format.into();
        write(other.clone());
        let said = refused(restore(&backup, &data, None), "from");
        assert!(
            said.contains(&format!("format {format}, and this release reads format 3")),
            "{said}"
        );
    }
    other["format"] = manifest.format.into();
    for way_out in ["../out", "/etc/passwd", "journal/../../out", "elsewhere/x"] {
        other["files"][1]["path"] = way_out.into();
        write(other.clone());
        let error = restore(&backup, &data, None).unwrap_err().to_string();
        assert!(error.contains(way_out), "{error}");
    }
    fs::remove_file(backup.join(MANIFEST)).unwrap();
    assert!(refused(restore(&backup, &data, None), "from").contains("MANIFEST"));
    assert!(!data.exists(), "nothing was written");

    write(serde_json::to_value(&manifest).unwrap());
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "").unwrap();
    assert!(refused(restore(&backup, &data, None), "data-dir").contains("not empty"));
}

#[tokio::test]
async fn a_backup_with_sealed_values_needs_their_key_and_does_not_contain_it() {
    let used = Used::new();
    used.fill().await;
    let key = local::make_key(used.dir.path()).unwrap();
    key.seal("s3cret", "agent", "TOKEN");
    let elsewhere = tempfile::tempdir().unwrap();
    let backup = elsewhere.path().join("backup");
    let manifest = take(&used.journal, &used.projections, used.dir.path(), &backup, &key).unwrap();
    let file = local::key_file(used.dir.path());
    assert_eq!(
        manifest.key,
        Some(NeededKey {
            id: key.id(),
            file: file.clone()
        })
    );
    assert!(!local::key_file(&backup).exists());

    let data = elsewhere.path().join("data");
    let other = elsewhere.path().join("other");
    local::make_key(elsewhere.path()).unwrap();
    fs::rename(local::key_file(elsewhere.path()), &other).unwrap();
    let absent = elsewhere.path().join("absent");
    let short = elsewhere.path().join("short");
    fs::write(&short, "short").unwrap();
    for key in [None, Some(KeyFile::Copied(&other)), Some(KeyFile::Named(&other))] {
        let said = refused(restore(&backup, &data, key), "key-file");
        assert!(
            said.contains(file.to_str().unwrap()) && said.contains("not in the backup"),
            "{said}"
        );
    }
    let said = refused(restore(&backup, &data, Some(KeyFile::Copied(&absent))), "key-file");
    assert!(said.contains("absent") && said.contains("does not exist"), "{said}");
    let said = restore(&backup, &data, Some(KeyFile::Copied(&short)))
        .unwrap_err()
        .to_string();
    assert!(said.contains("5 bytes") && said.contains("32"), "{said}");
    assert!(!data.exists(), "nothing was written");

    restore(&backup, &data, Some(KeyFile::Named(&file))).unwrap();
    assert!(!local::key_file(&data).exists(), "it stays where it is");
    fs::remove_dir_all(&data).unwrap();
    restore(&backup, &data, Some(KeyFile::Copied(&file))).unwrap();
    let copied = local::key_file(&data);
    assert_eq!(local::read_key(&copied).unwrap().unwrap().id(), key.id());
    assert_eq!(fs::metadata(&copied).unwrap().permissions().mode() & 0o777, 0o600);
}
