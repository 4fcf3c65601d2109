//! Supervision groups: creating, changing and removing them, and placing them in the tree.

use std::sync::{Arc, Weak};

use supervisors::{AutoShutdown, ChildSpec, ExitReason, Restart, Supervisor};

use super::{GroupView, Node, unavailable};
use crate::agent::Agent;
use crate::directory::NameHolder;
use crate::error::{Error, Result};
use crate::group::{Group, GroupDocument, GroupSpec, limits};
use crate::id::{AgentName, Partition};
use crate::principal::{Action, Caller, Subject};
use crate::router::{Change, Changed, GroupChange, KeyLock};
use crate::time::Timestamp;

impl Node {
    pub(super) fn find_group(&self, name: &str) -> Result<Arc<Group>> {
        self.directory
            .group(name)
            .ok_or_else(|| Error::GroupNotFound(name.to_owned()))
    }

    /// Declares a group and starts it without members. Returns when its record is durable.
    pub async fn create_group(self: &Arc<Self>, caller: &Caller, spec: GroupSpec) -> Result<GroupView> {
        caller.may(Action::CreateGroup, &Subject::Group(spec.name.as_str()))?;
        spec.check()?;
        let node = self.clone();
        let creating = self.once(caller, |key| {
            let caller = caller.clone();
            let work = async move { node.create_group_now(&caller, key, spec).await };
            self.operations.run("create-group", work)
        });
        self.with_room(creating).await
    }

    async fn create_group_now(
        self: Arc<Self>,
        caller: &Caller,
        key: Option<KeyLock>,
        spec: GroupSpec,
    ) -> Result<GroupView> {
        if self.directory.groups().len() >= limits::GROUPS {
            let what = "the number of supervision groups of this node";
            let limit = limits::GROUPS as u64;
            return Err(Error::LimitExceeded { what, limit });
        }
        let parent = spec
            .parent
            .as_ref()
            .map(|parent| self.find_group(parent.as_str()))
            .transpose();
        let parent = parent.map_err(|_| Error::invalid("parent", "names no group; create it first"))?;
        if parent
            .as_ref()
            .is_some_and(|parent| self.directory.lineage(parent).len() >= limits::DEPTH)
        {
            return Err(Error::invalid(
                "parent",
                format!("is {} groups deep already, the most there may be", limits::DEPTH),
            ));
        }
        let name = spec.name.clone();
        self.reserve_name(&name, NameHolder::Group)?;
        let document = GroupDocument {
            root: parent.map_or_else(|| name.clone(), |parent| parent.root.clone()),
            created_at: Timestamp::now(),
            spec,
        };
        let group = self.directory.put_group(Group::new(document, self.config.partitions));
        let result = async {
            let started = self.home_of_group(&group)?.start_child(self.group_child(&group)).await;
            started.map_err(|_| unavailable("the supervisor of the parent is down or restarts"))?;
            let answer = key.map(|key| key.answered(&self.view(&group)));
            self.change_group(&group, GroupChange::Created { answer }, caller)
                .await
                .map(|_| ())
        };
        if let Err(error) = result.await {
            if let Ok(home) = self.home_of_group(&group) {
                let _ = home.delete(name.as_str()).await;
            }
            self.directory.remove_group(&name);
            return Err(error);
        }
        Ok(self.view(&group))
    }

    /// Changes a group's specification. This restarts nothing: the new specification applies from the next exit on.
    pub async fn update_group(self: &Arc<Self>, caller: &Caller, name: &str, spec: GroupSpec) -> Result<GroupView> {
        caller.may(Action::UpdateGroup, &Subject::Group(name))?;
        spec.check()?;
        let (node, caller, name) = (self.clone(), caller.clone(), name.to_owned());
        let work = async move {
            let group = node.find_group(&name)?;
            if spec.name != group.name {
                return Err(Error::Conflict(format!(
                    "the group's name is '{}' and cannot be changed",
                    group.name
                )));
            }
            if spec.parent != group.parent() {
                return Err(Error::Conflict(
                    "a group's parent cannot be changed: where it lives is frozen".to_owned(),
                ));
            }
            if let Some(handle) = &*group.handle.read() {
                let changed = handle.reconfigure(spec.strategy, spec.budget(), spec.auto_shutdown);
                changed.map_err(|problem| Error::invalid("auto_shutdown", problem.to_string()))?;
            }
            let change = GroupChange::Updated(Box::new(spec));
            node.change_group(&group, change, &caller).await?;
            Ok(node.view(&group))
        };
        self.with_room(self.operations.run("update-group", work)).await
    }

    /// Removes a group that has no members.
    pub async fn remove_group(self: &Arc<Self>, caller: &Caller, name: &str) -> Result<()> {
        caller.may(Action::RemoveGroup, &Subject::Group(name))?;
        let (node, caller, name) = (self.clone(), caller.clone(), name.to_owned());
        let work = async move {
            let group = node.find_group(&name)?;
            node.change_group(&group, GroupChange::Removed, &caller).await?;
            if let Ok(home) = node.home_of_group(&group) {
                let _ = home.delete(&name).await; // a parent that is down has no children
            }
            Ok(())
        };
        self.with_room(self.operations.run("remove-group", work)).await
    }

    pub fn groups(&self, caller: &Caller) -> Result<Vec<GroupView>> {
        caller.may(Action::Read, &Subject::Node)?;
        Ok(self.directory.groups().iter().map(|group| self.view(group)).collect())
    }

    pub fn group(&self, caller: &Caller, name: &str) -> Result<GroupView> {
        caller.may(Action::Read, &Subject::Group(name))?;
        self.find_group(name).map(|group| self.view(&group))
    }

    async fn change_group(&self, group: &Group, change: GroupChange, caller: &Caller) -> Result<Changed> {
        let change = Change::Group {
            name: group.name.clone(),
            change,
            by: caller.principal().clone(),
        };
        self.change(group.partition, change).await
    }

    fn view(&self, group: &Group) -> GroupView {
        let document = group.document.read().clone();
        let agents = self
            .directory
            .all()
            .into_iter()
            .filter(|agent| agent.group().as_ref() == Some(&group.name));
        let groups = self
            .directory
            .groups()
            .into_iter()
            .filter(|other| other.parent().as_ref() == Some(&group.name));
        GroupView {
            path: self.directory.path_of_group(group),
            agents: agents.map(|agent| agent.name.clone()).collect(),
            groups: groups.map(|other| other.name.clone()).collect(),
            created_at: document.created_at,
            spec: document.spec,
        }
    }

    /// The agents of a group and of all groups below it.
    pub(super) fn members(&self, group: &Group) -> Vec<Arc<Agent>> {
        let below = |agent: &Arc<Agent>| {
            let own = agent.group().and_then(|name| self.directory.group(name.as_str()));
            own.is_some_and(|own| self.directory.lineage(&own).contains(&group.name))
        };
        self.directory
            .of_partition(group.partition)
            .into_iter()
            .filter(below)
            .collect()
    }

    /// The children that a partition's supervisor of agents starts with: the groups at the root, and the agents without
    /// a group.
    pub(super) fn children_of_partition(self: &Arc<Self>, partition: Partition) -> Vec<ChildSpec> {
        self.children_of(partition, None)
    }

    /// The children of a group or of a partition, oldest first, because `rest_for_one` treats later children as
    /// dependent on earlier ones.
    fn children_of(self: &Arc<Self>, partition: Partition, group: Option<&AgentName>) -> Vec<ChildSpec> {
        let mut children: Vec<(Timestamp, ChildSpec)> = Vec::new();
        for inner in self.directory.groups() {
            if inner.partition == partition && inner.parent().as_ref() == group {
                let created_at = inner.document.read().created_at;
                children.push((created_at, self.group_child(&inner)));
            }
        }
        for agent in self.runnable(partition) {
            if agent.group().as_ref() == group
                && let Some(version) = agent.version()
            {
                let created_at = agent.document.read().created_at;
                let instances = self.instances_of(&agent, &version).into_iter();
                children.extend(instances.map(|child| (created_at, child)));
            }
        }
        children.sort_by_key(|(created_at, _)| *created_at);
        children.into_iter().map(|(_, child)| child).collect()
    }

    /// The child specification of a group, as its user declared it. The directory keeps the handle to the group's
    /// supervisor.
    fn group_child(self: &Arc<Self>, group: &Arc<Group>) -> ChildSpec {
        let spec = group.document.read().spec.clone();
        let weak: Weak<Self> = Arc::downgrade(self);
        let populate = {
            let (node, name, partition) = (weak.clone(), group.name.clone(), group.partition);
            Arc::new(move || {
                let node = node.upgrade();
                node.map(|node| node.children_of(partition, Some(&name)))
                    .unwrap_or_default()
            })
        };
        let (child, handle) = Supervisor::new(group.name.as_str(), spec.strategy, spec.budget())
            .auto_shutdown(spec.auto_shutdown)
            .populate(populate)
            .into_child_with_handle();
        *group.handle.write() = Some(handle);
        let give_up = {
            let group = group.clone();
            Arc::new(move |reason: &ExitReason| {
                if let Some(node) = weak.upgrade() {
                    node.give_up_group(&group, reason);
                }
            })
        };
        // A group that ends because its significant agents ended has done its work, so it is not restarted.
        let restart = if spec.auto_shutdown == AutoShutdown::Never {
            Restart::Permanent
        } else {
            Restart::Transient
        };
        child
            .restart(restart)
            .backoff((&spec.backoff).into())
            .on_give_up(give_up)
    }

    /// Gives up a whole group, as its partition decided: the queued messages of its agents will not be handled.
    fn give_up_group(&self, group: &Group, reason: &ExitReason) {
        for agent in self.members(group) {
            if agent.version().is_some() {
                self.give_up(&agent, reason);
            }
        }
    }
}
