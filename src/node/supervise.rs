//! The verbs of operators on agents and groups of the supervision tree.

use std::sync::Arc;

use serde::Deserialize;

use super::{AgentSummary, Node};
use crate::agent::{Agent, ChildId, Command, Standing};
use crate::directory::Place;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::message::ClientName;
use crate::principal::{Action, Caller, Subject};

/// What an operator can do to an agent or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Stops in order and starts again, and restores the restart intensity. It also brings back an agent that failed or was
    /// stopped. Of a group it brings back the members that failed, and those that were stopped by the group's terminate; a
    /// member that was stopped by itself stays stopped.
    Restart,
    /// The agent takes messages but no turns.
    Suspend,
    Resume,
    /// Stops without grace: queued messages become dead letters.
    Terminate,
    /// Clears the restart counts and restores the full restart intensity.
    Reset,
}

impl Verb {
    pub const ALL: &[Self] = &[Self::Restart, Self::Suspend, Self::Resume, Self::Terminate, Self::Reset];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Terminate => "terminate",
            Self::Reset => "reset",
        }
    }

    const fn action(self) -> Action {
        match self {
            Self::Restart => Action::Restart,
            Self::Suspend => Action::Suspend,
            Self::Resume => Action::Resume,
            Self::Terminate => Action::Terminate,
            Self::Reset => Action::Reset,
        }
    }
}

impl Node {
    /// Applies a verb to the agent or group that has this path, name or id. Returns when that is done.
    pub async fn supervise(self: &Arc<Self>, caller: &Caller, path: &str, verb: Verb) -> Result<()> {
        caller.may(verb.action(), &Subject::Path(path))?;
        let act = async |caller: Caller| {
            let by = caller.principal().clone();
            match self.target(path).await? {
                Place::Agent(agent) => self.supervise_agent(agent, verb, by).await,
                Place::Instance(agent, child) => self.supervise_instance(agent, child, verb).await,
                Place::Group(group) => self.supervise_group(group, verb, by).await,
            }
        };
        let acting = Box::pin(self.once_after(caller, act)); // a large future
        match verb {
            Verb::Reset => acting.await, // it records nothing
            Verb::Restart | Verb::Suspend | Verb::Resume | Verb::Terminate => self.with_room(acting).await,
        }
    }

    /// What a verb acts on. A text without a slash is a name or an id, and any other text is a whole path.
    async fn target(&self, path: &str) -> Result<Place> {
        let path = path.trim_matches('/');
        let place = if path.contains('/') {
            self.directory.at(path)
        } else {
            self.directory.named(path)
        };
        match place {
            Some(Place::Instance(agent, child)) if agent.instance(&child).is_none() => {}
            Some(place) => return Ok(place),
            None if self.is_own_part(path).await => {
                let mend = "is a part of the node itself; the verbs are for agents and groups";
                return Err(Error::invalid("path", mend));
            }
            None => {}
        }
        Err(Error::PathNotFound(path.to_owned()))
    }

    async fn supervise_agent(self: &Arc<Self>, agent: Arc<Agent>, verb: Verb, by: ClientName) -> Result<()> {
        let node = self.clone();
        match verb {
            Verb::Suspend => self.command(&agent, Command::Suspend, &by).await.map(|_| ()),
            Verb::Resume => self.command(&agent, Command::Resume, &by).await.map(|_| ()),
            Verb::Terminate => {
                let work = async move { node.terminate(&agent, &by, false).await };
                self.operations.run("terminate", work).await
            }
            Verb::Reset => {
                let mut children = agent.children().into_iter();
                children.try_for_each(|(child, _)| self.reset_instance(&agent, &child))
            }
            Verb::Restart => {
                let work = async move { node.bring_up(&agent, &by, true).await };
                self.operations.run("restart", work).await
            }
        }
    }

    async fn supervise_instance(self: &Arc<Self>, agent: Arc<Agent>, child: ChildId, verb: Verb) -> Result<()> {
        match verb {
            Verb::Reset => self.reset_instance(&agent, &child),
            Verb::Restart => {
                let node = self.clone();
                let work = async move {
                    let _alone = agent.operation.lock().await;
                    let standing = agent.standing.read().clone();
                    if standing.runs() {
                        return node.restart_instance(&agent, &child).await;
                    }
                    Err(Error::InvalidState {
                        agent: agent.id,
                        state: standing.lifecycle().as_str(),
                        mend: "an instance is restarted while its agent runs; give the path of the agent",
                    })
                };
                self.operations.run("restart", work).await
            }
            Verb::Suspend | Verb::Resume | Verb::Terminate => {
                let mend =
                    "is one of several instances, which can be restarted and reset; give the path of their agent";
                Err(Error::invalid("path", mend))
            }
        }
    }

    async fn supervise_group(self: &Arc<Self>, group: Arc<Group>, verb: Verb, by: ClientName) -> Result<()> {
        let node = self.clone();
        match verb {
            Verb::Reset => {
                if let Some(handles) = &*group.handles.read() {
                    handles.own.reset();
                    let _ = handles.home.reset(group.name.as_str()); // a parent that is down counts nothing
                }
                Ok(())
            }
            Verb::Suspend => self.command_members(&group, &Command::Suspend, &by).await,
            Verb::Resume => self.command_members(&group, &Command::Resume, &by).await,
            Verb::Terminate => {
                let work = async move { node.terminate_group(&group, &by).await };
                self.operations.run("terminate-group", work).await
            }
            Verb::Restart => {
                let work = async move { node.restart_group(&group, &by).await };
                self.operations.run("restart-group", work).await
            }
        }
    }

    async fn command_members(&self, group: &Group, command: &Command, by: &ClientName) -> Result<()> {
        for agent in self.members(group) {
            passed_over(self.command(&agent, command.clone(), by).await.map(|_| ()))?;
        }
        Ok(())
    }

    /// Stops the members in the order in which a supervisor stops its children, the last one first.
    async fn terminate_group(&self, group: &Group, by: &ClientName) -> Result<()> {
        for agent in self.members(group).iter().rev() {
            passed_over(self.terminate(agent, by, true).await)?;
        }
        Ok(())
    }

    /// Restarts a group with its members. Those that failed and those that the group's terminate stopped come back with it; a
    /// member that was stopped by itself stays stopped.
    async fn restart_group(self: &Arc<Self>, group: &Arc<Group>, by: &ClientName) -> Result<()> {
        let members = self.members(group);
        // Members are in the order of their ids, so that two restarts which need the same locks cannot wait for each other.
        let mut alone = Vec::new();
        for agent in &members {
            alone.push(agent.operation.lock().await);
        }
        let (mut revived, mut starting) = (Vec::new(), Vec::new());
        let restarted = async {
            for agent in &members {
                let standing = agent.standing.read().clone();
                let stopped_with_group = agent.document.read().stopped_with_group;
                match standing {
                    Standing::Failed { why } if agent.version().is_some() => {
                        let suspended = agent.document.read().suspended_at.is_some();
                        let command = Command::Revive { suspended };
                        match self.command(agent, command, by).await {
                            Err(Error::AgentNotFound(_)) => {} // it was removed meanwhile
                            revival => {
                                revival?;
                                revived.push((agent, why));
                            }
                        }
                    }
                    Standing::Stopped if stopped_with_group => {
                        self.load(agent).await?;
                        self.command(agent, Command::Start, by).await?;
                        starting.push(agent);
                    }
                    Standing::Loaded { .. }
                    | Standing::Running
                    | Standing::Suspended
                    | Standing::Draining { .. }
                    | Standing::Stopped
                    | Standing::Failed { .. } => {}
                }
            }
            let home = self.home_of_group(group)?;
            home.restart(group.name.as_str())
                .await
                .map_err(|error| self.not_started(error))?;
            for agent in &starting {
                self.command(agent, Command::Started, by).await?;
            }
            Ok(())
        };
        let restarted: Result<()> = restarted.await;
        if restarted.is_err() {
            // A member that is not in the expected state any more was given up meanwhile, and its state is right.
            for agent in starting {
                let _ = self.command(agent, Command::StartFailed, by).await;
            }
            for (agent, why) in revived {
                let reason = "group_restart";
                let _ = self.command(agent, Command::GiveUp { reason, why }, by).await;
            }
        }
        restarted
    }

    /// Restarts an agent, and never a group of the same name. Returns the agent's state afterwards.
    pub async fn restart_agent(self: &Arc<Self>, caller: &Caller, key: &str) -> Result<AgentSummary> {
        caller.may(Action::Restart, &Subject::Agent(key))?;
        let id = self.agent(caller, key).await?.summary.id.to_string();
        self.supervise(caller, &id, Verb::Restart).await?;
        Ok(self.agent(caller, &id).await?.summary)
    }
}

/// The result of a member for its group: a member that was removed meanwhile, or whose state does not allow the command, is no
/// error of the group.
fn passed_over(result: Result<()>) -> Result<()> {
    match result {
        Err(Error::AgentNotFound(_) | Error::InvalidState { .. }) => Ok(()),
        other => other,
    }
}
