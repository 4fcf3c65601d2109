//! `/metrics` and `/api/v1/metrics`.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::query::{NoParameters, Query};
use crate::api::http::Front;
use crate::api::http::failure::Failure;
use crate::api::json::finite;
use crate::error::Error;
use crate::id::AgentId;
use crate::node::{AgentMetrics, SystemMetrics};
use crate::quantity::Span;
use crate::time::Timestamp;

const MEGABYTE: u64 = 1_000_000;

/// `GET /metrics`: the text format of Prometheus.
pub(super) async fn prometheus(front: web::Data<Front>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(front.node.prometheus())
}

/// `GET /api/v1/metrics/system`.
pub(super) async fn system(front: web::Data<Front>, _: Query<NoParameters>) -> HttpResponse {
    HttpResponse::Ok().json(SystemView::of(&front.node.system_metrics().await, Timestamp::now()))
}

/// Over what time an agent is measured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Period {
    /// 1 minute to 24 hours, such as `30m`; 1 hour if left out.
    period: Option<Span>,
}

/// `GET /api/v1/metrics/agents/{id or name}?period=1h`: over the last `period`, 1 minute to 24 hours, 1 hour by default.
pub(super) async fn agent(
    front: web::Data<Front>,
    key: web::Path<String>,
    Query(asked): Query<Period>,
) -> Result<HttpResponse, Failure> {
    let period = asked.period.unwrap_or(Span(Duration::from_hours(1)));
    if !(Duration::from_mins(1)..=Duration::from_hours(24)).contains(&period.0) {
        return Err(Error::invalid("period", format!("is {period}, and must be 1m to 24h")).into());
    }
    let metrics = front.node.agent_metrics(&key, period.0).await?;
    Ok(HttpResponse::Ok().json(AgentView::of(period, metrics)))
}

/// Whole megabytes (10^6), rounded.
const fn megabytes(bytes: u64) -> u64 {
    (bytes + MEGABYTE / 2) / MEGABYTE
}

/// Latencies and spawn time are in milliseconds, `mb` and `gb` are decimal.
#[derive(Debug, Serialize)]
struct SystemView {
    timestamp: Timestamp,
    agents: Agents,
    messages: Messages,
    resources: Resources,
    performance: Performance,
}

#[derive(Debug, Serialize)]
struct Agents {
    total: usize,
    running: usize,
    failed: usize,
}

#[derive(Debug, Serialize)]
struct Messages {
    total_processed: u64,
    rate_per_second: f64,
    queue_size: u64,
    dead_letters: u64,
}

#[derive(Debug, Serialize)]
struct Resources {
    cpu_usage_percent: f64,
    memory_used_mb: u64,
    memory_available_mb: u64,
    disk_used_gb: f64,
}

#[derive(Debug, Serialize)]
struct Performance {
    message_latency_p50: f64,
    message_latency_p99: f64,
    agent_spawn_time_ms: f64,
}

impl SystemView {
    fn of(metrics: &SystemMetrics, timestamp: Timestamp) -> Self {
        Self {
            timestamp,
            agents: Agents {
                total: metrics.agents_total,
                running: metrics.agents_running,
                failed: metrics.agents_failed,
            },
            messages: Messages {
                total_processed: metrics.messages_processed,
                rate_per_second: finite(metrics.messages_per_second),
                queue_size: metrics.messages_queued,
                dead_letters: metrics.dead_letters,
            },
            resources: Resources {
                cpu_usage_percent: finite(metrics.cpu_usage_percent),
                memory_used_mb: megabytes(metrics.memory_used_bytes),
                memory_available_mb: megabytes(metrics.memory_available_bytes),
                disk_used_gb: metrics.disk_used_bytes as f64 / 1e9,
            },
            performance: Performance {
                message_latency_p50: finite(metrics.latency_p50_ms),
                message_latency_p99: finite(metrics.latency_p99_ms),
                agent_spawn_time_ms: finite(metrics.agent_spawn_ms),
            },
        }
    }
}

#[derive(Debug, Serialize)]
struct AgentView {
    agent_id: AgentId,
    period: Span,
    metrics: Figures,
}

/// `cpu_usage` is a fraction of one core.
#[derive(Debug, Serialize)]
struct Figures {
    messages_processed: u64,
    messages_failed: u64,
    average_latency_ms: f64,
    cpu_usage: CpuUsage,
    memory_usage: MemoryUsage,
    errors: Vec<Errors>,
}

#[derive(Debug, Serialize)]
struct CpuUsage {
    average: f64,
    peak: f64,
}

#[derive(Debug, Serialize)]
struct MemoryUsage {
    average_mb: u64,
    peak_mb: u64,
    average_bytes: u64,
    peak_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Errors {
    timestamp: Timestamp,
    error: String,
    count: u64,
}

impl AgentView {
    fn of(period: Span, metrics: AgentMetrics) -> Self {
        let errors = metrics.errors.into_iter();
        Self {
            agent_id: metrics.id,
            period,
            metrics: Figures {
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
                    .map(|e| Errors {
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
        let view = serde_json::to_value(SystemView::of(&system, Timestamp::now())).unwrap();
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
        let view = AgentView::of(Span(Duration::from_hours(1)), quiet);
        let view = serde_json::to_value(view).unwrap();
        assert_eq!(view["period"], "1h");
        assert_eq!(view["metrics"]["cpu_usage"], json!({"average": 0.0, "peak": 0.0}));
        assert!(view["metrics"]["errors"].is_array());
    }
}
