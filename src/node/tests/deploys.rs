//! Deploys that are killed at each of their steps.

use std::path::Path;

use super::super::deploy::Step;
use super::*;

const STEPS: &[Step] = &[
    Step::Named,
    Step::Judged,
    Step::Stored,
    Step::Entered,
    Step::Started,
    Step::Recorded,
];

/// Copies the folder to what a `kill -9` at this moment would leave.
fn image(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let copy = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            std::fs::create_dir(&copy).unwrap();
            image(&file.path(), &copy);
        } else {
            std::fs::copy(file.path(), copy).unwrap();
        }
    }
}

fn config(dir: &Path) -> Config {
    Config {
        data_dir: dir.to_owned(),
        partitions: 4,
        wasm: crate::config::Guests::at_most(100),
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_is_killed_leaves_a_whole_agent_or_none_and_its_name_free() {
    for &step in STEPS {
        let world = world().await;
        let crash = tempfile::tempdir().unwrap();
        let (from, to) = (world.node.data_dir.clone(), crash.path().to_owned());
        *world.node.deploy_steps.lock() = Some(Box::new(move |reached| {
            if reached == step {
                image(&from, &to);
            }
        }));
        let declared = serde_json::json!({"name": "counter", "permissions": {"state": true}});
        world.deploy(COUNTER, &declared).await;
        world.node.shutdown().await;

        let opened = Opened::open(config(crash.path())).unwrap();
        let node = opened.start(|_| Vec::new()).await.unwrap();
        let world = World { node, _dir: crash };
        if step == Step::Recorded {
            assert!(world.ask("counter").await.is_ok(), "after {step:?}");
        } else {
            assert!(world.node.find("counter").is_err(), "after {step:?}");
            world.deploy(COUNTER, &declared).await;
            assert!(world.ask("counter").await.is_ok(), "after {step:?}");
        }
        world.node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_whose_operation_is_killed_undoes_its_steps() {
    let mut cut = 0;
    for &step in &STEPS[..STEPS.len() - 1] {
        let world = world().await;
        let (reached, stopped) = std::sync::mpsc::channel();
        let killed = Arc::downgrade(&world.node);
        *world.node.deploy_steps.lock() = Some(Box::new(move |now| {
            if now == step {
                let node = killed.upgrade().unwrap();
                node.actor("node/operations").unwrap().kill();
                reached.send(()).unwrap();
            }
        }));
        let declared = serde_json::json!({"name": "counter", "permissions": {"state": true}});
        let spec = AgentSpec::from_json(declared.to_string().as_bytes()).unwrap();
        let first = world.node.deploy(&Caller::anonymous(), module(COUNTER), spec).await;
        stopped.recv().unwrap();
        *world.node.deploy_steps.lock() = None;
        if first.is_ok() {
            continue; // the deploy finished before the kill
        }
        cut += 1;
        world
            .until("the name is free again", async || {
                let spec = AgentSpec::from_json(declared.to_string().as_bytes()).unwrap();
                let again = world.node.deploy(&Caller::anonymous(), module(COUNTER), spec).await;
                again.is_ok()
            })
            .await;
        assert!(world.ask("counter").await.is_ok(), "after {step:?}");
        world.node.shutdown().await;
    }
    assert!(cut > 0, "no deploy was cut off");
}
