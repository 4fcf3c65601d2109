//! Backup, restore, doctor and retention, by the commands of an operator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::client::request;
use crate::harness::{TestNode, caxton, until};
use crate::socket::Socket;

/// Runs the program until it ends.
pub(crate) async fn run(arguments: &[&str]) -> Output {
    let mut command = caxton();
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// Both outputs, as text.
fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[track_caller]
pub(crate) fn good(output: &Output) -> String {
    let said = said(output);
    assert!(output.status.success(), "{said}");
    said
}

/// The output of a program that ended with status 1.
#[track_caller]
pub(crate) fn bad(output: &Output) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

async fn doctor(data: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["doctor", "--data-dir", data.to_str().unwrap()];
    arguments.extend(more);
    run(&arguments).await
}

async fn serve_is_refused(data: &Path) -> String {
    let data = data.to_str().unwrap();
    let free = "127.0.0.1:0";
    bad(&run(&["serve", "--listen", free, "--grpc-listen", free, "--data-dir", data]).await)
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("journal")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The status of every message in the history, by id.
async fn standing(node: &TestNode) -> Vec<(String, Value)> {
    let mut messages: Vec<_> = node
        .history("")
        .await
        .into_iter()
        .map(|message| {
            (
                message["message_id"].as_str().unwrap().to_owned(),
                message["status"].clone(),
            )
        })
        .collect();
    messages.sort_by(|a, b| a.0.cmp(&b.0));
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_brings_back_all_that_was_acknowledged_before_it() {
    let node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    node.deploy("echo", "echo").await;
    assert_eq!(node.told("counter", &json!({})).await, 1);
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop) = (node.client(), stop.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                while !stop.load(Ordering::Acquire) {
                    acknowledged.push(client.send("echo", &json!({"n": acknowledged.len()})).await);
                }
                acknowledged
            })
        })
        .collect();
    assert_eq!(node.told("counter", &json!({})).await, 2);
    let mut before = Vec::new();
    for n in 0..20 {
        before.push(node.send("echo", &json!({"before": n})).await);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let backup = elsewhere.path().join("backup");
    let to = backup.to_str().unwrap();
    let made = good(&run(&["backup", "--to", to, "--server", node.base()]).await);
    stop.store(true, Ordering::Release);
    for load in loads {
        assert!(!load.await.unwrap().is_empty());
    }
    assert_eq!(node.told("counter", &json!({})).await, 3, "the server goes on");

    let data = elsewhere.path().join("data");
    let restored = good(&run(&["restore", "--from", to, "--data-dir", data.to_str().unwrap()]).await);
    let record = |said: &str| {
        said.split("up to record ")
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(record(&made), record(&restored), "{made}{restored}");
    good(&doctor(&data, &[]).await);
    let again = TestNode::start_on(&data).await;
    assert_eq!(
        again.told("counter", &json!({})).await,
        3,
        "its state is as of the backup"
    );
    for id in before {
        let message = again.until_settled(&id).await;
        assert_eq!(message["status"], "processed", "{message:#}");
    }
    let there = again.data_dir();
    let full = run(&["restore", "--from", to, "--data-dir", there.to_str().unwrap()]).await;
    assert!(bad(&full).contains("not empty"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_to_a_wrong_place_is_refused_with_its_field() {
    let node = TestNode::start().await;
    let backup = async |to: &Value| node.post("/api/v1/system/backup", &json!({"to": to})).await;
    let inside = node.data_dir().join("backup");
    for (to, mend) in [
        (json!("relative/path"), "absolute"),
        (json!(node.data_dir()), "inside the data folder"),
        (json!(inside), "inside the data folder"),
        (json!("/does/not/exist"), "does not exist"),
        (json!(7), "string"),
    ] {
        let error = backup(&to).await.refused(400, "INVALID_REQUEST");
        assert_eq!(error["details"]["field"], "to", "{error:#}");
        assert!(error["message"].as_str().unwrap().contains(mend), "{error:#}");
    }
    let nobody = run(&["backup", "--to", "/nowhere", "--server", "http://127.0.0.1:1"]).await;
    assert!(bad(&nobody).contains("--server"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_nothing_has_nothing_to_back_up() {
    let node = TestNode::start_with("durability = \"memory\"").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("backup");
    let answer = node.post("/api/v1/system/backup", &json!({"to": to})).await;
    answer.refused(409, "CONFLICT");
    assert!(!to.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_sound_is_said_to_be_and_a_missing_module_is_found() {
    let mut node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    node.told("echo", &json!(1)).await;
    node.kill_nine();
    let sound = good(&doctor(&node.data_dir(), &[]).await);
    assert!(sound.contains("sound"), "{sound}");
    let modules = node.data_dir().join("modules");
    let module = fs::read_dir(&modules).unwrap().next().unwrap().unwrap().path();
    fs::rename(&module, modules.join("away")).unwrap();
    let found = bad(&doctor(&node.data_dir(), &[]).await);
    assert!(
        found.contains(module.to_str().unwrap()) && found.contains("'echo'"),
        "{found}"
    );
    fs::rename(modules.join("away"), &module).unwrap();
    node.restart().await;
    assert_eq!(node.told("echo", &json!(2)).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_stops_the_server_and_a_salvage_keeps_what_was_before() {
    let mut node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let early = node.send("echo", &json!({"n": "early"})).await;
    node.until_settled(&early).await;
    assert!(node.terminate().await.success());
    let segment = segments(&node.data_dir())[0].clone();
    let place = fs::metadata(&segment).unwrap().len();
    node.restart().await;
    let mut late = Vec::new();
    for n in 0..20 {
        late.push(node.send("echo", &json!({"n": n})).await);
    }
    node.until_settled(late.last().unwrap()).await;
    node.kill_nine();

    let mut bytes = fs::read(&segment).unwrap();
    bytes[usize::try_from(place).unwrap() + 40] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let found = bad(&doctor(&node.data_dir(), &[]).await);
    let named = format!("{} at byte {place}", segment.display());
    assert!(found.contains(&named) && found.contains("--salvage"), "{found}");
    let refused = serve_is_refused(&node.data_dir()).await;
    assert!(
        refused.contains(&format!("at byte {place}"))
            && refused.contains("caxton doctor")
            && refused.contains("--salvage"),
        "{refused}"
    );

    let salvaged = good(&doctor(&node.data_dir(), &["--salvage"]).await);
    assert!(
        salvaged.contains("damaged-") && salvaged.contains("left out"),
        "{salvaged}"
    );
    node.restart().await;
    let kept = node.get(&format!("/api/v1/messages/{early}")).await.good();
    assert_eq!(kept["status"], "processed");
    for id in late {
        node.get(&format!("/api/v1/messages/{id}"))
            .await
            .refused(404, "MESSAGE_NOT_FOUND");
    }
    assert_eq!(node.told("echo", &json!("goes on")).await, "goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_a_crash_interrupted_is_cut_off_and_told_in_the_log() {
    let mut node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    assert!(node.terminate().await.success());
    let segment = segments(&node.data_dir())[0].clone();
    let mut bytes = fs::read(&segment).unwrap();
    let place = bytes.len();
    // Only the head of a frame.
    bytes.extend([9, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
    fs::write(&segment, bytes).unwrap();
    let sound = good(&doctor(&node.data_dir(), &[]).await);
    assert!(
        sound.contains("interrupted") && sound.contains(&format!("byte {place}")),
        "{sound}"
    );
    node.restart().await;
    assert_eq!(node.told("echo", &json!("here")).await, "here");
    let log = node.logged();
    assert!(
        log.contains("cut off a write") && log.contains(segment.to_str().unwrap()),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_that_are_gone_are_made_again_by_the_server_and_by_the_doctor() {
    let mut node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    node.deploy("counter", "counter").await;
    for n in 0..10 {
        node.told("echo", &json!(n)).await;
        node.told("counter", &json!({})).await;
    }
    let before = standing(&node).await;
    assert!(before.len() >= 40);
    for by_the_doctor in [false, true] {
        assert!(node.terminate().await.success());
        fs::remove_file(node.data_dir().join("projections.db")).unwrap();
        let found = bad(&doctor(&node.data_dir(), &[]).await);
        assert!(
            found.contains("projections.db") && found.contains("--rebuild"),
            "{found}"
        );
        if by_the_doctor {
            good(&doctor(&node.data_dir(), &["--rebuild"]).await);
        }
        node.restart().await;
        assert_eq!(standing(&node).await, before);
    }
    assert_eq!(node.told("counter", &json!({})).await, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_an_unknown_format_is_refused_with_the_mend() {
    let mut node = TestNode::start().await;
    assert!(node.terminate().await.success());
    for format in ["format 2,", "format 99,"] {
        let number = format.trim_matches(|c: char| !c.is_ascii_digit());
        fs::write(node.data_dir().join("FORMAT"), format!("{number}\n")).unwrap();
        let found = bad(&doctor(&node.data_dir(), &[]).await);
        let refused = serve_is_refused(&node.data_dir()).await;
        for said in [found, refused] {
            assert!(said.contains(format) && said.contains("release"), "{said}");
            assert!(said.contains("format 3") && said.contains("new data folder"), "{said}");
        }
        bad(&doctor(&node.data_dir(), &["--salvage"]).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_takes_old_segments_and_nothing_that_lives() {
    let mut node = TestNode::start_with("[retention]\nage = \"1s\"\nsegment = \"64KiB\"\n").await;
    node.deploy("counter", "counter").await;
    node.deploy("sleeper", "echo").await;
    assert_eq!(node.told("counter", &json!({})).await, 1);
    node.post("/api/v1/agents/sleeper/suspend", &json!({})).await.good();
    let waiting = node.send("sleeper", &json!("are you there?")).await;
    let mut history = vec![waiting.clone()];
    let text = "x".repeat(20_000);
    for n in 0..20 {
        let message = request("counter", &json!({"n": n, "text": text}));
        let sent = node.post("/api/v1/messages", &message).await.good();
        history.push(sent["message_id"].as_str().unwrap().to_owned());
    }
    let data = node.data_dir();
    until("the first segments go", async || {
        let files = segments(&data);
        (files.len() == 1 && !files[0].ends_with("00000000000000000001.log")).then_some(())
    })
    .await;
    node.kill_nine();
    let sound = good(&doctor(&data, &[]).await);
    assert!(sound.contains("begins with record"), "{sound}");
    let refused = bad(&doctor(&data, &["--rebuild"]).await);
    assert!(
        refused.contains("begins with record") && refused.contains("backup"),
        "{refused}"
    );

    node.restart().await;
    assert_eq!(node.told("counter", &json!({})).await, 22, "its state is there");
    for id in &history {
        assert_eq!(
            node.get(&format!("/api/v1/messages/{id}")).await.good()["message_id"],
            **id
        );
    }
    node.post("/api/v1/agents/sleeper/resume", &json!({})).await.good();
    assert_eq!(node.until_settled(&waiting).await["status"], "processed");

    // A subscriber that resumes before the oldest record is told which records are missing.
    let mut socket = Socket::open(&node).await;
    socket.subscribe(&json!({"events": ["*"], "since_seq": 0})).await;
    let gap = socket.until("gap", |_| true).await;
    assert_eq!(gap["from"], 1);
    assert!(gap["to"].as_u64().unwrap() > 20, "{gap}");
    let next = socket.next().await;
    assert!(next["seq"].as_u64() > gap["to"].as_u64(), "{next}");
}
