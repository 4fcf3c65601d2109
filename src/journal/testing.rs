//! Records for the tests of this module, fixed and random.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use super::local::{LocalJournal, LocalOptions};
use super::projections::Projections;
use super::{Dispatch, Journal, Record, Turn, TurnEnd};
use crate::event::EventKind;
use crate::fipa::Performative;
use crate::id::{AgentId, Digest, Fence, InstanceId, MessageId, Partition, Seq};
use crate::json::RawJson;
use crate::message::{Address, Content, FailureReason, Message};
use crate::time::Timestamp;
use crate::timer::{Timer, TimerChange};

/// A data folder in use: a log with small segments, and its projections.
pub(super) struct Used {
    pub(super) projections: Arc<Projections>,
    pub(super) journal: Arc<LocalJournal>,
    fence: Fence,
    pub(super) dir: TempDir,
}

impl Used {
    pub(super) fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap())
    }

    pub(super) fn open(dir: TempDir) -> Self {
        let options = LocalOptions {
            segment_bytes: 4_096,
            ..LocalOptions::default()
        };
        let journal = LocalJournal::open(dir.path(), options).unwrap();
        let projections = Projections::open(dir.path(), &*journal).unwrap();
        let fence = claimed(&*journal, Partition(0));
        Self {
            projections,
            journal,
            fence,
            dir,
        }
    }

    pub(super) async fn write(&self, records: Vec<Record>) -> Seq {
        let records = records.into_iter().map(|record| (Partition(0), record)).collect();
        let seq = self
            .journal
            .append(Partition(0), self.fence, records)
            .placed()
            .await
            .unwrap()
            .seq;
        self.projections.seen(seq).await.unwrap();
        seq
    }

    /// Writes enough events, each in a group of its own, for a log of several segments.
    pub(super) async fn fill(&self) {
        for n in 0..100 {
            self.write(vec![event(&format!("{{\"n\":\"{n:0100}\"}}"))]).await;
        }
    }

    pub(super) fn close(self) -> TempDir {
        self.journal.close();
        self.dir
    }
}

/// The segments of a data folder, in order.
pub(super) fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("journal")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Flips one bit of a file.
pub(super) fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// A request with no optional field set.
pub(crate) fn message(sender: Address, receivers: Vec<Address>) -> Message {
    Message {
        id: MessageId::new(),
        performative: Performative::Request,
        sender,
        receivers,
        reply_to: None,
        content: Content::Json(Bytes::from_static(br#"{"n":1}"#)),
        language: None,
        ontology: None,
        protocol: None,
        conversation_id: "c".to_owned(),
        reply_with: None,
        in_reply_to: None,
        reply_by: None,
        timestamp: Timestamp::now(),
        causation_id: None,
        traceparent: None,
        hops: 0,
        extensions: BTreeMap::new(),
    }
}

/// Claims a partition of an open journal, which does not wait here.
pub(super) fn claimed(journal: &dyn Journal, partition: Partition) -> Fence {
    journal.claim(partition).now_or_never().unwrap().unwrap()
}

/// A record of `message`, delivered to each agent among its receivers.
pub(super) fn dispatched(message: Message) -> Record {
    let deliveries = message.receivers.iter().filter_map(Address::agent).collect();
    Record::Message(Dispatch {
        message: Arc::new(message),
        first: true,
        deliveries,
        undelivered: None,
        unread: false,
    })
}

pub(super) fn turn(agent: AgentId, message: MessageId, end: TurnEnd) -> Record {
    Record::Turn(Turn {
        agent,
        instance: InstanceId::FIRST,
        message: Some(message),
        attempt: 1,
        end,
        writes: Vec::new(),
        timers: Vec::new(),
        at: Timestamp::now(),
        latency_micros: 5,
        guest_micros: 3,
    })
}

pub(super) fn event(body: &str) -> Record {
    Record::Event {
        kind: EventKind::SystemAlert,
        agent: None,
        body: body.to_owned(),
        at: Timestamp::from_micros(7),
    }
}

fn event_kinds() -> impl Strategy<Value = EventKind> {
    prop::sample::select(EventKind::ALL)
}

fn failure_reasons() -> impl Strategy<Value = FailureReason> {
    prop::sample::select(FailureReason::ALL)
}

fn agents() -> impl Strategy<Value = AgentId> {
    any::<u128>().prop_map(|id| AgentId::from_uuid(Uuid::from_u128(id)))
}

fn message_ids() -> impl Strategy<Value = MessageId> {
    any::<u128>().prop_map(|id| MessageId::from_uuid(Uuid::from_u128(id)))
}

fn addresses() -> impl Strategy<Value = Address> {
    prop_oneof![
        agents().prop_map(Address::Agent),
        "[!-~]{1,128}".prop_map(|name| Address::Client(name.parse().expect("visible ASCII"))),
        Just(Address::Platform),
    ]
}

fn contents() -> impl Strategy<Value = Content> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    prop_oneof![
        bytes().prop_map(Content::Json),
        (".{0,20}", bytes()).prop_map(|(content_type, data)| Content::Bytes { content_type, data }),
    ]
}

fn texts() -> impl Strategy<Value = Option<String>> {
    prop::option::of(".{0,20}")
}

fn times() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_micros)
}

/// JSON that would not survive being read and written anew.
fn extension(number: i64) -> RawJson {
    RawJson::parse(&format!(r#"{{"n": [{number}0.10, null], "n": "ä" }}"#)).expect("it is JSON")
}

prop_compose! {
    fn messages()(
        (id, sender, receivers, content) in (message_ids(), addresses(), prop::collection::vec(addresses(), 0..4), contents()),
        act in prop::sample::select(Performative::ALL),
        (reply_to, language, ontology, protocol) in (texts(), texts(), texts(), texts()),
        (conversation_id, reply_with, in_reply_to, traceparent) in (".{0,20}", texts(), texts(), texts()),
        (timestamp, reply_by, causation_id, hops) in (times(), prop::option::of(times()), prop::option::of(message_ids()), any::<u32>()),
        extensions in prop::collection::btree_map("x_[a-z]{1,5}", any::<i64>().prop_map(extension), 0..3),
    ) -> Message {
        Message {
            id, performative: act, sender, receivers, reply_to, content, language, ontology, protocol, conversation_id,
            reply_with, in_reply_to, reply_by, timestamp, causation_id, traceparent, hops, extensions,
        }
    }
}

fn instances() -> impl Strategy<Value = InstanceId> {
    let id = |(revision, number)| InstanceId { revision, number };
    prop_oneof![Just(InstanceId::FIRST), any::<(u32, u32)>().prop_map(id)]
}

/// Changes of timers by a turn of this instance.
fn timer_changes(set_by: InstanceId) -> impl Strategy<Value = TimerChange> {
    let timers = (any::<u32>(), times(), prop::option::of(any::<u64>()));
    prop_oneof![
        timers.prop_map(move |(id, due, every)| TimerChange::Set(Timer { id, due, every, set_by })),
        any::<u32>().prop_map(TimerChange::Cancel),
    ]
}

fn turns() -> impl Strategy<Value = Turn> {
    let ends = prop_oneof![
        Just(TurnEnd::Ok),
        ".{0,20}".prop_map(|reason| TurnEnd::Error { reason }),
        (".{0,20}", ".{0,20}").prop_map(|(kind, detail)| TurnEnd::Crash { kind, detail }),
    ];
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from));
    let writes = prop::collection::vec((".{0,9}", value), 0..3);
    let timers = |instance| prop::collection::vec(timer_changes(instance), 0..3);
    (
        (agents(), instances().prop_flat_map(move |id| (Just(id), timers(id)))),
        prop::option::of(message_ids()),
        any::<u32>(),
        ends,
        writes,
        times(),
        any::<(u64, u64)>(),
    )
        .prop_map(
            |((agent, (instance, timers)), message, attempt, end, writes, at, (latency_micros, guest_micros))| Turn {
                agent,
                instance,
                message,
                attempt,
                end,
                writes,
                timers,
                at,
                latency_micros,
                guest_micros,
            },
        )
}

pub(super) fn records() -> impl Strategy<Value = Record> {
    prop_oneof![
        (
            messages(),
            prop::collection::vec(agents(), 0..3),
            texts(),
            any::<bool>()
        )
            .prop_map(|(message, deliveries, undelivered, unread)| Record::Message(Dispatch {
                message: Arc::new(message),
                first: true,
                deliveries,
                undelivered,
                unread,
            })),
        turns().prop_map(Record::Turn),
        (message_ids(), agents(), failure_reasons(), ".{0,20}", times()).prop_map(
            |(message, agent, reason, detail, at)| Record::DeadLetter {
                message,
                agent,
                reason,
                detail,
                at
            }
        ),
        (agents(), ".{0,20}", times()).prop_map(|(agent, document, at)| Record::Agent { agent, document, at }),
        (agents(), times()).prop_map(|(agent, at)| Record::AgentRemoved { agent, at }),
        (event_kinds(), prop::option::of(agents()), ".{0,20}", times())
            .prop_map(|(kind, agent, body, at)| Record::Event { kind, agent, body, at }),
        (agents(), any::<u32>(), instances(), prop::option::of(times()), times()).prop_map(
            |(agent, timer, set_by, next, at)| Record::TimerFired {
                agent,
                timer,
                set_by,
                next,
                at
            }
        ),
        (".{0,20}", ".{0,20}", any::<[u8; 32]>(), ".{0,20}", times()).prop_map(
            |(principal, key, fingerprint, answer, at)| Record::Answer {
                principal,
                key,
                fingerprint: Digest::from_bytes(fingerprint),
                answer,
                at
            }
        ),
        (".{0,20}", ".{0,20}", texts(), times()).prop_map(|(collection, key, document, at)| Record::Document {
            collection,
            key,
            document,
            at
        }),
    ]
}
