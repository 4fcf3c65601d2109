//! What the clients know: their requests, and the responses to them. The checker trusts nothing else.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde_json::Value;

/// A message of a client. In the log, the messages of one sender to one receiver are in the order in which they were sent. Each was
/// sent after the request of the one before had ended.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    #[expect(dead_code, reason = "for people: a violation shows the whole record")]
    pub round: usize,
    /// The client's name for the message, which is unique.
    pub tag: String,
    pub what: What,
    pub sender: String,
    /// The name of the agent.
    pub receiver: String,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Adds one to a counter that is never stopped.
    Count,
    /// Adds one to a counter that may be stopped or removed before it handles the message.
    Poke,
    /// Moves an amount from one account to another. `from` and `to` are the numbers of the accounts.
    Pay {
        from: usize,
        to: usize,
        amount: u64,
    },
    /// Makes so many hops after its first receiver.
    Token {
        hops: u64,
    },
    Number {
        chain: usize,
        n: u64,
    },
    /// Sets a timer that is due after this time.
    Alarm {
        micros: u64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// There was no response: it happened once or not at all.
    Unknown,
    /// It did not happen.
    Refused,
    Acknowledged {
        id: String,
    },
    Answered {
        id: String,
        content: Value,
    },
}

impl Outcome {
    /// The id of the message, if it was acknowledged.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Unknown | Self::Refused => None,
            Self::Acknowledged { id } | Self::Answered { id, .. } => Some(id),
        }
    }
}

/// One step in the life of an agent that comes and goes. The log has them in order.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub round: usize,
    pub agent: String,
    pub act: Act,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Asked(Operation, Answered),
    /// The status that it had after a restart of the server.
    Found(Life),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Deploy,
    Stop,
    Start,
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Done,
    Refused,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Life {
    Absent,
    Running,
    Stopped,
    /// A status that no agent may have after a restart: draining or failed.
    Else,
}

/// The log of a run. The clients add to it, and the checker reads it at the end.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub sent: Mutex<Vec<Sent>>,
    pub steps: Mutex<Vec<Step>>,
    /// Responses that no rule allows, such as an internal error.
    pub surprises: Mutex<Vec<String>>,
    /// Requests of this round that had no response.
    pub unanswered: Mutex<Vec<Unanswered>>,
    round: AtomicUsize,
    numbers: AtomicU64,
}

/// A request that can be sent again, because it has a key.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered {
    pub tag: String,
    pub path: &'static str,
    pub message: Value,
}

impl Log {
    pub(crate) fn begin_round(&self, number: usize) {
        self.round.store(number, Ordering::Relaxed);
    }

    pub(crate) fn round(&self) -> usize {
        self.round.load(Ordering::Relaxed)
    }

    /// A number that is greater than all before it.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn sent(&self, sent: Sent) {
        self.sent.lock().unwrap().push(sent);
    }

    /// Records the response to a request that first had none, and was sent again.
    pub(crate) fn answered_at_last(&self, tag: &str, outcome: Outcome) {
        let mut sent = self.sent.lock().unwrap();
        let asked = sent.iter_mut().rev().find(|sent| sent.tag == tag);
        asked.expect("it was sent").outcome = outcome;
    }

    pub(crate) fn step(&self, agent: &str, act: Act) {
        self.steps.lock().unwrap().push(Step {
            round: self.round(),
            agent: agent.to_owned(),
            act,
        });
    }

    pub(crate) fn surprise(&self, what: impl fmt::Display) {
        let round = self.round();
        self.surprises.lock().unwrap().push(format!("round {round}: {what}"));
    }

    /// The records to check, when all clients have ended.
    pub(crate) fn records(&self) -> Records {
        Records {
            sent: self.sent.lock().unwrap().clone(),
            steps: self.steps.lock().unwrap().clone(),
            surprises: self.surprises.lock().unwrap().clone(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub sent: Vec<Sent>,
    pub steps: Vec<Step>,
    pub surprises: Vec<String>,
}
