//! Supervision groups: their strategies, restarts of the node, and groups that spend their restart intensity.

use super::*;

/// Runs three agents under one strategy, of which the second crashes once. Returns which of them were restarted.
async fn restarted_after_the_second_crashes(strategy: &str) -> [bool; 3] {
    let world = world().await;
    world
        .group(&serde_json::json!({"name": "shop", "strategy": strategy}))
        .await;
    for (name, wat) in [("first", COUNTER), ("second", CRASH), ("third", COUNTER)] {
        let config = serde_json::json!({
            "name": name, "permissions": {"state": true},
            "supervision": {"group": "shop"}, "delivery": {"max_deliveries": 1},
        });
        world.deploy(wat, &config).await;
    }
    assert_eq!(
        world.ask("first").await.unwrap().message.performative,
        crate::fipa::Performative::Inform
    );
    let failure = world.ask("second").await.unwrap();
    assert_eq!(failure.message.performative, crate::fipa::Performative::Failure);
    world
        .until("the second is back", async || world.incarnation("second").await == 2)
        .await;
    world
        .until("all run", async || {
            let path = world.node.group(&Caller::anonymous(), "shop").unwrap().path;
            let snapshot = world.snapshot().await;
            snapshot
                .find(&path)
                .unwrap()
                .children
                .iter()
                .all(|child| child.state == "running")
        })
        .await;
    for name in ["first", "third"] {
        let reply = world.ask(name).await.unwrap();
        assert_eq!(
            reply.message.performative,
            crate::fipa::Performative::Inform,
            "{name} answers"
        );
    }
    let mut restarted = [false; 3];
    for (restarted, name) in restarted.iter_mut().zip(["first", "second", "third"]) {
        *restarted = world.incarnation(name).await > 1;
    }
    world.node.shutdown().await;
    restarted
}

#[tokio::test(flavor = "multi_thread")]
async fn under_one_for_one_the_crashed_agent_alone_restarts() {
    assert_eq!(
        restarted_after_the_second_crashes("one_for_one").await,
        [false, true, false]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn under_rest_for_one_those_after_it_restart_too() {
    assert_eq!(
        restarted_after_the_second_crashes("rest_for_one").await,
        [false, true, true]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn under_one_for_all_everyone_restarts() {
    assert_eq!(
        restarted_after_the_second_crashes("one_for_all").await,
        [true, true, true]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_their_members_come_back_with_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: dir.path().to_owned(),
        partitions: 4,
        wasm: crate::config::Guests::at_most(100),
        ..Config::default()
    };
    let node = Opened::open(config.clone())
        .unwrap()
        .start(|_| Vec::new())
        .await
        .unwrap();
    let mut world = World { node, _dir: dir };
    world
        .group(&serde_json::json!({"name": "shop", "strategy": "one_for_all"}))
        .await;
    world
        .group(&serde_json::json!({"name": "checkout", "parent": "shop", "strategy": "rest_for_one"}))
        .await;
    let member = serde_json::json!({
        "name": "counter", "permissions": {"state": true}, "supervision": {"group": "checkout"},
    });
    world.deploy(COUNTER, &member).await;
    world.ask("counter").await.unwrap();
    world.node.shutdown().await;
    drop(std::mem::replace(
        &mut world.node,
        Opened::open(config.clone())
            .unwrap()
            .start(|_| Vec::new())
            .await
            .unwrap(),
    ));
    let path = world.node.group(&Caller::anonymous(), "checkout").unwrap().path;
    assert!(path.ends_with("/agents/shop/checkout"), "{path}");
    assert!(world.snapshot().await.find(&format!("{path}/counter")).is_some());
    let reply = world.ask("counter").await.unwrap();
    assert_eq!(
        reply.message.content,
        crate::message::Content::Json("2".into()),
        "its state is there"
    );
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_group_that_is_not_recorded_is_not_in_force() {
    let world = world().await;
    world.group(&serde_json::json!({"name": "shop"})).await;
    let caller = Caller::anonymous();
    let view = || world.node.group(&caller, "shop").unwrap();
    let router = view().path.replace("/agents/shop", "/router");
    world.node.actor(&router).unwrap().kill_and_wait(None).await.unwrap();
    let change = |present: &GroupSpec| {
        let strategy = supervisors::Strategy::OneForAll;
        Ok(GroupSpec {
            strategy,
            ..present.clone()
        })
    };
    let changed = world.node.update_group(&caller, "shop", change).await.is_ok();
    // The router may be back already, and then it has recorded the change.
    let expected = if changed { "one_for_all" } else { "one_for_one" };
    world
        .until("the group is back", async || {
            let snapshot = world.snapshot().await;
            snapshot
                .find(&view().path)
                .is_some_and(|group| group.state == "running")
        })
        .await;
    let strategy = world.snapshot().await.find(&view().path).unwrap().strategy;
    assert_eq!(
        (strategy, view().spec.strategy == supervisors::Strategy::OneForAll),
        (Some(expected), changed)
    );
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_changes_of_a_group_at_once_both_take_effect() {
    let world = world().await;
    world.group(&serde_json::json!({"name": "shop"})).await;
    let caller = Caller::anonymous();
    let intensity = |present: &GroupSpec| {
        Ok(GroupSpec {
            intensity: 7,
            ..present.clone()
        })
    };
    let strategy = |present: &GroupSpec| {
        let strategy = supervisors::Strategy::OneForAll;
        Ok(GroupSpec {
            strategy,
            ..present.clone()
        })
    };
    let (one, other) = tokio::join!(
        world.node.update_group(&caller, "shop", intensity),
        world.node.update_group(&caller, "shop", strategy),
    );
    one.and(other).unwrap();
    let spec = world.node.group(&caller, "shop").unwrap().spec;
    assert_eq!((spec.intensity, spec.strategy), (7, supervisors::Strategy::OneForAll));
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_melts_down_too_often_is_failed_and_one_call_brings_it_back() {
    let world = world().await;
    world.group(&serde_json::json!({"name": "shop", "strategy": "one_for_all", "intensity": 0, "backoff": {"min": 0, "max": 0}})).await;
    for (name, wat) in [("bomb", CRASH), ("counter", COUNTER)] {
        let config = serde_json::json!({
            "name": name, "permissions": {"state": true},
            "supervision": {"group": "shop"}, "delivery": {"max_deliveries": 1},
        });
        world.deploy(wat, &config).await;
    }
    // Each crash exceeds the group's restart intensity, and the partition restarts the group until its own is spent
    // too.
    world
        .until("the group is given up", async || {
            let bomb = draft(&serde_json::json!({"performative": "inform", "receiver": "bomb"}));
            let _ = world.node.send(&Caller::anonymous(), bomb).await; // refused while the group is down
            world.lifecycle("counter").await == Lifecycle::Failed
        })
        .await;
    assert!(matches!(world.ask("counter").await, Err(Error::InvalidState { .. })));
    world
        .node
        .supervise(&Caller::anonymous(), "shop", Verb::Restart)
        .await
        .unwrap();
    let reply = world.ask("counter").await.unwrap();
    assert_eq!(reply.message.performative, crate::fipa::Performative::Inform);
    world.node.shutdown().await;
}
