//! The actor of a supervisor: it carries out the actions of the decision core and reports their results to it.
//!
//! No handler waits for a child. Starts, stops and delays are tasks that end with a message to the supervisor, so a slow child
//! delays neither its siblings nor a shutdown.

mod children;
mod perform;
mod state;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use self::state::{State, Waiter};
use crate::core::{Action, Core, Exit, Mode, Refused};
use crate::exit::{ExitReason, Failure, MELTDOWN};
use crate::message::{DoneReply, Msg};
use crate::meter::Meter;
use crate::position::{Ended, Position, now};
use crate::scope::Scope;
use crate::spec::{BoxError, Started};
use crate::stop;

pub(crate) struct Arguments {
    position: Arc<Position>,
    path: String,
    scope: Scope,
    restarted: bool,
    ready: oneshot::Sender<Result<(), ExitReason>>,
}

/// Stops a supervisor whose start is aborted. It would otherwise go on running, unknown to its parent.
struct StopUnlessStarted(Option<ActorCell>);

impl Drop for StopUnlessStarted {
    fn drop(&mut self) {
        if let Some(cell) = &self.0 {
            stop::stop(cell);
        }
    }
}

/// Starts a supervisor and returns when all its children are running. When one of them does not start, the others are stopped
/// before this returns the error.
pub(crate) async fn launch(
    position: Arc<Position>,
    parent: Option<ActorCell>,
    path: String,
    scope: Scope,
    restarted: bool,
) -> Result<Started, BoxError> {
    let (ready, started) = oneshot::channel();
    let arguments = Arguments {
        position,
        path,
        scope,
        restarted,
        ready,
    };
    let spawned = match parent {
        Some(parent) => Actor::spawn_linked(None, SupervisorActor, arguments, parent).await?,
        None => Actor::spawn(None, SupervisorActor, arguments).await?,
    };
    let spawned = Started::from(spawned);
    let mut guard = StopUnlessStarted(Some(spawned.cell.clone()));
    let result = started.await;
    if matches!(result, Ok(Ok(()))) {
        guard.0 = None;
        return Ok(spawned);
    }
    stop::wait_until_gone(spawned).await;
    match result {
        Ok(Err(reason)) => Err(Box::new(reason)),
        Ok(Ok(())) | Err(_) => Err(Box::new(ExitReason::Killed)),
    }
}

struct SupervisorActor;

impl Actor for SupervisorActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments {
            position,
            path,
            scope,
            restarted,
            ready,
        } = arguments;
        let plan = &position.plan;
        let (mode, intensity) = {
            let inner = position.inner.lock();
            (inner.core.mode(), inner.core.window().intensity())
        };
        let dynamic = matches!(mode, Mode::Dynamic { .. });
        let label = match (plan.label, &scope.label) {
            (Some(label), _) => label.into(),
            (None, Some(label)) => Arc::clone(label),
            (None, None) => Arc::clone(&plan.name),
        };
        let below = (dynamic || scope.label.is_some()).then(|| Arc::clone(&label));
        let mut children = plan.children.clone();
        if let Some(populate) = &plan.populate {
            children.extend(populate());
        }
        let own_label = plan.label.is_none() && scope.label.is_none();
        let meter = Meter::new(label, mode.name(), own_label && !dynamic);
        meter.intensity(0, intensity.restarts);
        position.begin_incarnation(&myself, meter, children, restarted);
        Ok(State {
            path,
            scope: Scope {
                bus: scope.bus,
                label: below,
            },
            position,
            ready: Some(ready),
            by_actor: HashMap::new(),
            starting: 0,
            early: HashMap::new(),
            timers: HashMap::new(),
            waiters: HashMap::new(),
            window_timer: None,
            exit: None,
        })
    }

    async fn post_start(&self, myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        let actions = state.position.inner.lock().core.begin(now());
        state.perform(&myself, actions);
        Ok(())
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        let position = Arc::clone(&state.position);
        let core = |decide: &dyn Fn(&mut Core) -> Vec<Action>| decide(&mut position.inner.lock().core);
        let actions = match message {
            Msg::StartDone(id, incarnation) => {
                let actions = state.start_done(&myself, &id, incarnation);
                state.starting -= 1;
                if state.starting == 0 {
                    state.early.clear();
                }
                actions
            }
            Msg::StopDone(id, incarnation, ended) => {
                let zombie = ended == Ended::Zombie;
                if zombie {
                    // An exit of the zombie, should it ever come, is ignored.
                    let gone = (Arc::clone(&id), incarnation);
                    state.by_actor.retain(|_, child| *child != gone);
                }
                position.inner.lock().live.remove(&id);
                core(&|core| core.on_stopped(&id, incarnation, zombie, now()))
            }
            Msg::Lost(id, incarnation) => core(&|core| core.on_exit(&id, incarnation, ExitReason::Cancelled, now())),
            Msg::HeartbeatLost(id, incarnation) => core(&|core| core.on_heartbeat_lost(&id, incarnation, now())),
            Msg::Due(id, token) => {
                state.timers.remove(&id);
                core(&|core| core.on_timer(&id, token, now()))
            }
            Msg::WindowMoved => {
                state.window_timer = None;
                Vec::new()
            }
            Msg::Changed => Vec::new(),
            Msg::StartChild(spec, reply) => state.start_child(*spec, reply),
            Msg::Terminate(id, reply) => {
                let result = position.inner.lock().core.terminate(&id, now());
                state.command(id, Waiter::Done(reply), result)
            }
            Msg::Restart(id, reply) => {
                let result = position.inner.lock().core.restart(&id, now());
                state.command(id, Waiter::Run(reply), result)
            }
            Msg::Delete(id, reply) => {
                let result = position.inner.lock().core.delete(&id, now());
                state.command(id, Waiter::Done(reply), result)
            }
            Msg::Suspend(id, reply) => answer(reply, position.inner.lock().core.suspend(&id)),
            Msg::Resume(id, reply) => answer(reply, position.inner.lock().core.resume(&id, now())),
            Msg::Replace(spec, reply) => state.replace(*spec, reply),
        };
        state.perform(&myself, actions);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, reason) = match event {
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                (cell, ExitReason::from_termination(reason.as_deref()))
            }
            SupervisionEvent::ActorFailed(cell, error) => (cell, ExitReason::from_failure(&error)),
            // The start function of a child reports that it has started.
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        if let Some((id, incarnation)) = state.by_actor.remove(&cell.get_id()) {
            let actions = state
                .position
                .inner
                .lock()
                .core
                .on_exit(&id, incarnation, reason, now());
            state.perform(&myself, actions);
        } else if state.starting > 0 {
            state.early.insert(cell.get_id(), reason);
        }
        Ok(())
    }

    /// The ordered shutdown. It must be complete when this returns, because ractor then kills all remaining children in no order.
    async fn post_stop(&self, myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        let cell = myself.get_cell();
        let batches = state.position.inner.lock().core.close();
        for batch in batches {
            join_all(batch.iter().map(|id| state.close_child(&cell, id))).await;
        }
        state.position.inner.lock().meter = None;
        let (reason, result) = match state.exit.take() {
            None => (ExitReason::Shutdown, Ok(())),
            Some(Exit::AutoShutdown(child, reason)) => {
                let path = format!("{}/{child}", state.path);
                let reason = Box::new(reason);
                let reason = ExitReason::AutoShutdown { path, reason };
                // ractor reports no more of an orderly end than a text, and of a failure the whole reason.
                (reason.clone(), Err(ActorProcessingErr::from(reason)))
            }
            Some(Exit::StartFailed(reason)) => (reason, Ok(())),
            Some(Exit::Meltdown(child, reason)) => {
                let failure = Failure::new(MELTDOWN, format!("{}/{child}: {reason}", state.path));
                (ExitReason::from_error(&failure), Err(ActorProcessingErr::from(failure)))
            }
        };
        state.position.inner.lock().exit = Some(reason.clone());
        if let Some(ready) = state.ready.take() {
            let _ = ready.send(Err(reason));
        }
        result
    }
}

/// Answers a command that needs no further action of the actor to succeed.
fn answer(reply: DoneReply, result: Result<Vec<Action>, Refused>) -> Vec<Action> {
    let (result, actions) = match result {
        Ok(actions) => (Ok(()), actions),
        Err(refused) => (Err(refused.into()), Vec::new()),
    };
    let _ = reply.send(result);
    actions
}
