//! The node's own supervision tree, declared in one place as a value.
//!
//! ```text
//! node (one_for_one)
//! ├─ core (rest_for_one)
//! │   ├─ journal, projections
//! │   └─ partitions (dynamic)
//! │       └─ <partition> (rest_for_one)
//! │           ├─ router
//! │           └─ agents (dynamic, a restart budget for each child)
//! ├─ modules (dynamic): compilations
//! ├─ deployments (dynamic): deploys, stops, removals
//! ├─ retention: lets the oldest segments of the log go
//! ├─ events (one_for_one): announcer, chronicler
//! ├─ disk: looks for room, and holds the agents while there is none
//! └─ api (one_for_one): listeners
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use globset::GlobMatcher;
use parking_lot::RwLock;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::json;
use supervisors::{
    BoxError, ChildSpec, Dynamic, DynamicHandle, ExitReason, Failure, Heartbeat, Intensity, Restart, Shutdown,
    Strategy, Supervisor,
};
use tokio::sync::Semaphore;

use super::Node;
use super::agents::event;
use crate::agent::spec::{self, AgentSpec, Environment, Permissions};
use crate::agent::{Instance, OUTCOME_KIB, Outbox, Outcome, Slot, Start as InstanceStart};
use crate::directory::Directory;
use crate::id::Partition;
use crate::journal::Journal;
use crate::journal::projections::Projections;
use crate::router::{Restore, Router, RouterMessage, Shared, Start as RouterStart};
use crate::time::Timestamp;
use crate::wasm::{Found, Grants, Search};

/// How much longer than its `init` may take an agent has to start, so that the guest's own limit speaks first.
const AGENT_START: Duration = Duration::from_secs(10);
/// Deadlines of turns that one wake-up of an instance may take together before its heartbeat counts it as stuck.
const TURNS_BUSY: u32 = 20;
/// A router reads its partition and compiles its agents' modules before it is there.
const ROUTER_START: Duration = Duration::from_secs(600);

/// A stable way to a partition's router and agents, whichever incarnation is there.
#[derive(Clone)]
pub(super) struct PartitionHandle {
    router: Arc<RwLock<Option<ActorRef<RouterMessage>>>>,
    pub(super) agents: DynamicHandle,
    pub(super) outcome_kib: Arc<Semaphore>,
}

impl PartitionHandle {
    /// Tells the router. While it restarts, what is said is lost, and whoever waits for a reply sees that.
    pub(super) fn cast(&self, message: RouterMessage) {
        let router = self.router.read().clone();
        if let Some(router) = router {
            let _ = router.cast(message);
        }
    }

    pub(super) fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.clone())
    }
}

impl Outbox for PartitionHandle {
    fn record(&self, outcome: Outcome) {
        self.cast(RouterMessage::Record(Box::new(outcome)));
    }
}

/// Watches what is no actor: the journal's writer and the projections' thread. When one of them is gone nothing can be
/// promised any more, so the node must end.
struct Watchman;

/// Resolves when what is watched has ended.
type End = BoxFuture<'static, ()>;

impl Actor for Watchman {
    type Msg = ();
    type State = (&'static str, Option<End>);
    type Arguments = (&'static str, End);

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        (what, end): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        myself.cast(())?;
        Ok((what, Some(end)))
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (what, end): &mut Self::State) -> Result<(), ActorProcessingErr> {
        if let Some(end) = end.take() {
            end.await;
        }
        Err(Box::new(Failure::new("gone", format!("{what} is gone"))))
    }
}

fn watchman(name: &'static str, what: &'static str, end: impl Fn() -> End + Send + Sync + 'static) -> ChildSpec {
    ChildSpec::worker(name, move |context| {
        let start = (what, end());
        async move { Ok::<_, BoxError>(Actor::spawn_linked(None, Watchman, start, context.supervisor).await?) }
    })
    // It waits inside its handler and holds nothing.
    .shutdown(Shutdown::BrutalKill)
}

/// The children of one partition, and the way to them.
pub(super) fn partition(
    partition: Partition,
    shared: Arc<Shared>,
    restore: Arc<dyn Restore>,
    node: Weak<Node>,
) -> (ChildSpec, PartitionHandle) {
    let slot: Arc<RwLock<Option<ActorRef<RouterMessage>>>> = Arc::default();
    let router = {
        let slot = slot.clone();
        ChildSpec::worker("router", move |context| {
            let (slot, shared, restore) = (slot.clone(), shared.clone(), restore.clone());
            async move {
                let start = RouterStart {
                    partition,
                    shared,
                    restore,
                };
                let (actor, _) = Actor::spawn_linked(None, Router, start, context.supervisor).await?;
                *slot.write() = Some(actor.clone());
                Ok::<_, BoxError>(actor.get_cell())
            }
        })
        .start_timeout(ROUTER_START)
    };
    let give_up = {
        let node = node.clone();
        Arc::new(move |reason: &ExitReason| {
            tracing::error!(%partition, %reason, "a partition cannot be kept up; the node must end");
            if let Some(node) = node.upgrade() {
                node.broken.notify_one();
            }
        })
    };
    let populate = Arc::new(move || {
        let Some(node) = node.upgrade() else {
            return Vec::new();
        };
        node.children_of_partition(partition)
    });
    let (agents, handle) = Dynamic::new("agents", Intensity::new(10, Duration::from_secs(60)))
        .populate(populate)
        .into_child();
    let child = Supervisor::new(
        partition.to_string(),
        Strategy::RestForOne,
        Intensity::new(5, Duration::from_secs(30)),
    )
    .label("partition")
    .child(router)
    .child(agents)
    .into_child()
    .on_give_up(give_up);
    let handle = PartitionHandle {
        router: slot,
        agents: handle,
        outcome_kib: Arc::new(Semaphore::new(OUTCOME_KIB)),
    };
    (child, handle)
}

pub(super) fn core(
    journal: &Arc<dyn Journal>,
    projections: &Arc<Projections>,
    partitions: impl Fn() -> Vec<ChildSpec> + Send + Sync + 'static,
) -> ChildSpec {
    let watermark = journal.durable();
    let writer = watchman("journal", "the writer of the journal", move || {
        let mut watermark = watermark.clone();
        Box::pin(async move { while watermark.changed().await.is_ok() {} })
    });
    let projections = projections.clone();
    let tail = watchman("projections", "the thread of the projections", move || {
        let projections = projections.clone();
        Box::pin(async move { projections.ended().await })
    });
    // Dynamic, so that partitions stop side by side.
    let (all, _) = Dynamic::new("partitions", Intensity::new(10, Duration::from_secs(30)))
        .label("partitions")
        .populate(Arc::new(partitions))
        .into_child();
    Supervisor::new("core", Strategy::RestForOne, Intensity::new(3, Duration::from_secs(30)))
        .child(writer)
        .child(tail)
        .child(all)
        .into_child()
}

impl Node {
    /// The child specification of an agent, as its owner declared it.
    pub(super) fn agent_child(self: &Arc<Self>, slot: &Arc<Slot>) -> ChildSpec {
        let declared = &slot.spec.supervision;
        let give_up = {
            let (node, slot) = (Arc::downgrade(self), slot.clone());
            Arc::new(move |reason: &ExitReason| {
                if let Some(node) = node.upgrade() {
                    node.give_up(&slot, reason);
                }
            })
        };
        let started = slot.clone();
        let child = ChildSpec::worker(slot.name.as_str(), move |context| {
            let start = InstanceStart {
                slot: started.clone(),
                incarnation: context.incarnation,
                pulse: context.pulse.clone(),
            };
            async move {
                let (actor, _) = Actor::spawn_linked(None, Instance, start, context.supervisor).await?;
                Ok::<_, BoxError>(actor.get_cell())
            }
        })
        .restart(match declared.restart {
            spec::Restart::Permanent => Restart::Permanent,
            spec::Restart::Transient => Restart::Transient,
            spec::Restart::Temporary => Restart::Temporary,
        })
        .shutdown(match declared.shutdown {
            spec::Shutdown::BrutalKill => Shutdown::BrutalKill,
            spec::Shutdown::Timeout(time) => Shutdown::Timeout(time.0),
            spec::Shutdown::Infinity => Shutdown::Infinity,
        })
        .significant(declared.significant)
        .intensity(Intensity::new(declared.intensity, declared.period.0))
        .backoff(supervisors::Backoff {
            reset_after: declared.period.0,
            ..(&declared.backoff).into()
        })
        .start_timeout(slot.init_deadline() + AGENT_START)
        .on_give_up(give_up);
        match declared.heartbeat {
            None => child,
            Some(every) => child.heartbeat(Heartbeat {
                every: every.0,
                // A turn ends itself at its deadline; what outlives that by far is stuck in the host.
                busy_for: TURNS_BUSY * slot.spec.resources.turn_deadline.0 + every.0,
                grace: every.0,
            }),
        }
    }

    /// The supervisor gave an agent up: what it has will not be handled, and its senders are told.
    pub(super) fn give_up(&self, slot: &Slot, reason: &ExitReason) {
        let detail = reason.to_string();
        let body = json!({"agent_id": slot.id, "name": slot.name, "reason": reason.label(), "detail": detail});
        self.partition(slot.partition).cast(RouterMessage::GiveUp {
            agent: slot.id,
            reason: "failed",
            detail,
            records: vec![event("agent.failed", slot.id, &body, Timestamp::now())],
            reply: None,
        });
    }

    pub(super) fn grants(&self, spec: &AgentSpec) -> Arc<dyn Grants> {
        Arc::new(Granted {
            directory: Arc::downgrade(&self.directory),
            // A declaration is checked before it gets here; what cannot be compiled grants nothing.
            message: spec.permissions.matchers().unwrap_or_default(),
            permissions: spec.permissions.clone(),
            environment: spec.environment.clone(),
        })
    }
}

/// An agent's permissions.
struct Granted {
    directory: Weak<Directory>,
    /// The patterns of `permissions.message`, compiled.
    message: Vec<(String, GlobMatcher)>,
    permissions: Permissions,
    environment: Environment,
}

impl Granted {
    fn pattern_of(&self, prefix: &str, text: &str) -> bool {
        self.message
            .iter()
            .any(|(pattern, glob)| pattern.starts_with(prefix) && glob.is_match(text))
    }
}

impl Grants for Granted {
    fn may_message(&self, receiver: &str) -> bool {
        if self.message.iter().any(|(pattern, _)| pattern == "*") {
            return true;
        }
        // Globs are over names alone: they must not reach ids, which all begin alike, nor capabilities and clients.
        if receiver.starts_with("client:") {
            return self.pattern_of("client:", receiver);
        }
        if let Some(capability) = receiver.strip_prefix("cap:").or_else(|| receiver.strip_prefix("all:")) {
            return self.pattern_of("cap:", &format!("cap:{capability}"));
        }
        let known = self.directory.upgrade().and_then(|directory| directory.find(receiver));
        known.is_some_and(|entry| {
            let id = entry.id.to_string();
            let named = |(pattern, glob): &(String, GlobMatcher)| *pattern == id || glob.is_match(entry.name.as_str());
            self.message.iter().any(named)
        })
    }

    fn state(&self) -> bool {
        self.permissions.state
    }

    fn random(&self) -> bool {
        self.permissions.random
    }

    fn timers(&self) -> bool {
        self.permissions.timers
    }

    fn environment(&self) -> Option<&BTreeMap<String, String>> {
        self.permissions.environment.then(|| self.environment.values())
    }

    fn directory(&self) -> Option<&dyn Search> {
        self.permissions.directory.then_some(self as &dyn Search)
    }
}

impl Search for Granted {
    fn find(&self, capability: &str, most: usize) -> Vec<Found> {
        let directory = self.directory.upgrade();
        directory.map_or_else(Vec::new, |directory| Search::find(&*directory, capability, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_over_names_and_reach_nothing_else() {
        let granted = |patterns: &[&str], receiver: &str| {
            let permissions = Permissions {
                message: patterns.iter().map(ToString::to_string).collect(),
                ..Permissions::default()
            };
            Granted {
                directory: Weak::new(),
                message: permissions.matchers().unwrap(),
                permissions,
                environment: Environment::default(),
            }
            .may_message(receiver)
        };
        assert!(granted(&["*"], "client:chief") && granted(&["*"], "cap:vault"));
        assert!(!granted(&["c*"], "client:chief") && !granted(&["c*"], "cap:vault"));
        assert!(granted(&["cap:v*"], "cap:vault") && granted(&["cap:v*"], "all:vault"));
        assert!(granted(&["client:*"], "client:chief") && !granted(&["client:*"], "cap:vault"));
        assert!(!granted(&["a*"], &crate::id::AgentId::new().to_string()));
    }
}
