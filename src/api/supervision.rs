//! Groups, events and figures of supervision, the same on every edge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use supervisors::{AutoShutdown, Strategy};

use super::json;
use crate::agent::spec::Backoff;
use crate::error::{Error, Result};
use crate::event::{EventKind, REPORTED_BY_SUPERVISORS};
use crate::group::GroupSpec;
use crate::id::{AgentId, AgentName, Seq};
use crate::journal::projections::{EventPage, EventQuery, StoredEvent};
use crate::node::{GroupView, PathFigures, RecoveryMillis, SupervisionFigures};
use crate::quantity::Span;
use crate::time::Timestamp;

/// A group as declared, and what is in it.
#[derive(Debug, Serialize)]
pub(super) struct SupervisorView {
    name: AgentName,
    parent: Option<AgentName>,
    strategy: Strategy,
    intensity: u32,
    period: Span,
    backoff: Backoff,
    auto_shutdown: AutoShutdown,
    path: String,
    agents: Vec<AgentName>,
    supervisors: Vec<AgentName>,
    created_at: Timestamp,
}

impl From<GroupView> for SupervisorView {
    fn from(group: GroupView) -> Self {
        Self {
            name: group.spec.name,
            parent: group.spec.parent,
            strategy: group.spec.strategy,
            intensity: group.spec.intensity,
            period: group.spec.period,
            backoff: group.spec.backoff,
            auto_shutdown: group.spec.auto_shutdown,
            path: group.path,
            agents: group.agents,
            supervisors: group.groups,
            created_at: group.created_at,
        }
    }
}

/// The present declaration with the members that are given put over it, in `backoff` too.
pub(super) fn merged(present: &GroupSpec, changes: Map<String, Value>) -> Result<GroupSpec> {
    let mut whole = serde_json::to_value(present).map_err(Error::internal)?;
    if let Some(members) = whole.as_object_mut() {
        put_over(members, changes);
    }
    json::from_value(whole)
}

fn put_over(members: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, change) in changes {
        match (members.get_mut(&name), change) {
            (Some(Value::Object(inner)), Value::Object(changes)) => put_over(inner, changes),
            (_, change) => drop(members.insert(name, change)),
        }
    }
}

/// The question for events of supervisors: at a path of the tree and below it, or everywhere.
pub(super) fn events_asked(since: u64, limit: usize, path: Option<&str>) -> EventQuery {
    let path = path.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty());
    EventQuery {
        kind_prefix: Some(REPORTED_BY_SUPERVISORS.to_owned()),
        path_prefix: path.map(str::to_owned),
        since: Seq(since),
        limit,
        ..EventQuery::default()
    }
}

/// A page of events. `next_seq` is the next question's `since_seq`.
#[derive(Debug, Serialize)]
pub(super) struct EventsView {
    pub(super) events: Vec<EventView>,
    pub(super) next_seq: Seq,
}

/// An event of a supervisor, with the members that it has on the WebSocket.
#[derive(Debug, Serialize)]
pub(super) struct EventView {
    pub(super) id: String,
    pub(super) seq: Seq,
    #[serde(rename = "type")]
    pub(super) kind: EventKind,
    pub(super) timestamp: Timestamp,
    pub(super) agent_id: Option<AgentId>,
    #[serde(flatten)]
    pub(super) body: EventBody,
}

/// What the event itself says. `dropped` is only in `supervisor.lagged`: events that were lost before they were written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct EventBody {
    pub(super) path: Option<String>,
    pub(super) incarnation: Option<u64>,
    pub(super) reason: Option<String>,
    pub(super) attempt: Option<u32>,
    pub(super) limit: Option<u32>,
    pub(super) detail: Option<String>,
    pub(super) delay_seconds: Option<f64>,
    pub(super) recovery_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dropped: Option<u64>,
}

impl From<StoredEvent> for EventView {
    fn from(event: StoredEvent) -> Self {
        Self {
            id: format!("evt_{}", event.seq),
            seq: event.seq,
            kind: event.kind,
            timestamp: event.at,
            agent_id: event.agent,
            // The chronicler wrote it: members that it did not write are absent.
            body: serde_json::from_str(&event.body).unwrap_or_default(),
        }
    }
}

impl From<EventPage> for EventsView {
    fn from(page: EventPage) -> Self {
        Self {
            events: page.events.into_iter().map(EventView::from).collect(),
            next_seq: page.next_seq,
        }
    }
}

/// Figures of supervision since the node started.
#[derive(Debug, Serialize)]
pub(super) struct FiguresView {
    timestamp: Timestamp,
    totals: Totals,
    by_reason: BTreeMap<&'static str, u64>,
    by_path: Vec<PathFigures>,
    recovery_ms: RecoveryMillis,
}

/// `failed` are children that were given up and are down.
#[derive(Debug, Serialize)]
struct Totals {
    restarts: u64,
    failed: u64,
}

impl FiguresView {
    pub(super) fn of(figures: SupervisionFigures, timestamp: Timestamp) -> Self {
        Self {
            timestamp,
            totals: Totals {
                restarts: figures.restarts,
                failed: figures.failed,
            },
            by_reason: figures.by_reason,
            by_path: figures.by_path,
            recovery_ms: figures.recovery_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: Value) -> GroupSpec {
        json::from_value(value).unwrap()
    }

    fn field(result: Result<GroupSpec>) -> String {
        let Error::InvalidRequest { field, .. } = result.unwrap_err() else {
            panic!("no invalid request")
        };
        field
    }

    #[test]
    fn changes_are_put_over_what_there_is() {
        let present = spec(json!({"name": "shop", "intensity": 3, "backoff": {"min": "1s", "max": "9s"}}));
        let changes = json!({"strategy": "one_for_all", "backoff": {"max": "5s"}, "parent": null});
        let merged = |present: &GroupSpec, changes| merged(present, json::from_value(changes)?);
        let whole = merged(&present, changes).unwrap();
        let expected = json!({
            "name": "shop", "strategy": "one_for_all", "intensity": 3, "backoff": {"min": "1s", "max": "5s"}
        });
        assert_eq!(whole, spec(expected));
        assert_eq!(merged(&present, json!({})).unwrap(), present);
    }

    #[test]
    fn wrong_changes_name_the_member() {
        let present = spec(json!({"name": "shop"}));
        let merged = |present: &GroupSpec, changes| merged(present, json::from_value(changes)?);
        assert_eq!(field(merged(&present, json!([]))), "body");
        assert_eq!(field(merged(&present, json!({"colour": "red"}))), "colour");
        assert_eq!(field(merged(&present, json!({"strategy": "all_for_one"}))), "strategy");
        assert_eq!(
            field(merged(&present, json!({"backoff": {"least": 1}}))),
            "backoff.least"
        );
        assert_eq!(field(merged(&present, json!({"intensity": -1}))), "intensity");
    }

    #[test]
    fn a_group_shows_all_that_is_declared_and_what_is_in_it() {
        let view = SupervisorView::from(GroupView {
            spec: spec(json!({"name": "checkout", "parent": "shop", "period": "1m"})),
            path: "node/core/partitions/7/agents/shop/checkout".to_owned(),
            agents: vec!["cart".parse().unwrap()],
            groups: Vec::new(),
            created_at: Timestamp::from_micros(0),
        });
        let expected = json!({
            "name": "checkout",
            "parent": "shop",
            "strategy": "one_for_one",
            "intensity": 10,
            "period": "1m",
            "backoff": {"min": "100ms", "max": "30s", "factor": 2.0, "jitter": 0.1},
            "auto_shutdown": "never",
            "path": "node/core/partitions/7/agents/shop/checkout",
            "agents": ["cart"],
            "supervisors": [],
            "created_at": "1970-01-01T00:00:00.000000Z",
        });
        assert_eq!(serde_json::to_value(view).unwrap(), expected);
    }

    #[test]
    fn an_event_has_every_member_and_a_lag_its_number() {
        let stored = |kind: EventKind, body: Value| StoredEvent {
            seq: Seq(7),
            kind,
            agent: None,
            body: body.to_string(),
            at: Timestamp::from_micros(0),
        };
        let body =
            json!({"path": "node/core", "incarnation": 2, "reason": "trap", "delay_seconds": 0.5, "agent_id": null});
        let view = serde_json::to_value(EventView::from(stored(EventKind::ChildRestarted, body))).unwrap();
        let expected = json!({
            "id": "evt_7", "seq": 7, "type": "supervisor.restarted", "timestamp": "1970-01-01T00:00:00.000000Z",
            "path": "node/core", "agent_id": null, "incarnation": 2, "reason": "trap", "attempt": null, "limit": null,
            "detail": null, "delay_seconds": 0.5, "recovery_seconds": null,
        });
        assert_eq!(view, expected);
        let lagged = EventView::from(stored(EventKind::SupervisorLagged, json!({"dropped": 3})));
        assert_eq!(serde_json::to_value(lagged).unwrap()["dropped"], 3);
    }

    #[test]
    fn events_are_asked_for_by_path_and_place() {
        let query = events_asked(7, 10, Some("/node/core/"));
        assert_eq!((query.since, query.path_prefix.as_deref()), (Seq(7), Some("node/core")));
        assert_eq!(query.kind_prefix.as_deref(), Some("supervisor."));
        assert_eq!(events_asked(0, 10, Some("/")).path_prefix, None);
    }
}
