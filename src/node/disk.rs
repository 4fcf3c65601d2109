//! Room on the disk of the data folder: while there is none, nothing new begins, and what is there can be read.
//!
//! The disk counts as full below a reserve (`limits.disk_reserve`), so that what is under way finds its room; and when the
//! journal or the projections wait for it, whatever the figures say. It ends by itself.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{BoxError, ChildSpec, Failure, Shutdown};
use tokio::sync::watch;

use super::Node;
use crate::error::{Error, Result};
use crate::event::{DiskDetails, EventBody, Severity};
use crate::id::{Fence, Partition};
use crate::journal::{RETRY_WHEN_FULL, Record};
use crate::quantity::ByteSize;
use crate::time::Timestamp;

/// How often the room is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// Why the node takes nothing new, while that is so.
pub(super) type Full = watch::Sender<Option<Arc<str>>>;

fn unavailable(reason: &str) -> Error {
    Error::Unavailable {
        reason: reason.to_owned(),
        retry_after: RETRY_WHEN_FULL,
    }
}

impl Node {
    /// Why the node takes nothing new, while that is so.
    pub fn full(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.full.subscribe()
    }

    pub fn has_room(&self) -> Result<()> {
        match &*self.full.borrow() {
            None => Ok(()),
            Some(reason) => Err(unavailable(reason)),
        }
    }

    /// Makes a change unless the disk is full. When it gets full meanwhile the caller is told so and does not wait for
    /// room; the change may take effect when there is some.
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

    /// Why there is no room. When there was none before, a little more must be free than is kept in reserve, so that the
    /// verdict does not change with every message.
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
        } else if *self.journal.full().borrow() {
            Some("the disk of the data folder is full: the journal waits for room".to_owned())
        } else {
            let stalled = self.projections.stalled().borrow().clone();
            stalled.map(|why| format!("the disk of the data folder cannot be written: {why}"))
        };
        (reason, free)
    }
}

/// Looks at the room, holds the agents while there is none, and says so.
struct Storekeeper;

/// Look again.
struct Next;

struct Watch {
    node: Weak<Node>,
    journal_full: watch::Receiver<bool>,
    stalled: watch::Receiver<Option<String>>,
    /// A partition of its own, in which no agent lives.
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
            journal_full: node.journal.full(),
            stalled: node.projections.stalled(),
            fence: node.journal.claim(partition),
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
            changed = watch.journal_full.changed() => changed?,
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
        // Each time, for an agent may have come meanwhile.
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
        // It waits in the journal's queue like everything else, and is told when there is room.
        let appended = node.journal.append(self.partition, self.fence, alert).await;
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
    // It waits inside its handler and holds nothing.
    .shutdown(Shutdown::BrutalKill)
}
