//! The supervision tree in JSON, the same on every edge.

use std::collections::BTreeMap;

use serde::Serialize;
use supervisors::IntensityUse;

use crate::agent::meter::CrashReport;
use crate::id::{AgentId, MessageId};
use crate::node::TreeNode;
use crate::time::Timestamp;

/// A node of the tree and all below it.
#[derive(Debug, Serialize)]
pub(super) struct TreeView {
    path: String,
    kind: &'static str,
    name: String,
    strategy: Option<&'static str>,
    state: &'static str,
    incarnation: u64,
    uptime_seconds: Option<f64>,
    restarts: BTreeMap<&'static str, u64>,
    intensity: Option<IntensityUse>,
    backoff_remaining_seconds: Option<f64>,
    last_exit: Option<ExitView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<AgentId>,
    /// An agent's crashes, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    last_exits: Vec<ExitView>,
    children: Vec<TreeView>,
}

/// How an incarnation ended. Of an agent's crash: on which message, and where in the guest.
#[derive(Debug, Serialize)]
pub(super) struct ExitView {
    reason: &'static str,
    at: Timestamp,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    backtrace: Vec<String>,
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
            intensity: node.snapshot.intensity,
            backoff_remaining_seconds: node.snapshot.backoff_remaining_seconds,
            last_exit: last,
            agent_id: node.agent,
            last_exits: node.crashes.into_iter().map(ExitView::from).collect(),
            children: node.children.into_iter().map(Self::of).collect(),
        }
    }
}
