//! The resources that agents use: measured, and limited by rates.

use std::time::{Duration, Instant};

use caxton::api::grpc::proto::GetAgentRequest;
use caxton::api::grpc::proto::agent_service_client::AgentServiceClient;
use serde_json::{Value, json};

use crate::guests;
use crate::harness::TestNode;

async fn usage(node: &TestNode, name: &str) -> Value {
    node.agent(name).await["resources"]["usage"].clone()
}

fn number(usage: &Value, name: &str) -> f64 {
    usage[name].as_f64().unwrap_or_else(|| panic!("no {name}: {usage:#}"))
}

#[tokio::test]
async fn an_agents_details_tell_what_it_has_used() {
    let node = TestNode::start().await;
    let config = json!({"name": "counter", "resources": {"cpu": "10000000"}});
    node.deploy_as(config, guests::example("counter")).await;
    for _ in 0..3 {
        node.told("counter", &json!(null)).await;
    }
    let used = usage(&node, "counter").await;
    for (name, value) in [
        ("turns", 3.0),
        ("messages_in", 3.0),
        ("messages_out", 3.0),
        ("crashes", 0.0),
        ("state_keys", 1.0),
        ("timers", 0.0),
    ] {
        assert_eq!(number(&used, name).to_bits(), f64::to_bits(value), "{name}: {used:#}");
    }
    for name in ["state_bytes", "cpu_fuel", "guest_time_seconds", "memory_bytes"] {
        assert!(number(&used, name) > 0.0, "{name}: {used:#}");
    }
    assert!(number(&used, "memory_peak_bytes") >= number(&used, "memory_bytes"));
    node.told("counter", &json!(null)).await;
    let more = usage(&node, "counter").await;
    for name in ["cpu_fuel", "guest_time_seconds"] {
        assert!(number(&more, name) > number(&used, name), "{name}: {more:#}");
    }

    let mut client = AgentServiceClient::connect(node.grpc()).await.unwrap();
    let asked = GetAgentRequest {
        agent_id: "counter".to_owned(),
    };
    let told = client.get_agent(asked).await.unwrap().into_inner().usage.unwrap();
    assert_eq!((told.turns, told.messages_in, told.messages_out), (4, 4, 4));
    assert_eq!(told.cpu_fuel, more["cpu_fuel"].as_u64());
}

#[tokio::test]
async fn crashes_and_timers_are_counted_and_fuel_only_where_it_is_metered() {
    let node = TestNode::start().await;
    node.deploy("crasher", "crash_once").await;
    node.told("crasher", &json!("first")).await;
    let used = usage(&node, "crasher").await;
    let counts = ["crashes", "turns", "messages_in", "messages_out"].map(|name| used[name].as_u64());
    assert_eq!(counts, [Some(1), Some(2), Some(1), Some(1)], "{used:#}");
    assert_eq!(used.get("cpu_fuel"), None);

    node.deploy("alarm", "timer").await;
    node.told("alarm", &json!(3_600_000_000_u64)).await;
    assert_eq!(usage(&node, "alarm").await["timers"], 1);
}

#[tokio::test]
async fn an_agent_that_sends_over_its_rate_waits_for_its_share_and_loses_nothing() {
    let node = TestNode::start().await;
    let config = json!({"name": "counter", "resources": {"sends_per_second": 4}});
    node.deploy_as(config, guests::example("counter")).await;
    let began = Instant::now();
    for n in 1..=10 {
        assert_eq!(node.told("counter", &json!(null)).await, n);
    }
    // Four are sent at once, and then one each quarter of a second. The last may exceed the rate: only the next turn waits for it.
    assert!(began.elapsed() > Duration::from_millis(1_200), "{:?}", began.elapsed());

    let bad = json!({"name": "mute", "resources": {"sends_per_second": 0}});
    let refused = node.try_deploy(&bad, guests::example("counter")).await;
    let error = refused.refused(400, "INVALID_REQUEST");
    assert_eq!(
        error["details"]["field"], "config.resources.sends_per_second",
        "{error:#}"
    );
}
