//! Checkpoint, copy and rebuild.

use super::super::super::doctor::Doctor;
use super::super::super::local::Keep;
use super::super::super::testing::{Used, event};
use super::*;
use crate::id::{Digest, InstanceId};
use crate::timer::{Timer, TimerChange};

/// Records of several kinds, with messages that stay open.
async fn story(world: &World) {
    let [a, b] = agents(2)[..] else { unreachable!() };
    for n in 0..60_u8 {
        let asked = ask(client(), &[a, b], Some("r"));
        let mut written = vec![dispatched(asked.clone())];
        written.push(event(&format!(r#"{{"path":"node/{n}"}}"#)));
        written.push(Record::Document {
            collection: "groups".to_owned(),
            key: format!("{}", n % 7),
            document: (n % 3 > 0).then(|| format!("document {n}")),
            at: Timestamp::now(),
        });
        world.write(written).await;
        let end = match n % 4 {
            0 => TurnEnd::Ok,
            1 => refusal(),
            _ => crash(),
        };
        let mut done = turn(a, asked.id, end);
        if let Record::Turn(Turn {
            writes,
            timers,
            instance,
            ..
        }) = &mut done
        {
            let set_by = InstanceId {
                revision: n.into(),
                number: 1,
            };
            *instance = set_by;
            writes.push((format!("key {}", n % 5), (n % 2 > 0).then(|| vec![n, 0, 255].into())));
            let due = Timestamp::from_micros(n.into());
            let (id, every) = (n.into(), (n % 3 > 0).then_some(7));
            timers.push(TimerChange::Set(Timer { id, due, every, set_by }));
            timers.push(TimerChange::Cancel((n / 2).into()));
        }
        let given_up = (n % 5 == 0).then(|| dead_letter(&asked, b));
        let agent = Record::Agent {
            agent: if n % 2 == 0 { a } else { b },
            document: format!("{{\"n\":{n}}}"),
            at: Timestamp::now(),
        };
        let fired = Record::TimerFired {
            agent: a,
            timer: n.into(),
            set_by: InstanceId::FIRST,
            next: (n % 3 > 0).then(|| Timestamp::from_micros(i64::from(n) + 7)),
            at: Timestamp::now(),
        };
        let answer = Record::Answer {
            principal: "ann".to_owned(),
            key: format!("k{}", n % 7),
            fingerprint: Digest::of(&[n]),
            answer: "{}".to_owned(),
            at: Timestamp::now(),
        };
        let records = [Some(done), given_up, Some(agent), Some(fired), Some(answer)];
        world.write(records.into_iter().flatten().collect()).await;
    }
    let gone = AgentId::new();
    world
        .write(vec![dispatched(ask(Address::Agent(a), &[gone], Some("s")))])
        .await;
    world
        .write(vec![Record::AgentRemoved {
            agent: gone,
            at: Timestamp::now(),
        }])
        .await;
}

#[tokio::test]
async fn replaying_the_same_log_twice_gives_the_same_projections() {
    let world = World::new();
    story(&world).await;
    let seq = world.journal.appended();
    let dir = world.close();
    let lived = dump(dir.path());
    assert!(
        lived.values().all(|rows| !rows.is_empty()),
        "the story has something of everything"
    );
    for _ in 0..2 {
        assert_eq!(Doctor::open(dir.path()).unwrap().rebuild().unwrap().applied, seq);
        assert!(dump(dir.path()) == lived);
    }
    fs::remove_file(dir.path().join(FILE)).unwrap();
    let dir = World::reopen(dir).close();
    assert!(dump(dir.path()) == lived, "a start without a file makes the same one");
}

#[tokio::test]
async fn a_copy_is_as_of_one_point_and_a_checkpoint_says_how_far_it_is() {
    let world = World::new();
    story(&world).await;
    let seq = world.journal.appended();
    assert_eq!(world.projections.checkpoint().unwrap(), Some(seq));
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(world.projections.copy(&elsewhere.path().join(FILE)).unwrap(), seq);
    world.write(vec![event("{}")]).await;
    assert_eq!(world.projections.checkpoint().unwrap(), Some(Seq(seq.0 + 1)));
    let copied = dump(elsewhere.path());
    assert_eq!(copied["messages"], dump(world.dir.path())["messages"]);
    assert_eq!(copied["events"].len() + 1, dump(world.dir.path())["events"].len());
}

#[tokio::test]
async fn what_a_reader_keeps_from_being_moved_is_not_called_durable() {
    let world = World::new();
    world.write(vec![event("{}")]).await;
    let reader = schema::open_reader(&world.dir.path().join(FILE)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    reader.query_row("SELECT COUNT(*) FROM events", [], |_| Ok(())).unwrap();
    let seq = world.write(vec![event("{}")]).await;
    assert_eq!(world.projections.checkpoint().unwrap(), None);
    drop(reader);
    assert_eq!(world.projections.checkpoint().unwrap(), Some(seq));
}

/// Removes all segments but the last, as retention would.
fn prune(used: &Used) {
    let keep = Keep {
        age: None,
        bytes: Some(0),
    };
    let surplus = used.journal.surplus(keep, crate::time::Moment::now()).unwrap().unwrap();
    let durable = used.projections.checkpoint().unwrap().unwrap();
    assert!(used.journal.remove_upto(surplus.min(durable)).unwrap().segments > 1);
}

#[tokio::test]
async fn all_that_is_live_outlives_its_segments() {
    let used = Used::new();
    let agent = AgentId::new();
    let asked = ask(client(), &[agent], Some("r"));
    let mut done = turn(agent, MessageId::new(), TurnEnd::Ok);
    if let Record::Turn(Turn { writes, .. }) = &mut done {
        writes.push(("key".to_owned(), Some("value".into())));
    }
    used.write(vec![dispatched(asked.clone()), done]).await;
    used.fill().await;
    let before = used.projections.recover(Partition(0)).unwrap();
    prune(&used);
    let used = Used::open(used.close());
    let after = used.projections.recover(Partition(0)).unwrap();
    assert!(after == before);
    assert_eq!(*after.queues[&agent][0].message, asked);
    assert_eq!(after.states[&agent]["key"], "value");
    used.write(vec![turn(agent, asked.id, TurnEnd::Ok)]).await;
    assert!(used.projections.recover(Partition(0)).unwrap().queues.is_empty());
}

#[tokio::test]
async fn what_cannot_be_made_again_is_never_touched() {
    let used = Used::new();
    used.fill().await;
    prune(&used);
    let dir = used.close();
    let file = dir.path().join(FILE);
    let whole = fs::read(&file).unwrap();
    let refused = || {
        let journal = LocalJournal::open(dir.path(), LocalOptions::default()).unwrap();
        let error = Projections::open(dir.path(), &*journal).expect_err("must not open");
        journal.close();
        assert!(matches!(error, JournalError::Irreplaceable { .. }), "{error}");
        assert!(error.to_string().contains("caxton restore"), "{error}");
    };
    fs::write(&file, "damaged").unwrap();
    refused();
    assert_eq!(fs::read(&file).unwrap(), b"damaged");
    fs::remove_file(&file).unwrap();
    refused();
    assert!(!file.exists(), "an empty one is not put in its place");
    assert!(Doctor::open(dir.path()).unwrap().rebuild().is_err());
    fs::write(&file, whole).unwrap();
    Used::open(dir);
}
