//! The end of a turn as one step: it decides what happens to the leased message, and makes the outcome for the owner of
//! the partition.
//!
//! The step never waits, so a kill comes either before it or after it, and a turn is never half ended.

use std::time::{Duration, Instant};

use super::{Agent, Outcome, Permit, Recorded};
use crate::id::InstanceId;
use crate::journal::TurnEnd;
use crate::mailbox::{Delivery, Lease};
use crate::wasm;

/// Ends the turn on a leased message. If the turn crashed, the message goes back to its position, unless it was
/// delivered `max_deliveries` times. None: the lease is void, and the turn must not take effect.
pub fn conclude(
    agent: &Agent,
    instance: InstanceId,
    max_deliveries: u32,
    lease: Lease,
    turn: wasm::Turn,
    permit: Option<Permit>,
    now: Instant,
) -> Option<Outcome> {
    let attempt = lease.attempt();
    let latency = now.saturating_duration_since(lease.admitted());
    let wasm::End::Crash(crash) = &turn.end else {
        let delivery = lease.finish()?;
        return Some(effective(
            agent,
            instance,
            Some(delivery),
            attempt,
            turn,
            latency,
            permit,
        ));
    };
    agent.meter.turn(instance, latency, attempt, Some(crash.kind.as_str()));
    let dead = attempt >= max_deliveries;
    let message = lease.message().clone();
    let reservation = if dead {
        Some(lease.finish()?.reservation)
    } else if lease.retry() {
        None
    } else {
        return None;
    };
    Some(Outcome {
        agent: agent.id,
        instance,
        message: Some(message),
        reservation,
        permit: None,
        attempt,
        end: TurnEnd::Crash {
            kind: crash.kind.as_str().to_owned(),
            detail: crash.detail.clone(),
        },
        dead,
        sends: Vec::new(),
        writes: Vec::new(),
        timers: Vec::new(),
        latency_micros: micros(latency),
        guest_micros: micros(turn.usage.guest_time),
        recorded: None,
    })
}

/// Ends a turn that no message has caused, `init` or `shutdown`, and that did not crash.
pub fn conclude_without_message(
    agent: &Agent,
    instance: InstanceId,
    turn: wasm::Turn,
    permit: Option<Permit>,
    recorded: Option<Recorded>,
) -> Outcome {
    Outcome {
        recorded,
        ..effective(agent, instance, None, 1, turn, Duration::ZERO, permit)
    }
}

/// The outcome of a turn that did not crash. The state in memory runs ahead of the disk: the agent's next turn sees
/// what this one wrote before it is durable.
fn effective(
    agent: &Agent,
    instance: InstanceId,
    delivery: Option<Delivery>,
    attempt: u32,
    turn: wasm::Turn,
    latency: Duration,
    permit: Option<Permit>,
) -> Outcome {
    let guest = turn.usage.guest_time;
    let (end, effects) = match turn.end {
        wasm::End::Ok => (TurnEnd::Ok, turn.effects),
        wasm::End::Error(reason) => (TurnEnd::Error { reason }, wasm::Effects::default()),
        wasm::End::Crash(_) => unreachable!("a crash has no effects"),
    };
    if delivery.is_some() {
        let failure = matches!(end, TurnEnd::Error { .. }).then_some("error");
        agent.meter.turn(instance, latency, attempt, failure);
    }
    agent.meter.sent(instance, effects.sends.len());
    {
        let mut state = agent.state.write();
        for (key, value) in &effects.writes {
            match value {
                Some(value) => drop(state.insert(key.clone(), value.clone())),
                None => drop(state.remove(key)),
            }
        }
    }
    let timers: Vec<_> = effects.timers.into_values().collect();
    agent.timers.apply(&timers);
    let (message, reservation) = delivery
        .map(|delivery| (delivery.message, delivery.reservation))
        .unzip();
    let sends = effects.sends.into_iter();
    Outcome {
        agent: agent.id,
        instance,
        message,
        reservation,
        permit,
        attempt,
        end,
        dead: false,
        sends: sends
            .map(|draft| (draft, agent.mailbox.reserve_promised_reply()))
            .collect(),
        writes: effects.writes.into_iter().collect(),
        timers,
        latency_micros: micros(latency),
        guest_micros: micros(guest),
        recorded: None,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
