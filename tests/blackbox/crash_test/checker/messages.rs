//! Checks each message.

use std::collections::{BTreeMap, BTreeSet};

use super::super::log::{Outcome, Records, Sent, What};
use super::{Findings, History, Rule};

pub(super) fn check(records: &Records, history: &History<'_>, findings: &mut Findings) {
    let mut ids = BTreeSet::new();
    for told in &history.told {
        findings.hold(Rule::NothingIsTwice, ids.insert(&told.id), || {
            format!("{} is in the history twice", told.id)
        });
    }
    let known: BTreeMap<_, _> = records.sent.iter().map(|sent| (sent.tag.as_str(), sent)).collect();
    for sent in &records.sent {
        sending(sent, history, findings);
        answering(sent, history, findings);
    }
    for told in &history.told {
        let asked = told.tag.as_deref().and_then(|tag| known.get(tag));
        if told.is_of_client() {
            findings.hold(Rule::NothingIsInvented, asked.is_some(), || {
                format!("no client sent {told:?}")
            });
        }
        let may_fail = asked.is_some_and(|sent| sent.what == What::Poke);
        let handled = told.status == "processed" || (told.has_failed() && may_fail);
        findings.hold(Rule::AllIsHandled, handled || told.is_for_client(), || {
            format!("at rest, {told:?}")
        });
        if told.performative == "failure" {
            let about = told.answers.as_deref().and_then(|tag| known.get(tag));
            let fair = about.is_some_and(|sent| sent.what == What::Poke);
            findings.hold(Rule::AllIsHandled, fair, || format!("a failure of nothing: {told:?}"));
        }
    }
    order_of_counts(records, history, findings);
}

/// An acknowledged message is in the history, and the history has it unchanged.
fn sending(sent: &Sent, history: &History<'_>, findings: &mut Findings) {
    let found = history.sent_as(&sent.tag);
    findings.hold(Rule::NothingIsTwice, found.len() <= 1, || {
        format!("{sent:?} is there as {found:?}")
    });
    if let Some(id) = sent.outcome.id() {
        let there = found.iter().any(|told| told.id == id);
        findings.hold(Rule::NothingIsLost, there, || {
            format!("{sent:?} was acknowledged and is not in the history")
        });
    }
    if sent.outcome == Outcome::Refused {
        findings.hold(Rule::NothingIsInvented, found.is_empty(), || {
            format!("{sent:?} is there as {found:?}")
        });
    }
    for told in found {
        let same = told.sender.strip_prefix("client:") == Some(sent.sender.as_str())
            && (told.receiver == sent.receiver || sent.what == What::Poke)
            && says_what_was_sent(sent, &told.content);
        findings.hold(Rule::NothingIsInvented, same, || format!("{sent:?} became {told:?}"));
    }
}

fn says_what_was_sent(sent: &Sent, content: &serde_json::Value) -> bool {
    match sent.what {
        What::Count | What::Poke => content.is_null(),
        What::Pay { amount, to, .. } => {
            content["amount"] == amount && content["pay"].as_str() == Some(&format!("account-{to}"))
        }
        What::Token { hops } => content["left"] == hops,
        What::Number { n, .. } => content["number"] == n,
        What::Alarm { micros } => *content == micros,
    }
}

/// A request in the history has one reply of its receiver, or one failure which says that it was given up.
fn answering(sent: &Sent, history: &History<'_>, findings: &mut Findings) {
    let answers = history.answers_to(&sent.tag);
    let [told] = history.sent_as(&sent.tag) else {
        findings.hold(Rule::OneAnswer, answers.is_empty(), || {
            format!("{sent:?} did not happen and is answered: {answers:?}")
        });
        return;
    };
    let asks = match sent.what {
        What::Count | What::Poke | What::Pay { .. } | What::Alarm { .. } => true,
        What::Token { .. } | What::Number { .. } => false,
    };
    if !asks {
        return;
    }
    let right = match answers {
        [answer] if told.has_failed() => answer.performative == "failure" && answer.sender == "platform",
        [answer] => {
            answer.performative == "inform" && answer.sender == told.receiver && answer.cause.as_ref() == Some(&told.id)
        }
        _ => false,
    };
    findings.hold(Rule::OneAnswer, right, || {
        format!("{sent:?}, {}, is answered so: {answers:?}", told.status)
    });
    if let (Outcome::Answered { content, .. }, [answer]) = (&sent.outcome, answers) {
        findings.hold(Rule::OneAnswer, *content == answer.content, || {
            format!("{sent:?} heard {content}, and the history says {answer:?}")
        });
    }
}

/// The replies of one counter to one client have rising numbers, in the order of the client's requests.
fn order_of_counts(records: &Records, history: &History<'_>, findings: &mut Findings) {
    let mut last: BTreeMap<(&str, &str), (u64, &Sent)> = BTreeMap::new();
    for sent in &records.sent {
        let ([told], [answer]) = (history.sent_as(&sent.tag), history.answers_to(&sent.tag)) else {
            continue;
        };
        let counts = matches!(sent.what, What::Count | What::Poke);
        let Some(count) = answer.content.as_u64().filter(|_| counts) else {
            continue;
        };
        let before = last.insert((&sent.sender, &told.receiver_id), (count, sent));
        findings.hold(Rule::OrderIsKept, before.is_none_or(|(n, _)| n < count), || {
            format!("{sent:?} was counted as {count}, and before it {before:?}")
        });
    }
}
