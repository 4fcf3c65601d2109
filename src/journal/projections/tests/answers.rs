//! Remembered answers: found by client and key, removed by age and number.

use super::super::answers::{Row, find, insert};
use super::*;
use crate::id::Digest;
use crate::idempotency::limits;

const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn answer(principal: &str, key: &str, answer: &str, at: Timestamp) -> Record {
    Record::Answer {
        principal: principal.to_owned(),
        key: key.to_owned(),
        fingerprint: Digest::of(answer.as_bytes()),
        answer: answer.to_owned(),
        at,
    }
}

async fn answered(world: &World, principal: &str, name: &str) -> Option<String> {
    let found = world
        .projections
        .answered(principal.to_owned(), key(name))
        .await
        .unwrap()?;
    assert_eq!(found.fingerprint, Digest::of(found.answer.as_bytes()));
    Some(found.answer)
}

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

#[tokio::test]
async fn an_answer_is_its_clients_own_and_is_there_after_a_start() {
    let world = World::new();
    let now = Timestamp::now();
    world
        .write(vec![answer("ann", "a", "1", now), answer("bob", "a", "2", now)])
        .await;
    let world = World::reopen(world.close());
    assert_eq!(answered(&world, "ann", "a").await.as_deref(), Some("1"));
    assert_eq!(answered(&world, "bob", "a").await.as_deref(), Some("2"));
    assert_eq!(answered(&world, "ann", "b").await, None);
}

#[tokio::test]
async fn an_old_answer_is_forgotten_and_its_key_may_be_used_again() {
    let world = World::new();
    let now = Timestamp::now();
    let old = now.minus(limits::KEPT_FOR + std::time::Duration::from_secs(1));
    world.write(vec![answer("ann", "a", "old", old)]).await;
    assert_eq!(answered(&world, "ann", "a").await, None);
    world.write(vec![answer("ann", "a", "new", now)]).await;
    assert_eq!(answered(&world, "ann", "a").await.as_deref(), Some("new"));
    let dir = world.close();
    assert_eq!(dump(dir.path())["answers"].len(), 1);
}

#[test]
fn old_answers_go_as_new_ones_come_and_never_more_stay_than_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let Ok(connection) = schema::open_writer(&dir.path().join(FILE)) else {
        panic!("a new file can be made")
    };
    let (mut count, fingerprint) = (0, Digest::of(b""));
    let mut put = |n: u64, at: Timestamp, kept: u64| {
        let name = format!("k{n}");
        let row = Row {
            seq: Seq(n),
            principal: "ann",
            key: &name,
            fingerprint: &fingerprint,
            answer: "1",
            at,
        };
        count = insert(&connection, &row, count, kept).unwrap();
        let there: i64 = connection
            .query_row("SELECT count(*) FROM answers", [], |row| row.get(0))
            .unwrap();
        assert_eq!(int(count), there);
        count
    };
    let hour = |n: u64| NOON.plus(std::time::Duration::from_secs(3600 * n));
    for n in 1..=10 {
        assert_eq!(put(n, hour(n), 100), n);
    }
    // A day later each new answer removes two old ones.
    assert_eq!(put(11, hour(36), 100), 9);
    assert_eq!(put(12, hour(36), 100), 8);
    // With a bound of six, surplus answers are removed two at a time as well.
    assert_eq!(put(13, hour(14), 6), 7);
    assert_eq!(put(14, hour(14), 6), 6);
    assert_eq!(put(15, hour(14), 6), 6);
    assert!(find(&connection, "ann", &key("k15"), hour(14)).unwrap().is_some());
    assert!(find(&connection, "ann", &key("k5"), hour(14)).unwrap().is_none());
}
