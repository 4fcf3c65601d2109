//! The mailbox against a model that is a list: whatever happens in whatever order, nothing is lost, nothing comes twice, nothing
//! overtakes, and nobody sleeps while there is something to do.

use proptest::prelude::*;

use super::*;

const CAPACITY: u32 = 8;

#[derive(Clone, Debug)]
enum Step {
    /// A message is admitted and appended to the journal.
    Admit {
        sender: u8,
        conversation: u8,
    },
    /// One that was appended is handed on.
    Push(u8),
    Lease(u8),
    Finish(u8),
    Retry(u8),
    Kill(u8),
    Attach,
    Detach(u8),
    Suspend,
    Resume,
    Hold(bool),
    Order(bool),
    Drain,
    Close,
    Reopen,
    /// The mailbox is restored from the journal, of which the last records are not there yet.
    Restore(u64),
}

/// Chooses among so many.
fn pick(which: u8, among: usize) -> usize {
    usize::from(which) % among
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<u8>;
    prop_oneof![
        8 => (0..3_u8, 0..2_u8).prop_map(|(sender, conversation)| Step::Admit { sender, conversation }),
        8 => which().prop_map(Step::Push),
        10 => which().prop_map(Step::Lease),
        5 => which().prop_map(Step::Finish),
        2 => which().prop_map(Step::Retry),
        2 => which().prop_map(Step::Kill),
        1 => Just(Step::Attach),
        1 => which().prop_map(Step::Detach),
        1 => Just(Step::Suspend),
        2 => Just(Step::Resume),
        2 => any::<bool>().prop_map(Step::Hold),
        1 => any::<bool>().prop_map(Step::Order),
        1 => Just(Step::Drain),
        1 => Just(Step::Close),
        3 => Just(Step::Reopen),
        1 => (0..3_u64).prop_map(Step::Restore),
    ]
}

/// A message as the model has it.
#[derive(Clone)]
struct Known {
    message: Arc<Message>,
    seq: u64,
    attempt: u32,
    leased: bool,
}

struct Watched {
    consumer: Consumer,
    woken: Arc<AtomicUsize>,
    /// How often it had been woken when the mailbox was last checked.
    seen: usize,
    /// How often it had been woken when a lease was refused to it.
    refused_at: Option<usize>,
}

impl Watched {
    fn is_asleep(&self) -> bool {
        self.refused_at == Some(self.woken.load(Ordering::Relaxed))
    }
}

struct Held {
    lease: Lease,
    /// Where the consumer was, if it is there still.
    consumer: Option<usize>,
    is_void: bool,
}

struct Model {
    mailbox: Arc<Mailbox>,
    order: Order,
    gate: Gate,
    suspended: bool,
    held: bool,
    restored: u64,
    /// The last record of the journal.
    last: u64,
    /// In the order in which they came.
    queue: Vec<Known>,
    /// Admitted and appended, and not handed on yet.
    on_the_way: Vec<(Known, Reservation)>,
    leases: Vec<Held>,
    consumers: Vec<Watched>,
    finished: Vec<MessageId>,
    given_up: Vec<MessageId>,
    admitted: Vec<MessageId>,
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            mailbox: mailbox(CAPACITY),
            order: Order::Sender,
            gate: Gate::Open,
            suspended: false,
            held: false,
            restored: 0,
            last: 0,
            queue: Vec::new(),
            on_the_way: Vec::new(),
            leases: Vec::new(),
            consumers: Vec::new(),
            finished: Vec::new(),
            given_up: Vec::new(),
            admitted: Vec::new(),
        };
        model.step(&Step::Attach);
        model
    }

    fn is_same_lane(&self, one: &Message, other: &Message) -> bool {
        one.sender == other.sender && (self.order == Order::Sender || one.conversation_id == other.conversation_id)
    }

    /// Positions in the queue of the messages that can be leased.
    fn available(&self) -> Vec<usize> {
        if self.suspended || self.held {
            return Vec::new();
        }
        let is_first = |position: &usize| {
            let known = &self.queue[*position];
            let same = |other: &&Known| self.is_same_lane(&known.message, &other.message);
            let mut before = self.queue[..*position].iter();
            !self.queue.iter().filter(same).any(|other| other.leased) && !before.any(|other| same(&other))
        };
        (0..self.queue.len()).filter(is_first).collect()
    }

    fn position(&self, message: &Message) -> usize {
        let at = self.queue.iter().position(|known| known.message.id == message.id);
        at.expect("what is leased is in the queue")
    }

    fn void_leases(&mut self) {
        self.leases.iter_mut().for_each(|held| held.is_void = true);
        self.queue.iter_mut().for_each(|known| known.leased = false);
    }

    fn take_lease(&mut self, which: u8) -> Option<Held> {
        (!self.leases.is_empty()).then(|| self.leases.remove(pick(which, self.leases.len())))
    }

    fn admit(&mut self, sender: u8, conversation: u8) {
        let sender = if sender == 0 {
            Address::Platform
        } else {
            client(&sender.to_string())
        };
        let message = message_in(&conversation.to_string(), Performative::Inform, sender, None);
        let used = self.queue.len() + self.on_the_way.len();
        let expected = if self.gate != Gate::Open {
            Some(Refusal::Closed)
        } else if used >= CAPACITY as usize {
            Some(Refusal::Messages)
        } else {
            None
        };
        match self.mailbox.admit(&message) {
            Err(refusal) => assert_eq!(Some(refusal), expected),
            Ok(reservation) => {
                assert_eq!(None, expected);
                self.last += 1;
                self.admitted.push(message.id);
                let known = Known {
                    message,
                    seq: self.last,
                    attempt: 1,
                    leased: false,
                };
                self.on_the_way.push((known, reservation));
            }
        }
    }

    fn push(&mut self, which: u8) {
        if self.on_the_way.is_empty() {
            return;
        }
        let (known, reservation) = self.on_the_way.remove(pick(which, self.on_the_way.len()));
        let delivery = Delivery {
            message: known.message.clone(),
            attempt: 1,
            admitted: Instant::now(),
            seq: Seq(known.seq),
            reservation,
        };
        let pushed = self.mailbox.push(delivery);
        let is_here_already = known.seq <= self.restored;
        let is_stranded = self.gate == Gate::Closed && !is_here_already;
        assert_eq!(pushed == Pushed::Stranded, is_stranded);
        if !is_here_already {
            self.queue.push(known);
        }
        if is_stranded {
            let mut expected: Vec<_> = self.queue.drain(..).map(|known| known.message.id).collect();
            let stranded = self.mailbox.take_stranded(Seq(self.restored));
            assert!(stranded.iter().map(|message| message.id).eq(expected.iter().copied()));
            self.given_up.append(&mut expected);
        }
    }

    fn lease(&mut self, which: u8) {
        if self.consumers.is_empty() {
            return;
        }
        let at = pick(which, self.consumers.len());
        let available = self.available();
        let lease = self.consumers[at].consumer.lease();
        let Some(lease) = lease else {
            assert!(available.is_empty());
            let woken = self.consumers[at].woken.load(Ordering::Relaxed);
            self.consumers[at].refused_at = Some(woken);
            return;
        };
        let position = self.position(lease.message());
        assert!(available.contains(&position));
        let known = &mut self.queue[position];
        assert_eq!(lease.attempt(), known.attempt);
        known.leased = true;
        self.leases.push(Held {
            lease,
            consumer: Some(at),
            is_void: false,
        });
    }

    fn finish(&mut self, which: u8) {
        let Some(held) = self.take_lease(which) else { return };
        let message = held.lease.message().clone();
        let delivery = held.lease.finish();
        assert_eq!(delivery.is_none(), held.is_void);
        if !held.is_void {
            let known = self.queue.remove(self.position(&message));
            assert_eq!(delivery.map(|delivery| delivery.attempt), Some(known.attempt));
            self.finished.push(message.id);
        }
    }

    fn give_back(&mut self, which: u8, is_crash: bool) {
        let Some(held) = self.take_lease(which) else { return };
        let message = held.lease.message().clone();
        if is_crash {
            assert_eq!(held.lease.retry(), !held.is_void);
        } else {
            drop(held.lease);
        }
        if !held.is_void {
            let position = self.position(&message);
            self.queue[position].leased = false;
            self.queue[position].attempt += u32::from(is_crash);
        }
    }

    fn restore(&mut self, lag: u64) {
        let upto = self.last.saturating_sub(lag).max(self.restored);
        if self.gate == Gate::Closed {
            // The mailbox of an agent that is down is not filled: whoever restores the agent gives up what it has read.
            assert!(self.mailbox.close_at(Seq(upto)).is_empty());
            let read = self.on_the_way.iter().map(|(known, _)| known);
            let read = read.filter(|known| (self.restored + 1..=upto).contains(&known.seq));
            self.given_up.extend(read.map(|known| known.message.id));
            self.restored = upto;
            return;
        }
        self.void_leases();
        let (mut live, later): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(|known| known.seq <= upto);
        let appended = self.on_the_way.iter().map(|(known, _)| known);
        live.extend(
            appended
                .filter(|known| (self.restored + 1..=upto).contains(&known.seq))
                .cloned(),
        );
        live.sort_by_key(|known| known.seq);
        let queue = live
            .iter()
            .map(|known| (known.message.clone(), known.attempt, Seq(known.seq)));
        self.mailbox.restore(Seq(upto), queue, [], Instant::now());
        self.restored = upto;
        live.extend(later);
        self.queue = live;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Admit { sender, conversation } => self.admit(sender, conversation),
            Step::Push(which) => self.push(which),
            Step::Lease(which) => self.lease(which),
            Step::Finish(which) => self.finish(which),
            Step::Retry(which) => self.give_back(which, true),
            Step::Kill(which) => self.give_back(which, false),
            Step::Attach => {
                let (waker, woken) = counted();
                self.consumers.push(Watched {
                    consumer: self.mailbox.attach(waker),
                    woken,
                    seen: 1,
                    refused_at: None,
                });
            }
            Step::Detach(which) if !self.consumers.is_empty() => {
                let at = pick(which, self.consumers.len());
                drop(self.consumers.remove(at).consumer);
                for held in &mut self.leases {
                    held.consumer = match held.consumer {
                        Some(consumer) if consumer > at => Some(consumer - 1),
                        Some(consumer) if consumer == at => None,
                        other => other,
                    };
                }
            }
            Step::Detach(_) => {}
            Step::Suspend => {
                self.suspended = true;
                self.mailbox.suspend();
            }
            Step::Resume => {
                self.suspended = false;
                self.mailbox.resume();
            }
            Step::Hold(hold) => {
                self.held = hold;
                self.mailbox.hold(hold);
            }
            Step::Order(sender) => {
                self.order = if sender { Order::Sender } else { Order::Conversation };
                self.mailbox.set_order(self.order);
            }
            Step::Drain => {
                if self.gate == Gate::Open {
                    self.gate = Gate::Draining;
                }
                self.mailbox.drain();
            }
            Step::Close => {
                self.gate = Gate::Closed;
                let leased = |known: &Known| !known.leased;
                self.queue.sort_by_key(leased); // stable
                let expected: Vec<_> = self.queue.iter().map(|known| known.message.id).collect();
                self.void_leases();
                self.queue.clear();
                let given_up: Vec<_> = self.mailbox.close().iter().map(|message| message.id).collect();
                assert_eq!(given_up, expected);
                self.given_up.extend(given_up);
            }
            Step::Reopen => {
                self.gate = Gate::Open;
                self.mailbox.reopen();
            }
            Step::Restore(lag) => self.restore(lag),
        }
        self.check();
    }

    fn check(&mut self) {
        assert_eq!(self.mailbox.depth(), self.queue.len());
        let used = self.mailbox.inner.lock().used_messages;
        assert_eq!(used as usize, self.queue.len() + self.on_the_way.len());
        let available = self.available().len();
        let leases = |at| self.leases.iter().any(|held| held.consumer == Some(at));
        let idle: Vec<_> = (0..self.consumers.len()).filter(|at| !leases(*at)).collect();
        let asleep = idle.iter().filter(|at| self.consumers[**at].is_asleep()).count();
        let coming = idle.len() - asleep;
        let nobody_sleeps_in = asleep == 0 || coming >= available;
        assert!(nobody_sleeps_in, "a consumer sleeps while there is a message");
        for watched in &mut self.consumers {
            let woken = watched.woken.load(Ordering::Relaxed);
            assert!(
                woken == watched.seen || coming <= available,
                "somebody was woken for nothing"
            );
            watched.seen = woken;
        }
    }

    /// Lets everything come to its end, and looks whether each message came to one end.
    fn end(mut self) {
        for step in [Step::Resume, Step::Hold(false), Step::Reopen, Step::Attach] {
            self.step(&step);
        }
        while !self.on_the_way.is_empty() {
            self.step(&Step::Push(0));
        }
        while !self.leases.is_empty() {
            self.step(&Step::Kill(0));
        }
        while !self.queue.is_empty() {
            self.step(&Step::Lease(0));
            self.step(&Step::Finish(0));
        }
        let mut ended = self.finished;
        ended.extend(self.given_up);
        ended.sort_unstable();
        assert_eq!(ended, self.admitted, "ids are in the order of their making");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_lost_or_overtaken_or_comes_twice(steps in proptest::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.step(&step);
        }
        model.end();
    }
}
