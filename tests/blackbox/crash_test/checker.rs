//! The checker compares what the clients recorded with the history and with the agents. It is pure, so that it can be tested itself.

mod agents;
mod churn;
mod messages;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use super::log::Records;
use super::world::{READER, Told, World};

/// The rules that a run can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// Every acknowledged message is in the history.
    NothingIsLost,
    /// A message is in the history at most once, and takes effect at most once.
    NothingIsTwice,
    /// The history has only messages that were sent, unchanged, and none that was refused.
    NothingIsInvented,
    /// When nothing is in flight, each message was handled, or was given up because its receiver was stopped or removed.
    AllIsHandled,
    /// Each request has one reply, and the client got the reply that is in the history.
    OneAnswer,
    /// The replies of a counter are the numbers from 1 on, and its state is the last of them.
    CountersCount,
    /// The sum of all balances stays, and each account has what it was paid.
    MoneyStays,
    /// A token makes exactly the hops for which it was sent.
    TokensArrive,
    /// Messages of one sender to one receiver are handled in the order in which they were sent.
    OrderIsKept,
    /// An agent has the status that its last acknowledged operation gave it.
    ChurnIsKept,
    /// The server gives no unexpected response.
    NoSurprise,
}

#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub rule: Rule,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

/// Collects violations.
#[derive(Debug, Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, rule: Rule, detail: impl fmt::Display) {
        let detail = detail.to_string();
        self.0.push(Violation { rule, detail });
    }

    fn hold(&mut self, rule: Rule, holds: bool, detail: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, detail());
        }
    }
}

/// The history without the reader's own messages, and with indexes.
struct History<'a> {
    told: Vec<&'a Told>,
    /// The clients' messages, by their tags.
    by_tag: BTreeMap<&'a str, Vec<&'a Told>>,
    /// The replies to each tag.
    answers: BTreeMap<&'a str, Vec<&'a Told>>,
    /// The messages to agents that each message caused, by the id of the message.
    caused: BTreeMap<&'a str, Vec<&'a Told>>,
}

impl Told {
    /// Whether the receiver's turn ended in an error, or the receiver ended before it.
    fn has_failed(&self) -> bool {
        matches!(self.status.as_str(), "failed" | "dead")
    }

    fn is_of_client(&self) -> bool {
        self.sender.starts_with("client:")
    }

    fn is_for_client(&self) -> bool {
        self.receiver.starts_with("client:")
    }
}

impl<'a> History<'a> {
    fn of(world: &'a World) -> Self {
        let told: Vec<_> = world
            .history
            .iter()
            .filter(|told| told.sender != READER && told.receiver != READER)
            .collect();
        let (mut by_tag, mut answers, mut caused) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let add = |index: &mut BTreeMap<&'a str, Vec<&'a Told>>, key: Option<&'a String>, told| {
            if let Some(key) = key {
                index.entry(key.as_str()).or_default().push(told);
            }
        };
        for &one in &told {
            if one.is_of_client() {
                add(&mut by_tag, one.tag.as_ref(), one);
            }
            if one.is_for_client() {
                add(&mut answers, one.answers.as_ref(), one);
            } else {
                add(&mut caused, one.cause.as_ref(), one);
            }
        }
        Self {
            told,
            by_tag,
            answers,
            caused,
        }
    }

    fn at<'b>(index: &'b BTreeMap<&'a str, Vec<&'a Told>>, key: &str) -> &'b [&'a Told] {
        index.get(key).map_or(&[], Vec::as_slice)
    }

    fn sent_as(&self, tag: &str) -> &[&'a Told] {
        Self::at(&self.by_tag, tag)
    }

    fn answers_to(&self, tag: &str) -> &[&'a Told] {
        Self::at(&self.answers, tag)
    }

    fn caused_by(&self, id: &str) -> &[&'a Told] {
        Self::at(&self.caused, id)
    }
}

pub(crate) fn check(records: &Records, world: &World) -> Vec<Violation> {
    let mut findings = Findings::default();
    let history = History::of(world);
    messages::check(records, &history, &mut findings);
    agents::counters(world, &history, &mut findings);
    agents::accounts(records, world, &history, &mut findings);
    agents::tokens(records, world, &history, &mut findings);
    agents::alarms(records, world, &history, &mut findings);
    agents::chains(records, world, &history, &mut findings);
    churn::check(&records.steps, &mut findings);
    for surprise in &records.surprises {
        findings.add(Rule::NoSurprise, surprise);
    }
    findings.0
}
