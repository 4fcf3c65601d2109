//! The metrics in the Prometheus text format. Every one is described in [`FAMILIES`], which a test compares with the source.

use std::sync::{LazyLock, OnceLock};

use metrics::Unit;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use super::log;

/// The kind of a metric.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// Name, kind, unit and meaning of each metric, but for those of the process (`process_…`), which their crate describes.
const FAMILIES: &[(&str, Kind, Unit, &str)] = &[
    (
        "caxton_agent_spawn_seconds",
        Histogram,
        Unit::Seconds,
        "Time to instantiate an agent and to run its init",
    ),
    ("caxton_agents", Gauge, Unit::Count, "Agents by lifecycle state"),
    (
        "caxton_build_info",
        Gauge,
        Unit::Count,
        "Always 1; its labels say which build of the server this is",
    ),
    ("caxton_connections", Gauge, Unit::Count, "Open connections of a front"),
    (
        "caxton_connections_closed_total",
        Counter,
        Unit::Count,
        "Connections that the server closed: silent, idle, crowded (another one needed the place) or refused (all were busy)",
    ),
    (
        "caxton_connections_limit",
        Gauge,
        Unit::Count,
        "The most open connections of a front",
    ),
    (
        "caxton_dead_letters_total",
        Counter,
        Unit::Count,
        "Messages that became dead letters, by reason",
    ),
    (
        "caxton_disk_free_bytes",
        Gauge,
        Unit::Bytes,
        "Free space on the disk of the data folder",
    ),
    (
        "caxton_disk_full",
        Gauge,
        Unit::Count,
        "1 while writes are refused because the disk is full or the journal cannot be written, else 0",
    ),
    (
        "caxton_grpc_call_seconds",
        Histogram,
        Unit::Seconds,
        "Time from a call of gRPC to its status",
    ),
    (
        "caxton_grpc_calls_total",
        Counter,
        Unit::Count,
        "Calls of gRPC by method and status code",
    ),
    (
        "caxton_guest_memory_bytes",
        Gauge,
        Unit::Bytes,
        "Memory that all agents together have",
    ),
    (
        "caxton_guest_memory_limit_bytes",
        Gauge,
        Unit::Bytes,
        "The most memory that all agents together may have",
    ),
    (
        "caxton_history_lag_records",
        Gauge,
        Unit::Count,
        "Durable records of the journal that the history does not have yet",
    ),
    (
        "caxton_http_request_seconds",
        Histogram,
        Unit::Seconds,
        "Time from a request of REST to the head of its response",
    ),
    (
        "caxton_http_requests_total",
        Counter,
        Unit::Count,
        "Requests of REST by method, route and status code",
    ),
    (
        "caxton_journal_batches_total",
        Counter,
        Unit::Count,
        "Batches made durable",
    ),
    (
        "caxton_journal_sync_seconds",
        Histogram,
        Unit::Seconds,
        "Time of a sync of the journal, one for each group of batches",
    ),
    (
        "caxton_log_lines_lost_total",
        Counter,
        Unit::Count,
        "Lines of the log that could not be written to standard error",
    ),
    (
        "caxton_mailbox_messages",
        Gauge,
        Unit::Count,
        "Messages queued or in a turn, over all agents",
    ),
    (
        "caxton_mailbox_oldest_seconds",
        Gauge,
        Unit::Seconds,
        "How long the oldest queued message has waited",
    ),
    (
        "caxton_mailbox_wait_seconds",
        Histogram,
        Unit::Seconds,
        "Time from a message's admission to a mailbox to the begin of its turn",
    ),
    (
        "caxton_modules_compiled_total",
        Counter,
        Unit::Count,
        "Modules compiled",
    ),
    (
        "caxton_modules_loaded_total",
        Counter,
        Unit::Count,
        "Compiled modules loaded from the disk",
    ),
    (
        "caxton_requests_in_progress",
        Gauge,
        Unit::Count,
        "Requests or calls of a front that are in progress",
    ),
    (
        "caxton_turn_latency_seconds",
        Histogram,
        Unit::Seconds,
        "Time from a message's acceptance to the end of its turn",
    ),
    (
        "caxton_turns_total",
        Counter,
        Unit::Count,
        "Turns by how they ended: ok, error, or the kind of crash",
    ),
    ("caxton_websockets", Gauge, Unit::Count, "Open WebSockets"),
    (
        "supervisor_backoff_seconds",
        Histogram,
        Unit::Seconds,
        "How long restarts were put off",
    ),
    (
        "supervisor_children",
        Gauge,
        Unit::Count,
        "Children of supervisors by state",
    ),
    (
        "supervisor_intensity_limit",
        Gauge,
        Unit::Count,
        "Restarts within the period at which a supervisor gives up",
    ),
    (
        "supervisor_intensity_used",
        Gauge,
        Unit::Count,
        "Restarts within the current period",
    ),
    (
        "supervisor_meltdowns_total",
        Counter,
        Unit::Count,
        "How often supervisors exceeded their restart intensity",
    ),
    (
        "supervisor_recovery_seconds",
        Histogram,
        Unit::Seconds,
        "Time from the exit of a child until it runs again",
    ),
    (
        "supervisor_restarts_total",
        Counter,
        Unit::Count,
        "Restarts of children by reason",
    ),
];

/// The metrics recorder. A process has one, however many nodes a test starts in it.
pub fn prometheus() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let buckets = &[0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
        let recorder = PrometheusBuilder::new()
            .set_buckets(buckets)
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed in this process; /metrics stays empty");
        }
        describe();
        metrics::gauge!("caxton_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        handle
    })
}

fn describe() {
    for (name, kind, unit, meaning) in FAMILIES {
        match kind {
            Counter => metrics::describe_counter!(*name, *unit, *meaning),
            Gauge => metrics::describe_gauge!(*name, *unit, *meaning),
            Histogram => metrics::describe_histogram!(*name, *unit, *meaning),
        }
    }
    PROCESS.describe();
}

static PROCESS: LazyLock<Collector> = LazyLock::new(Collector::default);

/// Brings the metrics up to date that are measured when they are asked for.
pub fn refresh() {
    PROCESS.collect();
    metrics::counter!("caxton_log_lines_lost_total").absolute(log::lost());
}

/// Sorts the values of histograms into their buckets. Until then each value takes memory, so this must run again and again, also
/// where nobody asks for the metrics.
pub fn upkeep() {
    prometheus().run_upkeep();
}
