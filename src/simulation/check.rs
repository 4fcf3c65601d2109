//! The invariants of the log and of the world at the end of a run.

use std::collections::{BTreeMap, HashMap};

use super::fold::{End, Fold};
use super::world::World;
use super::{AgentAtTheEnd, Summary};
use crate::fipa::Performative;
use crate::id::{AgentId, MessageId};
use crate::message::Address;

pub(super) fn check(world: &World) -> Result<Summary, String> {
    let fold = Fold::of(&world.log());
    if let Some(first) = fold.contradictions.first() {
        return Err(first.clone());
    }
    every_delivery_has_ended(&fold)?;
    what_was_acknowledged_is_there(world, &fold)?;
    state_is_what_was_written(world, &fold)?;
    senders_were_told(&fold)?;
    nothing_overtook(world, &fold)?;
    nothing_is_left(world)?;
    let ended = |wanted: fn(&End) -> bool| fold.ended.iter().filter(|(_, _, end)| wanted(end)).count() as u64;
    let agents = world.agents().map(|agent| {
        let took_effect =
            |(of, _, end): &&(AgentId, MessageId, End)| *of == agent.id && *end == End::Turn { error: false };
        let at_the_end = AgentAtTheEnd {
            turns: fold.ended.iter().filter(took_effect).count() as u64,
            state: agent.state.read().clone(),
        };
        (agent.name.to_string(), at_the_end)
    });
    Ok(Summary {
        messages: fold.messages.len() as u64,
        turns: ended(|end| *end == End::Turn { error: false }),
        dead_letters: ended(|end| *end == End::DeadLetter),
        timers_fired: fold.timers_fired,
        kills: world.kills,
        agents: agents.collect(),
    })
}

fn every_delivery_has_ended(fold: &Fold) -> Result<(), String> {
    let open = fold.live.iter().find(|(_, live)| !live.is_empty());
    match open {
        None => Ok(()),
        Some((agent, live)) => Err(format!(
            "{} of {agent} was never handled, and is no dead letter",
            live[0].message.id
        )),
    }
}

fn what_was_acknowledged_is_there(world: &World, fold: &Fold) -> Result<(), String> {
    let lost = world
        .acknowledged
        .iter()
        .find(|acknowledged| !fold.known.contains_key(&acknowledged.message));
    lost.map_or(Ok(()), |lost| {
        Err(format!("{} was acknowledged, and is lost", lost.message))
    })
}

fn state_is_what_was_written(world: &World, fold: &Fold) -> Result<(), String> {
    for agent in world.agents() {
        let written = fold.state.get(&agent.id).cloned().unwrap_or_default();
        let state = agent.state.read();
        if *state != written {
            return Err(format!("{} has the state {state:?}, and wrote {written:?}", agent.name));
        }
    }
    Ok(())
}

/// Checks that a sender who may get failures gets one for each dead letter and for each error.
fn senders_were_told(fold: &Fold) -> Result<(), String> {
    let mut told: HashMap<MessageId, usize> = HashMap::new();
    for (_, message) in &fold.messages {
        if message.performative == Performative::Failure
            && let Some(about) = message.causation_id
        {
            *told.entry(about).or_default() += 1;
        }
    }
    for (agent, id, end) in &fold.ended {
        let message = &fold.known[id];
        let may_hear = message.performative.may_be_answered() && message.sender != Address::Platform;
        let failed = matches!(end, End::DeadLetter | End::Turn { error: true });
        if failed && may_hear && !told.contains_key(id) {
            return Err(format!("{id} failed at {agent}, and {} was not told", message.sender));
        }
    }
    Ok(())
}

/// Checks that turns on one sender's messages come in the order of the messages; with several instances, in the order
/// of each sender and conversation.
fn nothing_overtook(world: &World, fold: &Fold) -> Result<(), String> {
    let position: HashMap<MessageId, u64> = fold.messages.iter().map(|(seq, message)| (message.id, seq.0)).collect();
    let several: BTreeMap<AgentId, bool> = world.several_instances().collect();
    let mut latest: HashMap<(AgentId, String), (u64, MessageId)> = HashMap::new();
    for (agent, id, end) in &fold.ended {
        let message = &fold.known[id];
        // The platform does not count as one sender, because each router sends in its name.
        if *end == End::DeadLetter || message.sender == Address::Platform {
            continue;
        }
        let mut lane = message.sender.to_string();
        if several[agent] {
            lane = format!("{lane} in {}", message.conversation_id);
        }
        let at = position[id];
        let before = latest.insert((*agent, lane), (at, *id));
        if let Some((before, other)) = before
            && before > at
        {
            return Err(format!("{other} overtook {id} at {agent}, both of {}", message.sender));
        }
    }
    Ok(())
}

fn nothing_is_left(world: &World) -> Result<(), String> {
    for agent in world.agents() {
        let depth = agent.mailbox.depth();
        if depth > 0 {
            return Err(format!("{depth} messages are left in the mailbox of {}", agent.name));
        }
        let (messages, bytes) = agent.mailbox.occupied();
        if messages > 0 || bytes > 0 {
            return Err(format!(
                "{messages} messages and {bytes} bytes of the mailbox of {} are occupied by nothing",
                agent.name
            ));
        }
    }
    Ok(())
}
