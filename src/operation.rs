//! Operations: deploys, stops, removals, compilations. Each runs as a temporary child of a supervisor. It therefore goes on when
//! the client that asked for it disconnects, and the supervisor reports its failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{ChildSpec, DynamicHandle, Restart, Shutdown, StartChildError};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Runs one future and ends.
struct Operation;

impl Actor for Operation {
    type Msg = ();
    type State = Option<BoxFuture<'static, ()>>;
    type Arguments = BoxFuture<'static, ()>;

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        work: BoxFuture<'static, ()>,
    ) -> Result<Self::State, ActorProcessingErr> {
        myself.cast(())?;
        Ok(Some(work))
    }

    async fn handle(&self, myself: ActorRef<()>, (): (), work: &mut Self::State) -> Result<(), ActorProcessingErr> {
        if let Some(work) = work.take() {
            work.await;
        }
        myself.stop(None);
        Ok(())
    }
}

/// A bounded queue of operations, each a child of one supervisor.
#[derive(Clone)]
pub struct Operations {
    supervisor: DynamicHandle,
    /// What the operations are, in the plural. The error of a full queue names them.
    what: &'static str,
    /// The supervisor's `max_children`, which is `limits.operations` of the configuration.
    limit: usize,
    counter: Arc<AtomicU64>,
}

impl Operations {
    /// A queue of operations of the kind `what`. `supervisor` has at most `limit` children.
    pub fn under(supervisor: DynamicHandle, what: &'static str, limit: usize) -> Self {
        Self {
            supervisor,
            what,
            limit,
            counter: Arc::default(),
        }
    }

    /// Starts an operation and returns the receiver of its result; the receiver may be dropped. Error: `Unavailable` when the
    /// queue is full, with what is in it.
    pub async fn start<T: Send + 'static>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (reply, result) = oneshot::channel();
        let work: BoxFuture<'static, ()> = Box::pin(async move {
            let _ = reply.send(work.await);
        });
        let work = parking_lot::Mutex::new(Some(work));
        let id = format!("{name}-{}", self.counter.fetch_add(1, Ordering::Relaxed));
        let spec = ChildSpec::worker(id, move |context| {
            let work = work.lock().take();
            async move {
                // A temporary child is never restarted, so the work is still there.
                let work = work.ok_or("an operation runs once")?;
                let (actor, _) = Actor::spawn_linked(None, Operation, work, context.supervisor).await?;
                Ok::<_, supervisors::BoxError>(actor.get_cell())
            }
        })
        .restart(Restart::Temporary)
        // At the end of the node, work in progress is cut off as by a crash, which every operation is made for.
        .shutdown(Shutdown::BrutalKill);
        match self.supervisor.start_child(spec).await {
            Ok(_) => Ok(result),
            Err(StartChildError::MaxChildren) => Err(Error::Unavailable {
                reason: format!(
                    "{} {} are in progress, as many as `limits.operations` allows",
                    self.limit, self.what
                ),
                retry_after: Duration::from_secs(1),
            }),
            Err(error) => Err(Error::internal(error)),
        }
    }

    /// Runs an operation and waits for its result. The operation goes on when this future is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let result = self.start(name, work).await?;
        result
            .await
            .map_err(|_| Error::internal(format!("the operation {name} ended without a result")))?
    }
}

#[cfg(test)]
mod tests {
    use supervisors::{Dynamic, Intensity, Strategy, Supervisor};

    use super::*;

    #[tokio::test]
    async fn a_full_queue_is_named_with_its_limit() {
        let intensity = Intensity::new(1, Duration::from_secs(1));
        let (child, handle) = Dynamic::new("modules", intensity).max_children(2).into_child();
        let tree = Supervisor::new("node", Strategy::OneForOne, intensity)
            .child(child)
            .start()
            .await
            .unwrap();
        let compilations = Operations::under(handle, "compilations", 2);
        for _ in 0..2 {
            let endless = std::future::pending::<Result<()>>();
            drop(compilations.start("compile", endless).await.unwrap());
        }
        let error = compilations.run("compile", async { Ok(()) }).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("2 compilations are in progress") && text.contains("limits.operations"),
            "{text}"
        );
        tree.shutdown().await;
    }
}
