//! The supervision tree in JSON, the same on every edge.

use std::collections::BTreeMap;

use serde::Serialize;
use supervisors::IntensityUse;
use utoipa::ToSchema;

use crate::agent::meter::CrashReport;
use crate::id::{AgentId, MessageId};
use crate::node::TreeNode;
use crate::time::Timestamp;

/// A child of the supervision tree, with its own children.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TreeNode)]
pub(super) struct TreeView {
    pub(super) path: String,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) strategy: Option<&'static str>,
    pub(super) state: &'static str,
    pub(super) incarnation: u64,
    pub(super) uptime_seconds: Option<f64>,
    /// How often it was restarted, by the reason of its exit; `sibling` if another member of its group had exited, and `supervisor`
    /// if its supervisor was restarted.
    pub(super) restarts: BTreeMap<&'static str, u64>,
    pub(super) intensity: Option<IntensityView>,
    pub(super) backoff_remaining_seconds: Option<f64>,
    pub(super) last_exit: Option<ExitView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent_id: Option<AgentId>,
    /// The crashes of an agent, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) last_exits: Vec<ExitView>,
    #[schema(no_recursion)]
    pub(super) children: Vec<TreeView>,
}

/// The restarts in the last `period_seconds`, and the limit for that time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RestartIntensity)]
pub(super) struct IntensityView {
    pub(super) used: u32,
    pub(super) limit: u32,
    pub(super) period_seconds: f64,
}

impl From<IntensityUse> for IntensityView {
    fn from(intensity: IntensityUse) -> Self {
        Self {
            used: intensity.used,
            limit: intensity.limit,
            period_seconds: intensity.period_seconds,
        }
    }
}

/// How an incarnation ended. For a crash of an agent, `message_id` is the message and `backtrace` the place in the guest.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Exit)]
pub(super) struct ExitView {
    pub(super) reason: &'static str,
    pub(super) at: Timestamp,
    pub(super) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) backtrace: Vec<String>,
}

impl From<CrashReport> for ExitView {
    fn from(crash: CrashReport) -> Self {
        Self {
            reason: crash.kind,
            at: crash.at,
            detail: crash.detail,
            message_id: crash.message_id,
            attempt: Some(crash.attempt),
            backtrace: crash.backtrace,
        }
    }
}

impl TreeView {
    pub(super) fn of(node: TreeNode) -> Self {
        let last = node.snapshot.last_exit.map(|exit| {
            let crash = node.crashes.first().filter(|crash| crash.kind == exit.reason).cloned();
            crash.map_or_else(
                || ExitView {
                    reason: exit.reason,
                    at: Timestamp::from_micros(i64::try_from(exit.at).unwrap_or(i64::MAX)),
                    detail: exit.detail,
                    message_id: None,
                    attempt: None,
                    backtrace: Vec::new(),
                },
                ExitView::from,
            )
        });
        Self {
            path: node.snapshot.path,
            kind: node.snapshot.kind,
            name: node.snapshot.name,
            strategy: node.snapshot.strategy,
            state: node.snapshot.state,
            incarnation: node.snapshot.incarnation,
            uptime_seconds: node.snapshot.uptime_seconds,
            restarts: node.snapshot.restarts,
            intensity: node.snapshot.intensity.map(IntensityView::from),
            backoff_remaining_seconds: node.snapshot.backoff_remaining_seconds,
            last_exit: last,
            agent_id: node.agent,
            last_exits: node.crashes.into_iter().map(ExitView::from).collect(),
            children: node.children.into_iter().map(Self::of).collect(),
        }
    }
}
