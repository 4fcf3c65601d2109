//! Figures of the node and of its agents. All of them are measured; none is estimated.

use std::path::Path;
use std::time::{Duration, Instant};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use super::{AgentErrors, AgentMetrics, Lifecycle, Node, SystemMetrics};
use crate::agent::meter::LONGEST;
use crate::error::{Error, Result};
use crate::principal::{Action, Caller, Subject};

impl Node {
    pub async fn system_metrics(&self, caller: &Caller) -> Result<SystemMetrics> {
        caller.may(Action::ReadMetrics, &Subject::Node)?;
        let agents = self.directory.all();
        let count = |state| {
            agents
                .iter()
                .filter(|agent| agent.standing.read().lifecycle() == state)
                .count()
        };
        let turns = self.shared.turns.figures();
        let counts = self.projections.counts();
        let (cpu_usage_percent, memory_used_bytes, memory_available_bytes) = self.machine();
        let disk_used_bytes = self.disk_used().await;
        Ok(SystemMetrics {
            agents_total: agents.len(),
            agents_running: count(Lifecycle::Running),
            agents_failed: count(Lifecycle::Failed),
            messages_processed: counts.processed,
            messages_per_second: turns.per_second,
            messages_queued: agents.iter().map(|agent| agent.mailbox.depth() as u64).sum(),
            dead_letters: counts.dead_letters,
            cpu_usage_percent,
            memory_used_bytes,
            memory_available_bytes,
            disk_used_bytes,
            latency_p50_ms: turns.latency_p50.as_secs_f64() * 1_000.0,
            latency_p99_ms: turns.latency_p99.as_secs_f64() * 1_000.0,
            agent_spawn_ms: self.shared.spawns.mean().as_secs_f64() * 1_000.0,
        })
    }

    /// Bytes that the data folder occupies. One caller counts at a time: a count holds descriptors open.
    async fn disk_used(&self) -> u64 {
        let (dir, alone) = (self.data_dir.clone(), self.upkeep.counting.clone().lock_owned().await);
        let counting = tokio::task::spawn_blocking(move || {
            let _alone = alone;
            bytes_of(&dir)
        });
        counting.await.unwrap_or(0)
    }

    /// What an agent did in the last `period`, which must be between one minute and 24 hours.
    #[allow(
        clippy::unused_async,
        reason = "a use case may have to ask others; who calls it need not know"
    )]
    pub async fn agent_metrics(&self, caller: &Caller, key: &str, period: Duration) -> Result<AgentMetrics> {
        caller.may(Action::ReadMetrics, &Subject::Agent(key))?;
        if period < Duration::from_secs(60) || period > LONGEST {
            return Err(Error::invalid("period", "must be 1m to 24h"));
        }
        let agent = self.find(key)?;
        let reading = agent.meter.read(period);
        let errors = reading.errors.into_iter().map(|(at, kind, count)| AgentErrors {
            at,
            kind: kind.to_owned(),
            count,
        });
        Ok(AgentMetrics {
            id: agent.id,
            messages_processed: reading.processed,
            messages_failed: reading.failed,
            average_latency_ms: reading.average_latency.as_secs_f64() * 1_000.0,
            cpu_average: reading.cpu_average,
            cpu_peak: reading.cpu_peak,
            memory_average_bytes: reading.memory_average,
            memory_peak_bytes: reading.memory_peak,
            errors: errors.collect(),
        })
    }

    /// Processor use of the whole machine in percent since the last call, resident memory of this process, and
    /// available memory.
    fn machine(&self) -> (f64, u64, u64) {
        let mut system = self.system.lock();
        system.refresh_cpu_usage();
        system.refresh_memory();
        let this = sysinfo::get_current_pid().ok();
        let kind = ProcessRefreshKind::nothing().with_memory();
        if let Some(pid) = this {
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
        }
        let resident = this
            .and_then(|pid| system.process(pid))
            .map_or(0, sysinfo::Process::memory);
        (
            f64::from(system.global_cpu_usage()),
            resident,
            system.available_memory(),
        )
    }

    pub(super) fn refresh_gauges(&self) {
        crate::telemetry::refresh();
        let agents = self.directory.all();
        for state in Lifecycle::ALL {
            let count = agents
                .iter()
                .filter(|agent| agent.standing.read().lifecycle() == *state)
                .count();
            metrics::gauge!("caxton_agents", "state" => state.as_str()).set(count as f64);
        }
        let queued: usize = agents.iter().map(|agent| agent.mailbox.depth()).sum();
        metrics::gauge!("caxton_mailbox_messages").set(queued as f64);
        let oldest = agents
            .iter()
            .map(|agent| agent.mailbox.oldest(Instant::now()))
            .max()
            .unwrap_or_default();
        metrics::gauge!("caxton_mailbox_oldest_seconds").set(oldest.as_secs_f64());
        let lag = self.durable().0.saturating_sub(self.projections.applied().0);
        metrics::gauge!("caxton_history_lag_records").set(lag as f64);
        let memory = self.runtime.memory();
        metrics::gauge!("caxton_guest_memory_bytes").set(memory.used as f64);
        metrics::gauge!("caxton_guest_memory_limit_bytes").set(memory.limit as f64);
    }
}

/// Three quarters of the memory of the machine, or of the control group that limits this process.
pub(super) fn memory_for_guests(system: &System) -> u64 {
    let group = system
        .cgroup_limits()
        .map(|limits| limits.total_memory)
        .filter(|total| *total > 0);
    let total = group.map_or(system.total_memory(), |group| group.min(system.total_memory()));
    total / 4 * 3
}

pub(super) fn system() -> Result<System, sysinfo::Error> {
    let mut system = System::new()?;
    system.refresh_memory();
    system.refresh_cpu_usage(); // usage is the difference between two refreshes; this is the first
    Ok(system)
}

/// Bytes that the files below a folder occupy on the disk. A file that is deleted during the count is not counted.
fn bytes_of(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(agents) = std::fs::read_dir(dir) else {
        return 0;
    };
    let size = |agent: std::fs::DirEntry| match agent.metadata() {
        Ok(meta) if meta.is_dir() => bytes_of(&agent.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    agents.flatten().map(size).sum()
}
