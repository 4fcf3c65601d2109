//! What is leased when.

use super::*;
use crate::mailbox::Order;

/// A mailbox with messages, each from a client in a conversation.
fn filled(order: Order, messages: &[(&str, &str)]) -> (Arc<Mailbox>, Vec<MessageId>) {
    let mailbox = mailbox(1_000);
    mailbox.set_order(order);
    let put = |(sender, conversation): &(&str, &str)| {
        let message = message_in(conversation, Performative::Request, client(sender), None);
        put(&mailbox, &message).unwrap();
        message.id
    };
    let ids = messages.iter().map(put).collect();
    (mailbox, ids)
}

/// Leases all that can be leased now.
fn leases(mailbox: &Arc<Mailbox>) -> Vec<Lease> {
    std::iter::from_fn(|| lease(mailbox)).collect()
}

fn ids(leases: &[Lease]) -> Vec<MessageId> {
    leases.iter().map(|lease| lease.message().id).collect()
}

#[test]
fn senders_take_turns() {
    let (mailbox, ids) = filled(
        Order::Sender,
        &[
            ("many", "c"),
            ("many", "c"),
            ("many", "d"),
            ("few", "c"),
            ("other", "c"),
            ("few", "d"),
        ],
    );
    let handled: Vec<_> = std::iter::from_fn(|| Some(finish(&mailbox)?.message.id)).collect();
    assert_eq!(handled, [0, 3, 4, 1, 5, 2].map(|index: usize| ids[index]));
}

#[test]
fn a_leased_message_holds_back_the_others_of_its_sender() {
    let (mailbox, all) = filled(Order::Sender, &[("a", "c"), ("a", "d"), ("b", "c")]);
    let mut leased = leases(&mailbox);
    assert_eq!(ids(&leased), [all[0], all[2]]);
    assert!(leased.remove(0).finish().is_some());
    assert_eq!(ids(&leases(&mailbox)), [all[1]]);
}

#[test]
fn a_leased_message_holds_back_the_others_of_its_conversation() {
    let (mailbox, all) = filled(Order::Conversation, &[("a", "c"), ("a", "c"), ("a", "d"), ("b", "c")]);
    assert_eq!(ids(&leases(&mailbox)), [all[0], all[2], all[3]]);
}

#[test]
fn what_is_given_back_comes_before_what_came_later() {
    let (mailbox, all) = filled(Order::Sender, &[("a", "c"), ("b", "c"), ("b", "c")]);
    let mut leased = leases(&mailbox);
    drop(leased.pop());
    assert_eq!(lease(&mailbox).unwrap().message().id, all[1]);
    assert!(leased.pop().unwrap().retry());
    let again = lease(&mailbox).unwrap();
    assert_eq!((again.message().id, again.attempt()), (all[0], 2));
}

#[test]
fn another_order_sorts_what_is_queued_and_loses_nothing() {
    let (mailbox, all) = filled(
        Order::Conversation,
        &[("a", "c"), ("a", "d"), ("b", "c"), ("a", "c"), ("a", "e")],
    );
    let (c, d) = (lease(&mailbox).unwrap(), lease(&mailbox).unwrap());
    let held = lease(&mailbox).unwrap();
    mailbox.set_order(Order::Sender);
    assert!(
        lease(&mailbox).is_none(),
        "all that is left is of senders with a leased message"
    );
    assert!(d.finish().is_some());
    assert!(
        lease(&mailbox).is_none(),
        "another message of that sender is leased still"
    );
    drop(c);
    drop(held);
    let handled: Vec<_> = std::iter::from_fn(|| Some(finish(&mailbox)?.message.id)).collect();
    assert_eq!(handled, [2, 0, 3, 4].map(|index: usize| all[index]));
    assert_eq!(mailbox.depth(), 0);
}

#[test]
fn what_a_close_gives_up_begins_with_what_is_leased() {
    let (mailbox, all) = filled(
        Order::Sender,
        &[("a", "c"), ("a", "c"), ("b", "c"), ("c", "c"), ("b", "c")],
    );
    let (_a, b) = (lease(&mailbox).unwrap(), lease(&mailbox).unwrap());
    assert_eq!(b.message().id, all[2]);
    let left: Vec<_> = mailbox.close().iter().map(|message| message.id).collect();
    assert_eq!(left, [0, 2, 1, 3, 4].map(|index: usize| all[index]));
}

#[test]
fn empty_lanes_are_forgotten_when_there_are_many() {
    let mailbox = mailbox(1_000);
    put(&mailbox, &request()).unwrap();
    let _busy = lease(&mailbox).unwrap();
    for sender in 0..1_000 {
        let message = message(Performative::Request, client(&format!("client-{sender}")), None);
        put(&mailbox, &message).unwrap();
        finish(&mailbox);
    }
    let lanes = mailbox.inner.lock().lanes.kept();
    assert!(lanes < 100, "{lanes}");
}

#[test]
fn a_lease_is_void_where_another_message_has_its_node() {
    let mailbox = mailbox(10);
    put(&mailbox, &request()).unwrap();
    let void = lease(&mailbox).unwrap();
    mailbox.close();
    mailbox.reopen();
    put(&mailbox, &request()).unwrap();
    let other = lease(&mailbox).unwrap();
    assert!(!void.retry());
    assert!(other.finish().is_some());
}
