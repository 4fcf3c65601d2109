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
//! ├─ operations (dynamic): deploys, stops, removals
//! ├─ retention: lets the oldest segments of the log go
//! ├─ events (one_for_one): announcer, chronicler
//! ├─ disk: looks for room, and holds the agents while there is none
//! └─ api (one_for_one): listeners
//! ```

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{
    BoxError, ChildSpec, Dynamic, DynamicHandle, ExitReason, Failure, Heartbeat, Intensity, Restart, Shutdown,
    Strategy, Supervisor,
};
use tokio::sync::Semaphore;

use super::Node;
use crate::agent::spec;
use crate::agent::{Agent, Command, Instance, OUTCOME_KIB, Outbox, Outcome, Start as InstanceStart, Version};
use crate::id::Partition;
use crate::journal::Journal;
use crate::journal::projections::Projections;
use crate::message::ClientName;
use crate::router::{Change, Restore, Router, RouterMessage, Shared, Start as RouterStart};

/// How much longer than its `init` an agent may take to start, so that the guest's own limit is exceeded first and
/// names the cause.
const AGENT_START: Duration = Duration::from_secs(10);
/// How many turn deadlines one wake-up of an instance may take together before its heartbeat counts it as stuck.
const TURNS_BUSY: u32 = 20;
/// How long a router may take to start: it reads its partition and compiles its agents' modules first.
const ROUTER_START: Duration = Duration::from_secs(600);

/// A stable handle to a partition's router and agents, which stays valid when they restart.
#[derive(Clone)]
pub(super) struct PartitionHandle {
    router: Arc<RwLock<Option<ActorRef<RouterMessage>>>>,
    pub(super) agents: DynamicHandle,
    pub(super) outcome_kib: Arc<Semaphore>,
}

impl PartitionHandle {
    /// Sends a message to the router. While the router restarts the message is lost, and a caller that waits for the
    /// result gets an error.
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
    fn commit(&self, outcome: Outcome) {
        self.cast(RouterMessage::Commit(Box::new(outcome)));
    }

    fn sweep(&self) {
        self.cast(RouterMessage::Sweep);
    }
}

/// Watches the journal's writer and the projections' thread, which are not actors. When one of them has ended, the node
/// cannot keep its guarantees any more and must end.
struct Watchman;

/// Resolves when the watched thread has ended.
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
    // The actor only waits inside its handler and holds no resource, so it can be killed.
    .shutdown(Shutdown::BrutalKill)
}

/// The children of one partition, and the handle to them.
pub(super) fn partition(
    partition: Partition,
    shared: Arc<Shared>,
    restore: Arc<dyn Restore>,
    node: Weak<Node>,
) -> (ChildSpec, PartitionHandle) {
    let current: Arc<RwLock<Option<ActorRef<RouterMessage>>>> = Arc::default();
    let router = {
        let current = current.clone();
        ChildSpec::worker("router", move |context| {
            let (current, shared, restore) = (current.clone(), shared.clone(), restore.clone());
            async move {
                let start = RouterStart {
                    partition,
                    shared,
                    restore,
                };
                let (actor, _) = Actor::spawn_linked(None, Router, start, context.supervisor).await?;
                *current.write() = Some(actor.clone());
                // Whoever had to tell the router to sweep before this line may have told its predecessor.
                actor.cast(RouterMessage::Sweep)?;
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
        router: current,
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
    // The supervisor is dynamic so that partitions stop in parallel.
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
    pub(super) fn agent_child(self: &Arc<Self>, agent: &Arc<Agent>, version: &Arc<Version>) -> ChildSpec {
        let declared = &version.spec.supervision;
        let give_up = {
            let (node, agent) = (Arc::downgrade(self), agent.clone());
            Arc::new(move |reason: &ExitReason| {
                if let Some(node) = node.upgrade() {
                    node.give_up(&agent, reason);
                }
            })
        };
        let (started, runs) = (agent.clone(), version.clone());
        let child = ChildSpec::worker(agent.name.as_str(), move |context| {
            let start = InstanceStart {
                agent: started.clone(),
                version: runs.clone(),
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
        .start_timeout(version.init_deadline() + AGENT_START)
        .on_give_up(give_up);
        match declared.heartbeat {
            None => child,
            Some(every) => child.heartbeat(Heartbeat {
                every: every.0,
                // A turn ends itself at its deadline. An instance that is busy for much longer is stuck in the host.
                busy_for: TURNS_BUSY * version.spec.resources.turn_deadline.0 + every.0,
                grace: every.0,
            }),
        }
    }

    /// Marks an agent as failed, as its supervisor decided: its queued messages become dead letters, and their senders
    /// get a failure.
    pub(super) fn give_up(&self, agent: &Agent, reason: &ExitReason) {
        let change = Change::Life {
            agent: agent.id,
            command: Command::GiveUp {
                reason: reason.label(),
                why: reason.to_string(),
            },
            by: ClientName::anonymous(),
        };
        // Without an owner here the agent is another node's, which will see for itself.
        if let Ok(owner) = self.owner(agent.partition) {
            owner.cast(RouterMessage::Change {
                change: Box::new(change),
                reply: None,
            });
        }
    }
}
