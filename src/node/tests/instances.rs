//! Several instances of one agent in the tree, and what is at a path of the tree.

use super::*;
use crate::journal::projections::EventQuery;

/// A guest that traps at a message with the content `"trap"`, and replies to no message.
const TRAPS_WHEN_TOLD: &str = r#"(module
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 8))
    (func (export "caxton_alloc") (param $length i32) (result i32)
      (global.get $next) (global.set $next (i32.add (global.get $next) (local.get $length))))
    (func (export "handle_message") (param $at i32) (param $length i32) (result i32)
      (loop $scan
        (if (i32.eq (i32.load (local.get $at)) (i32.const 0x70617274)) (then (unreachable)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1)))
        (br_if $scan (local.get $length)))
      (i32.const 0)))"#;

impl World {
    /// Deploys an agent that has this many instances.
    async fn deploy_several(&self, wat: &str, config: &serde_json::Value, instances: u32) {
        self.deploy(wat, config).await;
        let name = config["name"].as_str().unwrap();
        self.verb(name, Verb::Terminate).await.unwrap();
        let agent = self.node.find(name).unwrap();
        self.node.withdraw(&agent).await; // its only instance has another id than several
        agent.document.write().instances = instances;
        self.verb(name, Verb::Restart).await.unwrap();
    }

    async fn verb(&self, path: &str, verb: Verb) -> Result<()> {
        self.node.supervise(&Caller::anonymous(), path, verb).await
    }

    async fn at(&self, path: &str) -> Result<TreeNode> {
        self.node.supervision_tree(&Caller::anonymous(), Some(path)).await
    }

    /// The incarnation and the state of each of three instances.
    async fn three(&self, path: &str) -> [(u64, &'static str); 3] {
        let mut three = [(0, ""); 3];
        for (number, instance) in (1..).zip(&mut three) {
            let node = self.at(&format!("{path}@1.0.0#{number}")).await.unwrap();
            *instance = (node.snapshot.incarnation, node.snapshot.state);
        }
        three
    }
}

fn path(world: &World, agent: &str) -> String {
    world.node.directory.path_of(&world.node.find(agent).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_instances_are_children_beside_each_other() {
    let world = world().await;
    world.deploy_several(COUNTER, &counter(), 3).await;
    let agent = world.node.find("counter").unwrap();
    let path = path(&world, "counter");
    assert_eq!(world.three(&path).await, [(1, "running"); 3]);
    for number in 1..=3 {
        let node = world.at(&format!("{path}@1.0.0#{number}")).await.unwrap();
        assert_eq!(node.agent, Some(agent.id));
    }
    assert!(world.ask("counter").await.is_ok());

    world.kill(&format!("{path}@1.0.0#2")).await;
    assert_eq!(
        world.three(&path).await,
        [(1, "running"), (2, "running"), (1, "running")]
    );
    world.verb(&format!("{path}@1.0.0#3"), Verb::Restart).await.unwrap();
    assert_eq!(
        world.three(&path).await,
        [(1, "running"), (2, "running"), (2, "running")]
    );
    world.verb("counter", Verb::Restart).await.unwrap();
    assert_eq!(
        world.three(&path).await,
        [(2, "running"), (3, "running"), (3, "running")]
    );

    let whole = world.at(&path).await.unwrap();
    assert_eq!((whole.agent, whole.children.len()), (Some(agent.id), 3));
    assert_eq!((whole.snapshot.state, whole.snapshot.incarnation), ("running", 3));
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_instances_are_stopped_started_and_restored_together() {
    let world = world().await;
    world.deploy_several(COUNTER, &counter(), 3).await;
    let path = path(&world, "counter");
    world.verb(&path, Verb::Terminate).await.unwrap();
    assert_eq!(world.lifecycle("counter").await, Lifecycle::Stopped);
    assert_eq!(world.three(&path).await, [(1, "stopped"); 3]);
    world.node.start_agent(&Caller::anonymous(), "counter").await.unwrap();
    assert_eq!(world.three(&path).await, [(1, "running"); 3]);

    world.kill(&format!("{}/router", home(&world))).await;
    world
        .until("all instances are back", async || {
            world.three(&path).await.iter().all(|(_, state)| *state == "running")
        })
        .await;
    world
        .survives(async || world.kill(&format!("{path}@1.0.0#1")).await)
        .await;

    let caller = Caller::anonymous();
    world.node.remove_agent(&caller, "counter", false).await.unwrap();
    assert!(matches!(
        world.at(&format!("{path}@1.0.0#1")).await,
        Err(Error::PathNotFound(_))
    ));
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_no_agent_and_its_agent_fails_with_the_last_one() {
    let world = world().await;
    let config = serde_json::json!({
        "name": "traps", "supervision": {"intensity": 0}, "delivery": {"max_deliveries": 1},
    });
    world.deploy_several(TRAPS_WHEN_TOLD, &config, 2).await;
    let path = path(&world, "traps");
    for verb in [Verb::Suspend, Verb::Resume, Verb::Terminate] {
        let refused = world.verb(&format!("{path}@1.0.0#1"), verb).await;
        assert!(matches!(refused, Err(Error::InvalidRequest { .. })), "{refused:?}");
    }
    for unknown in ["@1.0.0#3", "@1.0.0#0", "@1.1.0#1", "@1.0.0"] {
        let refused = world.verb(&format!("{path}{unknown}"), Verb::Restart).await;
        assert!(matches!(refused, Err(Error::PathNotFound(_))), "{unknown}: {refused:?}");
    }
    let trap = async || {
        let json = serde_json::json!({"performative": "inform", "receiver": "traps", "content": "trap"});
        world.node.send(&Caller::anonymous(), draft(&json)).await.unwrap();
    };
    trap().await;
    world
        .until("an instance is given up", async || {
            world
                .at(&path)
                .await
                .unwrap()
                .children
                .iter()
                .any(|instance| instance.snapshot.state == "failed")
        })
        .await;
    assert_eq!(world.lifecycle("traps").await, Lifecycle::Running, "the other goes on");
    trap().await;
    world
        .until("the agent has failed", async || {
            world.lifecycle("traps").await == Lifecycle::Failed
        })
        .await;
    world.verb("traps", Verb::Restart).await.unwrap();
    let whole = world.at(&path).await.unwrap();
    assert!(
        whole
            .children
            .iter()
            .all(|instance| instance.snapshot.state == "running")
    );
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_all_instances_are_those_of_the_agents_path() {
    let world = world().await;
    world.deploy_several(COUNTER, &counter(), 2).await;
    let path = path(&world, "counter");
    let started = async |path: &str| {
        let query = EventQuery {
            kind_prefix: Some("supervisor.child_started".to_owned()),
            path_prefix: Some(path.to_owned()),
            limit: 10,
            ..EventQuery::default()
        };
        let page = world.node.supervision_events(&Caller::anonymous(), query).await;
        page.unwrap().events.len()
    };
    // The first instance was alone when the agent was deployed.
    world
        .until("the starts are recorded", async || started(&path).await == 3)
        .await;
    assert_eq!(started(&format!("{path}@1.0.0#2")).await, 1);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_looked_up_whole() {
    let world = world().await;
    world.group(&serde_json::json!({"name": "shop"})).await;
    world
        .group(&serde_json::json!({"name": "agents", "parent": "shop"}))
        .await;
    let member = serde_json::json!({"name": "cart", "supervision": {"group": "agents"}});
    world.deploy(COUNTER, &member).await;
    world.deploy(COUNTER, &serde_json::json!({"name": "core"})).await;

    let path = path(&world, "cart");
    assert!(path.ends_with("/agents/shop/agents/cart"), "{path}");
    let (above, _) = path.split_once("/shop").unwrap();
    let agent = world.node.find("cart").unwrap();
    for wrong in [
        format!("{above}/cart"),
        format!("{above}/shop/cart"),
        format!("{above}/agents/cart"),
        format!("{above}/shop/no-such-group/cart"),
        format!("{above}/shop/agents/cart/cart"),
        format!("{above}/shop/agents/{}", agent.id),
        format!("{above}/agents"),
        format!("{above}/no-such-group/core"),
        "node/core/partitions/99/agents/shop/agents/cart".to_owned(),
        "agents/cart".to_owned(),
        "shop/agents".to_owned(),
    ] {
        for verb in [Verb::Terminate, Verb::Restart] {
            let refused = world.verb(&wrong, verb).await;
            assert!(matches!(refused, Err(Error::PathNotFound(_))), "{wrong}: {refused:?}");
        }
        assert!(matches!(world.at(&wrong).await, Err(Error::PathNotFound(_))), "{wrong}");
    }
    assert_eq!(world.incarnation("cart").await, 1);

    for (right, name) in [(path.as_str(), "cart"), ("cart", "cart"), ("core", "core")] {
        world.verb(right, Verb::Suspend).await.unwrap();
        let suspended = *world.node.find(name).unwrap().standing.read() == crate::agent::Standing::Suspended;
        assert!(suspended, "{right}");
    }
    world.verb(&format!("{above}/shop/agents"), Verb::Resume).await.unwrap();
    assert!(world.ask("cart").await.is_ok());
    let part = world.verb("node/core/partitions", Verb::Restart).await;
    assert!(matches!(part, Err(Error::InvalidRequest { .. })), "{part:?}");
    world.node.shutdown().await;
}
