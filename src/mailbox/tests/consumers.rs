//! Who is woken when.

use super::*;

/// A consumer that is asleep, and how often it was woken since.
fn sleeper(mailbox: &Arc<Mailbox>) -> (Consumer, Arc<AtomicUsize>) {
    let (waker, woken) = counted();
    let consumer = mailbox.attach(waker);
    assert!(consumer.lease().is_none());
    woken.store(0, Ordering::Relaxed);
    (consumer, woken)
}

fn put_from(mailbox: &Arc<Mailbox>, sender: &str) {
    put(mailbox, &message(Performative::Request, client(sender), None)).unwrap();
}

fn woken(sleepers: &[(Consumer, Arc<AtomicUsize>)]) -> Vec<usize> {
    sleepers
        .iter()
        .map(|(_, woken)| woken.load(Ordering::Relaxed))
        .collect()
}

#[test]
fn one_sleeper_is_woken_for_each_message_that_can_be_leased() {
    let mailbox = mailbox(10);
    let sleepers = [sleeper(&mailbox), sleeper(&mailbox), sleeper(&mailbox)];
    put_from(&mailbox, "a");
    put_from(&mailbox, "a");
    assert_eq!(woken(&sleepers), [1, 0, 0], "the second waits for the first");
    put_from(&mailbox, "b");
    assert_eq!(woken(&sleepers), [1, 1, 0]);
    let first = sleepers[0].0.lease().unwrap();
    assert!(first.finish().is_some());
    assert_eq!(woken(&sleepers), [1, 1, 0], "who finished takes the next one");
}

#[test]
fn a_message_that_is_given_back_wakes_a_sleeper_when_its_consumer_is_gone() {
    let mailbox = mailbox(10);
    let (broken, _) = sleeper(&mailbox);
    let sleepers = [sleeper(&mailbox)];
    put_from(&mailbox, "a");
    let lease = broken.lease().unwrap();
    drop(broken);
    assert_eq!(woken(&sleepers), [0]);
    drop(lease);
    assert_eq!(woken(&sleepers), [1]);
}

#[test]
fn a_consumer_that_goes_passes_its_wake_up_on() {
    let mailbox = mailbox(10);
    let (going, _) = sleeper(&mailbox);
    let sleepers = [sleeper(&mailbox)];
    put_from(&mailbox, "a");
    going.detach();
    assert_eq!(woken(&sleepers), [1]);
    assert!(sleepers[0].0.lease().is_some());
}

#[test]
fn a_busy_consumer_is_not_counted_on() {
    let mailbox = mailbox(10);
    let (busy, _) = sleeper(&mailbox);
    let sleepers = [sleeper(&mailbox)];
    put_from(&mailbox, "a");
    let _lease = busy.lease().unwrap();
    put_from(&mailbox, "b");
    assert_eq!(woken(&sleepers), [1]);
}

#[test]
fn as_many_are_woken_as_there_are_messages_when_a_pause_ends_or_the_order_changes() {
    let mailbox = mailbox(10);
    let sleepers = [sleeper(&mailbox), sleeper(&mailbox), sleeper(&mailbox)];
    mailbox.suspend();
    put_from(&mailbox, "a");
    put_from(&mailbox, "b");
    assert_eq!(woken(&sleepers), [0, 0, 0]);
    mailbox.resume();
    assert_eq!(woken(&sleepers), [1, 1, 0]);
    let other = message_in("d", Performative::Request, client("a"), None);
    put(&mailbox, &other).unwrap();
    assert_eq!(woken(&sleepers), [1, 1, 0]);
    mailbox.set_order(Order::Conversation);
    assert_eq!(woken(&sleepers), [1, 1, 1]);
}
