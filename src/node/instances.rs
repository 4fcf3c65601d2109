//! The instances of an agent as children of the supervision tree: how they start, restart and end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::Actor;
use supervisors::{BoxError, ChildSpec, ExitReason, Heartbeat, Intensity, Restart, Shutdown, StartChildError};

use super::{Node, unavailable};
use crate::agent::spec;
use crate::agent::{Agent, ChildId, Command, Instance, Start, Version};
use crate::error::{Error, Result};
use crate::id::InstanceId;
use crate::mailbox::Order;
use crate::message::ClientName;
use crate::router::{Change, RouterMessage};
use crate::wasm::CrashKind;

/// How much longer than its `init` an instance may take to start, so that the guest's own limit is exceeded first and
/// names the cause.
const INSTANCE_START: Duration = Duration::from_secs(10);
/// How many turn deadlines one wake-up of an instance may take together before its heartbeat counts it as stuck.
const TURNS_BUSY: u32 = 20;

impl Node {
    /// Starts the instances of an agent, one after the other, as children of its supervisor in the tree. If one of them does not
    /// start, none is left.
    pub(super) async fn start_instances(self: &Arc<Self>, agent: &Arc<Agent>, version: &Arc<Version>) -> Result<()> {
        self.withdraw(agent).await; // children may be left that failed, were stopped, or belong to a killed deploy
        for child in self.instances_of(agent, version) {
            if let Err(error) = self.home(agent)?.start_child(child).await {
                self.withdraw(agent).await;
                return Err(self.not_started(error));
            }
        }
        Ok(())
    }

    /// Restarts the instances of an agent, one after the other, so that the others go on meanwhile.
    pub(super) async fn restart_instances(&self, agent: &Agent) -> Result<()> {
        for (child, _) in agent.children() {
            self.restart_instance(agent, &child).await?;
        }
        Ok(())
    }

    pub(super) async fn restart_instance(&self, agent: &Agent, child: &ChildId) -> Result<()> {
        let restarted = self.home(agent)?.restart(&child.to_string()).await;
        restarted.map(|_| ()).map_err(|error| self.not_started(error))
    }

    /// Clears the restart counts of an instance. One that its supervisor does not have any more has none.
    pub(super) fn reset_instance(&self, agent: &Agent, child: &ChildId) -> Result<()> {
        match self.home(agent)?.reset(&child.to_string()) {
            Ok(()) | Err(StartChildError::NotFound) => Ok(()),
            Err(error) => Err(Error::internal(error)),
        }
    }

    /// Ends the instances of an agent that an operator stopped, all at once.
    pub(super) async fn retire(&self, agent: &Agent) {
        if let Ok(home) = self.home(agent) {
            let children: Vec<_> = agent.children().iter().map(|(child, _)| child.to_string()).collect();
            join_all(children.iter().map(|child| home.retire(child))).await;
        }
    }

    /// Takes the instances of an agent out of the tree, if they are there.
    pub(super) async fn withdraw(&self, agent: &Agent) {
        if let Ok(home) = self.home(agent) {
            for (child, _) in agent.children() {
                let _ = home.delete(&child.to_string()).await; // an absent child is no error
            }
        }
    }

    /// The error of a command when an instance was not started.
    pub(super) fn not_started(&self, error: StartChildError) -> Error {
        match error {
            StartChildError::Failed(reason) => {
                let cause = root_cause(&reason);
                if cause.label() == CrashKind::NoRoom.as_str() {
                    return self.runtime.room().into();
                }
                if cause.label() == CrashKind::NoMemory.as_str() {
                    return self.runtime.memory().into();
                }
                Error::DeploymentFailed {
                    kind: cause.label(),
                    reason: cause.to_string(),
                }
            }
            StartChildError::Gone => unavailable(
                "the supervisor of the agent is down or restarts; if the agent's group has failed, restart the group",
            ),
            StartChildError::Invalid(problem) => Error::invalid("config.supervision", problem.to_string()),
            other @ (StartChildError::AlreadyPresent
            | StartChildError::AlreadyStarted
            | StartChildError::MaxChildren
            | StartChildError::NotFound) => Error::internal(other),
        }
    }

    /// The child specifications of an agent's instances.
    pub(super) fn instances_of(self: &Arc<Self>, agent: &Arc<Agent>, version: &Arc<Version>) -> Vec<ChildSpec> {
        let children = agent.children();
        let several = children.len() > 1;
        agent
            .mailbox
            .set_order(if several { Order::Conversation } else { Order::Sender });
        let child = |(id, instance)| self.instance_child(agent, version, &id, instance);
        children.into_iter().map(child).collect()
    }

    /// The child specification of an instance, as the agent's owner declared it.
    fn instance_child(
        self: &Arc<Self>,
        agent: &Arc<Agent>,
        version: &Arc<Version>,
        id: &ChildId,
        instance: InstanceId,
    ) -> ChildSpec {
        let declared = &version.spec.supervision;
        let give_up = {
            let (node, agent) = (Arc::downgrade(self), agent.clone());
            Arc::new(move |reason: &ExitReason| {
                if let Some(node) = node.upgrade()
                    && agent.instance_given_up(instance)
                {
                    node.give_up(&agent, reason);
                }
            })
        };
        let (started, runs) = (agent.clone(), version.clone());
        let child = ChildSpec::worker(id.to_string(), move |context| {
            let start = Start {
                agent: started.clone(),
                version: runs.clone(),
                number: instance.number,
                incarnation: context.incarnation,
                pulse: context.pulse.clone(),
            };
            async move {
                let (actor, _) = Actor::spawn_linked(None, Instance, start, context.supervisor).await?;
                Ok::<_, BoxError>(actor.get_cell())
            }
        })
        .restart(match declared.restart {
            spec::Restart::Permanent => Restart::Permanent,
            spec::Restart::Transient => Restart::Transient,
            spec::Restart::Temporary => Restart::Temporary,
        })
        .shutdown(match declared.shutdown {
            spec::Shutdown::BrutalKill => Shutdown::BrutalKill,
            spec::Shutdown::Timeout(time) => Shutdown::Timeout(time.0),
            spec::Shutdown::Infinity => Shutdown::Infinity,
        })
        .significant(declared.significant)
        .intensity(Intensity::new(declared.intensity, declared.period.0))
        .backoff(supervisors::Backoff {
            reset_after: declared.period.0,
            ..(&declared.backoff).into()
        })
        .start_timeout(version.init_deadline() + INSTANCE_START)
        .on_give_up(give_up);
        match declared.heartbeat {
            None => child,
            Some(every) => child.heartbeat(Heartbeat {
                every: every.0,
                // A turn ends itself at its deadline. An instance that is busy for much longer is stuck in the host.
                busy_for: TURNS_BUSY * version.spec.resources.turn_deadline.0 + every.0,
                grace: every.0,
            }),
        }
    }

    /// Marks an agent as failed, as its supervisor decided: its queued messages become dead letters, and their senders
    /// get a failure.
    pub(super) fn give_up(&self, agent: &Agent, reason: &ExitReason) {
        let change = Change::Life {
            agent: agent.id,
            command: Command::GiveUp {
                reason: reason.label(),
                why: reason.to_string(),
            },
            by: ClientName::anonymous(),
        };
        // Without an owner here the agent is another node's, which will see for itself.
        if let Ok(owner) = self.owner(agent.partition) {
            owner.cast(RouterMessage::Change {
                change: Box::new(change),
                reply: None,
            });
        }
    }
}

/// The innermost reason why a start failed, without the supervisors that passed it on.
fn root_cause(reason: &ExitReason) -> &ExitReason {
    match reason {
        ExitReason::StartFailed { reason, .. } => root_cause(reason),
        ExitReason::Normal
        | ExitReason::Shutdown
        | ExitReason::Killed
        | ExitReason::Cancelled
        | ExitReason::Panic(_)
        | ExitReason::HeartbeatLost
        | ExitReason::StartTimeout
        | ExitReason::Error { .. } => reason,
    }
}
