//! What the supervisor's actor does with its children: reports of starts, commands, and the end of a child together with its
//! supervisor.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorRef, ActorStatus};

use super::perform;
use super::state::{State, Waiter};
use crate::core::{Action, ChildId, Refused};
use crate::error::StartChildError;
use crate::exit::ExitReason;
use crate::message::{DoneReply, Msg, RunReply};
use crate::position::{Ended, Live, check_child, now};
use crate::spec::ChildSpec;
use crate::stop;

impl State {
    pub(super) async fn close_child(&self, myself: &ActorCell, id: &ChildId) {
        let live = self.position.inner.lock().live.remove(id);
        let ended = match live {
            Some(live) => stop::end(live, false, Some(myself)).await,
            None => Ended::Stopped,
        };
        let reason = match ended {
            Ended::Stopped => ExitReason::Shutdown,
            Ended::Killed | Ended::Zombie => ExitReason::Killed,
        };
        let zombie = ended == Ended::Zombie;
        let actions = self.position.inner.lock().core.on_closed(id, reason, zombie, now());
        for action in actions {
            if let Action::Emit(id, note) = action {
                self.emit(&id, note);
            }
        }
    }

    /// Handles the report that a start has ended, successfully or not.
    pub(super) fn start_done(&mut self, myself: &ActorRef<Msg>, id: &ChildId, incarnation: u64) -> Vec<Action> {
        let position = Arc::clone(&self.position);
        let mut inner = position.inner.lock();
        let inner = &mut *inner;
        let current = inner
            .core
            .children()
            .get(id)
            .is_some_and(|child| child.incarnation == incarnation);
        let taken = match inner.live.get(id) {
            Some(Live::Starting { slot, pulse, spec, .. }) if current => slot
                .lock()
                .take()
                .map(|result| (result, pulse.clone(), Arc::clone(spec))),
            Some(_) | None => None,
        };
        // A stop came before the report and has taken the result.
        let Some((result, pulse, spec)) = taken else {
            return Vec::new();
        };
        match result {
            Ok(started) => {
                let cell = started.cell.clone();
                let heartbeat = spec.heartbeat;
                inner.live.insert(Arc::clone(id), Live::Running(started, spec));
                let mut actions = inner.core.on_started(id, incarnation, now());
                if let Some(reason) = self.early.remove(&cell.get_id()) {
                    actions.extend(inner.core.on_exit(id, incarnation, reason, now()));
                } else {
                    self.by_actor.insert(cell.get_id(), (Arc::clone(id), incarnation));
                    Self::adopt(myself, &cell, id, incarnation);
                    if let Some(rules) = heartbeat {
                        perform::watch(myself, rules, pulse, cell, Arc::clone(id), incarnation);
                    }
                }
                actions
            }
            Err(reason) => {
                inner.live.remove(id);
                inner.core.on_start_failed(id, incarnation, reason, now())
            }
        }
    }

    /// Links a child to its supervisor if its start function did not. When the child has already ended, there may be no event,
    /// so this sends a message that it is lost. ractor delivers an event, if there is one, before that message.
    fn adopt(myself: &ActorRef<Msg>, cell: &ActorCell, id: &ChildId, incarnation: u64) {
        let supervisor = || cell.try_get_supervisor().map(|actor| actor.get_id());
        if supervisor() != Some(myself.get_id()) {
            cell.link(myself.get_cell());
        }
        if supervisor() != Some(myself.get_id()) || cell.get_status() == ActorStatus::Stopped {
            let _ = myself.cast(Msg::Lost(Arc::clone(id), incarnation));
        }
    }

    pub(super) fn start_child(&mut self, spec: ChildSpec, reply: RunReply) -> Vec<Action> {
        let id = Arc::clone(&spec.id);
        let mut inner = self.position.inner.lock();
        if let Err(error) = check_child(&spec, inner.core.auto_shutdown()) {
            let _ = reply.send(Err(StartChildError::Invalid(error)));
            return Vec::new();
        }
        let result = inner.core.add(&id, spec.rules, now());
        if result.is_ok() {
            inner.specs.insert(Arc::clone(&id), Arc::new(spec));
        }
        drop(inner);
        self.command(id, Waiter::Run(reply), result)
    }

    pub(super) fn replace(&mut self, spec: ChildSpec, reply: DoneReply) -> Vec<Action> {
        let id = Arc::clone(&spec.id);
        let mut inner = self.position.inner.lock();
        if let Err(error) = check_child(&spec, inner.core.auto_shutdown()) {
            let _ = reply.send(Err(StartChildError::Invalid(error)));
            return Vec::new();
        }
        let result = inner.core.replace(&id, spec.rules, now());
        if result.is_ok() {
            let old = inner.specs.insert(Arc::clone(&id), Arc::new(spec));
            if let Some(old) = old
                && inner.core.may_revert(&id)
            {
                // When replacements follow each other, the specification that ran last stays the one to restore.
                inner.replaced.entry(Arc::clone(&id)).or_insert(old);
            }
        }
        drop(inner);
        self.command(id, Waiter::Replace(reply), result)
    }

    /// Has a command wait for its result, or answers it when the core has refused it.
    pub(super) fn command(&mut self, id: ChildId, waiter: Waiter, result: Result<Vec<Action>, Refused>) -> Vec<Action> {
        match result {
            Ok(actions) => {
                self.waiters.entry(id).or_default().push(waiter);
                actions
            }
            Err(refused) => {
                waiter.refuse(refused.into());
                Vec::new()
            }
        }
    }

    /// Sets a timer to publish the metrics again when the next restart leaves the sliding window.
    pub(super) fn watch_window(&mut self, myself: &ActorRef<Msg>, moves_in: Option<Duration>) {
        if let Some(delay) = moves_in
            && self.window_timer.is_none()
        {
            self.window_timer = Some(perform::send_after(myself, delay, Msg::WindowMoved));
        }
    }
}
