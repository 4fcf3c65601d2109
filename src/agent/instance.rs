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
use super::turn::{conclude, conclude_without_message};
use super::{Agent, OUTCOME_KIB, Running, Version};
use crate::id::{InstanceId, MessageId};
use crate::mailbox::{Consumer, Lease, Waker};
use crate::time::Timestamp;
use crate::timer::TimerChange;
use crate::wasm;

/// The most turns that one wake-up may run before the actor handles stop and supervision messages.
const TURNS_PER_WAKE: usize = 16;

/// The actor. Its supervisor restarts it according to its child specification; it never restarts itself.
#[derive(Debug)]
pub struct Instance;

/// The arguments of a new incarnation.
#[derive(Debug)]
pub struct Start {
    pub agent: Arc<Agent>,
    pub version: Arc<Version>,
    /// The number of the instance among those of its version, from 1.
    pub number: u32,
    pub incarnation: u64,
    pub pulse: Pulse,
}

#[derive(Debug)]
pub enum InstanceMessage {
    /// There may be messages in the mailbox.
    Wake,
    /// A heartbeat is due. It is sent only to agents whose declaration has a `heartbeat`.
    Beat,
}

pub struct Incarnation {
    agent: Arc<Agent>,
    version: Arc<Version>,
    instance: InstanceId,
    guest: wasm::Instance,
    /// Leases the messages of the agent's mailbox.
    consumer: Consumer,
    pulse: Pulse,
    /// Takes the incarnation out of the agent's `running` when it ends, however it ends.
    _running: ClearOnDrop,
}

struct ClearOnDrop {
    agent: Arc<Agent>,
    instance: InstanceId,
    incarnation: u64,
}

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        let mut running = self.agent.running.lock();
        // The next incarnation may have started already.
        if running
            .get(&self.instance)
            .is_some_and(|running| running.incarnation == self.incarnation)
        {
            running.remove(&self.instance);
            self.agent.meter.ended(self.instance);
        }
    }
}

impl Actor for Instance {
    type Msg = InstanceMessage;
    type State = Incarnation;
    type Arguments = Start;

    async fn pre_start(
        &self,
        myself: ActorRef<InstanceMessage>,
        start: Start,
    ) -> Result<Incarnation, ActorProcessingErr> {
        let Start {
            agent,
            version,
            number,
            incarnation,
            pulse,
        } = start;
        let instance = InstanceId {
            revision: version.revision,
            number,
        };
        let began = Instant::now();
        let host = wasm::Host {
            agent: agent.id,
            name: agent.name.clone(),
            instance,
            state: agent.state.clone(),
            timers: agent.timers.clone(),
            state_lock: agent.state_lock.clone(),
            leasing: wasm::Leasing::of(agent.document.read().instances),
            log_rate: agent.rates.log.clone(),
            grants: version.grants.clone(),
        };
        let mut guest = version
            .program
            .instantiate(host, version.limits())
            .await
            .map_err(|crash| failure(&crash))?;
        let turn = guest.init(version.budget(true, agent.mailbox.reply_slots_left())).await;
        let state_lease = guest.take_state_lease();
        agent.meter.used(instance, &turn.usage);
        match turn.end {
            wasm::End::Crash(crash) => {
                report(&agent, instance, &crash, None, 1);
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
            agent.rates.spend_sends(turn.effects.sends.len(), Instant::now());
            let permit = permit(&agent, &turn.effects).await;
            agent
                .outbox
                .commit(conclude_without_message(&agent, instance, turn, permit, None));
        }
        drop(state_lease); // the writes of `init` are committed
        agent.meter.started(began.elapsed());
        let running = Running {
            since: Instant::now(),
            incarnation,
        };
        agent.instance_started(instance, running);
        if let Some(heartbeat) = version.spec.supervision.heartbeat {
            // Beats come twice as often as required, so that one late beat is not taken for a dead instance.
            myself.send_interval(heartbeat.0 / 2, || InstanceMessage::Beat);
        }
        let waker: Waker = Arc::new(move || {
            // The cast fails only when the actor is gone; its successor checks the mailbox itself when it starts.
            let _ = myself.cast(InstanceMessage::Wake);
        });
        Ok(Incarnation {
            guest,
            consumer: agent.mailbox.attach(waker),
            pulse,
            _running: ClearOnDrop {
                agent: agent.clone(),
                instance,
                incarnation,
            },
            agent,
            version,
            instance,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<InstanceMessage>,
        message: InstanceMessage,
        incarnation: &mut Incarnation,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            InstanceMessage::Wake => {
                let _busy = incarnation.pulse.busy();
                incarnation.work(&myself).await
            }
            InstanceMessage::Beat => {
                incarnation.pulse.beat();
                Ok(())
            }
        }
    }

    async fn post_stop(
        &self,
        _: ActorRef<InstanceMessage>,
        incarnation: &mut Incarnation,
    ) -> Result<(), ActorProcessingErr> {
        incarnation.consumer.detach();
        let (agent, version) = (&incarnation.agent, &incarnation.version);
        shut_down(agent, version, incarnation.instance, &mut incarnation.guest).await;
        Ok(())
    }
}

impl Incarnation {
    async fn work(&mut self, myself: &ActorRef<InstanceMessage>) -> Result<(), ActorProcessingErr> {
        for _ in 0..TURNS_PER_WAKE {
            let wait = self.agent.rates.wait(Instant::now());
            if wait > Duration::ZERO {
                myself.send_after(wait, || InstanceMessage::Wake);
                return Ok(());
            }
            let Some(lease) = self.consumer.lease() else {
                return Ok(());
            };
            self.turn(lease).await?;
        }
        myself.cast(InstanceMessage::Wake)?;
        Ok(())
    }

    /// Runs one turn. A kill during the turn drops the lease, which returns the message to its position.
    async fn turn(&mut self, lease: Lease) -> Result<(), ActorProcessingErr> {
        let (agent, version, instance) = (&*self.agent, &*self.version, self.instance);
        metrics::histogram!("caxton_mailbox_wait_seconds").record(lease.admitted().elapsed());
        let budget = version.budget(false, agent.mailbox.reply_slots_left());
        let turn = self.guest.handle(lease.message(), lease.attempt(), budget).await;
        let _state_lease = self.guest.take_state_lease(); // held until the outcome has been handed over
        agent.meter.used(instance, &turn.usage);
        let now = Instant::now();
        agent
            .rates
            .spend_guest_time(turn.usage.guest_time, version.spec.resources.cpu, now);
        agent.rates.spend_sends(turn.effects.sends.len(), now);
        let permit = permit(agent, &turn.effects).await;
        // There is no await from here until the outcome is handed over, so a kill cannot interrupt it.
        let _in_order = agent.hand_over.lock();
        let broken = match &turn.end {
            wasm::End::Crash(crash) => {
                report(agent, instance, crash, Some(lease.message().id), lease.attempt());
                Some(failure(crash))
            }
            wasm::End::Ok | wasm::End::Error(_) => None,
        };
        let max_deliveries = version.spec.delivery.max_deliveries;
        if let Some(outcome) = conclude(agent, instance, max_deliveries, lease, turn, permit, Instant::now()) {
            agent.outbox.commit(outcome);
        }
        broken.map_or(Ok(()), Err)
    }
}

/// Runs the guest's last turn and waits until it is recorded. The router stops after its agents, so it still records
/// what waits.
async fn shut_down(agent: &Agent, version: &Version, instance: InstanceId, guest: &mut wasm::Instance) {
    // A suspended agent takes no turns, and thus no last turn either.
    if !guest.takes_shutdown() || agent.mailbox.is_paused() {
        return;
    }
    let turn = guest
        .shutdown(version.budget(false, agent.mailbox.reply_slots_left()))
        .await;
    let state_lease = guest.take_state_lease();
    if let wasm::End::Crash(crash) = &turn.end {
        return report(agent, instance, crash, None, 1);
    }
    if turn.effects.is_empty() {
        return;
    }
    agent.rates.spend_sends(turn.effects.sends.len(), Instant::now());
    let permit = permit(agent, &turn.effects).await;
    let (tell, recorded) = oneshot::channel();
    agent
        .outbox
        .commit(conclude_without_message(agent, instance, turn, permit, Some(tell)));
    drop(state_lease);
    let _ = recorded.await; // the router may have ended first
}

/// Waits for room among the outcomes that wait for the owner of the partition.
async fn permit(agent: &Agent, effects: &wasm::Effects) -> Option<OwnedSemaphorePermit> {
    let sends = effects.sends.iter().map(|draft| draft.content.weight() + 512);
    let writes = effects
        .writes
        .iter()
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len));
    let timers = size_of::<TimerChange>() * effects.timers.len();
    let bytes = sends.chain(writes).sum::<usize>() + timers;
    let kib = u32::try_from((1 + bytes / 1_024).min(OUTCOME_KIB)).expect("it is at most what there is in all");
    agent.outcome_kib.clone().acquire_many_owned(kib).await.ok() // the semaphore is never closed
}

fn report(agent: &Agent, instance: InstanceId, crash: &wasm::Crash, message_id: Option<MessageId>, attempt: u32) {
    agent.meter.crashed(CrashReport {
        instance,
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
