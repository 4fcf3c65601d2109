//! `/metrics` and `/api/v1/metrics`.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{self, Path};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::query::{NoParameters, Query};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::api::json::finite;
use crate::error::Error;
use crate::id::AgentId;
use crate::node::{AgentMetrics, SystemMetrics};
use crate::quantity::Span;
use crate::time::Timestamp;

const MEGABYTE: u64 = 1_000_000;

/// Returns the metrics of the server in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "system",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain"))
)]
pub(super) async fn prometheus_metrics(
    front: web::Data<Front>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let text = front.node.prometheus(&credentials.caller(&[]))?;
    Ok(HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(text))
}

/// Returns metrics of the whole server.
#[utoipa::path(
    get,
    path = "/api/v1/metrics/system",
    tag = "metrics",
    responses((status = 200, description = "Current metrics, and totals since the start", body = SystemReport))
)]
pub(super) async fn system_metrics(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let metrics = front.node.system_metrics(&credentials.caller(&[])).await?;
    Ok(HttpResponse::Ok().json(SystemReport::of(&metrics, Timestamp::now())))
}

/// The period of the metrics.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Period {
    /// 1 minute to 24 hours, such as `30m`. Default: 1 hour.
    #[param(inline)]
    period: Option<Span>,
}

/// Returns metrics of an agent over a period that ends now.
#[utoipa::path(
    get,
    path = "/api/v1/metrics/agents/{id}",
    tag = "metrics",
    params(("id" = String, Path, description = "The id or the name of the agent"), Period),
    responses(
        (status = 200, description = "The metrics", body = AgentReport),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    )
)]
pub(super) async fn agent_metrics(
    front: web::Data<Front>,
    key: Path<String>,
    Query(asked): Query<Period>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let period = asked.period.unwrap_or(Span(Duration::from_hours(1)));
    if !(Duration::from_mins(1)..=Duration::from_hours(24)).contains(&period.0) {
        return Err(Error::invalid("period", format!("is {period}, and must be 1m to 24h")).into());
    }
    let metrics = front
        .node
        .agent_metrics(&credentials.caller(&[]), &key, period.0)
        .await?;
    Ok(HttpResponse::Ok().json(AgentReport::of(period, metrics)))
}

/// Whole megabytes (10^6), rounded.
const fn megabytes(bytes: u64) -> u64 {
    (bytes + MEGABYTE / 2) / MEGABYTE
}

/// Latencies and spawn time are in milliseconds, `mb` and `gb` are decimal.
#[derive(Debug, Serialize, ToSchema)]
struct SystemReport {
    timestamp: Timestamp,
    agents: AgentCounts,
    messages: MessageCounts,
    resources: ServerUsage,
    performance: Latencies,
}

#[derive(Debug, Serialize, ToSchema)]
struct AgentCounts {
    total: usize,
    running: usize,
    failed: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct MessageCounts {
    total_processed: u64,
    rate_per_second: f64,
    queue_size: u64,
    dead_letters: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct ServerUsage {
    cpu_usage_percent: f64,
    memory_used_mb: u64,
    memory_available_mb: u64,
    disk_used_gb: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Latencies {
    message_latency_p50: f64,
    message_latency_p99: f64,
    agent_spawn_time_ms: f64,
}

impl SystemReport {
    fn of(metrics: &SystemMetrics, timestamp: Timestamp) -> Self {
        Self {
            timestamp,
            agents: AgentCounts {
                total: metrics.agents_total,
                running: metrics.agents_running,
                failed: metrics.agents_failed,
            },
            messages: MessageCounts {
                total_processed: metrics.messages_processed,
                rate_per_second: finite(metrics.messages_per_second),
                queue_size: metrics.messages_queued,
                dead_letters: metrics.dead_letters,
            },
            resources: ServerUsage {
                cpu_usage_percent: finite(metrics.cpu_usage_percent),
                memory_used_mb: megabytes(metrics.memory_used_bytes),
                memory_available_mb: megabytes(metrics.memory_available_bytes),
                disk_used_gb: metrics.disk_used_bytes as f64 / 1e9,
            },
            performance: Latencies {
                message_latency_p50: finite(metrics.latency_p50_ms),
                message_latency_p99: finite(metrics.latency_p99_ms),
                agent_spawn_time_ms: finite(metrics.agent_spawn_ms),
            },
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct AgentReport {
    agent_id: AgentId,
    period: Span,
    metrics: AgentFigures,
}

/// `cpu_usage` is a fraction of one core.
#[derive(Debug, Serialize, ToSchema)]
struct AgentFigures {
    messages_processed: u64,
    messages_failed: u64,
    average_latency_ms: f64,
    cpu_usage: CpuUsage,
    memory_usage: MemoryUsage,
    errors: Vec<ErrorCount>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CpuUsage {
    average: f64,
    peak: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct MemoryUsage {
    average_mb: u64,
    peak_mb: u64,
    average_bytes: u64,
    peak_bytes: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct ErrorCount {
    timestamp: Timestamp,
    error: String,
    count: u64,
}

impl AgentReport {
    fn of(period: Span, metrics: AgentMetrics) -> Self {
        let errors = metrics.errors.into_iter();
        Self {
            agent_id: metrics.id,
            period,
            metrics: AgentFigures {
                messages_processed: metrics.messages_processed,
                messages_failed: metrics.messages_failed,
                average_latency_ms: finite(metrics.average_latency_ms),
                cpu_usage: CpuUsage {
                    average: finite(metrics.cpu_average),
                    peak: finite(metrics.cpu_peak),
                },
                memory_usage: MemoryUsage {
                    average_mb: megabytes(metrics.memory_average_bytes),
                    peak_mb: megabytes(metrics.memory_peak_bytes),
                    average_bytes: metrics.memory_average_bytes,
                    peak_bytes: metrics.memory_peak_bytes,
                },
                errors: errors
                    .map(|e| ErrorCount {
                        timestamp: e.at,
                        error: e.kind,
                        count: e.count,
                    })
                    .collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_answers_have_the_references_shapes() {
        let system = SystemMetrics {
            latency_p50_ms: f64::NAN,
            memory_used_bytes: 2_048_400_000,
            ..SystemMetrics::default()
        };
        let view = serde_json::to_value(SystemReport::of(&system, Timestamp::now())).unwrap();
        assert!(view["timestamp"].is_string());
        assert_eq!(view["resources"]["memory_used_mb"], 2_048);
        assert!(view["resources"]["disk_used_gb"].is_f64());
        assert_eq!(view["performance"]["message_latency_p50"], 0.0);

        let quiet = AgentMetrics {
            id: AgentId::new(),
            messages_processed: 0,
            messages_failed: 0,
            average_latency_ms: 0.0,
            cpu_average: 0.0,
            cpu_peak: 0.0,
            memory_average_bytes: 0,
            memory_peak_bytes: 0,
            errors: Vec::new(),
        };
        let view = AgentReport::of(Span(Duration::from_hours(1)), quiet);
        let view = serde_json::to_value(view).unwrap();
        assert_eq!(view["period"], "1h");
        assert_eq!(view["metrics"]["cpu_usage"], json!({"average": 0.0, "peak": 0.0}));
        assert!(view["metrics"]["errors"].is_array());
    }
}
