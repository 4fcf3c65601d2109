//! One incarnation of an agent, as a ractor actor.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Failure, Pulse};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::meter::CrashReport;
use super::{OUTCOME_KIB, Outcome, Running, Slot};
use crate::id::MessageId;
use crate::journal::TurnEnd;
use crate::mailbox::{Delivery, Waker};
use crate::quantity::Cpu;
use crate::rate::Rate;
use crate::time::Timestamp;
use crate::timer::TimerChange;
use crate::wasm;

/// Turns that one wake-up may run before stop and supervision are looked at.
const TURNS_PER_WAKE: usize = 16;

/// The actor. Its child specification restarts it; it never restarts itself.
#[derive(Debug)]
pub struct Instance;

/// What a new incarnation is given.
#[derive(Debug)]
pub struct Start {
    pub slot: Arc<Slot>,
    pub incarnation: u64,
    pub pulse: Pulse,
}

#[derive(Debug)]
pub enum InstanceMessage {
    /// There may be messages in the mailbox.
    Wake,
    /// Time to show life; sent only to agents whose supervisor asks for it.
    Beat,
}

pub struct State {
    slot: Arc<Slot>,
    guest: wasm::Instance,
    pulse: Pulse,
    /// When the agent's rates let it take its next turn.
    next_turn: Instant,
    /// What it may send.
    sending: Rate,
    /// Clears the slot's `running` when the incarnation ends, in whichever way it ends.
    _running: ClearOnDrop,
}

struct ClearOnDrop(Arc<Slot>, u64);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        let mut running = self.0.running.lock();
        if running.is_some_and(|running| running.incarnation == self.1) {
            *running = None;
            self.0.meter.ended();
        }
    }
}

impl Actor for Instance {
    type Msg = InstanceMessage;
    type State = State;
    type Arguments = Start;

    async fn pre_start(&self, myself: ActorRef<InstanceMessage>, start: Start) -> Result<State, ActorProcessingErr> {
        let Start {
            slot,
            incarnation,
            pulse,
        } = start;
        let began = Instant::now();
        let host = wasm::Host {
            agent: slot.id,
            name: slot.name.clone(),
            state: slot.state.clone(),
            timers: slot.timers.clone(),
            grants: slot.grants.clone(),
        };
        let mut guest = slot
            .program
            .instantiate(host, slot.limits())
            .await
            .map_err(|crash| failure(&crash))?;
        let turn = guest.init(slot.budget(true)).await;
        slot.meter.used(&turn.usage);
        match turn.end {
            wasm::End::Crash(crash) => {
                report(&slot, &crash, None, 1);
                return Err(failure(&crash));
            }
            wasm::End::Error(reason) => {
                return Err(Box::new(Failure {
                    kind: "init_error",
                    detail: format!("init said no: {reason}"),
                }));
            }
            wasm::End::Ok => {}
        }
        if !turn.effects.is_empty() {
            let permit = permit(&slot, &turn.effects).await;
            commit(&slot, None, 1, turn, permit, None);
        }
        slot.meter.started(began.elapsed());
        *slot.running.lock() = Some(Running {
            since: Instant::now(),
            incarnation,
        });
        if let Some(heartbeat) = slot.spec.supervision.heartbeat {
            // Twice as often as asked for, so that one late beat is no death.
            myself.send_interval(heartbeat.0 / 2, || InstanceMessage::Beat);
        }
        let waker: Waker = Arc::new(move || {
            // The cast fails only when the actor is gone; its successor looks into the mailbox by itself.
            let _ = myself.cast(InstanceMessage::Wake);
        });
        slot.mailbox.attach(&waker);
        Ok(State {
            guest,
            pulse,
            next_turn: Instant::now(),
            sending: Rate::new(slot.spec.resources.sends_per_second.into(), Instant::now()),
            _running: ClearOnDrop(slot.clone(), incarnation),
            slot,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<InstanceMessage>,
        message: InstanceMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            InstanceMessage::Wake => {
                let _busy = state.pulse.busy();
                state.work(&myself).await
            }
            InstanceMessage::Beat => {
                state.pulse.beat();
                Ok(())
            }
        }
    }

    async fn post_stop(&self, _: ActorRef<InstanceMessage>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.slot.mailbox.detach();
        shut_down(&state.slot, &mut state.guest).await;
        Ok(())
    }
}

impl State {
    async fn work(&mut self, myself: &ActorRef<InstanceMessage>) -> Result<(), ActorProcessingErr> {
        for _ in 0..TURNS_PER_WAKE {
            let wait = self.next_turn.saturating_duration_since(Instant::now());
            if wait > Duration::ZERO {
                myself.send_after(wait, || InstanceMessage::Wake);
                return Ok(());
            }
            let Some(delivery) = self.slot.mailbox.take() else {
                return Ok(());
            };
            self.turn(delivery).await?;
        }
        myself.cast(InstanceMessage::Wake)?;
        Ok(())
    }

    async fn turn(&mut self, delivery: Delivery) -> Result<(), ActorProcessingErr> {
        let slot = &self.slot;
        let attempt = delivery.attempt;
        let turn = self.guest.handle(&delivery.message, attempt, slot.budget(false)).await;
        slot.meter.used(&turn.usage);
        if let Some(Cpu::Millicores(rate)) = slot.spec.resources.cpu {
            let share = turn.usage.guest_time.mul_f64(1_000.0 / f64::from(rate));
            self.next_turn = self.next_turn.max(Instant::now()) + share.saturating_sub(turn.usage.guest_time);
        }
        let now = Instant::now();
        self.sending.take(turn.effects.sends.len() as u64, now);
        self.next_turn = self.next_turn.max(now + self.sending.debt(now));
        let permit = permit(slot, &turn.effects).await;
        // From here to the record there is no await, so a kill cannot come between.
        let wasm::End::Crash(crash) = &turn.end else {
            if slot.mailbox.finish() {
                commit(slot, Some(delivery), attempt, turn, permit, None);
            }
            return Ok(());
        };
        let broken = failure(crash);
        report(slot, crash, Some(delivery.message.id), attempt);
        let end = TurnEnd::Crash {
            kind: crash.kind.as_str().to_owned(),
            detail: crash.detail.clone(),
        };
        let (latency, guest) = (delivery.admitted.elapsed(), turn.usage.guest_time);
        slot.meter.turn(latency, attempt, Some(crash.kind.as_str()));
        let dead = attempt >= slot.spec.delivery.max_deliveries;
        let message = Some(delivery.message.clone());
        let (ours, place) = if dead {
            (slot.mailbox.finish(), Some(delivery.place))
        } else {
            (slot.mailbox.retry(delivery), None)
        };
        if ours {
            slot.outbox.record(Outcome {
                agent: slot.id,
                message,
                place,
                permit: None,
                attempt,
                end,
                dead,
                sends: Vec::new(),
                writes: Vec::new(),
                timers: Vec::new(),
                latency_micros: micros(latency),
                guest_micros: micros(guest),
                recorded: None,
            });
        }
        Err(broken)
    }
}

/// The guest's last turn. It waits for its record, since the router ends after its agents, with what waits for it.
async fn shut_down(slot: &Slot, guest: &mut wasm::Instance) {
    // An agent that takes no turns takes none at its end.
    if !guest.takes_shutdown() || slot.mailbox.is_paused() {
        return;
    }
    let turn = guest.shutdown(slot.budget(false)).await;
    if let wasm::End::Crash(crash) = &turn.end {
        return report(slot, crash, None, 1);
    }
    if turn.effects.is_empty() {
        return;
    }
    let permit = permit(slot, &turn.effects).await;
    let (tell, recorded) = oneshot::channel();
    commit(slot, None, 1, turn, permit, Some(tell));
    let _ = recorded.await; // the router may have ended before it
}

/// Hands a turn that did not crash to the owner of the partition. The agent runs ahead of the disk: its next turn sees the
/// state that this one wrote.
fn commit(
    slot: &Slot,
    delivery: Option<Delivery>,
    attempt: u32,
    turn: wasm::Turn,
    permit: Option<OwnedSemaphorePermit>,
    recorded: Option<oneshot::Sender<()>>,
) {
    let latency = delivery
        .as_ref()
        .map_or(Duration::ZERO, |delivery| delivery.admitted.elapsed());
    let guest = turn.usage.guest_time;
    let (end, effects) = match turn.end {
        wasm::End::Ok => (TurnEnd::Ok, turn.effects),
        wasm::End::Error(reason) => (TurnEnd::Error { reason }, wasm::Effects::default()),
        wasm::End::Crash(_) => unreachable!("a crash has an outcome of its own"),
    };
    if delivery.is_some() {
        slot.meter.turn(
            latency,
            attempt,
            matches!(end, TurnEnd::Error { .. }).then_some("error"),
        );
    }
    slot.meter.sent(effects.sends.len());
    {
        let mut state = slot.state.write();
        for (key, value) in &effects.writes {
            match value {
                Some(value) => drop(state.insert(key.clone(), value.clone())),
                None => drop(state.remove(key)),
            }
        }
    }
    let timers: Vec<_> = effects.timers.into_values().collect();
    slot.timers.apply(&timers);
    let (message, place) = delivery.map(|delivery| (delivery.message, delivery.place)).unzip();
    slot.outbox.record(Outcome {
        agent: slot.id,
        message,
        place,
        permit,
        attempt,
        end,
        dead: false,
        sends: effects
            .sends
            .into_iter()
            .map(|draft| (draft, slot.mailbox.take_promised_ticket()))
            .collect(),
        writes: effects.writes.into_iter().collect(),
        timers,
        latency_micros: micros(latency),
        guest_micros: micros(guest),
        recorded,
    });
}

/// Waits for room in the queue before the owner of the partition.
async fn permit(slot: &Slot, effects: &wasm::Effects) -> Option<OwnedSemaphorePermit> {
    let sends = effects.sends.iter().map(|draft| draft.content.weight() + 512);
    let writes = effects
        .writes
        .iter()
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len));
    let timers = size_of::<TimerChange>() * effects.timers.len();
    let bytes = sends.chain(writes).sum::<usize>() + timers;
    let kib = u32::try_from((1 + bytes / 1_024).min(OUTCOME_KIB)).expect("it is at most what there is in all");
    slot.outcome_kib.clone().acquire_many_owned(kib).await.ok() // never closed
}

fn report(slot: &Slot, crash: &wasm::Crash, message_id: Option<MessageId>, attempt: u32) {
    slot.meter.crashed(CrashReport {
        at: Timestamp::now(),
        kind: crash.kind.as_str(),
        detail: crash.detail.clone(),
        message_id,
        attempt,
        backtrace: crash.backtrace.clone(),
    });
}

fn failure(crash: &wasm::Crash) -> ActorProcessingErr {
    Box::new(Failure {
        kind: crash.kind.as_str(),
        detail: crash.detail.clone(),
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
