//! Environment variables: only the agent that they are declared for can read them.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::guests;
use crate::harness::TestNode;
use crate::operations::{bad, good, run};
use crate::socket::Socket;

const SECRET: &str = "correct-horse-battery-staple";

fn config(permissions: &Value) -> Value {
    json!({
        "name": "keeper",
        "environment": {"TOKEN": format!("\"{SECRET}\""), "REGION": "eu"},
        "permissions": permissions,
    })
}

#[tokio::test]
async fn an_agent_has_its_variables_over_a_restart_and_nothing_else_shows_their_values() {
    let mut node = TestNode::start().await;
    let mut socket = Socket::subscribed(&node, &["*"]).await;
    let deployed = node
        .try_deploy(&config(&json!({"environment": true})), guests::variable())
        .await
        .good();
    assert_eq!(node.told("keeper", &json!(null)).await, SECRET);
    let event = socket.until("agent.deployed", |_| true).await;
    node.kill_nine();
    node.restart().await;
    let details = node.agent("keeper").await;
    assert_eq!(
        details["config"]["environment"],
        json!({"TOKEN": "********", "REGION": "********"})
    );
    assert_eq!(node.told("keeper", &json!(null)).await, SECRET);
    // The agent itself may send the value: its reply is in the history. Nothing else that can be read has it.
    let mut shown = vec![deployed, event, details];
    for path in [
        "/api/v1/agents",
        "/api/v1/supervision/tree",
        "/api/v1/supervision/events",
    ] {
        shown.push(node.get(path).await.good());
    }
    for answer in shown {
        assert!(!answer.to_string().contains(SECRET), "{answer:#}");
    }
    assert!(!node.logged().contains(SECRET));
}

#[tokio::test]
async fn variables_need_the_permission() {
    let node = TestNode::start().await;
    node.try_deploy(&config(&json!({})), guests::variable()).await.good();
    let reply = node.ask("keeper", &json!(null)).await;
    assert_eq!(reply["performative"], "failure", "{reply:#}");
    let other = json!({"name": "other", "permissions": {"environment": true}});
    node.try_deploy(&other, guests::variable()).await.good();
    assert_eq!(node.told("other", &json!(null)).await, Value::Null, "it has none");
}

#[tokio::test]
async fn what_is_wrong_with_a_variable_is_told_without_its_value() {
    let node = TestNode::start().await;
    let wrong = [
        json!({"TO KEN": SECRET}),
        json!({"TOKEN": [SECRET]}),
        json!({"TOKEN": SECRET.repeat(3_000)}),
    ];
    for environment in wrong {
        let config = json!({"name": "keeper", "environment": environment});
        let answer = node.try_deploy(&config, guests::variable()).await;
        let error = answer.refused(400, "INVALID_REQUEST");
        assert_eq!(error["details"]["field"], "config.environment", "{error:#}");
        assert!(!error.to_string().contains(SECRET), "{error:#}");
    }
    assert_eq!(node.agent_ids().await, [""; 0]);
    assert!(!node.logged().contains(SECRET));
}

/// The text as it could stand in a file: in clear, and as each of the three runs of base64 that it can be in.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let base64 = |before: usize| {
        let encoded = BASE64.encode([&vec![0; before], text.as_bytes()].concat());
        // The first and the last digits have bits of what is beside the text.
        encoded.as_bytes()[4..encoded.len() - 4].to_vec()
    };
    std::iter::once(text.into()).chain((0..3).map(base64)).collect()
}

/// The files below a folder that have the text in them in any form, and how many files there are.
fn search(folder: &Path, text: &str) -> (Vec<String>, usize) {
    let (mut found, mut files) = (Vec::new(), 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let below = search(&path, text);
            found.extend(below.0);
            files += below.1;
            continue;
        }
        files += 1;
        let mut bytes = fs::read(&path).unwrap();
        // The log has room ahead.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
        let has = |form: &Vec<u8>| bytes.windows(form.len()).any(|window| window == form);
        if forms(text).iter().any(has) {
            found.push(path.display().to_string());
        }
    }
    (found, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_a_data_folder_or_a_backup_has_a_value_in_clear_and_none_is_lost() {
    let mut node = TestNode::start().await;
    let permissions = json!({"environment": true});
    node.try_deploy(&config(&permissions), guests::variable()).await.good();
    // The document is written again, and the agent comes back from it.
    for verb in ["suspend", "resume"] {
        let path = format!("/api/v1/agents/keeper/{verb}");
        node.post(&path, &json!({})).await.good();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let backup = elsewhere.path().join("backup");
    let to = backup.to_str().unwrap();
    let made = good(&run(&["backup", "--to", to, "--server", node.base()]).await);
    let key = node.data_dir().join("key");
    assert!(
        made.contains(key.to_str().unwrap()) && made.contains("not in it"),
        "{made}"
    );
    for killed in [true, false] {
        for folder in [&node.data_dir(), &backup] {
            let (found, files) = search(folder, SECRET);
            assert!(files >= 5, "{files} files in {}", folder.display());
            assert_eq!(found, [""; 0]);
        }
        // After an end in order, too: it moves what is in the write-ahead log of the projections.
        if killed {
            assert!(node.terminate().await.success());
        }
    }
    // The search finds what is there: the log and the projections have the agent's name.
    let (named, _) = search(&node.data_dir(), "\"name\":\"keeper\"");
    assert!(named.len() >= 2, "{named:?}");
    node.restart().await;
    assert_eq!(node.told("keeper", &json!(null)).await, SECRET);

    // A backup needs the key.
    let data = elsewhere.path().join("data");
    let restore = ["restore", "--from", to, "--data-dir", data.to_str().unwrap()];
    let refused = bad(&run(&restore).await);
    assert!(
        refused.contains("--key-file") && refused.contains(key.to_str().unwrap()),
        "{refused}"
    );
    let with_key = [&restore[..], &["--key-file", key.to_str().unwrap()]].concat();
    good(&run(&with_key).await);
    let again = TestNode::start_on(&data).await;
    assert_eq!(again.told("keeper", &json!(null)).await, SECRET);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_right_key_is_refused_with_the_file() {
    let mut node = TestNode::start().await;
    let permissions = json!({"environment": true});
    node.try_deploy(&config(&permissions), guests::variable()).await.good();
    assert!(node.terminate().await.success());
    let (data, key) = (node.data_dir(), node.data_dir().join("key"));
    let aside = data.with_file_name("key-aside");
    fs::rename(&key, &aside).unwrap();
    let mut said = Vec::new();
    for other in [None, Some([7; 32])] {
        if let Some(other) = other {
            fs::write(&key, other).unwrap();
        }
        assert_eq!(node.restart_in_vain().await.code(), Some(1));
        said.push(node.logged());
        let doctor = run(&["doctor", "--data-dir", data.to_str().unwrap()]).await;
        said.push(bad(&doctor));
        assert_eq!(key.exists(), other.is_some(), "no other key is made in its place");
    }
    for said in said {
        let named = said.contains(key.to_str().unwrap());
        assert!(
            named && said.contains("'keeper'") && said.contains("CAXTON_KEY_FILE"),
            "{said}"
        );
    }
    fs::rename(&aside, &key).unwrap();
    node.restart().await;
    assert_eq!(node.told("keeper", &json!(null)).await, SECRET);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_can_be_kept_in_another_place_and_in_memory_there_is_none() {
    let elsewhere = tempfile::tempdir().unwrap();
    let key = elsewhere.path().join("caxton.key");
    fs::write(&key, [9; 32]).unwrap();
    for config in [format!("key_file = {key:?}"), "durability = \"memory\"".to_owned()] {
        let node = TestNode::start_with(&config).await;
        let permissions = json!({"environment": true});
        node.try_deploy(&self::config(&permissions), guests::variable())
            .await
            .good();
        assert_eq!(node.told("keeper", &json!(null)).await, SECRET);
        assert!(!node.data_dir().join("key").exists());
    }
}
