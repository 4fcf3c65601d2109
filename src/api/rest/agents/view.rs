//! Agents as the answers show them. Fields beside the reference's are added, none is renamed.

#[cfg(test)]
mod tests;

use serde::Serialize;
use utoipa::ToSchema;

use crate::agent::spec::{AgentSpec, Resources};
use crate::api::agents::{Status, cpu};
use crate::api::json::finite;
use crate::api::tree::ExitView;
use crate::error::Finding;
use crate::id::{AgentId, AgentName, DeploymentId, Digest};
use crate::node::{AgentDetails, AgentPage, AgentSummary, Consumption, Deployed, Lifecycle, Usage};
use crate::quantity::{ByteSize, Cpu, Span};
use crate::time::Timestamp;

/// An agent after a change of its state.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentStanding<'a> {
    agent_id: AgentId,
    name: &'a AgentName,
    status: Status,
    lifecycle_state: Lifecycle,
}

impl<'a> AgentStanding<'a> {
    pub(super) fn of(agent: &'a AgentSummary) -> Self {
        Self {
            agent_id: agent.id,
            name: &agent.spec.name,
            status: Status::of(agent),
            lifecycle_state: agent.lifecycle,
        }
    }
}

/// A deployed agent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeployAnswer<'a> {
    agent_id: AgentId,
    name: &'a AgentName,
    status: Status,
    deployed_at: Timestamp,
    #[schema(value_type = String)]
    version: &'a semver::Version,
    deployment_id: DeploymentId,
    lifecycle_state: Lifecycle,
    resource_limits: AgentLimits<'a>,
    digest: Digest,
    /// Imports that its permissions do not grant. Absent if there are none.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [Finding],
}

impl<'a> DeployAnswer<'a> {
    pub(super) fn of(deployed: &'a Deployed) -> Self {
        let Deployed { agent, warnings } = deployed;
        Self {
            warnings,
            agent_id: agent.id,
            name: &agent.spec.name,
            status: Status::of(agent),
            deployed_at: agent.deployed_at,
            version: &agent.version,
            deployment_id: agent.deployment_id,
            lifecycle_state: agent.lifecycle,
            resource_limits: AgentLimits::of(&agent.spec.resources),
            digest: agent.digest,
        }
    }
}

/// Limits as they were declared. `memory_bytes` is `memory` in bytes; `cpu_fuel` is present if `cpu` is fuel.
#[derive(Debug, Serialize, ToSchema)]
struct AgentLimits<'a> {
    memory: &'a ByteSize,
    memory_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_fuel: Option<u64>,
    cpu: String,
    turn_deadline: Span,
    mailbox_messages: u32,
    mailbox_bytes: &'a ByteSize,
    state_bytes: &'a ByteSize,
    state_keys: u32,
    sends_per_turn: u32,
    sends_per_second: u32,
    log_bytes_per_second: &'a ByteSize,
    timers: u32,
}

impl<'a> AgentLimits<'a> {
    fn of(resources: &'a Resources) -> Self {
        Self {
            memory: &resources.memory,
            memory_bytes: resources.memory.bytes(),
            cpu_fuel: match resources.cpu {
                Some(Cpu::Fuel(fuel)) => Some(fuel),
                Some(Cpu::Millicores(_)) | None => None,
            },
            cpu: cpu(resources),
            turn_deadline: resources.turn_deadline,
            mailbox_messages: resources.mailbox_messages,
            mailbox_bytes: &resources.mailbox_bytes,
            state_bytes: &resources.state_bytes,
            state_keys: resources.state_keys,
            sends_per_turn: resources.sends_per_turn,
            sends_per_second: resources.sends_per_second,
            log_bytes_per_second: &resources.log_bytes_per_second,
            timers: resources.timers,
        }
    }
}

/// A page of agents. `next_offset` is null on the last page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentList<'a> {
    agents: Vec<ListedAgent<'a>>,
    total: usize,
    next_offset: Option<usize>,
}

impl<'a> AgentList<'a> {
    pub(super) fn of(page: &'a AgentPage) -> Self {
        Self {
            agents: page.agents.iter().map(ListedAgent::of).collect(),
            total: page.total,
            next_offset: page.next_offset,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct ListedAgent<'a> {
    agent_id: AgentId,
    name: &'a AgentName,
    status: Status,
    lifecycle_state: Lifecycle,
    created_at: Timestamp,
    deployed_at: Timestamp,
    #[schema(value_type = String)]
    version: &'a semver::Version,
    digest: Digest,
    capabilities: &'a [String],
    resources: ListedUsage,
}

/// `cpu_usage` is a fraction of one core.
#[derive(Debug, Serialize, ToSchema)]
struct ListedUsage {
    memory_used: String,
    memory_bytes: u64,
    cpu_usage: f64,
}

impl<'a> ListedAgent<'a> {
    fn of(agent: &'a AgentSummary) -> Self {
        Self {
            agent_id: agent.id,
            name: &agent.spec.name,
            status: Status::of(agent),
            lifecycle_state: agent.lifecycle,
            created_at: agent.created_at,
            deployed_at: agent.deployed_at,
            version: &agent.version,
            digest: agent.digest,
            capabilities: &agent.spec.capabilities,
            resources: ListedUsage {
                memory_used: ByteSize::megabytes(agent.usage.memory_bytes),
                memory_bytes: agent.usage.memory_bytes,
                cpu_usage: finite(agent.usage.cpu),
            },
        }
    }
}

/// One agent. `config` is its declaration with all defaults.
#[derive(Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names of the members are published")]
pub(super) struct Agent<'a> {
    agent_id: AgentId,
    name: &'a AgentName,
    status: Status,
    lifecycle_state: Lifecycle,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    #[schema(value_type = String)]
    version: &'a semver::Version,
    digest: Digest,
    created_at: Timestamp,
    deployment: AgentDeployment<'a>,
    resources: AgentResources<'a>,
    metrics: AgentMetrics,
    supervision: AgentPosition<'a>,
    /// The crashes of its instances, newest first.
    last_exits: Vec<ExitView>,
    config: &'a AgentSpec,
}

/// The position of an agent in the supervision tree.
#[derive(Debug, Serialize, ToSchema)]
struct AgentPosition<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a AgentName>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AgentDeployment<'a> {
    deployment_id: DeploymentId,
    strategy: &'static str,
    deployed_at: Timestamp,
    deployed_by: &'a str,
}

#[derive(Debug, Serialize, ToSchema)]
struct AgentResources<'a> {
    limits: AgentLimits<'a>,
    usage: AgentUsage,
}

/// `cpu` is in thousandths of a core. The totals count from the start of the server.
#[derive(Debug, Serialize, ToSchema)]
struct AgentUsage {
    memory: String,
    memory_bytes: u64,
    memory_peak_bytes: u64,
    cpu: String,
    guest_time_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_fuel: Option<u64>,
    turns: u64,
    crashes: u64,
    messages_in: u64,
    messages_out: u64,
    state_bytes: u64,
    state_keys: usize,
    timers: usize,
}

impl AgentUsage {
    fn of(usage: Usage, consumption: &Consumption) -> Self {
        Self {
            memory: ByteSize::megabytes(usage.memory_bytes),
            memory_bytes: usage.memory_bytes,
            memory_peak_bytes: consumption.memory_peak_bytes,
            cpu: format!("{:.0}m", finite(usage.cpu) * 1_000.0),
            guest_time_seconds: consumption.guest_time.as_secs_f64(),
            cpu_fuel: consumption.fuel,
            turns: consumption.turns,
            crashes: consumption.crashes,
            messages_in: consumption.messages_in,
            messages_out: consumption.messages_out,
            state_bytes: consumption.state_bytes,
            state_keys: consumption.state_keys,
            timers: consumption.timers,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct AgentMetrics {
    messages_processed: u64,
    messages_failed: u64,
    messages_queued: u64,
    average_latency_ms: f64,
    uptime_seconds: u64,
    incarnation: u64,
}

impl<'a> Agent<'a> {
    pub(super) fn of(details: &'a AgentDetails) -> Self {
        let agent = &details.summary;
        Self {
            agent_id: agent.id,
            name: &agent.spec.name,
            status: Status::of(agent),
            lifecycle_state: agent.lifecycle,
            failure: details.failure.as_deref(),
            version: &agent.version,
            digest: agent.digest,
            created_at: agent.created_at,
            deployment: AgentDeployment {
                deployment_id: agent.deployment_id,
                // A first deployment replaces nothing: it has no strategy but this.
                strategy: "direct",
                deployed_at: agent.deployed_at,
                deployed_by: &agent.deployed_by,
            },
            resources: AgentResources {
                limits: AgentLimits::of(&agent.spec.resources),
                usage: AgentUsage::of(agent.usage, &details.consumption),
            },
            metrics: AgentMetrics {
                messages_processed: details.messages_processed,
                messages_failed: details.messages_failed,
                messages_queued: details.messages_queued,
                average_latency_ms: finite(details.average_latency_ms),
                uptime_seconds: details.uptime.as_secs(),
                incarnation: details.incarnation,
            },
            supervision: AgentPosition {
                path: &details.path,
                group: agent.spec.supervision.group.as_ref(),
            },
            last_exits: details.crashes.iter().cloned().map(ExitView::from).collect(),
            config: &agent.spec,
        }
    }
}
