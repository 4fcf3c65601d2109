//! Deploys that are killed at each of their steps.

use std::path::Path;

use super::super::deploy::Step;
use super::*;
use crate::error::Code;
use crate::group::{Group, GroupDocument};

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

/// Deploys `counter` into the group `shop`, and changes the directory when the deploy has come to `at`.
async fn deployed_while(world: &World, at: Step, change: impl Fn(&Directory) + Send + 'static) -> Result<Deployed> {
    let directory = world.node.directory.clone();
    *world.node.deploy_steps.lock() = Some(Box::new(move |reached| {
        if reached == at {
            change(&directory);
        }
    }));
    let member = serde_json::json!({"name": "counter", "supervision": {"group": "shop"}});
    let spec = AgentSpec::from_json(member.to_string().as_bytes()).unwrap();
    let deployed = world.node.deploy(&Caller::anonymous(), module(COUNTER), spec).await;
    *world.node.deploy_steps.lock() = None;
    deployed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_whose_group_was_removed_meanwhile_is_refused_and_leaves_nothing() {
    let shop = || "shop".parse().unwrap();
    for at in [Step::Judged, Step::Entered, Step::Started] {
        let world = world().await;
        world.group(&serde_json::json!({"name": "shop"})).await;
        let deployed = deployed_while(&world, at, move |directory| directory.remove_group(&shop())).await;
        let error = deployed.unwrap_err();
        let about = serde_json::json!({"name": "shop"});
        assert_eq!((error.code(), error.details()), (Code::Conflict, about), "{at:?}");
        assert!(world.node.find("counter").is_err(), "{at:?}");
        world.node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_the_same_name_under_another_root_is_another_group() {
    let world = world().await;
    world.group(&serde_json::json!({"name": "mall"})).await;
    world.group(&serde_json::json!({"name": "shop"})).await;
    let again = |directory: &Directory| {
        let shop = directory.group("shop").unwrap();
        let document = GroupDocument {
            root: "mall".parse().unwrap(),
            ..shop.document.read().clone()
        };
        directory.remove_group(&shop.name);
        directory.put_group(Group::new(document, 4));
    };
    let error = deployed_while(&world, Step::Started, again).await.unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert!(world.node.find("counter").is_err());
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_not_removed_while_an_agent_is_deployed_into_it() {
    let world = world().await;
    world.group(&serde_json::json!({"name": "shop"})).await;
    let (reached, started) = std::sync::mpsc::channel();
    let (goes_on, go_on) = std::sync::mpsc::channel::<()>();
    let go_on = Mutex::new(go_on);
    *world.node.deploy_steps.lock() = Some(Box::new(move |now| {
        if now == Step::Started {
            reached.send(()).unwrap();
            go_on.lock().recv().unwrap();
        }
    }));
    let member =
        serde_json::json!({"name": "counter", "supervision": {"group": "shop"}, "permissions": {"state": true}});
    let spec = AgentSpec::from_json(member.to_string().as_bytes()).unwrap();
    let node = world.node.clone();
    let deploy = tokio::spawn(async move { node.deploy(&Caller::anonymous(), module(COUNTER), spec).await });
    tokio::task::spawn_blocking(move || started.recv())
        .await
        .unwrap()
        .unwrap();
    let removed = world.node.remove_group(&Caller::anonymous(), "shop").await.unwrap_err();
    let about = serde_json::json!({"name": "shop", "member": "counter"});
    assert_eq!(removed.details(), about);
    goes_on.send(()).unwrap();
    deploy.await.unwrap().unwrap();
    assert!(world.ask("counter").await.is_ok());
    world.node.shutdown().await;
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
