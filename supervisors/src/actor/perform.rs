//! Carrying out the actions of the decision core.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ractor::{ActorCell, ActorRef, ActorStatus};
use tokio::task::AbortHandle;

use super::state::{State, Waiter};
use crate::core::{Action, Child, ChildId, Outcome};
use crate::error::StartChildError;
use crate::exit::ExitReason;
use crate::heartbeat::{Heartbeat, Pulse};
use crate::message::Msg;
use crate::note::Note;
use crate::position::{Ended, Live, StartSlot, now};
use crate::spec::{ChildSpec, Kind, StartContext, Started};
use crate::stop;
use crate::termination::SHUTDOWN;

impl State {
    pub(super) fn perform(&mut self, myself: &ActorRef<Msg>, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(id, incarnation) => self.start(myself, &id, incarnation),
                Action::Stop(id, incarnation) => self.stop(myself, &id, incarnation, false),
                Action::Kill(id, incarnation) => self.stop(myself, &id, incarnation, true),
                Action::SetTimer(id, token, delay) => {
                    let timer = send_after(myself, delay, Msg::Due(Arc::clone(&id), token));
                    if let Some(stale) = self.timers.insert(id, timer) {
                        stale.abort();
                    }
                }
                Action::CancelTimer(id) => {
                    if let Some(timer) = self.timers.remove(&id) {
                        timer.abort();
                    }
                }
                Action::Emit(id, note) => self.emit(&id, note),
                Action::EmitSelf(note) => {
                    if let Some(meter) = &self.position.inner.lock().meter {
                        meter.note(&note);
                    }
                    self.scope.bus.publish(self.path.clone(), note);
                }
                Action::GiveUp(id, reason) => self.give_up(&id, &reason),
                Action::Forget(id) => {
                    let mut inner = self.position.inner.lock();
                    inner.specs.remove(&id);
                    inner.replaced.remove(&id);
                    inner.live.remove(&id);
                }
                Action::Revert(id) => {
                    let mut inner = self.position.inner.lock();
                    if let Some(old) = inner.replaced.remove(&id) {
                        inner.specs.insert(id, old);
                    }
                }
                Action::Settled(id, outcome) => self.settle(&id, &outcome),
                Action::Count(reason) => {
                    if let Some(meter) = &self.position.inner.lock().meter {
                        meter.restart(reason);
                    }
                }
                Action::Ready => {
                    if let Some(ready) = self.ready.take() {
                        let _ = ready.send(Ok(()));
                    }
                }
                Action::Exit(exit) => {
                    self.exit = Some(exit);
                    myself.stop(Some(SHUTDOWN.to_owned()));
                }
            }
        }
        self.publish(myself);
    }

    pub(super) fn emit(&self, id: &ChildId, note: Note) {
        if let Some(meter) = &self.position.inner.lock().meter {
            meter.note(&note);
        }
        self.scope.bus.publish(self.child_path(id), note);
    }

    fn publish(&mut self, myself: &ActorRef<Msg>) {
        let mut inner = self.position.inner.lock();
        let counts = inner.core.counts();
        let window = inner.core.window();
        let (used, limit, moves_in) = (window.used(now()), window.intensity().restarts, window.moves_in(now()));
        let strategy = inner.core.mode().name();
        if let Some(meter) = &mut inner.meter {
            meter.set_strategy(strategy);
            meter.children(counts);
            meter.intensity(used, limit);
        }
        drop(inner);
        self.watch_window(myself, moves_in);
    }

    fn child_path(&self, id: &ChildId) -> String {
        format!("{}/{id}", self.path)
    }

    fn start(&mut self, myself: &ActorRef<Msg>, id: &ChildId, incarnation: u64) {
        let mut inner = self.position.inner.lock();
        let Some(spec) = inner.specs.get(id).cloned() else {
            return;
        };
        let previous = match inner.live.remove(id) {
            Some(Live::Running(started, _)) => Some(started),
            Some(Live::Starting { .. } | Live::Stopping(..)) | None => None,
        };
        let pulse = Pulse::new();
        let context = StartContext {
            supervisor: myself.get_cell(),
            path: self.child_path(id),
            incarnation,
            pulse: pulse.clone(),
            scope: self.scope.clone(),
            restarted: inner.core.children().get(id).is_some_and(Child::was_restarted),
        };
        let slot = StartSlot::default();
        let start = start_task(myself.clone(), Arc::clone(&spec), context, previous, Arc::clone(&slot));
        let task = tokio::spawn(start);
        let starting = Live::Starting {
            task,
            slot,
            pulse,
            spec,
        };
        inner.live.insert(Arc::clone(id), starting);
        self.starting += 1;
    }

    fn stop(&mut self, myself: &ActorRef<Msg>, id: &ChildId, incarnation: u64, kill: bool) {
        let mut inner = self.position.inner.lock();
        let live = inner.live.remove(id);
        let cell = match &live {
            Some(Live::Running(started, _)) => Some(started.cell.clone()),
            Some(Live::Starting { .. } | Live::Stopping(..)) | None => None,
        };
        let (supervisor, id_) = (myself.clone(), Arc::clone(id));
        let task = tokio::spawn(async move {
            let ended = match live {
                Some(live) => stop::end(live, kill, None).await,
                None => Ended::Stopped,
            };
            let _ = supervisor.cast(Msg::StopDone(id_, incarnation, ended));
            ended
        });
        inner.live.insert(Arc::clone(id), Live::Stopping(task, cell));
    }

    fn give_up(&self, id: &ChildId, reason: &ExitReason) {
        let call = {
            let mut inner = self.position.inner.lock();
            inner.live.remove(id);
            inner.specs.get(id).and_then(|spec| spec.on_give_up.clone())
        };
        if let Some(call) = call
            && std::panic::catch_unwind(AssertUnwindSafe(|| call(reason))).is_err()
        {
            tracing::error!(
                path = self.child_path(id),
                "the on_give_up function of the child panicked"
            );
        }
    }

    fn settle(&mut self, id: &ChildId, outcome: &Outcome) {
        if *outcome == Outcome::Running {
            self.position.inner.lock().replaced.remove(id);
        }
        let Some(waiters) = self.waiters.remove(id) else {
            return;
        };
        let cell = self.position.cell_of(id);
        let mut left = Vec::new();
        for waiter in waiters {
            match (waiter, outcome) {
                (Waiter::Run(reply), Outcome::Running) => {
                    drop(reply.send(cell.clone().ok_or(StartChildError::Gone)));
                }
                (Waiter::Run(reply), Outcome::StartFailed(reason)) => {
                    drop(reply.send(Err(StartChildError::Failed(reason.clone()))));
                }
                (Waiter::Run(reply), Outcome::Stopped | Outcome::Gone) => {
                    drop(reply.send(Err(StartChildError::Failed(ExitReason::Shutdown))));
                }
                // Whatever the outcome, the incarnation that was to end has ended. Another command may have started the next one.
                (Waiter::Done(reply), _) | (Waiter::Replace(reply), Outcome::Running | Outcome::Stopped) => {
                    drop(reply.send(Ok(())));
                }
                (Waiter::Replace(reply), Outcome::StartFailed(reason) | Outcome::Reverted(reason)) => {
                    drop(reply.send(Err(StartChildError::Failed(reason.clone()))));
                }
                (Waiter::Replace(reply), Outcome::Gone) => {
                    drop(reply.send(Err(StartChildError::NotFound)));
                }
                (waiter @ Waiter::Run(_), Outcome::Reverted(_)) => left.push(waiter),
            }
        }
        if !left.is_empty() {
            self.waiters.insert(Arc::clone(id), left);
        }
    }
}

async fn start_task(
    supervisor: ActorRef<Msg>,
    spec: Arc<ChildSpec>,
    context: StartContext,
    previous: Option<Started>,
    slot: StartSlot,
) {
    // Reports to the supervisor also when this task is aborted, because the supervisor counts the starts that are not reported.
    let done = Done(supervisor, Arc::clone(&spec.id), context.incarnation);
    if let Some(previous) = previous {
        stop::wait_until_gone(previous).await;
    }
    if let Kind::Supervisor(position) = &spec.kind {
        position.end_remains().await;
    }
    let path = context.path.clone();
    let start = AssertUnwindSafe(async { (spec.start)(context).await }).catch_unwind();
    let result = match spec.start_timeout {
        Some(limit) => tokio::time::timeout(limit, start).await,
        None => Ok(start.await),
    };
    let failed = |reason| ExitReason::StartFailed {
        path: path.clone(),
        reason: Box::new(reason),
    };
    let result = match result {
        Ok(Ok(Ok(started))) => Ok(started),
        Ok(Ok(Err(error))) => Err(ExitReason::from_start_error(&path, &*error)),
        Ok(Err(_)) => Err(failed(ExitReason::Panic("in the start function".to_owned()))),
        Err(_) => Err(failed(ExitReason::StartTimeout)),
    };
    *slot.lock() = Some(result);
    drop(done);
}

/// Reports the end of a start when it is dropped.
struct Done(ActorRef<Msg>, ChildId, u64);

impl Drop for Done {
    fn drop(&mut self) {
        let _ = self.0.cast(Msg::StartDone(Arc::clone(&self.1), self.2));
    }
}

/// Checks the sign of life of a child until the child has ended.
pub(super) fn watch(
    supervisor: &ActorRef<Msg>,
    rules: Heartbeat,
    pulse: Pulse,
    cell: ActorCell,
    id: ChildId,
    incarnation: u64,
) {
    let supervisor = supervisor.clone();
    tokio::spawn(async move {
        tokio::time::sleep(rules.grace).await;
        while cell.get_status() < ActorStatus::Stopping {
            if pulse.is_lost(&rules) {
                let _ = supervisor.cast(Msg::HeartbeatLost(id, incarnation));
                return;
            }
            let look = rules.every.max(MIN_CHECK) / 2;
            if cell.wait(Some(look)).await.is_ok() {
                return;
            }
        }
    });
}

/// Heartbeats shorter than this are checked as if they were this long.
const MIN_CHECK: Duration = Duration::from_millis(2);

pub(super) fn send_after(supervisor: &ActorRef<Msg>, delay: Duration, message: Msg) -> AbortHandle {
    let supervisor = supervisor.clone();
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        let _ = supervisor.cast(message);
    })
    .abort_handle()
}
