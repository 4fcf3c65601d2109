//! Watches the room on the disk of the data folder. While there is none, nothing new begins, but everything stored can
//! still be read.
//!
//! The disk counts as full below a reserve (`limits.disk_reserve`), so that work in progress can still finish. It also
//! counts as full while the journal or the projections wait for room, whatever the free space is. The node takes work
//! again by itself when there is room.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{BoxError, ChildSpec, Failure, Shutdown};
use tokio::sync::watch;

use super::Node;
use crate::error::{Error, Result};
use crate::event::{DiskDetails, EventBody, Severity};
use crate::id::{Fence, Partition};
use crate::journal::{RETRY_WHEN_FULL, Record, Shortage};
use crate::quantity::ByteSize;
use crate::time::Timestamp;

/// How often the free space is checked.
const EVERY: Duration = Duration::from_millis(500);

/// The reason why the node takes nothing new; None while there is room.
pub(super) type Full = watch::Sender<Option<Arc<str>>>;

fn unavailable(reason: &str) -> Error {
    Error::Unavailable {
        reason: reason.to_owned(),
        retry_after: RETRY_WHEN_FULL,
    }
}

impl Node {
    /// The reason why the node takes nothing new; None while there is room.
    pub fn full(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.full.subscribe()
    }

    pub fn has_room(&self) -> Result<()> {
        match &*self.full.borrow() {
            None => Ok(()),
            Some(reason) => Err(unavailable(reason)),
        }
    }

    /// Makes a change unless the disk is full. If the disk gets full meanwhile, the caller gets that error instead of
    /// waiting for room; the change may still take effect when there is room again.
    pub(super) fn with_room<T: Send>(
        &self,
        change: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send {
        let change = Box::pin(change);
        async move {
            self.has_room()?;
            let mut full = self.full.subscribe();
            tokio::select! {
                biased;
                changed = change => changed,
                Ok(reason) = full.wait_for(Option::is_some) => {
                    let reason = reason.as_deref().unwrap_or_default();
                    Err(unavailable(&format!("{reason}; what was sent may still take effect when there is room")))
                }
            }
        }
    }

    /// The reason why there is no room, if so. A disk that was full must have a little more free than the reserve
    /// before it counts as free again, so that the verdict does not flip with every message.
    fn no_room(&self, was_full: bool) -> (Option<String>, u64) {
        let reserve = self.config.limits.disk_reserve.bytes();
        let wanted = if was_full { reserve + reserve / 8 } else { reserve };
        let free = self.journal.free_bytes().unwrap_or_else(|error| {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the disk does not say what is free"
            );
            u64::MAX
        });
        let reason = if free < wanted {
            let (free, reserve) = (ByteSize::megabytes(free), ByteSize::megabytes(reserve));
            Some(format!(
                "the disk of the data folder is full: {free} are free, and limits.disk_reserve keeps {reserve}"
            ))
        } else if let Some(shortage) = *self.journal.lacks().borrow() {
            Some(format!("{shortage}: the journal waits"))
        } else {
            let stalled = self.projections.stalled().borrow().clone();
            stalled.map(|why| format!("the disk of the data folder cannot be written: {why}"))
        };
        (reason, free)
    }
}

/// The actor that checks the free space, holds the agents while there is none, and records an alert.
struct Storekeeper;

/// The only message: check the free space again.
struct Next;

struct Watch {
    node: Weak<Node>,
    journal_lacks: watch::Receiver<Option<Shortage>>,
    stalled: watch::Receiver<Option<String>>,
    /// A partition of the actor's own, in which no agent lives.
    partition: Partition,
    fence: Fence,
}

impl Actor for Storekeeper {
    type Msg = Next;
    type State = Watch;
    type Arguments = (Weak<Node>, Partition);

    async fn pre_start(
        &self,
        myself: ActorRef<Next>,
        (weak, partition): Self::Arguments,
    ) -> Result<Watch, ActorProcessingErr> {
        let node = weak.upgrade().ok_or_else(gone)?;
        let mut watch = Watch {
            journal_lacks: node.journal.lacks(),
            stalled: node.projections.stalled(),
            fence: node.journal.claim(partition).await?,
            partition,
            node: weak,
        };
        watch.look(&node).await?;
        myself.cast(Next)?;
        Ok(watch)
    }

    async fn handle(&self, myself: ActorRef<Next>, Next: Next, watch: &mut Watch) -> Result<(), ActorProcessingErr> {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            changed = watch.journal_lacks.changed() => changed?,
            changed = watch.stalled.changed() => changed?,
        }
        let node = watch.node.upgrade().ok_or_else(gone)?;
        watch.look(&node).await?;
        myself.cast(Next)?;
        Ok(())
    }
}

impl Watch {
    async fn look(&mut self, node: &Arc<Node>) -> Result<(), ActorProcessingErr> {
        crate::telemetry::upkeep(); // here, because this actor looks often enough
        let was_full = node.full.borrow().is_some();
        let asked = node.clone();
        let (reason, free) = tokio::task::spawn_blocking(move || asked.no_room(was_full)).await?;
        let is_full = reason.is_some();
        metrics::gauge!("caxton_disk_free_bytes").set(free as f64);
        metrics::gauge!("caxton_disk_full").set(f64::from(u8::from(is_full)));
        if !is_full && !was_full {
            return Ok(());
        }
        node.full.send_replace(reason.as_deref().map(Arc::from));
        // All agents are held at every check, because an agent may have been deployed since the last one.
        for agent in node.directory.all() {
            agent.mailbox.hold(is_full);
        }
        if is_full == was_full {
            return Ok(());
        }
        let (severity, message) = match reason {
            Some(reason) => {
                tracing::error!(reason, "nothing new is taken until there is room");
                (Severity::Critical, reason)
            }
            None => (
                Severity::Info,
                "there is room on the disk of the data folder again".to_owned(),
            ),
        };
        let body = EventBody::SystemAlert {
            severity,
            message,
            details: DiskDetails {
                disk_free_bytes: free,
                disk_reserve_bytes: node.config.limits.disk_reserve.bytes(),
            },
        };
        let alert = vec![(self.partition, Record::event(None, &body, Timestamp::now()))];
        // The alert waits in the journal's queue like every record, and is appended when there is room.
        let appended = node.journal.append(self.partition, self.fence, alert).placed().await;
        appended.map_err(|error| Failure::new("journal", error.to_string()))?;
        Ok(())
    }
}

fn gone() -> Failure {
    Failure::new("gone", "the node is gone")
}

pub(super) fn child(node: &Weak<Node>, partition: Partition) -> ChildSpec {
    let node = node.clone();
    ChildSpec::worker("disk", move |context| {
        let start = (node.clone(), partition);
        async move {
            Ok::<_, BoxError>(
                Actor::spawn_linked(None, Storekeeper, start, context.supervisor)
                    .await?
                    .0
                    .get_cell(),
            )
        }
    })
    // The actor only waits inside its handler and holds no resource, so it can be killed.
    .shutdown(Shutdown::BrutalKill)
}
