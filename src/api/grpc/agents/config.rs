//! The declaration of an agent in protobuf. It becomes JSON first, so that both fronts have one reader and one wording of
//! errors.

use serde_json::{Map, Value};

use crate::agent::spec::{AgentSpec, Resources};
use crate::api::agents::cpu;
use crate::api::grpc::convert::duration;
use crate::api::grpc::members::{Members, backoff};
use crate::api::grpc::proto::{AgentConfig, DeploymentStrategy, ResourceLimits, RestartPolicy, Supervision};
use crate::error::{Error, Result};

pub(super) fn spec(config: AgentConfig) -> Result<AgentSpec> {
    let mut members = Members::default();
    members.put("name", Some(config.name));
    members.text("version", config.version);
    members.put("strategy", strategy(config.strategy)?);
    members.put("capabilities", Some(config.capabilities));
    members.put("environment", Some(Value::from_iter(config.environment)));
    if let Some(resources) = config.resources {
        members.put("resources", Some(resources_json(resources)?));
    }
    if let Some(permissions) = config.permissions {
        let mut inner = Members::default();
        inner.put("message", Some(permissions.message));
        inner.put("state", Some(permissions.state));
        inner.put("random", Some(permissions.random));
        inner.put("timers", Some(permissions.timers));
        inner.put("environment", Some(permissions.environment));
        inner.put("directory", Some(permissions.directory));
        members.put("permissions", Some(inner.0));
    }
    if let Some(supervision) = config.supervision {
        members.put("supervision", Some(supervision_json(supervision)?));
    }
    if let Some(delivery) = config.delivery {
        let mut inner = Members::default();
        inner.put("max_deliveries", delivery.max_deliveries);
        members.put("delivery", Some(inner.0));
    }
    AgentSpec::from_json(&serde_json::to_vec(&members.0).map_err(Error::internal)?)
}

fn resources_json(resources: ResourceLimits) -> Result<Map<String, Value>> {
    let mut inner = Members::default();
    inner.text("memory", resources.memory);
    inner.text("cpu", resources.cpu);
    inner.span("turn_deadline", "config.resources.", resources.turn_deadline)?;
    inner.put("mailbox_messages", resources.mailbox_messages);
    inner.text("mailbox_bytes", resources.mailbox_bytes);
    inner.text("state_bytes", resources.state_bytes);
    inner.put("sends_per_turn", resources.sends_per_turn);
    inner.put("timers", resources.timers);
    inner.put("state_keys", resources.state_keys);
    inner.put("sends_per_second", resources.sends_per_second);
    inner.text("log_bytes_per_second", resources.log_bytes_per_second);
    Ok(inner.0)
}

fn supervision_json(supervision: Supervision) -> Result<Map<String, Value>> {
    const PATH: &str = "config.supervision.";
    let mut inner = Members::default();
    inner.text("group", supervision.group);
    inner.put("restart", restart(supervision.restart)?);
    inner.put("significant", Some(supervision.significant));
    inner.put("intensity", supervision.intensity);
    inner.span("period", PATH, supervision.period)?;
    inner.text("shutdown", supervision.shutdown);
    inner.span("heartbeat", PATH, supervision.heartbeat)?;
    inner.put("backoff", backoff("config.supervision.", supervision.backoff)?);
    Ok(inner.0)
}

fn strategy(number: i32) -> Result<Option<&'static str>> {
    let known = DeploymentStrategy::try_from(number)
        .map_err(|_| Error::invalid("config.strategy", format!("is {number}, and must be 0 to 4")))?;
    Ok(match known {
        DeploymentStrategy::Unspecified => None,
        DeploymentStrategy::Immediate => Some("immediate"),
        DeploymentStrategy::Rolling => Some("rolling"),
        DeploymentStrategy::BlueGreen => Some("blue_green"),
        DeploymentStrategy::Canary => Some("canary"),
    })
}

fn restart(number: i32) -> Result<Option<&'static str>> {
    let known = RestartPolicy::try_from(number)
        .map_err(|_| Error::invalid("config.supervision.restart", format!("is {number}, and must be 0 to 3")))?;
    Ok(match known {
        RestartPolicy::Unspecified => None,
        RestartPolicy::Permanent => Some("permanent"),
        RestartPolicy::Transient => Some("transient"),
        RestartPolicy::Temporary => Some("temporary"),
    })
}

pub(super) fn limits_of(resources: &Resources) -> ResourceLimits {
    ResourceLimits {
        memory: resources.memory.to_string(),
        cpu: cpu(resources),
        turn_deadline: Some(duration(resources.turn_deadline.0)),
        mailbox_messages: Some(resources.mailbox_messages),
        mailbox_bytes: resources.mailbox_bytes.to_string(),
        state_bytes: resources.state_bytes.to_string(),
        sends_per_turn: Some(resources.sends_per_turn),
        timers: Some(resources.timers),
        state_keys: Some(resources.state_keys),
        sends_per_second: Some(resources.sends_per_second),
        log_bytes_per_second: resources.log_bytes_per_second.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::spec::{Ceilings, Restart, Shutdown, Strategy};
    use crate::api::grpc::proto::{Backoff, Permissions};
    use crate::quantity::Cpu;

    fn named(name: &str) -> AgentConfig {
        AgentConfig {
            name: name.to_owned(),
            ..AgentConfig::default()
        }
    }

    fn field(config: AgentConfig) -> String {
        let Error::InvalidRequest { field, .. } = spec(config).unwrap_err() else {
            panic!("no invalid request")
        };
        field
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let spec = spec(named("my-agent")).unwrap();
        spec.check(&Ceilings::default()).unwrap();
        assert_eq!(spec.resources, Resources::default());
        assert!(!spec.permissions.state);
    }

    #[test]
    fn what_is_given_arrives() {
        let spec = spec(AgentConfig {
            strategy: DeploymentStrategy::BlueGreen.into(),
            resources: Some(ResourceLimits {
                memory: "50MB".to_owned(),
                cpu: "100m".to_owned(),
                turn_deadline: Some(duration(Duration::from_millis(200))),
                sends_per_turn: Some(0),
                timers: Some(7),
                ..ResourceLimits::default()
            }),
            permissions: Some(Permissions {
                message: vec!["*".to_owned()],
                state: true,
                random: false,
                timers: true,
                environment: true,
                directory: true,
            }),
            environment: [("TOKEN".to_owned(), "s3cret".to_owned())].into(),
            supervision: Some(Supervision {
                restart: RestartPolicy::Transient.into(),
                group: "shop".to_owned(),
                significant: true,
                heartbeat: Some(duration(Duration::from_secs(10))),
                shutdown: "brutal_kill".to_owned(),
                backoff: Some(Backoff {
                    factor: Some(3.0),
                    ..Backoff::default()
                }),
                ..Supervision::default()
            }),
            ..named("my-agent")
        })
        .unwrap();
        assert_eq!(spec.strategy, Strategy::BlueGreen);
        assert_eq!(spec.resources.cpu, Some(Cpu::Millicores(100)));
        assert_eq!(
            (spec.resources.turn_deadline.0, spec.resources.sends_per_turn),
            (Duration::from_millis(200), 0)
        );
        assert!(spec.permissions.state && spec.permissions.timers && !spec.permissions.random);
        assert!(spec.permissions.environment && spec.permissions.directory);
        assert_eq!(spec.environment.values()["TOKEN"], "s3cret");
        assert_eq!(spec.resources.timers, 7);
        assert_eq!(spec.supervision.restart, Restart::Transient);
        assert_eq!(spec.supervision.group.as_ref().unwrap().as_str(), "shop");
        assert!(spec.supervision.significant);
        assert_eq!(spec.supervision.heartbeat.unwrap().0, Duration::from_secs(10));
        assert_eq!(spec.supervision.shutdown, Shutdown::BrutalKill);
        assert!((spec.supervision.backoff.factor - 3.0).abs() < f64::EPSILON);
        assert_eq!(limits_of(&spec.resources).memory, "50MB");
    }

    #[test]
    fn wrong_declarations_name_the_field() {
        assert_eq!(field(named("")), "config.name");
        assert_eq!(
            field(AgentConfig {
                strategy: 99,
                ..named("a")
            }),
            "config.strategy"
        );
        let resources = Some(ResourceLimits {
            memory: "much".to_owned(),
            ..ResourceLimits::default()
        });
        assert_eq!(
            field(AgentConfig {
                resources,
                ..named("a")
            }),
            "config.resources.memory"
        );
        let turn_deadline = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let resources = Some(ResourceLimits {
            turn_deadline,
            ..ResourceLimits::default()
        });
        assert_eq!(
            field(AgentConfig {
                resources,
                ..named("a")
            }),
            "config.resources.turn_deadline"
        );
    }
}
