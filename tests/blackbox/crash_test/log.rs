//! What the clients know: what they asked for, and what they were told of it. The checker believes nothing else.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde_json::Value;

/// A message of a client. In the log of one sender and receiver they stand in the order in which they were sent, each after
/// the end of the one before.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    #[expect(dead_code, reason = "for people: a violation shows the whole record")]
    pub round: usize,
    /// The client's own name for it, in no other message.
    pub tag: String,
    pub what: What,
    pub sender: String,
    /// Name of the agent.
    pub receiver: String,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Counts one up in an agent that is always there.
    Count,
    /// The same in an agent that may be stopped or removed before it comes to it.
    Poke,
    /// Moves so much from one account to the other, by number.
    Pay {
        from: usize,
        to: usize,
        amount: u64,
    },
    /// Goes on so many times after its receiver.
    Token {
        hops: u64,
    },
    Number {
        chain: usize,
        n: u64,
    },
    /// Sets a timer that is due after so long.
    Alarm {
        micros: u64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Nobody said a word: it happened once or not at all.
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
    /// The id under which it was acknowledged.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Unknown | Self::Refused => None,
            Self::Acknowledged { id } | Self::Answered { id, .. } => Some(id),
        }
    }
}

/// One step in the life of an agent that comes and goes, in the order in which they were taken.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub round: usize,
    pub agent: String,
    pub act: Act,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Asked(Operation, Answered),
    /// How it was found after a restart of the server.
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
    /// What a restart must not leave behind: draining, failed.
    Else,
}

/// All of it. Clients add to it while the checker waits.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub sent: Mutex<Vec<Sent>>,
    pub steps: Mutex<Vec<Step>>,
    /// Answers that no rule allows, such as an internal error.
    pub surprises: Mutex<Vec<String>>,
    /// Requests of this round that nobody answered.
    pub unanswered: Mutex<Vec<Unanswered>>,
    round: AtomicUsize,
    numbers: AtomicU64,
}

/// A request that can be sent again, by its key.
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

    /// A number above all before.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn sent(&self, sent: Sent) {
        self.sent.lock().unwrap().push(sent);
    }

    /// What a request that nobody had answered was told when it came again.
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

    /// What is to be checked, once all clients have ended.
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
