//! Stopping and removing agents.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Lifecycle, Node, Removed, StopOptions, Stopping};
use crate::agent::{Agent, Command, Standing};
use crate::error::{Error, Result};
use crate::message::ClientName;
use crate::principal::{Action, Caller, Subject};
use crate::router::{Change, Changed};
use crate::time::Timestamp;

impl Node {
    /// Stops an agent: it takes no more messages, handles its queue until the grace period ends, and is then stopped,
    /// also after a restart of the node. Returns when this is durable, which is before the agent has stopped. Stopping
    /// twice changes nothing.
    pub async fn stop_agent(self: &Arc<Self>, caller: &Caller, key: &str, options: StopOptions) -> Result<Stopping> {
        caller.may(Action::Stop, &Subject::Agent(key))?;
        let stopping = self.once_after(caller, async |caller| self.stop_now(&caller, key, options).await);
        self.with_room(stopping).await
    }

    async fn stop_now(self: &Arc<Self>, caller: &Caller, key: &str, options: StopOptions) -> Result<Stopping> {
        let agent = self.find(key)?;
        let now = Timestamp::now();
        let (tell, told) = oneshot::channel();
        let (node, stopping, by) = (self.clone(), agent.clone(), caller.principal().clone());
        // One operation does both steps, so that a caller who disconnects cannot leave a stop half done.
        let work = async move {
            let begun = node.begin_stop(&stopping, &by, options).await;
            let go_on = matches!(begun, Ok(Changed::At(_)));
            let _ = tell.send(begun); // the caller may have disconnected
            if go_on {
                node.drain(&stopping, options).await?;
                let _alone = stopping.operation.lock().await;
                node.end(&stopping, &by).await
            } else {
                Ok(())
            }
        };
        drop(self.operations.start("stop", work).await?); // an event reports the end of the stop
        let begun = told
            .await
            .map_err(|_| Error::internal("the stop ended without a word"))??;
        // The stop that has just begun may be over already. The answer tells what the call brought about.
        let (lifecycle, estimated_completion) = match (begun, &*agent.standing.read()) {
            (Changed::At(_), _) => (Lifecycle::Draining, options.until(now)),
            (Changed::Unrecorded, Standing::Draining { until }) => (Lifecycle::Draining, *until),
            (Changed::Unrecorded, standing) => (standing.lifecycle(), now),
        };
        Ok(Stopping {
            id: agent.id,
            lifecycle,
            estimated_completion,
        })
    }

    /// Stops an agent without grace, and returns when it has stopped. One that is draining drains no further.
    pub(super) async fn terminate(&self, agent: &Arc<Agent>, by: &ClientName, with_group: bool) -> Result<()> {
        let until = Timestamp::now();
        self.command(agent, Command::Stop { until, with_group }, by).await?;
        let _alone = agent.operation.lock().await;
        self.end(agent, by).await
    }

    /// Removes an agent, its state and its queue. The agent handles its queue first, unless `force` is set. Its
    /// messages stay in the history.
    pub async fn remove_agent(self: &Arc<Self>, caller: &Caller, key: &str, force: bool) -> Result<Removed> {
        caller.may(Action::RemoveAgent, &Subject::Agent(key))?;
        let (node, caller, key) = (self.clone(), caller.clone(), key.to_owned());
        let work = async move { node.remove_now(&caller, &key, force).await };
        self.with_room(self.operations.run("remove", work)).await
    }

    async fn remove_now(self: Arc<Self>, caller: &Caller, key: &str, force: bool) -> Result<Removed> {
        let agent = self.find(key)?;
        match self.end_and_remove(&agent, caller.principal(), force).await {
            // Another removal, which began after this call had found the agent, was faster. So the agent is removed as asked.
            Ok(_) | Err(Error::AgentNotFound(_)) => Ok(Removed {
                id: agent.id,
                removed_at: Timestamp::now(),
            }),
            Err(error) => Err(error),
        }
    }

    async fn end_and_remove(&self, agent: &Arc<Agent>, by: &ClientName, force: bool) -> Result<Changed> {
        let options = StopOptions {
            drain: !force,
            ..StopOptions::default()
        };
        if !agent.standing.read().is_down() {
            self.begin_stop(agent, by, options).await?;
        }
        self.drain(agent, options).await?;
        let _alone = agent.operation.lock().await;
        self.end(agent, by).await?;
        self.withdraw(agent).await;
        self.change(agent.partition, Change::Removed { agent: agent.id }).await
    }

    /// Records durably that the agent is to stop, and ends admission to its mailbox.
    async fn begin_stop(&self, agent: &Agent, by: &ClientName, options: StopOptions) -> Result<Changed> {
        let until = options.until(Timestamp::now());
        let with_group = false;
        self.command(agent, Command::Stop { until, with_group }, by).await
    }

    /// Waits until the queue is empty, at most for the grace period: what is left then becomes dead letters. If the node
    /// stops meanwhile, that happens at its next start, where the agent is stopped.
    async fn drain(&self, agent: &Agent, options: StopOptions) -> Result<()> {
        if options.drain && !agent.standing.read().is_down() {
            let idle = tokio::time::timeout(options.grace, agent.mailbox.until_idle());
            let stops = "the server is stopping; the agent is stopped at the next start, and not removed";
            let _ = self.unless_stopping(idle, stops).await?;
        }
        Ok(())
    }

    /// Ends the instance, and turns the queued messages into dead letters.
    async fn end(&self, agent: &Arc<Agent>, by: &ClientName) -> Result<()> {
        // The owner of the partition closes the mailbox while the instance ends, so that no turn begins in between.
        let (ended, ()) = tokio::join!(self.command(agent, Command::Drained, by), self.retire(agent));
        ended.map(|_| ())
    }
}
