use proptest::prelude::*;

use super::super::testing;
use super::*;
use crate::message::Address;

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
fn an_extension_as_deep_as_the_door_allows_is_read_again() {
    let mut message = testing::message(Address::Platform, vec![Address::Platform]);
    let deepest = "[".repeat(127) + &"]".repeat(127);
    message
        .extensions
        .insert("x_deep".to_owned(), serde_json::from_str(&deepest).unwrap());
    assert_eq!(decode_message(encode_message(&message).into()), Ok(message));
}

#[test]
fn the_encoding_is_frozen() {
    // What a released program wrote must be read by all later ones.
    let record = Record::Event {
        kind: "k".to_owned(),
        agent: Some(AgentId::from_uuid(Uuid::from_u128(1))),
        body: "{}".to_owned(),
        at: Timestamp::from_micros(5),
    };
    let payload = encode_batch(&[(Partition(7), record)]);
    let mut expected = vec![10, 31, 8, 7, 58, 27, 10, 1, b'k', 18, 16];
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
