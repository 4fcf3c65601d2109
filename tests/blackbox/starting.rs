//! Starts of the server: what it takes for its data folder, its addresses and its environment, and what it says of itself.

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{TestNode, caxton, until};
use crate::operations::{bad, good, run};

const FREE: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"];

/// Runs a server that refuses to start.
async fn refused(data: &Path, more: &[&str]) -> String {
    let mut arguments = FREE.to_vec();
    arguments.extend(["--data-dir", data.to_str().unwrap()]);
    arguments.extend(more);
    bad(&run(&arguments).await)
}

/// The names in a folder, and its mode.
fn content(dir: &Path) -> (Vec<PathBuf>, u32) {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    (names, fs::metadata(dir).unwrap().mode())
}

#[tokio::test]
async fn a_folder_with_the_files_of_others_is_refused_and_stays_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("shared");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("letter"), "to somebody").unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o1777)).unwrap();
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    let before = content(&folder);
    for dir in [&folder, &link] {
        let said = refused(dir, &[]).await;
        assert!(said.contains("letter") && said.contains("--data-dir"), "{said}");
        assert!(said.contains(dir.to_str().unwrap()), "{said}");
        let checked = run(&["doctor", "--data-dir", dir.to_str().unwrap()]).await;
        assert_eq!(checked.status.code(), Some(2), "{checked:?}");
        assert_eq!(content(&folder), before);
    }
    fs::remove_file(folder.join("letter")).unwrap();
    let said = refused(&folder, &[]).await;
    assert!(said.contains("other users may write"), "{said}");
    assert_eq!(content(&folder), (vec![], before.1));
}

#[tokio::test]
async fn a_backup_is_no_data_folder_and_a_shared_folder_takes_no_backup_and_no_restore() {
    let node = TestNode::start().await;
    let parent = tempfile::tempdir().unwrap();
    let backup = parent.path().join("backup");
    let shared = parent.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    let (to, shared) = (backup.to_str().unwrap(), shared.to_str().unwrap());
    good(&run(&["backup", "--to", to, "--server", node.base()]).await);
    let before = content(&backup);
    let said = refused(&backup, &[]).await;
    assert!(
        said.contains("is a backup") && said.contains("caxton restore"),
        "{said}"
    );
    assert_eq!(content(&backup), before);
    for arguments in [
        ["backup", "--to", shared, "--server", node.base()],
        ["restore", "--from", to, "--data-dir", shared],
    ] {
        let said = bad(&run(&arguments).await);
        assert!(said.contains("other users may write"), "{said}");
        assert_eq!(content(Path::new(shared)).1 & 0o7777, 0o1777);
    }
}

#[tokio::test]
async fn an_address_in_use_is_named_with_the_mend_and_nothing_is_made() {
    let parent = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = parent.path().join("data");
    for option in ["--listen", "--grpc-listen"] {
        let other = if option == "--listen" {
            "--grpc-listen"
        } else {
            "--listen"
        };
        let data = folder.to_str().unwrap();
        let arguments = ["serve", option, &address, other, "127.0.0.1:0", "--data-dir", data];
        let said = bad(&run(&arguments).await);
        for part in [&address, option, "another program", "port 0"] {
            assert!(said.contains(part), "`{part}` is missing: {said}");
        }
        assert!(!said.contains("os error"), "{said}");
        assert!(!folder.exists());
    }
    let same = ["serve", "--listen", &address, "--grpc-listen", &address];
    assert!(bad(&run(&same).await).contains("grpc_listen"));
}

fn with_variables(mut command: Command) -> Command {
    command
        .env("CAXTON_PORT", "tcp://10.0.0.1:8080")
        .env("CAXTON_SERVICE_HOST", "10.0.0.1")
        .env("CAXTON_PORT_8080_TCP", "tcp://10.0.0.1:8080")
        .env("CAXTON_LIMITS__OPERATIONS", "7");
    command
}

#[tokio::test]
async fn variables_of_others_with_the_same_prefix_are_passed_over_and_named_once() {
    let node = TestNode::start_changed("", with_variables).await;
    let log = node.logged();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("CAXTON_")).collect();
    let [warning] = warnings[..] else { panic!("{log}") };
    for name in ["CAXTON_PORT", "CAXTON_SERVICE_HOST", "CAXTON_PORT_8080_TCP"] {
        assert!(warning.contains(name), "{warning}");
    }
    assert!(!warning.contains("OPERATIONS"), "{warning}");
}

#[tokio::test]
async fn the_log_begins_with_what_an_operator_wants_to_know() {
    let node = TestNode::start().await;
    let log = node.logged();
    let data = node.data_dir();
    for part in [
        concat!("caxton ", env!("CARGO_PKG_VERSION")),
        data.to_str().unwrap(),
        node.base(),
        node.grpc().trim_start_matches("http://"),
        "/openapi.json",
        "/metrics",
    ] {
        assert!(log.contains(part), "`{part}` is missing: {log}");
    }
    let memory = TestNode::start_with("durability = \"memory\"").await;
    assert!(memory.logged().contains("keeps nothing"), "{}", memory.logged());
}

#[tokio::test]
async fn a_check_that_cannot_be_made_has_a_status_of_its_own() {
    let node = TestNode::start().await;
    let data = node.data_dir();
    let absent = data.join("absent");
    let unchecked: [(&[&str], &str); 4] = [
        (&["doctor", "--data-dir", data.to_str().unwrap()], "another server uses"),
        (&["doctor", "--data-dir", absent.to_str().unwrap()], "there is no"),
        (&["agent", "validate", absent.to_str().unwrap()], "cannot read"),
        (&["doctor"], "--data-dir"),
    ];
    for (arguments, why) in unchecked {
        let Output { status, stderr, .. } = run(arguments).await;
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn the_addresses_go_into_a_fifo_that_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("addresses");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut server = caxton();
    server.args(FREE).arg("--data-dir").arg(folder.path().join("data"));
    let mut server = server.arg("--addr-file").arg(&fifo).spawn().unwrap();
    let reader = fifo.clone();
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        File::open(reader).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    let addresses: Value = serde_json::from_str(&text.await.unwrap()).unwrap();
    assert!(addresses["rest"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
    let pid = server.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = until("the server ends", async || server.try_wait().unwrap()).await;
    assert!(status.success());
}

#[tokio::test]
async fn a_folder_for_the_addresses_is_refused_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let said = refused(&data, &["--addr-file", folder.path().to_str().unwrap()]).await;
    assert!(said.contains("--addr-file") && said.contains("a folder"), "{said}");
    assert!(!data.exists());
}
