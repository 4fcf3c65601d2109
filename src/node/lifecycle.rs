//! The lifecycle commands of operators: start, suspend and resume. [`crate::agent::Standing`] decides what each command
//! makes of an agent; the router of the agent's partition carries it out.

use std::sync::Arc;

use super::{AgentSummary, Node, unavailable};
use crate::agent::{Agent, Command, Version};
use crate::error::Result;
use crate::id::Partition;
use crate::message::ClientName;
use crate::principal::{Action, Caller, Subject};
use crate::router::{Change, Changed, ReplyTo, RouterMessage};

impl Node {
    /// Starts a stopped or failed agent again, with its state and an empty queue. An agent that runs is left alone.
    pub async fn start_agent(self: &Arc<Self>, caller: &Caller, key: &str) -> Result<AgentSummary> {
        caller.may(Action::Start, &Subject::Agent(key))?;
        let (node, key) = (self.clone(), key.to_owned());
        let starting = self.once_after(caller, |caller| {
            let work = async move { node.start_now(&caller, &key).await };
            self.operations.run("start", work)
        });
        self.with_room(starting).await
    }

    async fn start_now(self: Arc<Self>, caller: &Caller, key: &str) -> Result<AgentSummary> {
        let agent = self.find(key)?;
        self.bring_up(&agent, caller.principal(), false).await?;
        Ok(AgentSummary::of(&agent))
    }

    /// Starts an agent that is down. The instances of one that runs are restarted if `restart` is set, and otherwise left
    /// alone. An agent that is starting or draining is refused.
    pub(super) async fn bring_up(self: &Arc<Self>, agent: &Arc<Agent>, by: &ClientName, restart: bool) -> Result<()> {
        let _alone = agent.operation.lock().await;
        self.command(agent, Command::Start, by).await?;
        if agent.standing.read().runs() {
            return if restart {
                self.restart_instances(agent).await
            } else {
                Ok(())
            };
        }
        let started = async {
            let version = self.load(agent).await?;
            self.start_instances(agent, &version).await?;
            self.command(agent, Command::Started, by).await
        };
        if let Err(error) = started.await {
            self.withdraw(agent).await;
            // If the agent is no longer loaded, another command has stopped or restored it meanwhile, and its state is
            // right.
            let _ = self.command(agent, Command::StartFailed, by).await;
            return Err(error);
        }
        Ok(())
    }

    /// The version that the agent's instances run. Its module is loaded if it is not.
    pub(super) async fn load(self: &Arc<Self>, agent: &Agent) -> Result<Arc<Version>> {
        if let Some(version) = agent.version() {
            return Ok(version);
        }
        let document = agent.document.read().clone();
        let module = self.module(document.digest)?;
        let program = self.compile(module, &document.spec).await?;
        let version = self.new_version(agent, program);
        *agent.version.write() = Some(version.clone());
        Ok(version)
    }

    /// Suspends an agent, which then takes messages but no turns, or resumes it. Returns when that is durable. An agent
    /// that is in the wanted state already is no error.
    pub async fn suspend_agent(&self, caller: &Caller, key: &str, suspend: bool) -> Result<AgentSummary> {
        caller.may(
            if suspend { Action::Suspend } else { Action::Resume },
            &Subject::Agent(key),
        )?;
        let command = if suspend { Command::Suspend } else { Command::Resume };
        let suspending = self.once_after(caller, async |caller| {
            let agent = self.find(key)?;
            self.command(&agent, command, caller.principal()).await?;
            Ok(AgentSummary::of(&agent))
        });
        self.with_room(suspending).await
    }

    /// Applies a lifecycle command to an agent, and waits until the change is durable.
    pub(super) async fn command(&self, agent: &Agent, command: Command, by: &ClientName) -> Result<Changed> {
        let change = Change::Life {
            agent: agent.id,
            command,
            by: by.clone(),
        };
        self.change(agent.partition, change).await
    }

    /// Lets the owner of a partition decide and record a change, and waits until the change is durable.
    pub(super) async fn change(&self, partition: Partition, change: Change) -> Result<Changed> {
        let (reply, changed) = ReplyTo::channel();
        self.owner(partition)?.cast(RouterMessage::Change {
            change: Box::new(change),
            reply: Some(reply),
        });
        let changed = changed
            .await
            .map_err(|_| unavailable("the router of the partition restarts"))??;
        if let Changed::At(placed) = &changed {
            placed.durable().await?;
        }
        Ok(changed)
    }
}
