use proptest::prelude::*;

use super::super::{Turn, TurnEnd, testing};
use super::timer::WireTimerChange;
use super::*;
use crate::json::{RawJson, limits};
use crate::message::Address;
use crate::timer::{Timer, TimerChange};

proptest! {
    #[test]
    fn records_survive(records in prop::collection::vec((any::<u16>().prop_map(Partition), testing::records()), 0..5)) {
        let payload = encode_batch(&records);
        prop_assert_eq!(decode_batch(payload.into()), Ok(records));
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = decode_batch(bytes.clone());
        let _ = decode_message(bytes);
    }

    #[test]
    fn any_damage_is_answered(record in testing::records(), at: prop::sample::Index, byte: u8) {
        let mut payload = encode_batch(&[(Partition(3), record)]);
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = decode_batch(payload.into());
    }
}

#[test]
fn a_message_of_several_records_is_stored_once() {
    let content = Bytes::from(format!("\"{}\"", "x".repeat(10_000)));
    let message = |to: u128| {
        let receiver = Address::Agent(AgentId::from_uuid(Uuid::from_u128(to)));
        let mut message = testing::message(Address::Platform, vec![receiver]);
        message.content = crate::message::Content::Json(content.clone());
        Arc::new(message)
    };
    let record = |message: &Arc<Message>, partition, first| {
        let dispatch = Dispatch {
            message: message.clone(),
            first,
            deliveries: vec![AgentId::from_uuid(Uuid::from_u128(partition))],
            undelivered: None,
            unread: false,
        };
        (Partition(u16::try_from(partition).unwrap()), Record::Message(dispatch))
    };
    let (one, other) = (message(1), message(2));
    let records = vec![
        record(&one, 1, true),
        record(&one, 2, false),
        record(&one, 5, false),
        record(&other, 1, true),
        record(&other, 3, false),
    ];
    let payload = encode_batch(&records);
    assert!(payload.len() < 21_000, "{}", payload.len());
    assert_eq!(decode_batch(payload.into()), Ok(records.clone()));
    let alone = decode_batch(encode_batch(&records[1..2]).into());
    assert_eq!(
        alone,
        Ok(records[1..2].to_vec()),
        "a part of a batch has its message too"
    );
}

#[test]
fn an_extension_as_deep_as_the_door_allows_is_read_again() {
    let mut message = testing::message(Address::Platform, vec![Address::Platform]);
    let deepest = "[".repeat(limits::DEPTH) + &"]".repeat(limits::DEPTH);
    message
        .extensions
        .insert("x_deep".to_owned(), RawJson::parse(&deepest).unwrap());
    assert_eq!(decode_message(encode_message(&message).into()), Ok(message));
}

#[test]
fn the_encoding_is_frozen() {
    // Every later release must be able to read what a released program wrote.
    let record = Record::Event {
        kind: EventKind::DeadLetter,
        agent: Some(AgentId::from_uuid(Uuid::from_u128(1))),
        body: "{}".to_owned(),
        at: Timestamp::from_micros(5),
    };
    let payload = encode_batch(&[(Partition(7), record)]);
    let mut expected = vec![10, 41, 8, 7, 58, 37, 10, 11];
    expected.extend(b"dead_letter");
    expected.extend([18, 16]);
    expected.extend([0; 15]);
    expected.extend([1, 26, 2, b'{', b'}', 32, 5]);
    assert_eq!(payload, expected);

    let record = Record::Document {
        collection: "c".to_owned(),
        key: "k".to_owned(),
        document: Some("{}".to_owned()),
        at: Timestamp::from_micros(5),
    };
    let payload = encode_batch(&[(Partition(7), record)]);
    let mut expected = vec![10, 16, 8, 7, 66, 12, 10, 1, b'c', 18, 1, b'k'];
    expected.extend([26, 2, b'{', b'}', 32, 5]);
    assert_eq!(payload, expected);
}

#[test]
fn the_encoding_of_timers_is_frozen() {
    let fired = Record::TimerFired {
        agent: AgentId::from_uuid(Uuid::from_u128(1)),
        timer: 3,
        set_by: InstanceId::FIRST,
        next: Some(Timestamp::from_micros(6)),
        at: Timestamp::from_micros(5),
    };
    let mut expected = vec![10, 28, 8, 7, 74, 24, 10, 16];
    expected.extend([0; 15]);
    expected.extend([1, 16, 3, 24, 6, 32, 5]);
    assert_eq!(encode_batch(&[(Partition(7), fired)]), expected);

    let timer = Timer {
        id: 3,
        due: Timestamp::from_micros(6),
        every: Some(9),
        set_by: InstanceId::FIRST,
    };
    let changes = [TimerChange::Set(timer), TimerChange::Cancel(4)];
    let encoded = changes.iter().map(|change| WireTimerChange::of(change).encode_to_vec());
    assert_eq!(encoded.collect::<Vec<_>>(), [vec![8, 3, 16, 6, 24, 9], vec![8, 4]]);
}

#[test]
fn a_turn_from_before_there_were_timers_is_read() {
    // The bytes of a turn of agent 1 that ended well, and nothing else.
    let mut payload = vec![10, 24, 8, 7, 26, 20, 10, 16];
    payload.extend([0; 15]);
    payload.extend([1, 32, 1]);
    payload[1] = u8::try_from(payload.len() - 2).unwrap();
    payload[5] = u8::try_from(payload.len() - 6).unwrap();
    let records = decode_batch(payload.into()).unwrap();
    let Record::Turn(turn) = &records[0].1 else {
        panic!("{records:?}")
    };
    assert_eq!((&turn.end, turn.timers.len()), (&TurnEnd::Ok, 0));
    assert_eq!(turn.instance, InstanceId::FIRST);
}

#[test]
fn only_an_instance_that_is_not_the_first_of_the_first_version_takes_bytes() {
    let encoded = |instance| {
        let Record::Turn(turn) = testing::turn(
            AgentId::from_uuid(Uuid::from_u128(1)),
            MessageId::from_uuid(Uuid::from_u128(2)),
            TurnEnd::Ok,
        ) else {
            panic!("another record")
        };
        WireTurn::of(&Turn { instance, ..turn }).encode_to_vec()
    };
    let first = encoded(InstanceId::FIRST);
    let later = encoded(InstanceId { revision: 2, number: 3 });
    assert_eq!(later.len(), first.len() + 4);
    assert_eq!(later[first.len()..], [96, 2, 104, 3]);
}
