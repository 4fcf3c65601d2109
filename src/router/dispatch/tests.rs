//! Tests of finding, judging and admitting receivers, one step at a time.

use std::collections::BTreeSet;

use tokio::sync::Semaphore;

use super::*;
use crate::agent::spec::AgentSpec;
use crate::agent::{Document, Outbox, Outcome};
use crate::fipa::Performative;
use crate::id::{DeploymentId, Digest};
use crate::message::Content;

struct Nowhere;

impl Outbox for Nowhere {
    fn commit(&self, _: Outcome) {}

    fn sweep(&self) {}
}

fn agent(declaration: &serde_json::Value) -> Arc<Agent> {
    agent_of(declaration, 1)
}

/// An agent of a node with so many partitions.
fn agent_of(declaration: &serde_json::Value, partitions: u16) -> Arc<Agent> {
    let spec = AgentSpec::from_json(declaration.to_string().as_bytes()).unwrap();
    let document = Document {
        id: AgentId::new(),
        spec,
        sealed: std::collections::BTreeMap::new(),
        version: semver::Version::new(1, 0, 0),
        revision: 1,
        instances: 1,
        digest: Digest::of(b""),
        deployment_id: DeploymentId::new(),
        created_at: Timestamp::from_micros(0),
        deployed_at: Timestamp::from_micros(0),
        deployed_by: "tester".to_owned(),
        stopped_at: None,
        stopped_with_group: false,
        suspended_at: None,
        placement: None,
    };
    let kib = Arc::new(Semaphore::new(1));
    let agent = Agent::new(document, partitions, Arc::new(Nowhere), kib, Arc::default());
    agent.enter(Standing::Running);
    Arc::new(agent)
}

fn directory(agents: &[&Arc<Agent>]) -> Directory {
    let directory = Directory::default();
    for agent in agents {
        directory.put((*agent).clone());
    }
    directory
}

fn texts(receivers: &[&str]) -> Vec<String> {
    receivers.iter().map(ToString::to_string).collect()
}

fn request(receivers: &[&str]) -> Arc<Message> {
    let stamp = Stamp {
        sender: Address::Client(ClientName::anonymous()),
        now: Timestamp::from_micros(7),
        cause: None,
    };
    let draft = Draft {
        performative: Some(Performative::Request),
        receivers: texts(receivers),
        content: Content::default(),
        ..Draft::default()
    };
    Arc::new(stamp.message(draft, &[]))
}

#[test]
fn each_receiver_is_looked_up_once_and_each_address_is_one_target() {
    let able = serde_json::json!({"name": "able", "capabilities": ["carry"]});
    let (able, plain) = (agent(&able), agent(&serde_json::json!({"name": "plain"})));
    let directory = directory(&[&able, &plain]);
    let id = plain.id.to_string();
    let receivers = texts(&[
        "plain",
        "all:carry",
        "plain",
        &id,
        "cap:carry",
        "client:me",
        "nobody",
        "cap:fly",
        "nobody",
    ]);
    let resolved = Resolved::of(&receivers, &directory);
    let targets: Vec<_> = resolved
        .targets
        .iter()
        .map(|(written, target)| (written.as_str(), target.address()))
        .collect();
    assert_eq!(
        targets,
        [
            ("plain", Address::Agent(plain.id)),
            ("all:carry", Address::Agent(able.id)),
            ("client:me", Address::Client("me".parse().unwrap())),
        ]
    );
    assert_eq!(resolved.unknown, ["nobody", "cap:fly"]);
    assert!(resolved.too_many.is_empty());
}

#[test]
fn addresses_beyond_the_limit_are_refused_by_their_receivers() {
    let directory = Directory::default();
    let receivers: Vec<_> = (0..=limits::RECEIVERS).map(|n| format!("client:c{n}")).collect();
    let resolved = Resolved::of(&receivers, &directory);
    assert_eq!(resolved.targets.len(), limits::RECEIVERS);
    assert_eq!(resolved.too_many, [format!("client:c{}", limits::RECEIVERS)]);
    let (accepted, refused) = resolved.judge(None, None);
    assert_eq!((accepted.len(), refused.len()), (limits::RECEIVERS, 1));
    assert_eq!(refused[0].1, FailureReason::OverLimit);
}

#[test]
fn messages_that_caused_each_other_without_end_reach_clients_alone() {
    let plain = agent(&serde_json::json!({"name": "plain"}));
    let directory = directory(&[&plain]);
    let receivers = texts(&["plain", "client:me"]);
    for (hops, reached) in [(None, 2), (Some(limits::HOPS - 1), 2), (Some(limits::HOPS), 1)] {
        let (accepted, refused) = Resolved::of(&receivers, &directory).judge(hops, None);
        assert_eq!((accepted.len(), refused.len()), (reached, 2 - reached), "{hops:?}");
        assert!(refused.iter().all(|(_, reason, _)| *reason == FailureReason::Loop));
    }
}

#[test]
fn room_is_reserved_for_each_that_takes_the_message_and_the_others_are_named() {
    let roomy = agent(&serde_json::json!({"name": "roomy"}));
    let full = agent(&serde_json::json!({"name": "full", "resources": {"mailbox_messages": 1}}));
    let gone = agent(&serde_json::json!({"name": "gone"}));
    gone.enter(Standing::Stopped);
    let directory = directory(&[&roomy, &full, &gone]);
    let message = request(&["roomy", "full", "gone"]);
    let first = full.mailbox.admit(&message).unwrap();
    let admitting = || {
        let (accepted, refused) = Resolved::of(&texts(&["roomy", "full", "gone"]), &directory).judge(None, None);
        admit(&message, None, accepted, refused, Vec::new())
    };
    let (letter, refused) = admitting();
    let letter = letter.unwrap();
    assert_eq!(letter.undelivered.as_deref(), Some("full: overloaded; gone: gone"));
    let reasons: BTreeSet<_> = refused.iter().map(|refusal| refusal.reason.as_str()).collect();
    assert_eq!(reasons, BTreeSet::from(["gone", "overloaded"]));
    assert!(matches!(refused[0].error, Error::MailboxFull { .. }));
    assert!(matches!(refused[1].error, Error::InvalidState { .. }));
    drop((letter, refused, first));
    let (letter, refused) = admitting();
    assert_eq!((letter.unwrap().agents.len(), refused.len()), (2, 1), "room comes back");
}

#[test]
fn nobody_gets_a_message_whose_reply_by_is_past() {
    let directory = Directory::default();
    let past = Timestamp::from_micros(0);
    let names = texts(&["client:me", "nobody"]);
    let (accepted, refused) = Resolved::of(&names, &directory).judge(None, Some(past));
    assert!(accepted.is_empty());
    let reasons: Vec<_> = refused
        .iter()
        .map(|(receiver, reason, _)| (receiver.as_str(), *reason))
        .collect();
    let expected = [
        ("nobody", FailureReason::UnknownReceiver),
        ("client:me", FailureReason::Expired),
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn a_question_to_many_reserves_a_reply_slot_for_each() {
    let asker = agent(&serde_json::json!({"name": "asker"}));
    let others = ["a", "b", "c"].map(|name| agent(&serde_json::json!({"name": name})));
    let directory = directory(&[&asker, &others[0], &others[1], &others[2]]);
    let (accepted, refused) = Resolved::of(&texts(&["a", "b", "c"]), &directory).judge(None, None);
    let before = asker.mailbox.reply_slots_left();
    let promised = vec![asker.mailbox.reserve_reply().unwrap()];
    let message = request(&["a", "b", "c"]);
    let (letter, refused) = admit(&message, Some(&asker), accepted, refused, promised);
    let letter = letter.unwrap();
    assert_eq!((letter.asks.len(), refused.len()), (3, 0));
    assert_eq!(asker.mailbox.reply_slots_left(), before - 3);
    drop(letter);
    assert_eq!(asker.mailbox.reply_slots_left(), before);
}

#[test]
fn each_partition_that_receives_has_one_record_and_the_lowest_counts() {
    const COUNT: u16 = 64;
    let partition = |name: &str| Partition::of(name, COUNT);
    let mut agents: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| agent_of(&serde_json::json!({"name": name}), COUNT))
        .into();
    let directory = directory(&agents.iter().collect::<Vec<_>>());
    let names = texts(&["a", "b", "c", "d", "client:me"]);
    let (accepted, refused) = Resolved::of(&names, &directory).judge(None, None);
    let message = request(&["a", "b", "c", "d", "client:me"]);
    let (letter, _) = admit(&message, None, accepted, refused, Vec::new());
    let mut records = Vec::new();
    letter.unwrap().record(Partition(63), COUNT, &mut records);
    let mut expected: Vec<_> = ["a", "b", "c", "d", "client:me"].map(partition).into();
    expected.sort();
    expected.dedup();
    assert!(expected.len() > 2, "the names are chosen for different partitions");
    assert!(records.iter().map(|(partition, _)| *partition).eq(expected));
    for (at, (partition, record)) in records.iter().enumerate() {
        let Record::Message(dispatch) = record else {
            panic!("{record:?}")
        };
        assert_eq!(dispatch.first, at == 0);
        assert!(Arc::ptr_eq(&dispatch.message, &message), "the batch has its bytes once");
        for id in &dispatch.deliveries {
            let at = agents
                .iter()
                .position(|agent| agent.id == *id)
                .expect("each has one delivery");
            assert_eq!(agents.remove(at).partition, *partition);
        }
    }
    assert!(agents.is_empty());
}

#[test]
fn a_message_that_nobody_takes_is_recorded_in_its_senders_partition() {
    let refusal = Refused {
        receiver: "nobody".to_owned(),
        reason: FailureReason::UnknownReceiver,
        error: Error::AgentNotFound("nobody".to_owned()),
        about: request(&["nobody"]),
        reply_slot: None,
    };
    let mut records = Vec::new();
    Letter::refused(&refusal).record(Partition(7), 64, &mut records);
    let [(Partition(7), Record::Message(dispatch))] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert!(dispatch.first && dispatch.deliveries.is_empty());
    assert_eq!(dispatch.undelivered.as_deref(), Some("unknown_receiver"));
}
