//! Operations on agents: deploying, stopping, removing. Each runs as a temporary child of the `deployments` supervisor, so
//! that it goes on when its caller hangs up, and its failure is seen.

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

/// Starts operations under a supervisor and hands their results on.
#[derive(Clone)]
pub struct Operations {
    supervisor: DynamicHandle,
    counter: std::sync::Arc<AtomicU64>,
}

impl Operations {
    pub fn under(supervisor: DynamicHandle) -> Self {
        Self {
            supervisor,
            counter: std::sync::Arc::default(),
        }
    }

    /// Starts an operation. Its result comes through the receiver; whoever does not want it drops that.
    pub async fn start<T: Send + 'static>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (reply, result) = oneshot::channel();
        let work: BoxFuture<'static, ()> = Box::pin(async move {
            let _ = reply.send(work.await);
        });
        let work = parking_lot::Mutex::new(Some(work));
        let id = format!("{what}-{}", self.counter.fetch_add(1, Ordering::Relaxed));
        let spec = ChildSpec::worker(id, move |context| {
            let work = work.lock().take();
            async move {
                // A temporary child is started once.
                let work = work.ok_or("an operation runs once")?;
                let (actor, _) = Actor::spawn_linked(None, Operation, work, context.supervisor).await?;
                Ok::<_, supervisors::BoxError>(actor.get_cell())
            }
        })
        .restart(Restart::Temporary)
        .shutdown(Shutdown::Timeout(Duration::from_secs(5)));
        match self.supervisor.start_child(spec).await {
            Ok(_) => Ok(result),
            Err(StartChildError::MaxChildren) => Err(Error::Unavailable {
                reason: "too many deployments, stops and removals are going on".to_owned(),
                retry_after: Duration::from_secs(1),
            }),
            Err(error) => Err(Error::internal(error)),
        }
    }

    /// Runs an operation and waits for its result. It goes on when this future is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let result = self.start(what, work).await?;
        result
            .await
            .map_err(|_| Error::internal(format!("the operation {what} ended without a result")))?
    }
}
