//! The results of the use cases, as plain values that are independent of any wire format.

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
    /// Permissions that the module asks for and will be denied when it runs.
    pub warnings: Vec<Finding>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentSummary {
    pub id: AgentId,
    pub lifecycle: Lifecycle,
    /// The agent takes messages but no turns. Its lifecycle state is still `running`.
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

/// What an agent has used since the server started, summed over its instances, and what it holds now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consumption {
    /// The most linear memory that an instance had at the end of a call.
    pub memory_peak_bytes: u64,
    /// Time spent in the guest, without waits for a processor.
    pub guest_time: Duration,
    /// Fuel used. None: the program is not metered.
    pub fuel: Option<u64>,
    /// Turns on messages, including the tries after a crash.
    pub turns: u64,
    /// Instances that crashed.
    pub crashes: u64,
    /// Messages that had their first turn.
    pub messages_in: u64,
    /// Sent messages that took effect with their turns.
    pub messages_out: u64,
    pub state_bytes: u64,
    pub state_keys: usize,
    /// Timers that are set and may still fire.
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
    /// Linear memory of the running instances together; 0 when none runs.
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
    /// Time since the running instance started; of several instances, the one that has run longest. 0 when none runs.
    pub uptime: Duration,
    /// The incarnation of the running instance; of several instances, the highest. 0 when none runs.
    pub incarnation: u64,
    /// The agent's path in the supervision tree.
    pub path: String,
    /// Why the agent is `failed`, if it is.
    pub failure: Option<String>,
    /// How the agent's instances crashed, newest first, at most [`crate::agent::meter::CRASHES`].
    pub crashes: Vec<crate::agent::meter::CrashReport>,
}

#[derive(Clone, Debug)]
pub struct AgentPage {
    pub agents: Vec<AgentSummary>,
    pub total: usize,
    /// Where the next page starts. None: this was the last page.
    pub next_offset: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub struct StopOptions {
    /// How long queued messages may still be handled.
    pub grace: Duration,
    /// Whether queued messages are handled. False: they become dead letters at once.
    pub drain: bool,
}

impl StopOptions {
    /// The latest time at which a stop that begins now is over.
    pub fn until(&self, now: Timestamp) -> Timestamp {
        if self.drain { now.plus(self.grace) } else { now }
    }

    /// The longest grace period. A longer one is most likely given in the wrong unit.
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
    /// Turns per second, averaged over the last ten seconds.
    pub messages_per_second: f64,
    pub messages_queued: u64,
    pub dead_letters: u64,
    /// Processor use of the whole machine, 0 to 100.
    pub cpu_usage_percent: f64,
    /// Resident memory of the server process.
    pub memory_used_bytes: u64,
    pub memory_available_bytes: u64,
    /// Bytes that the data folder occupies.
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
    /// When the last of these errors happened.
    pub at: Timestamp,
    pub kind: String,
    pub count: u64,
}

/// The limits that the listeners must know before they read a body.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    pub module_bytes: usize,
}

/// A supervision group as declared, with its members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupView {
    pub spec: GroupSpec,
    /// The group's path in the tree.
    pub path: String,
    /// The group's direct members, oldest first.
    pub agents: Vec<AgentName>,
    pub groups: Vec<AgentName>,
    pub created_at: Timestamp,
}
