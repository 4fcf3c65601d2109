//! Stopping and removing agents.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::lifecycle::busy;
use super::{Caller, Lifecycle, Node, Removed, StopOptions, Stopping, unavailable};
use crate::agent::{Agent, Standing};
use crate::error::{Error, Result};
use crate::event::EventBody;
use crate::journal::Record;
use crate::router::RouterMessage;
use crate::time::Timestamp;

impl Node {
    /// Stops an agent: it takes no more messages, handles what it has until the grace is over, and then is stopped, also
    /// after a restart of the node. Answers when that is durable, before it is done. Stopping twice changes nothing.
    pub async fn stop_agent(self: &Arc<Self>, caller: &Caller, key: &str, options: StopOptions) -> Result<Stopping> {
        let stopping = self.once_after(caller, async |caller| self.stop_now(&caller, key, options).await);
        self.with_room(stopping).await
    }

    async fn stop_now(self: &Arc<Self>, caller: &Caller, key: &str, options: StopOptions) -> Result<Stopping> {
        let agent = self.find(key)?;
        let now = Timestamp::now();
        let standing = agent.standing.read().clone();
        let answer = |lifecycle, estimated_completion| Stopping {
            id: agent.id,
            lifecycle,
            estimated_completion,
        };
        match standing {
            Standing::Stopped => return Ok(answer(Lifecycle::Stopped, now)),
            Standing::Draining { until } => return Ok(answer(Lifecycle::Draining, until)),
            Standing::Loaded => return Err(busy(&agent, &standing)),
            Standing::Running | Standing::Suspended | Standing::Failed { .. } => {}
        }
        let (tell, told) = oneshot::channel();
        let (node, stopping, by) = (self.clone(), agent.clone(), caller.clone());
        // One operation for both, so that whoever hangs up cannot leave a stop half done.
        let work = async move {
            let begun = node.begin_stop(&stopping, &by, options).await;
            let go_on = begun.is_ok();
            let _ = tell.send(begun);
            if go_on {
                node.drain(&stopping, options).await;
                let _alone = stopping.operation.lock().await;
                node.end(&stopping).await
            } else {
                Ok(())
            }
        };
        let begun = async {
            drop(self.operations.start("stop", work).await?); // the end of it is an event
            told.await
                .map_err(|_| Error::internal("the stop ended without a word"))?
        };
        begun.await?;
        Ok(answer(Lifecycle::Draining, options.until(now)))
    }

    /// Removes an agent, its state and its queue; what it has is handled first, unless `force` says otherwise. Its messages
    /// stay in the history.
    pub async fn remove_agent(self: &Arc<Self>, caller: &Caller, key: &str, force: bool) -> Result<Removed> {
        let (node, caller, key) = (self.clone(), caller.clone(), key.to_owned());
        let work = async move { node.remove_now(&caller, &key, force).await };
        self.with_room(self.operations.run("remove", work)).await
    }

    async fn remove_now(self: Arc<Self>, caller: &Caller, key: &str, force: bool) -> Result<Removed> {
        let agent = self.find(key)?;
        let options = StopOptions {
            drain: !force,
            ..StopOptions::default()
        };
        let standing = agent.standing.read().clone();
        match standing {
            Standing::Loaded => return Err(busy(&agent, &standing)),
            Standing::Running | Standing::Suspended => self.begin_stop(&agent, caller, options).await?,
            Standing::Draining { .. } | Standing::Stopped | Standing::Failed { .. } => {}
        }
        self.drain(&agent, options).await;
        let _alone = agent.operation.lock().await;
        self.end(&agent).await?;
        self.withdraw(&agent).await;
        let removed_at = Timestamp::now();
        let (directory, gone) = (self.directory.clone(), agent.clone());
        let change = move || {
            directory.by_id(gone.id)?; // another call was quicker
            let body = EventBody::AgentRemoved {
                agent_id: gone.id,
                name: gone.name.clone(),
            };
            let removed = Record::AgentRemoved {
                agent: gone.id,
                at: removed_at,
            };
            Some(vec![removed, gone.event(&body, removed_at)])
        };
        let (directory, forgotten) = (self.directory.clone(), agent.clone());
        let removed = self
            .catalog(agent.partition, change, move || directory.remove(&forgotten))
            .await?;
        removed.ok_or_else(|| Error::AgentNotFound(key.to_owned()))?;
        Ok(Removed {
            id: agent.id,
            removed_at,
        })
    }

    /// Makes the wish to stop durable and shuts the door.
    async fn begin_stop(&self, agent: &Arc<Agent>, caller: &Caller, options: StopOptions) -> Result<()> {
        let (changed, by) = (agent.clone(), caller.clone());
        let change = move || {
            let mut standing = changed.standing.write();
            if !matches!(
                *standing,
                Standing::Running | Standing::Suspended | Standing::Failed { .. }
            ) {
                return None;
            }
            let now = Timestamp::now();
            let until = options.until(now);
            *standing = Standing::Draining { until };
            changed.mailbox.drain();
            let mut document = changed.document.write();
            document.stopped_at = Some(now);
            let body = EventBody::AgentDraining(changed.changed_by(&by.principal));
            Some(vec![document.record(now), changed.event(&body, now)])
        };
        self.catalog(agent.partition, change, || {}).await.map(|_| ())
    }

    /// Waits until the queue is empty, for the grace at most: what is left then becomes dead letters.
    async fn drain(&self, agent: &Agent, options: StopOptions) {
        if options.drain && !is_down(agent) {
            let _ = tokio::time::timeout(options.grace, agent.mailbox.until_idle()).await;
        }
    }

    /// Ends the instance, and gives up what is queued.
    async fn end(&self, agent: &Arc<Agent>) -> Result<()> {
        let settled = is_down(agent);
        let now = Timestamp::now();
        let body = EventBody::AgentStopped {
            agent_id: agent.id,
            name: agent.name.clone(),
        };
        let (reply, done) = oneshot::channel();
        let handle = self.partition(agent.partition);
        handle.cast(RouterMessage::GiveUp {
            agent: agent.id,
            standing: Standing::Stopped,
            records: if settled {
                Vec::new()
            } else {
                vec![agent.event(&body, now)]
            },
            reply: Some(reply),
        });
        if let Ok(home) = self.home(agent) {
            home.retire(agent.name.as_str()).await;
        }
        let seq = done
            .await
            .map_err(|_| unavailable("the router of the agent restarts"))?;
        self.until_durable(seq).await
    }
}

pub(super) fn is_down(agent: &Agent) -> bool {
    matches!(*agent.standing.read(), Standing::Stopped | Standing::Failed { .. })
}
