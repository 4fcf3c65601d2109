//! Changes of the catalog: agents and groups are created, removed, and change their state of life.
//!
//! A change is a value. The owner of the partition decides it against the current state, after everything that was
//! recorded before, and records the result; so two concurrent changes cannot undo each other. What a change closes is
//! closed before the record, and what it opens is opened after.

use std::sync::Arc;

use super::core::{Batch, Effect, Then};
use super::{Answer, Core, Orphans, ReplyTo};
use crate::agent::{Agent, Command, Refusal, Standing};
use crate::error::{Error, Result};
use crate::event::{ChangedGroup, EventBody};
use crate::group::{COLLECTION, Group, GroupDocument, GroupSpec};
use crate::id::{AgentId, AgentName};
use crate::journal::{Placed, Record};
use crate::message::ClientName;
use crate::time::{Moment, Timestamp};

/// A change that is asked of the catalog.
#[derive(Debug)]
pub enum Change {
    /// An agent that is in the directory, and whose first instance runs, becomes durable.
    Deployed { agent: AgentId, answer: Option<Answer> },
    /// An agent changes its state of life.
    Life {
        agent: AgentId,
        command: Command,
        /// The caller that asked for the change; anonymous if a supervisor did.
        by: ClientName,
    },
    /// An agent is removed, with its state and its queue.
    Removed { agent: AgentId },
    Group {
        name: AgentName,
        change: GroupChange,
        by: ClientName,
    },
    /// A request under an idempotency key was answered. Its effect is recorded already.
    Answered(Answer),
}

/// A change of a group that is in the directory.
#[derive(Debug)]
pub enum GroupChange {
    /// The group was started, and becomes durable.
    Created {
        answer: Option<Answer>,
    },
    Updated(Box<GroupSpec>),
    /// The group is removed, if it has no members.
    Removed,
}

/// The result of a change.
#[derive(Clone, Debug)]
pub enum Changed {
    /// The change needed no record: the state was already as wanted, or the journal does not keep it.
    Unrecorded,
    /// The change is recorded at this position in the log.
    At(Placed),
}

/// What a change will do, decided and not recorded yet.
struct Decision {
    records: Vec<Record>,
    effect: Effect,
    /// Messages that become dead letters by the change. `detail` says why.
    given_up: Orphans,
    detail: String,
    answer: Option<Answer>,
}

impl Decision {
    fn recording(records: Vec<Record>, effect: Effect) -> Self {
        Self {
            records,
            effect,
            given_up: Orphans::new(),
            detail: String::new(),
            answer: None,
        }
    }
}

impl Core {
    pub(super) fn change(
        &mut self,
        change: Change,
        reply: Option<ReplyTo<Result<Changed>>>,
        now: Moment,
    ) -> Vec<Batch> {
        let decision = match self.decide_change(change, now) {
            Ok(decision) => decision,
            Err(error) => {
                if let Some(reply) = reply {
                    reply.send(Err(error));
                }
                return Vec::new();
            }
        };
        let mut records = decision.records;
        let mut letters = Vec::new();
        let mut graves = decision.given_up.into_iter();
        self.dead_letters(&mut graves, &decision.detail, now.wall, &mut records, &mut letters);
        if records.is_empty() {
            self.take_effect(decision.effect);
            if let Some(reply) = reply {
                reply.send(Ok(Changed::Unrecorded));
            }
            return Vec::new();
        }
        let mut batches = Vec::new();
        // The reply belongs to the last batch, so that everything is durable when the caller gets it.
        let left: Orphans = graves.collect();
        let mut rest = self.bury(left, &decision.detail, now);
        let then = Then::Changed {
            effect: decision.effect,
            reply,
            answered: decision.answer,
        };
        match rest.pop() {
            None => batches.push(Batch::new(records, letters, then)),
            Some(last) => {
                batches.push(Batch::new(records, letters, Then::Nothing));
                batches.append(&mut rest);
                batches.push(last.followed_by(then));
            }
        }
        batches
    }

    fn decide_change(&self, change: Change, now: Moment) -> Result<Decision> {
        match change {
            Change::Deployed { agent, answer } => self.deployed(agent, answer, now),
            Change::Life { agent, command, by } => self.life(agent, &command, &by, now.wall),
            Change::Removed { agent } => self.removed(agent, now.wall),
            Change::Group { name, change, by } => self.group(&name, change, &by, now),
            Change::Answered(answer) => Ok(Decision {
                records: vec![answer.record(now)],
                answer: Some(answer),
                ..Decision::recording(Vec::new(), Effect::Nothing)
            }),
        }
    }

    fn agent(&self, id: AgentId) -> Result<Arc<Agent>> {
        let agent = self.shared.directory.by_id(id);
        agent.ok_or_else(|| Error::AgentNotFound(id.to_string()))
    }

    fn deployed(&self, id: AgentId, answer: Option<Answer>, now: Moment) -> Result<Decision> {
        let agent = self.agent(id)?;
        if let Some(group) = agent.group()
            && self.shared.directory.group(group.as_str()).is_none()
        {
            return Err(Error::Conflict(format!(
                "the supervision group '{group}' was removed meanwhile; create it again, or name another"
            )));
        }
        let next = step(&agent, &Command::Started)?;
        let document = agent.document.read();
        let body = EventBody::AgentDeployed {
            agent_id: agent.id,
            name: agent.name.clone(),
            version: document.version.clone(),
            digest: document.digest,
            deployment_id: document.deployment_id,
        };
        let mut records = vec![document.record(now.wall), agent.event(&body, now.wall)];
        records.extend(answer.as_ref().map(|answer| answer.record(now)));
        drop(document);
        let effect = next.map_or(Effect::Nothing, |next| Effect::Enter(agent, next));
        Ok(Decision {
            answer,
            ..Decision::recording(records, effect)
        })
    }

    fn life(&self, id: AgentId, command: &Command, by: &ClientName, now: Timestamp) -> Result<Decision> {
        let agent = self.agent(id)?;
        let Some(next) = step(&agent, command)? else {
            return Ok(Decision::recording(Vec::new(), Effect::Nothing));
        };
        let changed = || agent.changed_by(by);
        let (kept, event) = match command {
            // The journal keeps nothing of these commands: an agent that starts is recorded when its first instance
            // runs, and an agent that comes back with its group was never recorded as failed.
            Command::Start | Command::StartFailed | Command::Revive { .. } => (false, None),
            Command::Started => (true, Some(EventBody::AgentStarted(changed()))),
            Command::Suspend => (true, Some(EventBody::AgentSuspended(changed()))),
            Command::Resume => (true, Some(EventBody::AgentResumed(changed()))),
            Command::Stop { .. } => (true, Some(EventBody::AgentDraining(changed()))),
            Command::Drained => {
                let was_draining = matches!(*agent.standing.read(), Standing::Draining { .. });
                let stopped = EventBody::AgentStopped {
                    agent_id: agent.id,
                    name: agent.name.clone(),
                };
                (false, was_draining.then_some(stopped))
            }
            Command::GiveUp { reason, why } => {
                let failed = EventBody::AgentFailed {
                    agent_id: agent.id,
                    name: agent.name.clone(),
                    reason,
                    detail: why.clone(),
                };
                (false, Some(failed))
            }
        };
        let mut records = Vec::new();
        if kept {
            let mut document = agent.document.write();
            document.follow(&next, now);
            records.push(document.record(now));
        }
        records.extend(event.map(|event| agent.event(&event, now)));
        let shut = agent.shut(&next);
        let detail = match &next {
            Standing::Failed { why } => why.clone(),
            Standing::Loaded { .. }
            | Standing::Running
            | Standing::Suspended
            | Standing::Draining { .. }
            | Standing::Stopped => "the agent was stopped".to_owned(),
        };
        Ok(Decision {
            given_up: shut.into_iter().map(|message| (id, message)).collect(),
            detail,
            ..Decision::recording(records, Effect::Enter(agent, next))
        })
    }

    fn removed(&self, id: AgentId, now: Timestamp) -> Result<Decision> {
        let agent = self.agent(id)?;
        let body = EventBody::AgentRemoved {
            agent_id: agent.id,
            name: agent.name.clone(),
        };
        let records = vec![Record::AgentRemoved { agent: id, at: now }, agent.event(&body, now)];
        Ok(Decision::recording(records, Effect::RemoveAgent(agent)))
    }

    fn group(&self, name: &AgentName, change: GroupChange, by: &ClientName, now: Moment) -> Result<Decision> {
        let directory = &self.shared.directory;
        let group = directory.group(name.as_str());
        let group = group.ok_or_else(|| Error::GroupNotFound(name.to_string()))?;
        let changed = ChangedGroup {
            name: name.clone(),
            by: by.as_str().to_owned(),
        };
        let document = |document: Option<&GroupDocument>| Record::Document {
            collection: COLLECTION.to_owned(),
            key: name.to_string(),
            document: document.map(|document| {
                serde_json::to_string(document).expect("a document is serialisable: its keys are strings")
            }),
            at: now.wall,
        };
        Ok(match change {
            GroupChange::Created { answer } => {
                let event = Record::event(None, &EventBody::GroupCreated(changed), now.wall);
                let mut records = vec![document(Some(&group.document.read())), event];
                records.extend(answer.as_ref().map(|answer| answer.record(now)));
                Decision {
                    answer,
                    ..Decision::recording(records, Effect::Nothing)
                }
            }
            GroupChange::Updated(spec) => {
                let next = GroupDocument {
                    spec: GroupSpec::clone(&spec),
                    ..group.document.read().clone()
                };
                let event = Record::event(None, &EventBody::GroupUpdated(changed), now.wall);
                Decision::recording(vec![document(Some(&next)), event], Effect::ReplaceGroup(group, spec))
            }
            GroupChange::Removed => {
                if let Some(member) = self.member_of(&group) {
                    return Err(Error::Conflict(format!(
                        "the group '{name}' has members, '{member}' among them; remove them first"
                    )));
                }
                let event = Record::event(None, &EventBody::GroupRemoved(changed), now.wall);
                Decision::recording(vec![document(None), event], Effect::RemoveGroup(group.name.clone()))
            }
        })
    }

    /// The name of an agent or a group that is a member of this group, if there is one.
    fn member_of(&self, group: &Group) -> Option<AgentName> {
        let directory = &self.shared.directory;
        let agents = directory.of_partition(group.partition).into_iter();
        let agent = agents
            .filter(|agent| agent.group().as_ref() == Some(&group.name))
            .map(|agent| agent.name.clone())
            .next();
        agent.or_else(|| {
            let groups = directory.groups().into_iter();
            groups
                .filter(|inner| inner.parent().as_ref() == Some(&group.name))
                .map(|inner| inner.name.clone())
                .next()
        })
    }

    /// Opens or removes what a recorded change says.
    pub(super) fn take_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Enter(agent, standing) => {
                if standing.runs() {
                    // The agent takes messages again, so the timers that it missed fire now.
                    self.agenda.resume(agent.id);
                }
                agent.enter(standing);
            }
            Effect::RemoveAgent(agent) => {
                self.agenda.forget(agent.id);
                self.shared.directory.remove(&agent);
            }
            Effect::ReplaceGroup(group, spec) => group.document.write().spec = *spec,
            Effect::RemoveGroup(name) => self.shared.directory.remove_group(&name),
        }
    }
}

/// The next state of an agent, None if it stays the same, or why the command is refused.
fn step(agent: &Agent, command: &Command) -> Result<Option<Standing>> {
    let standing = agent.standing.read();
    standing.step(command).map_err(|refusal| {
        let state = match (&*standing, refusal) {
            (Standing::Loaded { .. }, Refusal::Busy) => "starting",
            _ => standing.lifecycle().as_str(),
        };
        let mend = match (refusal, command) {
            (Refusal::Busy, _) => "try again when that is over",
            (Refusal::NotNow, Command::Suspend | Command::Resume) => {
                "only an agent that runs can be suspended and resumed"
            }
            (Refusal::NotNow, Command::Started | Command::StartFailed) => {
                "it was stopped, or its partition restarted, while it was starting; start it again"
            }
            (
                Refusal::NotNow,
                Command::Start
                | Command::Stop { .. }
                | Command::Drained
                | Command::GiveUp { .. }
                | Command::Revive { .. },
            ) => "see its state, then try again",
        };
        Error::InvalidState {
            agent: agent.id,
            state,
            mend,
        }
    })
}
