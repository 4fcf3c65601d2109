//! What the use cases answer with: plain values that no wire has shaped.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::meter::Totals;
use crate::agent::spec::AgentSpec;
use crate::agent::{Agent, Standing};
use crate::error::Finding;
use crate::group::GroupSpec;
use crate::id::{AgentId, AgentName, DeploymentId, Digest};
use crate::message::Message;
use crate::quantity::Cpu;
use crate::time::Timestamp;

pub use crate::agent::Lifecycle;
pub use crate::router::{Receipt, ReceiverOutcome};

/// An agent that was deployed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deployed {
    pub agent: AgentSummary,
    /// What it will be denied when it runs.
    pub warnings: Vec<Finding>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentSummary {
    pub id: AgentId,
    pub lifecycle: Lifecycle,
    /// It takes messages and no turns. Its lifecycle state is `running` all the same.
    pub suspended: bool,
    pub spec: AgentSpec,
    pub version: semver::Version,
    pub digest: Digest,
    pub deployment_id: DeploymentId,
    pub created_at: Timestamp,
    pub deployed_at: Timestamp,
    pub deployed_by: String,
    pub usage: Usage,
}

impl AgentSummary {
    pub(super) fn of(agent: &Agent) -> Self {
        const LAST: Duration = Duration::from_secs(60);
        let document = agent.document.read().clone();
        let usage = Usage {
            memory_bytes: agent.meter.memory(),
            cpu: agent.meter.read(LAST).cpu_average,
        };
        Self {
            id: agent.id,
            lifecycle: agent.standing.read().lifecycle(),
            suspended: *agent.standing.read() == Standing::Suspended,
            version: document.version,
            digest: document.digest,
            deployment_id: document.deployment_id,
            created_at: document.created_at,
            deployed_at: document.deployed_at,
            deployed_by: document.deployed_by,
            spec: document.spec,
            usage,
        }
    }
}

/// What an agent has used since the server started, all its instances together, and what it has now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consumption {
    /// The most linear memory that an instance had at the end of a call.
    pub memory_peak_bytes: u64,
    /// Time in the guest, without its waits for a processor.
    pub guest_time: Duration,
    /// None: its program is not metered.
    pub fuel: Option<u64>,
    /// Turns of messages, tries after a crash included.
    pub turns: u64,
    /// Instances that broke.
    pub crashes: u64,
    /// Messages of which a first turn was had.
    pub messages_in: u64,
    /// Messages that took effect with their turns.
    pub messages_out: u64,
    pub state_bytes: u64,
    pub state_keys: usize,
    /// Timers that live.
    pub timers: usize,
}

impl Consumption {
    pub(super) fn of(agent: &Agent, totals: &Totals) -> Self {
        let metered = matches!(agent.document.read().spec.resources.cpu, Some(Cpu::Fuel(_)));
        let state = agent.state.read();
        let state_bytes: usize = state.iter().map(|(key, value)| key.len() + value.len()).sum();
        Self {
            memory_peak_bytes: agent.meter.memory_peak(),
            guest_time: totals.guest,
            fuel: metered.then_some(totals.fuel),
            turns: totals.processed + totals.failed,
            crashes: totals.crashed,
            messages_in: totals.received,
            messages_out: totals.sent,
            state_bytes: state_bytes as u64,
            state_keys: state.len(),
            timers: agent.timers.len(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Linear memory of the running instance; 0 when none runs.
    pub memory_bytes: u64,
    /// Guest time as a fraction of one core, over the last minute.
    pub cpu: f64,
}

#[derive(Clone, Debug)]
pub struct AgentDetails {
    pub summary: AgentSummary,
    pub messages_processed: u64,
    pub messages_failed: u64,
    pub messages_queued: u64,
    pub consumption: Consumption,
    pub average_latency_ms: f64,
    /// Since the running instance started; 0 when none runs.
    pub uptime: Duration,
    /// Instances started so far.
    pub incarnation: u64,
    /// Its place in the supervision tree.
    pub path: String,
    /// Why it is `failed`, if it is.
    pub failure: Option<String>,
    /// How its instances broke, newest first, at most [`crate::agent::meter::CRASHES`].
    pub crashes: Vec<crate::agent::meter::CrashReport>,
}

#[derive(Clone, Debug)]
pub struct AgentPage {
    pub agents: Vec<AgentSummary>,
    pub total: usize,
    /// None: this was the last page.
    pub next_offset: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub struct StopOptions {
    /// How long queued messages may still be handled.
    pub grace: Duration,
    /// False: what is queued becomes dead letters at once.
    pub drain: bool,
}

impl StopOptions {
    /// When a stop that begins now is over at the latest.
    pub fn until(&self, now: Timestamp) -> Timestamp {
        if self.drain { now.plus(self.grace) } else { now }
    }

    /// Beyond this a caller has slipped with the unit.
    pub const MAX_GRACE: Duration = Duration::from_secs(3600);
}

impl Default for StopOptions {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(30),
            drain: true,
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stopping {
    pub id: AgentId,
    pub lifecycle: Lifecycle,
    pub estimated_completion: Timestamp,
}

#[derive(Clone, Copy, Debug)]
pub struct Removed {
    pub id: AgentId,
    pub removed_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub receipt: Receipt,
    pub message: std::sync::Arc<Message>,
}

#[derive(Clone, Debug, Default)]
pub struct SystemMetrics {
    pub agents_total: usize,
    pub agents_running: usize,
    pub agents_failed: usize,
    pub messages_processed: u64,
    /// Turns a second, over the last ten seconds.
    pub messages_per_second: f64,
    pub messages_queued: u64,
    pub dead_letters: u64,
    /// Of the whole machine, 0 to 100.
    pub cpu_usage_percent: f64,
    /// Resident memory of the server.
    pub memory_used_bytes: u64,
    pub memory_available_bytes: u64,
    /// The data folder.
    pub disk_used_bytes: u64,
    pub latency_p50_ms: f64,
    pub latency_p99_ms: f64,
    /// Mean time from the decision to start an instance to the end of its `init`.
    pub agent_spawn_ms: f64,
}

#[derive(Clone, Debug)]
pub struct AgentMetrics {
    pub id: AgentId,
    pub messages_processed: u64,
    pub messages_failed: u64,
    pub average_latency_ms: f64,
    pub cpu_average: f64,
    pub cpu_peak: f64,
    pub memory_average_bytes: u64,
    pub memory_peak_bytes: u64,
    pub errors: Vec<AgentErrors>,
}

/// Errors of one kind in one minute.
#[derive(Clone, Debug)]
pub struct AgentErrors {
    /// When the last of them happened.
    pub at: Timestamp,
    pub kind: String,
    pub count: u64,
}

/// What the edges must know of the node's limits before they read a body.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    pub module_bytes: usize,
}

/// A supervision group, as declared, and what is in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupView {
    pub spec: GroupSpec,
    /// Its place in the tree.
    pub path: String,
    /// Its own members, oldest first.
    pub agents: Vec<AgentName>,
    pub groups: Vec<AgentName>,
    pub created_at: Timestamp,
}
