//! How each record changes the tables, and what is recovered.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::id::InstanceId;
use crate::timer::{Timer, TimerChange};

#[tokio::test]
async fn a_partition_is_recovered_from_its_own_records_and_the_message_counts_once() {
    let world = World::new();
    let [a, b] = agents(2)[..] else { unreachable!() };
    let there = Partition(HOME.0 + 1);
    let both = Arc::new(ask(Address::Agent(a), &[a, b], Some("r")));
    let part = |first, agent| {
        Record::Message(Dispatch {
            message: both.clone(),
            first,
            deliveries: vec![agent],
            undelivered: None,
            unread: false,
        })
    };
    let document = |agent| Record::Agent {
        agent,
        document: "{}".to_owned(),
        at: Timestamp::now(),
    };
    let Record::Turn(crashed) = turn(b, both.id, crash()) else {
        unreachable!()
    };
    let write = Record::Turn(Turn {
        writes: vec![("k".to_owned(), Some(Bytes::from_static(b"v")))],
        ..crashed
    });
    let records = vec![
        (HOME, document(a)),
        (there, document(b)),
        (HOME, part(true, a)),
        (there, part(false, b)),
        (there, write),
    ];
    let ticket = world.journal.append(HOME, world.fence, records);
    world.projections.seen(ticket.durable().await.unwrap()).await.unwrap();
    let (here, far) = (world.recover(), world.projections.recover(there).unwrap());
    let of = |recovered: &Recovered| {
        let agents = recovered.agents.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let queues = recovered.queues.keys().copied().collect::<Vec<_>>();
        (agents, queues, recovered.states.keys().copied().collect::<Vec<_>>())
    };
    assert_eq!(of(&here), (vec![a], vec![a], vec![]));
    assert_eq!(of(&far), (vec![b], vec![b], vec![b]));
    assert_eq!(far.queues[&b][0].attempts, 1);
    assert_eq!(
        (here.sessions.len(), far.sessions.len()),
        (2, 0),
        "they are with who asked"
    );
    assert_eq!(world.projections.counts().messages_total, 1);
    assert_eq!(world.status(&both).await, (Status::Delivered, None, 1));

    let done = vec![
        (HOME, turn(a, both.id, TurnEnd::Ok)),
        (there, turn(b, both.id, TurnEnd::Ok)),
    ];
    let ticket = world.journal.append(HOME, world.fence, done);
    world.projections.seen(ticket.durable().await.unwrap()).await.unwrap();
    assert_eq!(world.status(&both).await, (Status::Processed, None, 1));
    assert!(world.projections.recover(there).unwrap().queues.is_empty());
}

#[tokio::test]
async fn a_message_goes_through_its_states() {
    let world = World::new();
    let [a, b] = agents(2)[..] else { unreachable!() };
    let both = ask(client(), &[a, b], None);
    let first = world.write(vec![dispatched(both.clone())]).await;
    assert_eq!(world.status(&both).await, (Status::Delivered, None, 0));
    world.write(vec![turn(a, both.id, crash())]).await;
    let pending = Pending {
        seq: first,
        message: Arc::new(both.clone()),
        attempts: 1,
    };
    assert_eq!(world.recover().queues[&a], [pending]);
    assert_eq!(world.status(&both).await, (Status::Delivered, None, 1));
    world.write(vec![turn(a, both.id, refusal())]).await;
    assert_eq!(world.status(&both).await, (Status::Delivered, Some("no".to_owned()), 1));
    assert_eq!(world.recover().queues.keys().collect::<Vec<_>>(), [&b]);
    world.write(vec![turn(b, both.id, TurnEnd::Ok)]).await;
    assert_eq!(world.status(&both).await, (Status::Failed, Some("no".to_owned()), 1));

    let lost = ask(client(), &[a], None);
    world.write(vec![dispatched(lost.clone())]).await;
    world
        .write(vec![turn(a, lost.id, crash()), dead_letter(&lost, a)])
        .await;
    assert_eq!(
        world.status(&lost).await,
        (Status::Dead, Some("crashed: trap".to_owned()), 1)
    );
    let fine = ask(client(), &[a], None);
    world
        .write(vec![dispatched(fine.clone()), turn(a, fine.id, TurnEnd::Ok)])
        .await;
    world
        .write(vec![turn(a, fine.id, TurnEnd::Ok), dead_letter(&fine, a)])
        .await;
    assert_eq!(
        world.status(&fine).await,
        (Status::Processed, None, 1),
        "what is done stays done"
    );
    let told = message(Address::Agent(a), vec![client()]);
    world.write(vec![dispatched(told.clone())]).await;
    assert_eq!(
        world.status(&told).await,
        (Status::Processed, None, 0),
        "clients have no queue"
    );
    let nowhere = Dispatch {
        message: Arc::new(ask(client(), &[a], None)),
        first: true,
        deliveries: vec![],
        undelivered: Some("full".into()),
        unread: false,
    };
    world.write(vec![Record::Message(nowhere.clone())]).await;
    assert_eq!(
        world.status(&nowhere.message).await,
        (Status::Failed, Some("full".to_owned()), 0)
    );
    let waiting = ask(client(), &[b], None);
    world.write(vec![dispatched(waiting)]).await;
    let counts = Counts {
        messages_total: 6,
        processed: 2,
        failed: 3,
        dead_letters: 2,
        queued: 1,
    };
    assert_eq!(world.projections.counts(), counts);
    assert_eq!(world.projections.message(MessageId::new()).await.unwrap(), None);
    let world = World::reopen(world.close());
    assert_eq!(world.projections.counts(), counts);
}

#[tokio::test]
async fn state_and_catalog_are_recovered_and_go_with_their_agent() {
    let world = World::new();
    let [a, b] = agents(2)[..] else { unreachable!() };
    let document = |agent, text: &str| Record::Agent {
        agent,
        document: text.to_owned(),
        at: Timestamp::now(),
    };
    let write = |agent, writes: &[(&str, Option<&'static str>)]| {
        Record::Turn(Turn {
            agent,
            instance: InstanceId::FIRST,
            message: None,
            attempt: 1,
            end: TurnEnd::Ok,
            writes: writes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.map(Bytes::from)))
                .collect(),
            timers: Vec::new(),
            at: Timestamp::now(),
            latency_micros: 0,
            guest_micros: 0,
        })
    };
    world
        .write(vec![document(a, "1"), document(b, "2"), document(a, "3")])
        .await;
    world
        .write(vec![
            write(a, &[("x", Some("1")), ("y", Some("2"))]),
            write(b, &[("x", Some("9"))]),
        ])
        .await;
    world.write(vec![write(a, &[("x", None), ("y", Some("3"))])]).await;
    let queued = ask(Address::Agent(b), &[a], Some("r"));
    world.write(vec![dispatched(queued.clone())]).await;
    let world = World::reopen(world.close());
    let recovered = world.recover();
    assert_eq!(recovered.agents, [(a, "3".to_owned()), (b, "2".to_owned())]);
    assert_eq!(
        recovered.states[&a],
        BTreeMap::from([("y".to_owned(), Bytes::from_static(b"3"))])
    );
    assert_eq!(recovered.last_seq, Seq(7));

    world
        .write(vec![Record::AgentRemoved {
            agent: a,
            at: Timestamp::now(),
        }])
        .await;
    let recovered = world.recover();
    assert_eq!(recovered.agents.len(), 1);
    assert_eq!(recovered.states.keys().collect::<Vec<_>>(), [&b]);
    assert!(recovered.queues.is_empty() && recovered.sessions.is_empty());
    assert_eq!(
        world.status(&queued).await,
        (Status::Dead, Some("agent_removed".to_owned()), 0),
        "history stays"
    );
}

#[tokio::test]
async fn documents_are_recovered_until_they_are_removed() {
    let world = World::new();
    let document = |collection: &str, key: &str, document: Option<&str>| Record::Document {
        collection: collection.to_owned(),
        key: key.to_owned(),
        document: document.map(str::to_owned),
        at: Timestamp::now(),
    };
    world
        .write(vec![
            document("groups", "b", Some("1")),
            document("groups", "a", Some("2")),
            document("tokens", "b", Some("3")),
            document("groups", "b", Some("4")),
        ])
        .await;
    world.write(vec![document("tokens", "never there", None)]).await;
    let world = World::reopen(world.close());
    let row = |collection: &str, key: &str, document: &str| (collection.into(), key.into(), document.into());
    let rows = [
        row("groups", "a", "2"),
        row("groups", "b", "4"),
        row("tokens", "b", "3"),
    ];
    assert_eq!(world.recover().documents, rows);
    world.write(vec![document("groups", "b", None)]).await;
    assert_eq!(world.recover().documents, [rows[0].clone(), rows[2].clone()]);
}

#[tokio::test]
async fn timers_are_recovered_until_they_fire_for_the_last_time_or_are_cancelled_or_their_agent_goes() {
    let world = World::new();
    let [a, b] = agents(2)[..] else { unreachable!() };
    let set_by = InstanceId { revision: 2, number: 3 };
    let timer = |id, due, every| {
        let due = Timestamp::from_micros(due);
        Timer { id, due, every, set_by }
    };
    let changed = |agent, timers: &[TimerChange]| {
        let Record::Turn(turn) = turn(agent, MessageId::new(), TurnEnd::Ok) else {
            unreachable!()
        };
        let timers = timers.to_vec();
        Record::Turn(Turn {
            instance: set_by,
            timers,
            ..turn
        })
    };
    let fired = |agent, timer, next: Option<i64>| Record::TimerFired {
        agent,
        timer,
        set_by,
        next: next.map(Timestamp::from_micros),
        at: Timestamp::now(),
    };
    let set = |id, due, every| TimerChange::Set(timer(id, due, every));
    world
        .write(vec![
            changed(
                a,
                &[
                    set(1, 10, None),
                    set(2, 20, Some(7)),
                    set(3, 30, None),
                    set(4, i64::MIN, None),
                ],
            ),
            changed(b, &[set(1, 10, None)]),
        ])
        .await;
    world
        .write(vec![
            fired(a, 1, None),
            fired(a, 2, Some(27)),
            changed(a, &[TimerChange::Cancel(3)]),
        ])
        .await;
    // A timer may have fired while a turn that cancels it was still running.
    world
        .write(vec![changed(a, &[TimerChange::Cancel(1)]), fired(a, 3, Some(40))])
        .await;
    let world = World::reopen(world.close());
    let mut recovered = world.recover().timers;
    assert_eq!(
        recovered.remove(&a),
        Some(vec![timer(2, 27, Some(7)), timer(4, i64::MIN, None)])
    );
    assert_eq!(recovered.remove(&b), Some(vec![timer(1, 10, None)]));
    let at = Timestamp::now();
    world.write(vec![Record::AgentRemoved { agent: a, at }]).await;
    assert_eq!(world.recover().timers.into_keys().collect::<Vec<_>>(), [b]);
}

/// One step of a history: what happens, to which message and agent, by index.
type Step = (u8, usize, usize);

/// Plays a history, and keeps the expected open deliveries separately.
async fn play(world: &World, steps: Vec<Step>) -> HashMap<AgentId, Vec<(MessageId, u32)>> {
    let agents = agents(4);
    let mut messages: Vec<Message> = Vec::new();
    let mut live: HashMap<AgentId, Vec<(MessageId, u32)>> = HashMap::new();
    for (kind, at, who) in steps {
        let agent = agents[who % 4];
        if kind < 4 || messages.is_empty() {
            let to: HashSet<AgentId> = [agent, agents[at % 4]].into();
            let to: Vec<AgentId> = to.into_iter().collect();
            let from = if kind == 0 {
                client()
            } else {
                Address::Agent(agents[(who + 1) % 4])
            };
            let new = ask(from, &to, (at % 2 == 0).then_some("r"));
            world.write(vec![dispatched(new.clone())]).await;
            for agent in to {
                live.entry(agent).or_default().push((new.id, 0));
            }
            messages.push(new);
            continue;
        }
        let about = &messages[at % messages.len()];
        if kind >= 10 {
            // An answer from the agent, or a failure from the platform. It ends a session and enters no queue.
            let (from, performative) = match kind {
                10 => (Address::Agent(agent), Performative::Inform),
                _ => (Address::Platform, Performative::Failure),
            };
            let answer = Message {
                performative,
                conversation_id: about.conversation_id.clone(),
                in_reply_to: about.reply_with.clone(),
                ..message(from, vec![about.sender.clone()])
            };
            let answer = Dispatch {
                message: Arc::new(answer),
                first: true,
                deliveries: vec![],
                undelivered: None,
                unread: false,
            };
            world.write(vec![Record::Message(answer)]).await;
            continue;
        }
        let queue = live.entry(agent).or_default();
        let place = queue.iter().position(|(id, _)| *id == about.id);
        let record = match kind {
            4 => turn(agent, about.id, TurnEnd::Ok),
            5 => turn(agent, about.id, refusal()),
            6 => dead_letter(about, agent),
            7 => Record::AgentRemoved {
                agent,
                at: Timestamp::now(),
            },
            _ => turn(agent, about.id, crash()),
        };
        match (kind, place) {
            (4..=6, Some(place)) => drop(queue.remove(place)),
            (7, _) => queue.clear(),
            (8.., Some(place)) => queue[place].1 += 1,
            _ => {}
        }
        world.write(vec![record]).await;
    }
    live.retain(|_, queue| !queue.is_empty());
    live
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn exactly_the_live_deliveries_are_recovered(steps in prop::collection::vec((0..12_u8, 0..40_usize, 0..4_usize), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = World::new();
        let live = runtime.block_on(play(&world, steps));
        let recovered = |world: &World| -> HashMap<AgentId, Vec<(MessageId, u32)>> {
            let pending = |queue: Vec<Pending>| queue.into_iter().map(|pending| (pending.message.id, pending.attempts)).collect();
            world.recover().queues.into_iter().map(|(agent, queue)| (agent, pending(queue))).collect()
        };
        prop_assert_eq!(recovered(&world), live.clone());
        let counts = world.projections.counts();
        prop_assert_eq!(counts.queued + counts.processed + counts.failed, counts.messages_total);
        let unfinished: HashSet<MessageId> = live.values().flatten().map(|(id, _)| *id).collect();
        prop_assert_eq!(counts.queued, unfinished.len() as u64);

        // A rebuild applies everything in one group instead of step by step, and must give the same tables.
        let dir = world.close();
        let before = dump(dir.path());
        fs::remove_file(dir.path().join("projections.db")).unwrap();
        let world = World::reopen(dir);
        prop_assert_eq!(recovered(&world), live);
        let dir = world.close();
        prop_assert!(dump(dir.path()) == before);
    }
}
