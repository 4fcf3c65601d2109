//! The actor that removes the oldest segments of the log, and modules that no agent has.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{BoxError, ChildSpec, Shutdown};

use super::Node;
use crate::error::{Error, Result};
use crate::id::Digest;
use crate::journal::local::Keep;
use crate::time::Moment;

/// The shortest and the longest time between two checks.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long a module stays that no agent has, after it was put last or the server was started. A deployment stores its module before
/// it records the agent, and takes less than this.
const MODULE_KEPT: Duration = Duration::from_secs(3_600);

pub(super) fn child(node: &Arc<Node>) -> ChildSpec {
    let node = Arc::downgrade(node);
    ChildSpec::worker("retention", move |context| {
        let node = node.clone();
        async move { Ok::<_, BoxError>(Actor::spawn_linked(None, Retention, node, context.supervisor).await?) }
    })
    // A blocking thread does the work and holds the journal until it is done, so killing the actor interrupts nothing.
    .shutdown(Shutdown::BrutalKill)
}

#[derive(Debug)]
struct Retention;

/// The only message: check again.
#[derive(Debug)]
struct Look;

impl Actor for Retention {
    type Msg = Look;
    type State = Weak<Node>;
    type Arguments = Weak<Node>;

    async fn pre_start(&self, myself: ActorRef<Look>, node: Weak<Node>) -> Result<Weak<Node>, ActorProcessingErr> {
        myself.cast(Look)?;
        Ok(node)
    }

    async fn handle(
        &self,
        myself: ActorRef<Look>,
        Look: Look,
        node: &mut Weak<Node>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(node) = node.upgrade() else {
            return Ok(()); // the node is gone and the process ends
        };
        if let Err(error) = node.retain().await {
            // A full or slow disk is no reason to restart the actor: the next check tries again.
            tracing::warn!(%error, "segments of the log that are not to be kept stay for now");
        }
        let age = node.config.retention.age.bound().map_or(LOOK.1, |age| age.0 / 10);
        myself.send_after(age.clamp(LOOK.0, LOOK.1), || Look);
        Ok(())
    }
}

impl Node {
    /// Removes the modules that no agent has, and the segments that the configuration does not keep and that nothing needs.
    async fn retain(&self) -> Result<()> {
        let Ok(alone) = self.upkeep.segments.clone().try_lock_owned() else {
            return Ok(()); // a backup needs them
        };
        if let Err(error) = self.remove_modules().await {
            // The segments of the log are not to wait for that.
            tracing::warn!(%error, "modules that no agent has stay for now");
        }
        let Some(journal) = self.files.clone() else {
            return Ok(()); // the records in memory bound themselves
        };
        let kept = &self.config.retention;
        let keep = Keep {
            age: kept.age.bound().map(|age| age.0),
            bytes: kept.size.bound().map(crate::quantity::ByteSize::bytes),
        };
        let projections = self.projections.clone();
        let retaining = tokio::task::spawn_blocking(move || {
            let _alone = alone;
            let Some(surplus) = journal.surplus(keep, Moment::now())? else {
                return Ok(());
            };
            // See the journal's retention: a segment may be removed only when the projections hold its records durably.
            let Some(durable) = projections.checkpoint()? else {
                return Ok(());
            };
            let removed = journal.remove_upto(surplus.min(durable))?;
            if removed.segments > 0 {
                let (segments, bytes, upto) = (removed.segments, removed.bytes, surplus.min(durable).0);
                tracing::info!(segments, bytes, upto, "the oldest segments of the log went");
            }
            Ok::<_, Error>(())
        });
        retaining.await.map_err(Error::internal)?
    }

    async fn remove_modules(&self) -> Result<()> {
        let agents = self.directory.all().into_iter();
        let used: HashSet<Digest> = agents.map(|agent| agent.document.read().digest).collect();
        let journal = self.journal.clone();
        let removing = tokio::task::spawn_blocking(move || {
            let removed = journal.remove_modules(&used, MODULE_KEPT, Instant::now())?;
            if removed > 0 {
                tracing::info!(removed, "modules that no agent has went");
            }
            Ok::<_, Error>(())
        });
        removing.await.map_err(Error::internal)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AtMost, Config};
    use crate::id::Partition;
    use crate::journal::Record;
    use crate::node::Opened;
    use crate::quantity::{ByteSize, Span};
    use crate::time::Timestamp;

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_goes_while_a_backup_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config {
            data_dir: dir.path().to_owned(),
            partitions: 4,
            wasm: crate::config::Guests::at_most(100),
            ..Config::default()
        };
        config.retention.age = AtMost::Of(Span(Duration::ZERO));
        config.retention.segment = ByteSize::parse("64KiB").unwrap();
        let node = Opened::open(config).unwrap().start(|_| Vec::new()).await.unwrap();
        let backup = node.upkeep.segments.clone().lock_owned().await;
        // This partition has no other owner.
        let partition = Partition(77);
        let fence = node.journal.claim(partition).await.unwrap();
        for n in 0..10 {
            let record = Record::Event {
                kind: crate::event::EventKind::SystemAlert,
                agent: None,
                body: format!("{{\"n\":\"{n:020000}\"}}"),
                at: Timestamp::now(),
            };
            let placed = node
                .journal
                .append(partition, fence, vec![(partition, record)])
                .placed()
                .await;
            node.projections.seen(placed.unwrap().seq).await.unwrap();
        }
        let oldest = node.journal.oldest();
        node.retain().await.unwrap();
        assert_eq!(oldest.borrow().0, 1);
        drop(backup);
        // The actor may remove the segment before this call does.
        while oldest.borrow().0 == 1 {
            node.retain().await.unwrap();
        }
        node.shutdown().await;
    }
}
