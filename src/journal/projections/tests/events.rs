//! Events: filters, pages, and how long they are kept.

use super::*;
use crate::event::EventKind;
use crate::journal::Batch;

fn event(kind: EventKind, agent: Option<AgentId>, body: &str) -> Record {
    Record::Event {
        kind,
        agent,
        body: body.to_owned(),
        at: Timestamp::from_micros(7),
    }
}

fn at_path(kind: EventKind, path: &str) -> Record {
    event(kind, None, &serde_json::json!({"n": [1], "path": path}).to_string())
}

fn all() -> EventQuery {
    EventQuery {
        limit: 1_000,
        ..EventQuery::default()
    }
}

async fn seqs(world: &World, query: EventQuery) -> Vec<u64> {
    let page = world.projections.events(query).await.unwrap();
    assert_eq!(page.next_seq, world.projections.applied(), "the page is not full");
    page.events.into_iter().map(|event| event.seq.0).collect()
}

#[tokio::test]
async fn events_are_found_by_kind_agent_and_path() {
    let world = World::new();
    let [a, b] = agents(2)[..] else { unreachable!() };
    world
        .write(vec![
            at_path(EventKind::ChildRestarted, "node/core"),
            at_path(EventKind::ChildFailed, "node/core/journal"),
            dispatched(message(client(), vec![client()])),
            event(EventKind::AgentDeployed, Some(a), r#"{"agent_id":"x"}"#),
            event(EventKind::ChildRestarted, Some(b), r#"{"path":"node/core-2"}"#),
            at_path(EventKind::SystemAlert, "node/core!"),
            event(EventKind::ChildZombie, Some(a), r#"{"path":7}"#),
            event(EventKind::ChildZombie, Some(a), "no JSON"),
            at_path(EventKind::SupervisorMeltdown, "node/\"core\""),
        ])
        .await;
    assert_eq!(seqs(&world, all()).await, [1, 2, 4, 5, 6, 7, 8, 9]);
    let kind = |kind: &str| EventQuery {
        kind_prefix: Some(kind.to_owned()),
        ..all()
    };
    assert_eq!(seqs(&world, kind("supervisor.")).await, [1, 2, 5, 7, 8, 9]);
    assert_eq!(seqs(&world, kind("supervisor.restarted")).await, [1, 5]);
    assert_eq!(seqs(&world, kind("")).await.len(), 8);
    let path = |path: &str| EventQuery {
        path_prefix: Some(path.to_owned()),
        ..all()
    };
    assert_eq!(seqs(&world, path("node/core")).await, [1, 2]);
    assert_eq!(seqs(&world, path("node/core/journal")).await, [2]);
    assert_eq!(seqs(&world, path("node/\"core\"")).await, [9]);
    assert_eq!(seqs(&world, path("node")).await, [1, 2, 5, 6, 9]);
    let agent = EventQuery {
        agent: Some(a),
        ..kind("supervisor.")
    };
    assert_eq!(seqs(&world, agent).await, [7, 8]);
    let both = EventQuery {
        since: Seq(1),
        ..kind("supervisor.child_f")
    };
    let both = EventQuery {
        path_prefix: Some("node".to_owned()),
        ..both
    };
    assert_eq!(seqs(&world, both).await, [2]);

    let page = world.projections.events(kind("agent.")).await.unwrap();
    let deployed = StoredEvent {
        seq: Seq(4),
        kind: EventKind::AgentDeployed,
        agent: Some(a),
        body: r#"{"agent_id":"x"}"#.to_owned(),
        at: Timestamp::from_micros(7),
    };
    assert_eq!(page.events, [deployed]);
    let ahead = EventQuery {
        since: Seq(100),
        ..all()
    };
    assert_eq!(world.projections.events(ahead).await.unwrap().next_seq, Seq(100));
}

#[tokio::test]
async fn pages_follow_on_one_another_however_much_lies_between() {
    let world = World::new();
    let agent = agents(1)[0];
    let mut rare = Vec::new();
    for _ in 0..12 {
        let records = (0..1_000).map(|n| match n {
            999 => event(EventKind::SystemAlert, Some(agent), r#"{"path":"a/b"}"#),
            _ => event(EventKind::ChildStarted, None, r#"{"path":"a"}"#),
        });
        let last = world.write(records.collect()).await;
        rare.push(last);
    }
    let of = |kind: Option<&str>, path: Option<&str>, agent: Option<AgentId>| EventQuery {
        kind_prefix: kind.map(str::to_owned),
        path_prefix: path.map(str::to_owned),
        agent,
        limit: 5,
        ..EventQuery::default()
    };
    for mut query in [
        of(Some("system"), None, None),
        of(None, Some("a/b"), None),
        of(None, None, Some(agent)),
        of(Some("system."), Some("a"), Some(agent)),
    ] {
        let (mut found, mut lengths) = (Vec::new(), Vec::new());
        while lengths.last().is_none_or(|length| *length == 5) {
            let page = world.projections.events(query.clone()).await.unwrap();
            query.since = page.next_seq;
            lengths.push(page.events.len());
            found.extend(page.events.into_iter().map(|event| event.seq));
        }
        assert_eq!((found, lengths), (rare.clone(), vec![5, 5, 2]), "{query:?}");
        assert_eq!(query.since, world.projections.applied());
    }
    let page = world.projections.events(of(None, None, None)).await.unwrap();
    assert_eq!(page.next_seq, Seq(5));
}

#[test]
fn the_newest_are_kept_whatever_the_transactions() {
    let batches: Vec<Arc<Batch>> = (0..30)
        .map(|n| {
            let records = (0..=n % 3)
                .map(|_| (HOME, event(EventKind::SystemAlert, None, "{}")))
                .collect();
            (n, records)
        })
        .scan(1, |next, (_, records): (u64, Vec<_>)| {
            let first = Seq(*next);
            *next += records.len() as u64;
            Some(Arc::new(Batch { first, records }))
        })
        .collect();
    let mut dumps = Vec::new();
    for group in [1, 4, 30] {
        let dir = tempfile::tempdir().unwrap();
        let Ok(mut connection) = schema::open_writer(&dir.path().join("projections.db")) else {
            unreachable!("a new file opens")
        };
        let mut progress = Progress::default();
        for group in batches.chunks(group) {
            progress = apply::apply(&mut connection, progress, group, 10).unwrap();
        }
        assert_eq!((progress.applied, progress.events), (Seq(60), 10));
        drop(connection);
        let dump = dump(dir.path());
        assert_eq!(dump["events"].len(), 10);
        assert!(dump["events"][0].starts_with("[Integer(51)"));
        dumps.push(dump);
    }
    assert!(dumps.iter().all(|dump| *dump == dumps[0]));
}
