mod consumers;
mod lanes;
mod model;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::id::{AgentId, MessageId};
use crate::message::Content;
use crate::time::Timestamp;

fn mailbox(messages: u32) -> Arc<Mailbox> {
    Mailbox::new(Capacity {
        messages,
        bytes: 1 << 20,
    })
}

fn client(name: &str) -> Address {
    Address::Client(name.parse().unwrap())
}

fn message(performative: Performative, sender: Address, in_reply_to: Option<&str>) -> Arc<Message> {
    message_in("c", performative, sender, in_reply_to)
}

fn message_in(
    conversation_id: &str,
    performative: Performative,
    sender: Address,
    in_reply_to: Option<&str>,
) -> Arc<Message> {
    Arc::new(Message {
        id: MessageId::new(),
        performative,
        sender,
        receivers: vec![Address::Agent(AgentId::new())],
        reply_to: None,
        content: Content::default(),
        language: None,
        ontology: None,
        protocol: None,
        conversation_id: conversation_id.to_owned(),
        reply_with: None,
        in_reply_to: in_reply_to.map(str::to_owned),
        reply_by: None,
        timestamp: Timestamp::now(),
        causation_id: None,
        traceparent: None,
        hops: 0,
        extensions: BTreeMap::new(),
    })
}

fn put(mailbox: &Arc<Mailbox>, message: &Arc<Message>) -> Result<(), Refusal> {
    let reservation = mailbox.admit(message)?;
    let delivery = Delivery {
        message: message.clone(),
        attempt: 1,
        admitted: Instant::now(),
        seq: Seq(1),
        reservation,
    };
    assert_eq!(mailbox.push(delivery), Pushed::Queued);
    Ok(())
}

fn request() -> Arc<Message> {
    message(Performative::Request, Address::Platform, None)
}

/// Leases as a consumer does that needs no waking.
fn lease(mailbox: &Arc<Mailbox>) -> Option<Lease> {
    mailbox.attach(Arc::new(|| {})).lease()
}

fn finish(mailbox: &Arc<Mailbox>) -> Option<Delivery> {
    lease(mailbox)?.finish()
}

/// A waker and how often it was called.
fn counted() -> (Waker, Arc<AtomicUsize>) {
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = woken.clone();
    let waker = move || {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    (Arc::new(waker), woken)
}

#[test]
fn a_full_mailbox_says_no_and_room_comes_back_with_the_turn() {
    let mailbox = mailbox(1);
    put(&mailbox, &request()).unwrap();
    assert_eq!(put(&mailbox, &request()), Err(Refusal::Messages));
    let delivery = finish(&mailbox).unwrap();
    assert_eq!(
        put(&mailbox, &request()),
        Err(Refusal::Messages),
        "its turn is not recorded yet"
    );
    drop(delivery);
    put(&mailbox, &request()).unwrap();
}

#[test]
fn bytes_are_bounded_too() {
    let mailbox = Mailbox::new(Capacity {
        messages: 100,
        bytes: 400,
    });
    put(&mailbox, &request()).unwrap();
    assert_eq!(put(&mailbox, &request()), Err(Refusal::Bytes));
}

#[test]
fn an_answer_always_finds_its_ticket() {
    let mailbox = mailbox(1);
    let seller = Address::Agent(AgentId::new());
    let reply_slot = mailbox.reserve_reply().unwrap();
    let question = Question {
        conversation_id: "c".to_owned(),
        reply_with: "r".to_owned(),
        participant: seller.clone(),
    };
    mailbox.ask(question, Performative::Request, reply_slot);
    put(&mailbox, &request()).unwrap();
    assert_eq!(
        put(&mailbox, &message(Performative::Agree, seller.clone(), Some("r"))),
        Err(Refusal::Messages)
    );
    put(&mailbox, &message(Performative::Inform, seller.clone(), Some("r"))).unwrap();
    assert_eq!(
        put(&mailbox, &message(Performative::Inform, seller, Some("r"))),
        Err(Refusal::Messages),
        "one reply slot admits one answer"
    );
    assert_eq!(mailbox.reply_slots_left(), REPLY_SLOTS - 1);
    finish(&mailbox);
    finish(&mailbox);
    assert_eq!(mailbox.reply_slots_left(), REPLY_SLOTS);
}

#[test]
fn a_dropped_lease_gives_its_message_back_at_its_position() {
    let mailbox = mailbox(10);
    let (first, second) = (request(), request());
    put(&mailbox, &first).unwrap();
    put(&mailbox, &second).unwrap();
    drop(lease(&mailbox));
    let again = lease(&mailbox).unwrap();
    assert_eq!(
        (again.message().id, again.attempt()),
        (first.id, 1),
        "a kill is not a crash of its own turn"
    );
    assert!(again.retry());
    let again = lease(&mailbox).unwrap();
    assert_eq!((again.message().id, again.attempt()), (first.id, 2));
    assert_eq!(again.finish().unwrap().attempt, 2);
    assert_eq!(lease(&mailbox).unwrap().message().id, second.id);
}

#[test]
fn a_restoration_brings_nothing_twice_and_loses_nothing() {
    let mailbox = mailbox(10);
    let push = |message: &Arc<Message>, seq| {
        let reservation = mailbox.admit(message).unwrap();
        let (message, admitted) = (message.clone(), Instant::now());
        let pushed = mailbox.push(Delivery {
            message,
            attempt: 1,
            admitted,
            seq: Seq(seq),
            reservation,
        });
        assert_eq!(pushed, Pushed::Queued);
    };
    let (handled, live, slow, later) = (request(), request(), request(), request());
    push(&handled, 1);
    push(&live, 2);
    push(&later, 9);
    drop(finish(&mailbox));
    let leased = lease(&mailbox).unwrap(); // when everything broke
    let queue = [(live.clone(), 1, Seq(2)), (slow.clone(), 1, Seq(7))];
    mailbox.restore(Seq(8), queue, [], Instant::now());
    assert!(leased.finish().is_none(), "it is void");
    push(&slow, 7); // appended before the restoration, handed on after it
    let order: Vec<_> = std::iter::from_fn(|| Some(finish(&mailbox)?.message.id)).collect();
    assert_eq!(order, [live.id, slow.id, later.id]);
    assert_eq!(mailbox.inner.lock().used_messages, 0);
}

#[test]
fn at_most_one_wake_up_is_on_its_way() {
    let mailbox = mailbox(10);
    let (waker, woken) = counted();
    let consumer = mailbox.attach(waker);
    assert!(consumer.lease().is_none());
    put(&mailbox, &request()).unwrap();
    put(&mailbox, &request()).unwrap();
    assert_eq!(
        woken.load(Ordering::Relaxed),
        2,
        "one for the attachment, one for both messages"
    );
}

#[test]
fn a_closed_mailbox_gives_up_what_it_has_and_voids_the_turn_in_flight() {
    let mailbox = mailbox(10);
    let (first, second) = (request(), request());
    put(&mailbox, &first).unwrap();
    put(&mailbox, &second).unwrap();
    let in_flight = lease(&mailbox).unwrap();
    let left: Vec<_> = mailbox.close().iter().map(|message| message.id).collect();
    assert_eq!(left, [first.id, second.id]);
    assert_eq!(put(&mailbox, &request()), Err(Refusal::Closed));
    mailbox.reopen();
    put(&mailbox, &request()).unwrap();
    assert!(in_flight.finish().is_none(), "its effects must not take place");
    assert_eq!(mailbox.depth(), 1);
}

#[test]
fn what_comes_in_behind_a_closed_gate_is_handed_out_once() {
    let mailbox = mailbox(10);
    let came = |seq| {
        let message = request();
        let (message, reservation) = (message.clone(), mailbox.admit(&message).unwrap());
        Delivery {
            message,
            attempt: 1,
            admitted: Instant::now(),
            seq: Seq(seq),
            reservation,
        }
    };
    let (known, later, queued) = (came(3), came(5), came(6));
    let stranded = later.message.id;
    assert!(mailbox.close_at(Seq(4)).is_empty());
    assert_eq!(mailbox.push(known), Pushed::Queued, "whoever closed it has read it");
    assert_eq!(mailbox.push(later), Pushed::Stranded);
    let taken: Vec<_> = mailbox.take_stranded(Seq(4)).iter().map(|message| message.id).collect();
    assert_eq!(taken, [stranded]);
    assert!(mailbox.take_stranded(Seq(4)).is_empty());
    assert_eq!(mailbox.push(queued), Pushed::Stranded);
    mailbox.reopen();
    assert!(mailbox.take_stranded(Seq(4)).is_empty(), "it will be handled");
    assert!(finish(&mailbox).is_some());
    assert_eq!(mailbox.inner.lock().used_messages, 0);
}

#[tokio::test]
async fn draining_ends_when_nothing_is_queued_or_leased() {
    let mailbox = mailbox(10);
    put(&mailbox, &request()).unwrap();
    mailbox.drain();
    assert_eq!(put(&mailbox, &request()), Err(Refusal::Closed));
    let waiting = tokio::spawn({
        let mailbox = mailbox.clone();
        async move { mailbox.until_idle().await }
    });
    finish(&mailbox);
    waiting.await.unwrap();
}

#[test]
fn what_came_by_a_record_is_there_until_its_turn_has_ended() {
    let mailbox = mailbox(9);
    let has = |seq| mailbox.has_any_of(&Address::Platform, Seq(seq));
    put(&mailbox, &message(Performative::Request, client("a"), None)).unwrap();
    assert!(!has(1), "another sender's");
    put(&mailbox, &request()).unwrap();
    assert!(has(1) && !has(0));
    finish(&mailbox);
    let leased = lease(&mailbox).unwrap();
    assert!(has(1), "leased");
    assert!(leased.retry());
    assert!(has(1), "back in its lane");
    finish(&mailbox);
    assert!(!has(1));
}

#[test]
fn a_held_mailbox_takes_messages_and_gives_none_out_and_stays_suspended_if_it_was() {
    let mailbox = mailbox(10);
    let (waker, woken) = counted();
    let consumer = mailbox.attach(waker);
    assert!(consumer.lease().is_none());
    mailbox.hold(true);
    put(&mailbox, &request()).unwrap();
    assert!(consumer.lease().is_none());
    let before = woken.load(Ordering::Relaxed);
    mailbox.suspend();
    mailbox.hold(false);
    assert!(consumer.lease().is_none(), "it is suspended");
    mailbox.hold(true);
    mailbox.resume();
    assert!(consumer.lease().is_none(), "it is held");
    mailbox.hold(false);
    assert_eq!(woken.load(Ordering::Relaxed), before + 1, "its instance hears of it");
    assert!(consumer.lease().is_some());
}
