//! Checks the state of the agents at the end.

use std::collections::BTreeMap;

use super::super::agents::OPENING_BALANCE;
use super::super::log::{Records, What};
use super::super::workloads::{LINKS, WATCHER, account, link, ring};
use super::super::world::{Told, World, is_timer};
use super::{Findings, History, Rule};

/// The replies of each counter are the numbers from 1 on, one for each request that it handled.
pub(super) fn counters(world: &World, history: &History<'_>, findings: &mut Findings) {
    let mut counts: BTreeMap<&str, (&str, Vec<u64>)> = BTreeMap::new();
    for told in &history.told {
        if let Some(count) = told
            .tag
            .as_deref()
            .and_then(|tag| count_of(told, history.answers_to(tag)))
        {
            let of = counts.entry(&told.receiver_id).or_insert((&told.receiver, Vec::new()));
            of.1.push(count);
        }
    }
    for (id, (name, counts)) in &mut counts {
        counts.sort_unstable();
        let wrong = counts.iter().zip(1..).find(|(count, n)| **count != *n);
        findings.hold(Rule::CountersCount, wrong.is_none(), || {
            format!(
                "{name} ({id}) gave other numbers than 1 to {}: first {wrong:?}",
                counts.len()
            )
        });
    }
    for (name, high) in &world.counts {
        let handled = counts
            .values()
            .find(|(of, _)| of == name)
            .map_or(0, |(_, counts)| counts.len());
        findings.hold(Rule::CountersCount, *high == handled as u64, || {
            format!("{name} is at {high} and handled {handled} requests")
        });
    }
}

/// The number in a counter's reply to a request.
fn count_of(told: &Told, answers: &[&Told]) -> Option<u64> {
    let counts = told.is_of_client() && told.performative == "request" && told.content.is_null();
    let answer = answers
        .first()
        .filter(|answer| counts && answer.performative == "inform")?;
    answer.content.as_u64()
}

/// Each payment in the history moved its amount once.
pub(super) fn accounts(records: &Records, world: &World, history: &History<'_>, findings: &mut Findings) {
    let mut expected: BTreeMap<String, u64> = world
        .balances
        .keys()
        .map(|name| (name.clone(), OPENING_BALANCE))
        .collect();
    for sent in &records.sent {
        let What::Pay { from, to, amount } = sent.what else {
            continue;
        };
        for told in history.sent_as(&sent.tag).iter().take(1) {
            *expected.entry(account(from)).or_default() -= amount;
            *expected.entry(account(to)).or_default() += amount;
            let credits = history.caused_by(&told.id);
            let right = matches!(credits, [one] if one.receiver == account(to) && one.content["credit"] == amount);
            findings.hold(Rule::MoneyStays, right, || format!("{sent:?} caused {credits:?}"));
        }
    }
    for (name, balance) in &world.balances {
        let right = expected[name];
        findings.hold(Rule::MoneyStays, *balance == right, || {
            format!("{name} holds {balance}, and was paid to hold {right}")
        });
    }
    let sum: u64 = world.balances.values().sum();
    let opening = OPENING_BALANCE * world.balances.len() as u64;
    findings.hold(Rule::MoneyStays, sum == opening, || {
        format!("all accounts together hold {sum}, and held {opening} at first")
    });
}

/// Each timer that was set fired once.
pub(super) fn alarms(records: &Records, world: &World, history: &History<'_>, findings: &mut Findings) {
    for (name, counted) in &world.fired {
        let set = records.sent.iter().filter(|sent| {
            let answers = history.answers_to(&sent.tag);
            let alarm = matches!(sent.what, What::Alarm { .. }) && sent.receiver == *name;
            alarm && answers.iter().any(|answer| is_timer(&answer.content))
        });
        let set = set.count() as u64;
        let fired = history
            .told
            .iter()
            .filter(|told| told.sender == "platform" && told.receiver == *name && told.content["timer"].is_u64());
        for (count, how) in [(fired.count() as u64, "fired for"), (*counted, "were counted by")] {
            let rule = if count < set {
                Rule::NothingIsLost
            } else {
                Rule::NothingIsTwice
            };
            findings.hold(rule, count == set, || {
                format!("{set} timers were set, and {count} {how} {name}")
            });
        }
    }
}

/// Each token in the history visited every member of the ring on its way once, and its arrival was reported once.
pub(super) fn tokens(records: &Records, world: &World, history: &History<'_>, findings: &mut Findings) {
    let mut ways: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
    for told in &history.told {
        ways.entry(&told.conversation).or_default().push(told);
    }
    let mut passed: BTreeMap<String, u64> = world.passed.keys().map(|name| (name.clone(), 0)).collect();
    for sent in &records.sent {
        let What::Token { hops } = sent.what else {
            continue;
        };
        let way = ways.get(sent.tag.as_str()).map_or(&[][..], Vec::as_slice);
        if history.sent_as(&sent.tag).is_empty() {
            findings.hold(Rule::TokensArrive, way.is_empty(), || {
                format!("{sent:?} did not happen and went {way:?}")
            });
            continue;
        }
        let mut places: Vec<_> = (0..=hops).map(|n| (ring(n), Some(hops - n))).collect();
        places.push((format!("client:{WATCHER}"), None));
        for (place, _) in places.iter().take_while(|(_, left)| left.is_some()) {
            *passed.entry(place.clone()).or_default() += 1;
        }
        let went: Vec<_> = way
            .iter()
            .map(|told| (told.receiver.clone(), told.content["left"].as_u64()))
            .collect();
        findings.hold(Rule::TokensArrive, went == places, || {
            format!("{sent:?} went {went:?} and should have gone {places:?}")
        });
    }
    findings.hold(Rule::TokensArrive, passed == world.passed, || {
        format!("tokens came by {passed:?} times, and the ring says {:?}", world.passed)
    });
}

/// Each number in the history passed through the chain once, after all numbers that were sent before it.
pub(super) fn chains(records: &Records, world: &World, history: &History<'_>, findings: &mut Findings) {
    let mut numbers: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for sent in &records.sent {
        if let What::Number { chain, n } = sent.what
            && !history.sent_as(&sent.tag).is_empty()
        {
            numbers.entry(chain).or_default().push(n);
        }
    }
    for (chain, numbers) in &numbers {
        for name in (0..LINKS).map(|n| link(*chain, n)) {
            let came: Vec<_> = history
                .told
                .iter()
                .filter(|told| told.receiver == name)
                .filter_map(|told| told.content["number"].as_u64())
                .collect();
            findings.hold(Rule::OrderIsKept, came.is_sorted(), || {
                let back = came.windows(2).find(|pair| pair[0] > pair[1]);
                format!("numbers came to {name} out of their order: {back:?}")
            });
            let says = world.links.get(&name);
            let right = says.is_some_and(|says| says.back == 0 && says.last == numbers.last().copied().unwrap_or(0));
            findings.hold(Rule::OrderIsKept, right, || {
                format!("{name} says {says:?}; the last number was {:?}", numbers.last())
            });
            let counted = says.map_or(0, |says| says.count);
            for (count, how) in [(came.len() as u64, "came to"), (counted, "were counted by")] {
                let all = numbers.len() as u64;
                let rule = if count < all {
                    Rule::NothingIsLost
                } else {
                    Rule::NothingIsTwice
                };
                findings.hold(rule, count == all, || {
                    format!("{all} numbers were sent down the chain, and {count} {how} {name}")
                });
            }
        }
    }
}
