//! The way from a draft to a letter: the draft is stamped, its receivers are found, and room is reserved in each
//! mailbox.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Receipt, ReceiverOutcome, Shared};
use crate::agent::{Agent, Standing};
use crate::directory::{Directory, Target};
use crate::error::Error;
use crate::id::{AgentId, MessageId, Partition};
use crate::journal::{Dispatch, Placed, Record};
use crate::mailbox::{Delivery, Pushed, Question, Refusal, ReplySlot, Reservation};
use crate::message::{Address, ClientName, Draft, FailureReason, Message, limits};
use crate::time::Timestamp;

/// What the host knows of a draft's sender.
pub(super) struct Stamp<'a> {
    pub sender: Address,
    pub now: Timestamp,
    /// The message whose turn sends this one, if a turn does.
    pub cause: Option<&'a Message>,
}

/// A message with its reservations, until its records are appended.
pub(super) struct Letter {
    pub message: Arc<Message>,
    agents: Vec<(Arc<Agent>, Reservation)>,
    clients: Vec<ClientName>,
    /// The clients among them that do not wait for the message.
    unread: Vec<ClientName>,
    /// Why some receivers did not get the message.
    undelivered: Option<String>,
    /// The questions that the sender asks with the message, one for each agent that is to reply.
    asks: Vec<(Arc<Agent>, Question, ReplySlot)>,
}

/// A receiver that does not take a message.
pub(super) struct Refused {
    pub receiver: String,
    pub reason: FailureReason,
    pub error: Error,
    pub about: Arc<Message>,
    /// The slot that was reserved for the reply, which will not come.
    pub reply_slot: Option<ReplySlot>,
}

impl Letter {
    /// A letter of the platform to one agent. Without a reservation it is recorded and not delivered.
    pub(super) fn to_agent(message: Arc<Message>, agent: Arc<Agent>, reservation: Option<Reservation>) -> Self {
        Self {
            message,
            undelivered: reservation
                .is_none()
                .then(|| "the mailbox is closed or full".to_owned()),
            agents: reservation
                .map(|reservation| (agent, reservation))
                .into_iter()
                .collect(),
            clients: Vec::new(),
            unread: Vec::new(),
            asks: Vec::new(),
        }
    }

    /// A letter that only records a message which no receiver takes.
    pub(super) fn refused(refusal: &Refused) -> Self {
        Self {
            message: refusal.about.clone(),
            agents: Vec::new(),
            clients: Vec::new(),
            unread: Vec::new(),
            undelivered: Some(refusal.reason.to_string()),
            asks: Vec::new(),
        }
    }

    /// Adds the letter's records to a batch: one for each of the `count` partitions that receives it, or one for `home`, the
    /// sender's partition, if no receiver takes it.
    pub(super) fn record(&self, home: Partition, count: u16, records: &mut Vec<(Partition, Record)>) {
        let record = |first, deliveries| {
            Record::Message(Dispatch {
                message: self.message.clone(),
                first,
                deliveries,
                undelivered: self.undelivered.clone().filter(|_| first),
                unread: first && !self.unread.is_empty(),
            })
        };
        let agents = self.agents.iter().map(|(agent, _)| (agent.partition, Some(agent.id)));
        let clients = self.clients.iter().map(|client| (client.partition(count), None));
        let mut receivers: Vec<_> = agents.chain(clients).collect();
        if receivers.is_empty() {
            records.push((home, record(true, Vec::new())));
        }
        receivers.sort_by_key(|(partition, _)| *partition); // stable, so the agents of a partition keep the draft's order
        let mut first = true;
        for same in receivers.chunk_by(|(one, _), (other, _)| one == other) {
            let deliveries = same.iter().filter_map(|(_, agent)| *agent).collect();
            records.push((same[0].0, record(first, deliveries)));
            first = false;
        }
    }

    pub(super) fn receipt(&self, refused: Vec<Refused>, now: Timestamp) -> Receipt {
        let taken = self.message.receivers.iter().map(|address| ReceiverOutcome {
            receiver: address.to_string(),
            refused: None,
            unread: matches!(address, Address::Client(name) if self.unread.contains(name)),
        });
        let refused: Vec<_> = refused
            .into_iter()
            .map(|refusal| ReceiverOutcome {
                receiver: refusal.receiver,
                refused: Some((refusal.reason, refusal.error.to_string())),
                unread: false,
            })
            .collect();
        Receipt {
            message_id: self.message.id,
            conversation_id: self.message.conversation_id.clone(),
            delivered_at: now,
            receivers: taken
                .filter(|taken| refused.iter().all(|no| no.receiver != taken.receiver))
                .chain(refused.clone())
                .collect(),
        }
    }
}

/// The addresses that the receivers of a draft stand for.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Each address once, with the receiver as it was written, in the order of the draft; at most
    /// [`limits::RECEIVERS`].
    targets: Vec<(String, Target)>,
    /// Receivers that match no address.
    unknown: Vec<String>,
    /// Receivers whose addresses exceed the limit.
    too_many: Vec<String>,
}

impl Resolved {
    /// Looks each receiver up once.
    pub(super) fn of(receivers: &[String], directory: &Directory) -> Self {
        let mut resolved = Self::default();
        let (mut asked, mut seen) = (HashSet::new(), HashSet::new());
        for receiver in receivers.iter().filter(|receiver| asked.insert(receiver.as_str())) {
            let found = directory.resolve(receiver);
            if found.is_empty() {
                resolved.unknown.push(receiver.clone());
            }
            for target in found {
                if resolved.targets.len() >= limits::RECEIVERS {
                    resolved.too_many.push(receiver.clone());
                    break;
                }
                if seen.insert(target.address()) {
                    resolved.targets.push((receiver.clone(), target));
                }
            }
        }
        resolved
    }

    /// Splits the receivers into those that may get the message and those that may not, without a look at the
    /// mailboxes. `hops` is the length of the chain of causes up to the message whose turn sends this one, and `expired` the
    /// `reply_by` of the message, if it is past.
    fn judge(self, hops: Option<u32>, expired: Option<Timestamp>) -> (Vec<(String, Target)>, Vec<Verdict>) {
        let looping = hops.is_some_and(|hops| hops >= limits::HOPS);
        let unknown = self.unknown.into_iter().map(|receiver| {
            let error = Error::AgentNotFound(receiver.clone());
            (receiver, FailureReason::UnknownReceiver, error)
        });
        let too_many = self.too_many.into_iter().map(|receiver| {
            let error = Error::LimitExceeded {
                what: "the number of receivers of one message",
                limit: limits::RECEIVERS as u64,
            };
            (receiver, FailureReason::OverLimit, error)
        });
        let mut refused: Vec<Verdict> = unknown.chain(too_many).collect();
        let mut accepted = self.targets;
        if looping {
            let agents = accepted.extract_if(.., |(_, target)| matches!(target, Target::Agent(_)));
            refused.extend(agents.map(|(receiver, _)| {
                let error = Error::DeliveryFailed {
                    reason: format!("{} messages caused each other without end", limits::HOPS),
                };
                (receiver, FailureReason::Loop, error)
            }));
        }
        if let Some(by) = expired {
            let late = accepted.drain(..);
            refused.extend(late.map(|(receiver, _)| (receiver, FailureReason::Expired, Error::Expired(by))));
        }
        (accepted, refused)
    }
}

/// A receiver as it was written, and why it does not get the message.
type Verdict = (String, FailureReason, Error);

impl Shared {
    /// Stamps a draft, finds its receivers and reserves room in each mailbox. `reply_slots` are the slots that the
    /// sender has reserved already. None: no receiver takes the message, and each `Refused` says why.
    pub(super) fn prepare(
        &self,
        stamp: Stamp<'_>,
        draft: Draft,
        reply_slots: Vec<ReplySlot>,
    ) -> (Option<Letter>, Vec<Refused>) {
        let resolved = Resolved::of(&draft.receivers, &self.directory);
        let hops = stamp.cause.map(|cause| cause.hops);
        let sender = stamp.sender.agent().and_then(|id| self.directory.by_id(id));
        let message = Arc::new(stamp.message(draft, &resolved.targets));
        let expired = message.reply_by.filter(|by| *by < message.timestamp);
        let (accepted, refused) = resolved.judge(hops, expired);
        let (letter, refused) = admit(&message, sender.as_ref(), accepted, refused, reply_slots);
        (letter.map(|letter| self.unless_awaited(letter)), refused)
    }

    /// Notes which clients do not wait for the letter.
    fn unless_awaited(&self, letter: Letter) -> Letter {
        let unread = letter.clients.iter();
        let unread = unread.filter(|client| !self.waiters.awaits(client, &letter.message));
        Letter {
            unread: unread.cloned().collect(),
            ..letter
        }
    }

    /// A failure from the platform to the sender of `about`, unless that sender must not get failures; `receiver` is
    /// the address that failed.
    pub(super) fn failure(
        &self,
        about: &Message,
        receiver: AgentId,
        reason: FailureReason,
        detail: &str,
        now: Timestamp,
    ) -> Option<Letter> {
        if !about.performative.may_be_answered() {
            return None;
        }
        let failure = Arc::new(Message::failure_of(
            about,
            &receiver.to_string().into(),
            reason,
            detail,
            now,
        ));
        match &about.sender {
            Address::Platform => None,
            Address::Client(name) => Some(self.unless_awaited(Letter {
                message: failure,
                agents: Vec::new(),
                clients: vec![name.clone()],
                unread: Vec::new(),
                undelivered: None,
                asks: Vec::new(),
            })),
            Address::Agent(id) => {
                let agent = self.directory.by_id(*id)?;
                let reservation = agent.mailbox.admit_failure(&failure, &Address::Agent(receiver)).ok();
                Some(Letter::to_agent(failure, agent, reservation))
            }
        }
    }

    /// Hands a letter to the mailboxes and to waiting callers, once its batch has its position in the log. If a
    /// mailbox closed since the admission, the owner of its agent gives the message up, because it alone knows whether it has
    /// restored the message from the log.
    pub(super) fn hand_on(&self, letter: Letter, placed: &Placed, now: Instant) {
        for (sender, question, reply_slot) in letter.asks {
            sender.mailbox.ask(question, letter.message.performative, reply_slot);
        }
        for (agent, reservation) in letter.agents {
            let delivery = Delivery {
                message: letter.message.clone(),
                attempt: 1,
                admitted: now,
                seq: placed.seq,
                reservation,
            };
            if agent.mailbox.push(delivery) == Pushed::Stranded {
                self.stranded.add(&agent);
            }
        }
        for client in letter.clients {
            self.waiters.deliver(&client, &letter.message, placed);
        }
    }
}

/// Reserves room for the message in the mailbox of each agent that is to have it, and a slot for its reply in the
/// sender's. Refusals come from `refused` and from the mailboxes; each takes one of `reply_slots` as long as there are
/// any.
fn admit(
    message: &Arc<Message>,
    sender: Option<&Arc<Agent>>,
    accepted: Vec<(String, Target)>,
    refused: Vec<Verdict>,
    mut reply_slots: Vec<ReplySlot>,
) -> (Option<Letter>, Vec<Refused>) {
    let refusal = |(receiver, reason, error): Verdict, reply_slot| Refused {
        receiver,
        reason,
        error,
        about: message.clone(),
        reply_slot,
    };
    let mut refused: Vec<_> = refused
        .into_iter()
        .map(|verdict| refusal(verdict, reply_slots.pop()))
        .collect();
    let mut letter = Letter {
        message: message.clone(),
        agents: Vec::new(),
        clients: Vec::new(),
        unread: Vec::new(),
        undelivered: None,
        asks: Vec::new(),
    };
    for (written, target) in accepted {
        match target {
            Target::Client(name) => letter.clients.push(name),
            Target::Agent(agent) => match agent.mailbox.admit(message) {
                Ok(reservation) => {
                    if let (Some(sender), Some(question)) = (sender, question(message, &agent)) {
                        // A `cfp` to several receivers needs a reply slot for each; the turn has reserved only the
                        // first.
                        if let Some(reply_slot) = reply_slots.pop().or_else(|| sender.mailbox.reserve_reply()) {
                            letter.asks.push((sender.clone(), question, reply_slot));
                        }
                    }
                    letter.agents.push((agent, reservation));
                }
                Err(full) => {
                    let verdict = (written, reason(full), error(full, &agent));
                    refused.push(refusal(verdict, reply_slots.pop()));
                }
            },
        }
    }
    if letter.agents.is_empty() && letter.clients.is_empty() {
        return (None, refused);
    }
    let why: Vec<_> = refused
        .iter()
        .map(|refusal| format!("{}: {}", refusal.receiver, refusal.reason))
        .collect();
    letter.undelivered = (!why.is_empty()).then(|| why.join("; "));
    (Some(letter), refused)
}

impl Stamp<'_> {
    fn message(self, draft: Draft, targets: &[(String, Target)]) -> Message {
        let id = MessageId::new();
        let performative = draft.performative.expect("a draft is checked before it is sent");
        let reply_with = draft
            .reply_with
            .or_else(|| performative.expects_reply().then(|| id.to_string()));
        Message {
            id,
            performative,
            sender: self.sender,
            receivers: targets.iter().map(|(_, target)| target.address()).collect(),
            reply_to: draft.reply_to,
            content: draft.content,
            language: draft.language,
            ontology: draft.ontology,
            protocol: draft
                .protocol
                .or_else(|| performative.starts_protocol().map(str::to_owned)),
            conversation_id: draft
                .conversation_id
                .unwrap_or_else(|| format!("conv_{}", id.uuid().simple())),
            reply_with,
            in_reply_to: draft.in_reply_to,
            reply_by: draft.reply_by,
            timestamp: self.now,
            causation_id: self.cause.map(|cause| cause.id),
            traceparent: draft
                .traceparent
                .or_else(|| self.cause.and_then(|cause| cause.traceparent.clone())),
            hops: self.cause.map_or(0, |cause| cause.hops.saturating_add(1)),
            extensions: draft.extensions,
        }
    }
}

/// The question that the sender asks `agent` with `message`, if it expects a reply.
fn question(message: &Message, agent: &Agent) -> Option<Question> {
    message.performative.expects_reply().then(|| Question {
        conversation_id: message.conversation_id.clone(),
        reply_with: message
            .reply_with
            .clone()
            .expect("the stamp gives a question its reply_with"),
        participant: Address::Agent(agent.id),
    })
}

const fn reason(refusal: Refusal) -> FailureReason {
    match refusal {
        Refusal::Messages | Refusal::Bytes => FailureReason::Overloaded,
        Refusal::Closed => FailureReason::Gone,
    }
}

fn error(refusal: Refusal, receiver: &Agent) -> Error {
    const RETRY_AFTER: Duration = Duration::from_secs(1);
    let agent = receiver.id;
    let full = |what| Error::MailboxFull {
        agent,
        what,
        retry_after: RETRY_AFTER,
    };
    match refusal {
        Refusal::Messages => full("messages"),
        Refusal::Bytes => full("bytes"),
        Refusal::Closed => {
            let (state, mend) = match &*receiver.standing.read() {
                Standing::Loaded { .. } | Standing::Running | Standing::Suspended => ("starting", "try again"),
                Standing::Draining { .. } => (
                    "draining",
                    "it handles what it has and takes no more; when it has stopped, start it again",
                ),
                Standing::Stopped => ("stopped", "start it again"),
                Standing::Failed { .. } => ("failed", "see its supervision tree, then start it again"),
            };
            Error::InvalidState { agent, state, mend }
        }
    }
}

#[cfg(test)]
mod tests;
