//! Groups, the tree, events and figures in protobuf.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::grpc::convert::{duration, exit, timestamp};
use crate::api::grpc::proto::{
    AutoShutdown, Backoff, IntensityUse, PathMetrics, RecoveryTimes, SupervisionEvent, SupervisionMetrics,
    SupervisionStrategy, Supervisor, TreeNode,
};
use crate::api::supervision::EventView;
use crate::api::tree::{IntensityView, TreeView};
use crate::node::{GroupView, PathFigures, SupervisionFigures};
use crate::time::Timestamp;

pub(super) fn supervisor(group: GroupView) -> Supervisor {
    let spec = group.spec;
    let names = |names: Vec<crate::id::AgentName>| names.iter().map(ToString::to_string).collect();
    Supervisor {
        name: spec.name.to_string(),
        parent: spec.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        strategy: match spec.strategy {
            supervisors::Strategy::OneForOne => SupervisionStrategy::OneForOne,
            supervisors::Strategy::OneForAll => SupervisionStrategy::OneForAll,
            supervisors::Strategy::RestForOne => SupervisionStrategy::RestForOne,
        }
        .into(),
        intensity: spec.intensity,
        period: Some(duration(spec.period.0)),
        backoff: Some(Backoff {
            min: Some(duration(spec.backoff.min.0)),
            max: Some(duration(spec.backoff.max.0)),
            factor: Some(spec.backoff.factor),
            jitter: Some(spec.backoff.jitter),
        }),
        auto_shutdown: match spec.auto_shutdown {
            supervisors::AutoShutdown::Never => AutoShutdown::Never,
            supervisors::AutoShutdown::AnySignificant => AutoShutdown::AnySignificant,
            supervisors::AutoShutdown::AllSignificant => AutoShutdown::AllSignificant,
        }
        .into(),
        path: group.path,
        agents: names(group.agents),
        supervisors: names(group.groups),
        created_at: Some(timestamp(group.created_at)),
    }
}

/// Seconds as protobuf has them; what is no time is absent.
fn seconds(span: Option<f64>) -> Option<prost_types::Duration> {
    span.and_then(|span| Duration::try_from_secs_f64(span).ok())
        .map(duration)
}

fn counts(counts: BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts
        .into_iter()
        .map(|(reason, count)| (reason.to_owned(), count))
        .collect()
}

fn intensity(intensity: Option<IntensityView>) -> Option<IntensityUse> {
    intensity.map(|intensity| IntensityUse {
        used: intensity.used,
        limit: intensity.limit,
        period: seconds(Some(intensity.period_seconds)),
    })
}

pub(super) fn tree(node: TreeView) -> TreeNode {
    TreeNode {
        path: node.path,
        kind: node.kind.to_owned(),
        name: node.name,
        strategy: node.strategy.unwrap_or_default().to_owned(),
        state: node.state.to_owned(),
        incarnation: node.incarnation,
        uptime: seconds(node.uptime_seconds),
        restarts: counts(node.restarts),
        intensity: intensity(node.intensity),
        backoff_remaining: seconds(node.backoff_remaining_seconds),
        last_exit: node.last_exit.map(exit),
        agent_id: node.agent_id.map(|id| id.to_string()).unwrap_or_default(),
        last_exits: node.last_exits.into_iter().map(exit).collect(),
        children: node.children.into_iter().map(tree).collect(),
    }
}

pub(super) fn event(event: EventView) -> SupervisionEvent {
    SupervisionEvent {
        seq: event.seq.0,
        r#type: event.kind.to_string(),
        timestamp: Some(timestamp(event.timestamp)),
        path: event.body.path.unwrap_or_default(),
        agent_id: event.agent_id.map(|id| id.to_string()).unwrap_or_default(),
        incarnation: event.body.incarnation,
        reason: event.body.reason.unwrap_or_default(),
        detail: event.body.detail.unwrap_or_default(),
        attempt: event.body.attempt,
        limit: event.body.limit,
        delay: seconds(event.body.delay_seconds),
        recovery: seconds(event.body.recovery_seconds),
        dropped: event.body.dropped,
    }
}

pub(super) fn metrics(figures: SupervisionFigures, now: Timestamp) -> SupervisionMetrics {
    let path = |figures: PathFigures| PathMetrics {
        path: figures.path,
        state: figures.state.to_owned(),
        restarts: figures.restarts,
        by_reason: counts(figures.by_reason),
        intensity: intensity(figures.intensity.map(IntensityView::from)),
        uptime: seconds(figures.uptime_seconds),
        backoff_remaining: seconds(figures.backoff_remaining_seconds),
    };
    SupervisionMetrics {
        timestamp: Some(timestamp(now)),
        restarts: figures.restarts,
        failed: figures.failed,
        by_reason: counts(figures.by_reason),
        by_path: figures.by_path.into_iter().map(path).collect(),
        recovery: Some(RecoveryTimes {
            count: figures.recovery_ms.count,
            p50_ms: figures.recovery_ms.p50,
            p99_ms: figures.recovery_ms.p99,
            max_ms: figures.recovery_ms.max,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::supervision::EventBody;
    use crate::event::EventKind;
    use crate::group::GroupSpec;
    use crate::id::Seq;

    #[test]
    fn a_group_is_shown_whole() {
        let spec =
            GroupSpec::from_json(br#"{"name":"checkout","parent":"shop","strategy":"rest_for_one","period":"5s"}"#);
        let shown = supervisor(GroupView {
            spec: spec.unwrap(),
            path: "node/core/partitions/7/agents/shop/checkout".to_owned(),
            agents: vec!["cart".parse().unwrap()],
            groups: vec!["payment".parse().unwrap()],
            created_at: Timestamp::from_micros(0),
        });
        assert_eq!((shown.name.as_str(), shown.parent.as_str()), ("checkout", "shop"));
        assert_eq!(shown.strategy(), SupervisionStrategy::RestForOne);
        assert_eq!(shown.auto_shutdown(), AutoShutdown::Never);
        assert_eq!(shown.period.unwrap().seconds, 5);
        assert_eq!(
            (shown.agents, shown.supervisors),
            (vec!["cart".to_owned()], vec!["payment".to_owned()])
        );
    }

    #[test]
    fn an_event_is_shown_with_its_times() {
        let shown = event(EventView {
            id: "evt_7".to_owned(),
            seq: Seq(7),
            kind: EventKind::ChildBackoff,
            timestamp: Timestamp::from_micros(0),
            agent_id: None,
            body: EventBody {
                delay_seconds: Some(0.5),
                ..EventBody::default()
            },
        });
        assert_eq!((shown.seq, shown.r#type.as_str()), (7, "supervisor.backoff"));
        assert_eq!(shown.delay.unwrap().nanos, 500_000_000);
        assert_eq!((shown.recovery, shown.incarnation), (None, None));
    }
}
