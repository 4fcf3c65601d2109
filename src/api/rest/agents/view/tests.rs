use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn details(config: &str) -> AgentDetails {
    AgentDetails {
        summary: AgentSummary {
            id: AgentId::new(),
            lifecycle: Lifecycle::Running,
            suspended: false,
            spec: AgentSpec::from_json(config.as_bytes()).unwrap(),
            version: semver::Version::new(1, 0, 0),
            digest: Digest::of(b"module"),
            deployment_id: DeploymentId::new(),
            created_at: Timestamp::now(),
            deployed_at: Timestamp::now(),
            deployed_by: "anonymous".to_owned(),
            usage: Usage {
                memory_bytes: 25_000_000,
                cpu: 0.0501,
            },
        },
        messages_processed: 1_542,
        messages_failed: 3,
        messages_queued: 0,
        consumption: Consumption::default(),
        average_latency_ms: 12.0,
        uptime: Duration::from_hours(1),
        incarnation: 1,
        path: "node/core/partitions/7/agents/my-agent".to_owned(),
        failure: None,
        crashes: Vec::new(),
    }
}

fn deployed(details: AgentDetails) -> Deployed {
    Deployed {
        agent: details.summary,
        warnings: Vec::new(),
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

#[test]
fn a_deploy_answers_as_printed() {
    let agent = details(r#"{"name":"my-agent","resources":{"memory":"50MB","cpu":"100000"}}"#);
    let view = json(&DeployAnswer::of(&deployed(agent)));
    assert_eq!(
        (&view["name"], &view["status"], &view["version"]),
        (&json!("my-agent"), &json!("running"), &json!("1.0.0"))
    );
    assert_eq!(view["resource_limits"]["memory"], "50MB");
    assert_eq!(view["resource_limits"]["cpu_fuel"], 100_000);
    for text in ["agent_id", "deployment_id", "deployed_at", "lifecycle_state", "digest"] {
        assert!(view[text].is_string(), "{text}");
    }
    let without_fuel = details(r#"{"name":"a","resources":{"cpu":"100m"}}"#);
    let view = json(&DeployAnswer::of(&deployed(without_fuel)));
    assert_eq!(
        (view["resource_limits"].get("cpu_fuel"), &view["resource_limits"]["cpu"]),
        (None, &json!("100m"))
    );
}

#[test]
fn a_list_answers_as_printed() {
    let agents = vec![details(r#"{"name":"my-agent"}"#).summary];
    let view = json(&AgentList::of(&AgentPage {
        agents,
        total: 42,
        next_offset: Some(10),
    }));
    assert_eq!((&view["total"], &view["next_offset"]), (&json!(42), &json!(10)));
    let used = json!({"memory_used": "25MB", "memory_bytes": 25_000_000, "cpu_usage": 0.0501});
    assert_eq!(view["agents"][0]["resources"], used);
    assert!(view["agents"][0]["created_at"].is_string());
}

#[test]
fn details_answer_as_printed() {
    let view = json(&Agent::of(&details(
        r#"{"name":"my-agent","resources":{"memory":"50MB"}}"#,
    )));
    assert_eq!(view["deployment"]["strategy"], "direct");
    assert_eq!(view["deployment"]["deployed_by"], "anonymous");
    assert_eq!(view["resources"]["limits"]["memory"], "50MB");
    assert_eq!(view["resources"]["limits"]["cpu"], "1000m");
    assert_eq!(
        (
            &view["resources"]["usage"]["memory"],
            &view["resources"]["usage"]["cpu"]
        ),
        (&json!("25MB"), &json!("50m"))
    );
    assert!(view["metrics"]["average_latency_ms"].is_f64());
    assert_eq!(view["metrics"]["uptime_seconds"], 3_600);
}

#[test]
fn who_is_suspended_runs_all_the_same() {
    let mut agent = details(r#"{"name":"my-agent"}"#);
    agent.summary.suspended = true;
    let shown = [
        json(&AgentStanding::of(&agent.summary)),
        json(&Agent::of(&agent)),
        json(&ListedAgent::of(&agent.summary)),
    ];
    for view in shown {
        assert_eq!(
            (&view["status"], &view["lifecycle_state"]),
            (&json!("suspended"), &json!("running"))
        );
    }
}

#[test]
fn details_tell_where_it_stands_and_how_it_broke() {
    let mut agent = details(r#"{"name":"cart","supervision":{"group":"shop"}}"#);
    agent.crashes.push(crate::agent::meter::CrashReport {
        instance: crate::id::InstanceId::FIRST,
        at: Timestamp::from_micros(0),
        kind: "trap",
        detail: "unreachable".to_owned(),
        message_id: None,
        attempt: 1,
        backtrace: vec!["handle".to_owned()],
    });
    let view = json(&Agent::of(&agent));
    let place = json!({"path": "node/core/partitions/7/agents/my-agent", "group": "shop"});
    assert_eq!(
        (&view["supervision"], &view["config"]["supervision"]["group"]),
        (&place, &json!("shop"))
    );
    let exit = json!({
        "reason": "trap", "at": "1970-01-01T00:00:00.000000Z", "detail": "unreachable", "attempt": 1,
        "backtrace": ["handle"],
    });
    assert_eq!(view["last_exits"], json!([exit]));
}
