//! `caxton.v1.AgentService`.

mod config;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use self::config::{limits_of, spec};
use super::convert::{duration, exit, page_size, read_duration, timestamp};
use super::proto::agent_service_server::AgentService;
use super::proto::{
    Agent, AgentMetrics, AgentStatus, DeployAgentRequest, DeployAgentResponse, Finding, GetAgentRequest,
    ListAgentsRequest, ListAgentsResponse, RemoveAgentRequest, RemoveAgentResponse, ResourceUsage, RestartAgentRequest,
    ResumeAgentRequest, StartAgentRequest, StopAgentRequest, StopAgentResponse, SuspendAgentRequest,
    ValidateAgentRequest, ValidateAgentResponse,
};
use super::status::call;
use crate::agent::spec::AgentSpec;
use crate::api::agents::{Status as Doing, stop_options};
use crate::api::tree::ExitView;
use crate::api::validation::UNNAMED;
use crate::error::{Error, Result};
use crate::node::{AgentDetails, AgentSummary, Caller, Deployed, Lifecycle, Node};

pub(super) struct Agents {
    node: Arc<Node>,
}

impl Agents {
    pub(super) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    async fn deploy(&self, asked: DeployAgentRequest, caller: Caller) -> Result<DeployAgentResponse> {
        let limit = self.node.limits().module_bytes;
        if asked.wasm_module.len() > limit {
            return Err(Error::PayloadTooLarge { what: "module", limit });
        }
        let spec = spec(asked.config.ok_or_else(|| Error::invalid("config", "is missing"))?)?;
        let Deployed { agent, warnings } = self.node.deploy(&caller, asked.wasm_module, spec).await?;
        Ok(DeployAgentResponse {
            agent_id: agent.id.to_string(),
            status: status(Doing::of(&agent)).into(),
            deployed_at: Some(timestamp(agent.deployed_at)),
            name: agent.spec.name.to_string(),
            version: agent.version.to_string(),
            deployment_id: agent.deployment_id.to_string(),
            digest: agent.digest.to_string(),
            warnings: warnings.into_iter().map(finding).collect(),
        })
    }

    async fn validate(&self, asked: ValidateAgentRequest) -> Result<ValidateAgentResponse> {
        let spec = asked.config.map_or_else(|| AgentSpec::from_json(UNNAMED), spec)?;
        let validation = self.node.validate(asked.wasm_module, &spec).await?;
        let accepted = validation.accepted.as_ref();
        let kind = accepted.map_or("", |accepted| if accepted.component { "component" } else { "core" });
        let version = accepted.and_then(|accepted| accepted.version.as_ref());
        Ok(ValidateAgentResponse {
            valid: accepted.is_some(),
            digest: validation.digest.to_string(),
            size_bytes: validation.size as u64,
            kind: kind.to_owned(),
            version: version.map(ToString::to_string).unwrap_or_default(),
            memory_bytes: validation.demand.memory_bytes,
            findings: validation.findings.into_iter().map(finding).collect(),
            warnings: validation.warnings.into_iter().map(finding).collect(),
        })
    }

    async fn list(&self, asked: ListAgentsRequest) -> Result<ListAgentsResponse> {
        let status = filter(asked.status_filter)?;
        let limit = page_size(asked.limit)?;
        let offset = usize::try_from(asked.offset).map_err(|_| Error::invalid("offset", "must not be negative"))?;
        let page = self.node.agents(status, limit, offset).await;
        Ok(ListAgentsResponse {
            agents: page.agents.iter().map(shown).collect(),
            total: count(page.total),
            next_offset: page.next_offset.map(count),
        })
    }

    async fn get(&self, asked: GetAgentRequest) -> Result<Agent> {
        let AgentDetails {
            summary,
            messages_processed,
            messages_failed,
            messages_queued,
            consumption,
            average_latency_ms,
            uptime,
            incarnation,
            failure,
            path,
            crashes,
        } = self.node.agent(&asked.agent_id).await?;
        let metrics = AgentMetrics {
            messages_processed,
            messages_failed,
            messages_queued,
            average_latency_ms,
            uptime: Some(duration(uptime)),
            incarnation,
        };
        let usage = ResourceUsage {
            memory_bytes: summary.usage.memory_bytes,
            cpu: summary.usage.cpu,
            memory_peak_bytes: consumption.memory_peak_bytes,
            guest_time: Some(duration(consumption.guest_time)),
            cpu_fuel: consumption.fuel,
            turns: consumption.turns,
            crashes: consumption.crashes,
            messages_in: consumption.messages_in,
            messages_out: consumption.messages_out,
            state_bytes: consumption.state_bytes,
            state_keys: consumption.state_keys as u64,
            timers: consumption.timers as u64,
        };
        Ok(Agent {
            usage: Some(usage),
            metrics: Some(metrics),
            failure: failure.unwrap_or_default(),
            last_exits: crashes.into_iter().map(|crash| exit(ExitView::from(crash))).collect(),
            path,
            ..shown(&summary)
        })
    }

    async fn stop(&self, asked: StopAgentRequest, caller: Caller) -> Result<StopAgentResponse> {
        let field = "grace_period";
        let grace = asked
            .grace_period
            .map(|grace| read_duration(field, grace))
            .transpose()?;
        let options = stop_options(field, grace, asked.drain_messages)?;
        let stopping = self.node.stop_agent(&caller, &asked.agent_id, options).await?;
        Ok(StopAgentResponse {
            agent_id: stopping.id.to_string(),
            status: status(Doing::of_lifecycle(stopping.lifecycle)).into(),
            estimated_completion: Some(timestamp(stopping.estimated_completion)),
        })
    }

    async fn suspend(&self, key: &str, suspend: bool, caller: &Caller) -> Result<Agent> {
        let agent = self.node.suspend_agent(caller, key, suspend).await?;
        Ok(shown(&agent))
    }

    async fn remove(&self, asked: RemoveAgentRequest, caller: Caller) -> Result<RemoveAgentResponse> {
        let removed = self.node.remove_agent(&caller, &asked.agent_id, asked.force).await?;
        Ok(RemoveAgentResponse {
            agent_id: removed.id.to_string(),
            status: AgentStatus::Removed.into(),
            removed_at: Some(timestamp(removed.removed_at)),
        })
    }
}

fn finding(finding: crate::error::Finding) -> Finding {
    Finding {
        rule: finding.rule.into_owned(),
        found: finding.found,
        expected: finding.expected,
    }
}

#[tonic::async_trait]
impl AgentService for Agents {
    async fn deploy_agent(
        &self,
        request: Request<DeployAgentRequest>,
    ) -> Result<Response<DeployAgentResponse>, Status> {
        call(request, |asked, call| self.deploy(asked, call.caller)).await
    }

    async fn validate_agent(
        &self,
        request: Request<ValidateAgentRequest>,
    ) -> Result<Response<ValidateAgentResponse>, Status> {
        call(request, |asked, _| self.validate(asked)).await
    }

    async fn list_agents(&self, request: Request<ListAgentsRequest>) -> Result<Response<ListAgentsResponse>, Status> {
        call(request, |asked, _| self.list(asked)).await
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<Agent>, Status> {
        call(request, |asked, _| self.get(asked)).await
    }

    async fn stop_agent(&self, request: Request<StopAgentRequest>) -> Result<Response<StopAgentResponse>, Status> {
        call(request, |asked, call| self.stop(asked, call.caller)).await
    }

    async fn start_agent(&self, request: Request<StartAgentRequest>) -> Result<Response<Agent>, Status> {
        call(request, async |asked, call| {
            let agent = self.node.start_agent(&call.caller, &asked.agent_id).await?;
            Ok(shown(&agent))
        })
        .await
    }

    async fn restart_agent(&self, request: Request<RestartAgentRequest>) -> Result<Response<Agent>, Status> {
        call(request, async |asked, call| {
            let agent = self.node.restart_agent(&call.caller, &asked.agent_id).await?;
            Ok(shown(&agent))
        })
        .await
    }

    async fn suspend_agent(&self, request: Request<SuspendAgentRequest>) -> Result<Response<Agent>, Status> {
        call(request, async |asked, call| {
            self.suspend(&asked.agent_id, true, &call.caller).await
        })
        .await
    }

    async fn resume_agent(&self, request: Request<ResumeAgentRequest>) -> Result<Response<Agent>, Status> {
        call(request, async |asked, call| {
            self.suspend(&asked.agent_id, false, &call.caller).await
        })
        .await
    }

    async fn remove_agent(
        &self,
        request: Request<RemoveAgentRequest>,
    ) -> Result<Response<RemoveAgentResponse>, Status> {
        call(request, |asked, call| self.remove(asked, call.caller)).await
    }
}

const fn status(doing: Doing) -> AgentStatus {
    match doing {
        Doing::Unloaded => AgentStatus::Unloaded,
        Doing::Loaded => AgentStatus::Loaded,
        Doing::Running => AgentStatus::Running,
        Doing::Draining => AgentStatus::Draining,
        Doing::Stopped => AgentStatus::Stopped,
        Doing::Failed => AgentStatus::Failed,
        Doing::Suspended => AgentStatus::Suspended,
        Doing::Removed => AgentStatus::Removed,
    }
}

fn filter(number: i32) -> Result<Option<Lifecycle>> {
    let known = AgentStatus::try_from(number).map_err(|_| Error::invalid("status_filter", "is no status"))?;
    match known {
        AgentStatus::Unspecified => Ok(None),
        AgentStatus::Unloaded => Ok(Some(Lifecycle::Unloaded)),
        AgentStatus::Loaded => Ok(Some(Lifecycle::Loaded)),
        AgentStatus::Running => Ok(Some(Lifecycle::Running)),
        AgentStatus::Draining => Ok(Some(Lifecycle::Draining)),
        AgentStatus::Stopped => Ok(Some(Lifecycle::Stopped)),
        AgentStatus::Failed => Ok(Some(Lifecycle::Failed)),
        AgentStatus::Removed => Err(Error::invalid(
            "status_filter",
            "is no state of an agent: removed ones are gone",
        )),
        AgentStatus::Suspended => Err(Error::invalid(
            "status_filter",
            "is no state of the lifecycle: suspended ones are running",
        )),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn shown(agent: &AgentSummary) -> Agent {
    Agent {
        agent_id: agent.id.to_string(),
        name: agent.spec.name.to_string(),
        status: status(Doing::of(agent)).into(),
        version: agent.version.to_string(),
        deployment_id: agent.deployment_id.to_string(),
        digest: agent.digest.to_string(),
        created_at: Some(timestamp(agent.created_at)),
        deployed_at: Some(timestamp(agent.deployed_at)),
        deployed_by: agent.deployed_by.clone(),
        limits: Some(limits_of(&agent.spec.resources)),
        usage: Some(ResourceUsage {
            memory_bytes: agent.usage.memory_bytes,
            cpu: agent.usage.cpu,
            ..ResourceUsage::default()
        }),
        capabilities: agent.spec.capabilities.clone(),
        metrics: None,
        failure: String::new(),
        last_exits: Vec::new(),
        path: String::new(),
        group: agent
            .spec
            .supervision
            .group
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_filter_reads_what_a_status_shows() {
        for &lifecycle in Lifecycle::ALL {
            assert_eq!(
                filter(status(Doing::of_lifecycle(lifecycle)).into()).unwrap(),
                Some(lifecycle)
            );
        }
        assert_eq!(filter(0).unwrap(), None);
        for none in [AgentStatus::Removed.into(), AgentStatus::Suspended.into(), 99] {
            assert!(filter(none).is_err(), "{none}");
        }
    }
}
