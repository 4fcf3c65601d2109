//! Changes of the catalog: agents and groups that come, go, and go on to another state of their life.
//!
//! A change is a value. The owner of the partition looks at how things are, after all that was recorded before, decides, and
//! records; so two changes at once cannot undo each other. What a change shuts is shut before it is recorded, what it opens is
//! opened after.

use std::sync::Arc;

use super::core::{Batch, Effect, Then};
use super::{Answer, Core, Orphans, ReplyTo};
use crate::agent::{Agent, Command, Refusal, Standing};
use crate::error::{Error, Result};
use crate::event::{ChangedGroup, EventBody};
use crate::group::{COLLECTION, Group, GroupDocument, GroupSpec};
use crate::id::{AgentId, AgentName, Seq};
use crate::journal::Record;
use crate::message::ClientName;
use crate::time::{Moment, Timestamp};

/// What is to become of the catalog.
#[derive(Debug)]
pub enum Change {
    /// An agent that is in the directory, and whose first instance runs, is there for good.
    Deployed { agent: AgentId, answer: Option<Answer> },
    /// An agent goes on in its life.
    Life {
        agent: AgentId,
        command: Command,
        /// Who asked for it. The platform, where nobody did.
        by: ClientName,
    },
    /// An agent goes, with its state and its queue.
    Removed { agent: AgentId },
    Group {
        name: AgentName,
        change: GroupChange,
        by: ClientName,
    },
    /// A request under an idempotency key was answered, and its effect is recorded already.
    Answered(Answer),
}

/// What is to become of a group that is in the directory.
#[derive(Debug)]
pub enum GroupChange {
    /// It was started, and is there for good.
    Created {
        answer: Option<Answer>,
    },
    Updated(Box<GroupSpec>),
    /// It goes, if it has no members.
    Removed,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was so already, or it is nothing that the journal keeps.
    Unrecorded,
    /// It has this position in the log.
    At(Seq),
}

/// What a change comes to, before it is recorded.
struct Decision {
    records: Vec<Record>,
    effect: Effect,
    /// Messages that become dead letters by it, and why.
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
        let decision = match self.decide_change(change, now.wall) {
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
        // The caller hears of the last one, so that all of it is durable then.
        let left: Orphans = graves.collect();
        let mut rest = self.bury(left, &decision.detail, now);
        let then = Then::Changed {
            effect: decision.effect,
            reply,
            _answered: decision.answer,
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

    fn decide_change(&self, change: Change, now: Timestamp) -> Result<Decision> {
        match change {
            Change::Deployed { agent, answer } => self.deployed(agent, answer, now),
            Change::Life { agent, command, by } => self.life(agent, &command, &by, now),
            Change::Removed { agent } => self.removed(agent, now),
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

    fn deployed(&self, id: AgentId, answer: Option<Answer>, now: Timestamp) -> Result<Decision> {
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
        let mut records = vec![document.record(now), agent.event(&body, now)];
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
            // Until its first instance runs nothing has changed that the journal keeps; a failed agent that comes back with its
            // group was never recorded as failed.
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

    fn group(&self, name: &AgentName, change: GroupChange, by: &ClientName, now: Timestamp) -> Result<Decision> {
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
            at: now,
        };
        Ok(match change {
            GroupChange::Created { answer } => {
                let event = Record::event(None, &EventBody::GroupCreated(changed), now);
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
                let event = Record::event(None, &EventBody::GroupUpdated(changed), now);
                Decision::recording(vec![document(Some(&next)), event], Effect::ReplaceGroup(group, spec))
            }
            GroupChange::Removed => {
                if let Some(member) = self.member_of(&group) {
                    return Err(Error::Conflict(format!(
                        "the group '{name}' has members, '{member}' among them; remove them first"
                    )));
                }
                let event = Record::event(None, &EventBody::GroupRemoved(changed), now);
                Decision::recording(vec![document(None), event], Effect::RemoveGroup(group.name.clone()))
            }
        })
    }

    /// An agent or a group in a group, if it has one.
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

    /// Does what a change opens or takes away.
    pub(super) fn take_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Enter(agent, standing) => {
                if standing.runs() {
                    // It takes messages again: what its timers missed comes now.
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

/// The next state of an agent, or why there is none.
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
