//! The life of agents as their operators have it: started, suspended, resumed. What each command makes of an agent is decided by
//! [`crate::agent::Standing`], in the router of its partition.

use std::sync::Arc;

use super::{AgentSummary, Caller, Node, unavailable};
use crate::agent::{Agent, Command, Version};
use crate::error::Result;
use crate::id::Partition;
use crate::message::ClientName;
use crate::router::{Change, Changed, ReplyTo, RouterMessage};

impl Node {
    /// Starts a stopped or failed agent again, with its state and an empty queue. One that runs is left alone.
    pub async fn start_agent(self: &Arc<Self>, caller: &Caller, key: &str) -> Result<AgentSummary> {
        let (node, key) = (self.clone(), key.to_owned());
        let starting = self.once_after(caller, |caller| {
            let work = async move { node.start_now(&caller, &key).await };
            self.operations.run("start", work)
        });
        self.with_room(starting).await
    }

    async fn start_now(self: Arc<Self>, caller: &Caller, key: &str) -> Result<AgentSummary> {
        let agent = self.find(key)?;
        let _alone = agent.operation.lock().await;
        self.command(&agent, Command::Start, &caller.principal).await?;
        if agent.standing.read().runs() {
            return Ok(AgentSummary::of(&agent));
        }
        let started = async {
            let version = self.loaded_version(&agent).await?;
            *agent.version.write() = Some(version.clone());
            self.start_instance(&agent, &version).await?;
            self.command(&agent, Command::Started, &caller.principal).await
        };
        if let Err(error) = started.await {
            self.withdraw(&agent).await;
            // An agent that is not loaded any more was stopped or restored meanwhile, and is as it should be.
            let _ = self.command(&agent, Command::StartFailed, &caller.principal).await;
            return Err(error);
        }
        Ok(AgentSummary::of(&agent))
    }

    async fn loaded_version(self: &Arc<Self>, agent: &Agent) -> Result<Arc<Version>> {
        if let Some(version) = agent.version() {
            return Ok(version);
        }
        let document = agent.document.read().clone();
        let module = self.module(document.digest)?;
        let program = self.compile(module, &document.spec).await?;
        Ok(self.new_version(agent, program))
    }

    /// Has an agent take messages and no turns, or ends that; durable. Changing nothing is no error.
    pub async fn suspend_agent(&self, caller: &Caller, key: &str, suspend: bool) -> Result<AgentSummary> {
        let command = if suspend { Command::Suspend } else { Command::Resume };
        let suspending = self.once_after(caller, async |caller| {
            let agent = self.find(key)?;
            self.command(&agent, command, &caller.principal).await?;
            Ok(AgentSummary::of(&agent))
        });
        self.with_room(suspending).await
    }

    /// Has an agent go on in its life, and waits until that is durable.
    pub(super) async fn command(&self, agent: &Agent, command: Command, by: &ClientName) -> Result<Changed> {
        let change = Change::Life {
            agent: agent.id,
            command,
            by: by.clone(),
        };
        self.change(agent.partition, change).await
    }

    /// Has the owner of a partition decide a change and record it, and waits until it is durable.
    pub(super) async fn change(&self, partition: Partition, change: Change) -> Result<Changed> {
        let (reply, changed) = ReplyTo::channel();
        self.partition(partition).cast(RouterMessage::Change {
            change: Box::new(change),
            reply: Some(reply),
        });
        let changed = changed
            .await
            .map_err(|_| unavailable("the router of the partition restarts"))??;
        if let Changed::At(seq) = changed {
            self.until_durable(seq).await?;
        }
        Ok(changed)
    }
}
