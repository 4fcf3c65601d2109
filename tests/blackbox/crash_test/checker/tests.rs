//! Tests of the checker: it finds no violation in a good run, and in a run with one fault it finds exactly that.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::agents::OPENING_BALANCE;
use super::super::log::{Act, Answered, Life, Operation, Outcome, Records, Sent, Step, What};
use super::super::world::{Link, Told, World};
use super::{Rule, check};

/// A run: the records of the clients, and the world at the end.
struct Run {
    records: Records,
    world: World,
}

impl Run {
    fn told(&mut self, sender: &str, receiver: &str, performative: &str, content: Value) -> &mut Told {
        let id = format!("m{}", self.world.history.len());
        self.world.history.push(Told {
            id,
            sender: sender.to_owned(),
            receiver: receiver.to_owned(),
            receiver_id: format!("id of {receiver}"),
            performative: performative.to_owned(),
            conversation: "talk".to_owned(),
            tag: None,
            answers: None,
            cause: None,
            status: "processed".to_owned(),
            content,
        });
        self.world.history.last_mut().unwrap()
    }

    /// Adds an acknowledged message of a client, and returns its id.
    fn sent(&mut self, tag: &str, receiver: &str, what: What, content: Value) -> String {
        let asks = !matches!(what, What::Token { .. } | What::Number { .. });
        let act = if asks { "request" } else { "inform" };
        let told = self.told("client:me", receiver, act, content);
        told.tag = Some(tag.to_owned());
        let id = told.id.clone();
        self.records.sent.push(Sent {
            round: 1,
            tag: tag.to_owned(),
            what,
            sender: "me".to_owned(),
            receiver: receiver.to_owned(),
            outcome: Outcome::Acknowledged { id: id.clone() },
        });
        id
    }

    fn answered(&mut self, tag: &str, id: &str, sender: &str, content: Value) {
        let answer = self.told(sender, "client:me", "inform", content);
        answer.answers = Some(tag.to_owned());
        answer.cause = Some(id.to_owned());
    }

    /// A good run with a message of each kind.
    fn good() -> Self {
        let (records, world) = (Records::default(), World::default());
        let mut run = Self { records, world };
        for (count, tag) in [(1, "first"), (2, "second")] {
            let id = run.sent(tag, "counter-0", What::Count, json!(null));
            run.answered(tag, &id, "counter-0", json!(count));
        }
        let content = json!(2);
        run.sent_mut("second").outcome = Outcome::Answered {
            id: run.history("second").id.clone(),
            content,
        };
        run.world.counts.insert("counter-0".to_owned(), 2);

        let (from, to, amount) = (0, 1, 30);
        let pay = What::Pay { from, to, amount };
        let id = run.sent("pay", "account-0", pay, json!({"amount": 30, "pay": "account-1"}));
        run.told("account-0", "account-1", "inform", json!({"credit": 30}))
            .cause = Some(id.clone());
        run.answered("pay", &id, "account-0", json!(30));
        let balances = [OPENING_BALANCE - 30, OPENING_BALANCE + 30];
        let accounts = ["account-0", "account-1"].map(str::to_owned);
        run.world.balances = accounts.into_iter().zip(balances).collect();

        run.sent("token", "ring-0", What::Token { hops: 1 }, json!({"left": 1}));
        run.told("ring-0", "ring-1", "inform", json!({"left": 0}));
        run.told("ring-1", "client:watcher", "inform", json!("arrived"));
        for told in run.world.history.iter_mut().rev().take(3) {
            told.conversation = "token".to_owned();
        }
        run.world.passed = [("ring-0".to_owned(), 1), ("ring-1".to_owned(), 1)].into();

        for n in [5, 7] {
            let what = What::Number { chain: 0, n };
            run.sent(&format!("number {n}"), "chain-0-0", what, json!({"number": n}));
            run.told("chain-0-0", "chain-0-1", "inform", json!({"number": n}));
            run.told("chain-0-1", "chain-0-2", "inform", json!({"number": n}));
        }
        let (last, count, back) = (7, 2, 0);
        let links = (0..3).map(|n| (format!("chain-0-{n}"), Link { last, count, back }));
        run.world.links = links.collect();

        let id = run.sent("alarm", "alarm-0", What::Alarm { micros: 9 }, json!(9));
        run.answered("alarm", &id, "alarm-0", json!(1));
        run.told("platform", "alarm-0", "inform", json!({"timer": 1}));
        run.world.fired.insert("alarm-0".to_owned(), 1);

        let id = run.sent("poke", "guest-0-0", What::Poke, json!(null));
        run.history_mut("poke").status = "failed".to_owned();
        run.answered("poke", &id, "platform", json!({"reason": "gone"}));
        run.world.history.last_mut().unwrap().performative = "failure".to_owned();
        run.step(Act::Asked(Operation::Deploy, Answered::Done));
        run.step(Act::Found(Life::Running));
        run
    }

    fn step(&mut self, act: Act) {
        let agent = "guest-0-0".to_owned();
        self.records.steps.push(Step { round: 1, agent, act });
    }

    fn sent_mut(&mut self, tag: &str) -> &mut Sent {
        self.records.sent.iter_mut().find(|sent| sent.tag == tag).unwrap()
    }

    fn place(&self, tag: &str) -> usize {
        let at = |told: &Told| told.tag.as_deref() == Some(tag);
        self.world.history.iter().position(at).unwrap()
    }

    fn history(&self, tag: &str) -> &Told {
        &self.world.history[self.place(tag)]
    }

    fn history_mut(&mut self, tag: &str) -> &mut Told {
        let place = self.place(tag);
        &mut self.world.history[place]
    }

    /// Removes the messages from the history that `which` picks.
    fn without(&mut self, which: impl Fn(&Told) -> bool) {
        self.world.history.retain(|told| !which(told));
    }

    fn broken(&self) -> BTreeSet<Rule> {
        check(&self.records, &self.world)
            .iter()
            .map(|violation| violation.rule)
            .collect()
    }
}

/// Checks that a good run breaks exactly these rules after `spoil` changed it.
#[track_caller]
fn breaks(rules: &[Rule], spoil: impl FnOnce(&mut Run)) {
    let mut run = Run::good();
    spoil(&mut run);
    let found = check(&run.records, &run.world);
    assert_eq!(run.broken(), rules.iter().copied().collect(), "{found:#?}");
}

#[test]
fn a_good_run_breaks_no_rule() {
    breaks(&[], |_| {});
}

#[test]
fn what_nobody_answered_may_have_happened_or_not() {
    breaks(&[], |run| run.sent_mut("first").outcome = Outcome::Unknown);
    breaks(&[], |run| {
        let mut sent = run.sent_mut("first").clone();
        (sent.tag, sent.outcome) = ("cut off".to_owned(), Outcome::Unknown);
        run.records.sent.push(sent);
    });
}

#[test]
fn a_message_that_was_acknowledged_and_is_not_there_is_lost() {
    breaks(&[Rule::NothingIsLost], |run| {
        run.without(|told| told.tag.as_deref() == Some("second") || told.answers.as_deref() == Some("second"));
        run.world.counts.insert("counter-0".to_owned(), 1);
    });
    breaks(&[Rule::NothingIsLost], |run| {
        let id = "another".to_owned();
        run.sent_mut("first").outcome = Outcome::Acknowledged { id };
    });
}

#[test]
fn a_message_that_is_there_twice_is_found() {
    breaks(&[Rule::NothingIsTwice], |run| {
        let mut again = run.history("number 7").clone();
        again.id = "another".to_owned();
        run.world.history.push(again);
    });
    breaks(&[Rule::NothingIsTwice], |run| {
        let told = run.told("chain-0-2", "nobody", "inform", json!(null));
        told.id = "m0".to_owned();
    });
}

#[test]
fn an_effect_that_happened_twice_is_found() {
    breaks(&[Rule::CountersCount], |run| {
        run.world.counts.insert("counter-0".to_owned(), 3);
    });
    breaks(&[Rule::NothingIsTwice], |run| {
        run.world.links.get_mut("chain-0-1").unwrap().count = 3;
    });
}

#[test]
fn what_was_refused_or_never_sent_and_is_there_is_invented() {
    breaks(&[Rule::NothingIsInvented], |run| {
        run.sent_mut("first").outcome = Outcome::Refused;
    });
    breaks(&[Rule::NothingIsInvented], |run| {
        run.told("client:stranger", "guest-0-0", "inform", json!(1));
    });
    breaks(&[Rule::NothingIsInvented], |run| {
        run.history_mut("pay").content["amount"] = json!(31);
    });
}

#[test]
fn a_message_that_rests_unhandled_is_found() {
    breaks(&[Rule::AllIsHandled], |run| {
        run.history_mut("token").status = "delivered".to_owned();
    });
    breaks(&[Rule::AllIsHandled], |run| {
        let failure = run.told("platform", "account-0", "failure", json!({"reason": "overloaded"}));
        failure.answers = Some("pay".to_owned());
    });
}

#[test]
fn a_request_without_an_answer_or_with_two_is_found() {
    breaks(&[Rule::OneAnswer], |run| {
        run.without(|told| told.answers.as_deref() == Some("pay"));
    });
    breaks(&[Rule::OneAnswer], |run| {
        let id = run.history("pay").id.clone();
        run.answered("pay", &id, "account-0", json!(30));
    });
    breaks(&[Rule::OneAnswer], |run| {
        run.without(|told| told.performative == "failure");
    });
    breaks(&[Rule::OneAnswer], |run| {
        let (id, content) = (run.history("second").id.clone(), json!(3));
        run.sent_mut("second").outcome = Outcome::Answered { id, content };
    });
}

#[test]
fn a_counter_that_gives_a_number_twice_is_found() {
    let again = |run: &mut Run| {
        let of_first = |told: &&mut Told| told.answers.as_deref() == Some("first");
        let answer = run.world.history.iter_mut().find(of_first).unwrap();
        answer.content = json!(2);
    };
    breaks(&[Rule::CountersCount, Rule::OrderIsKept], again);
}

#[test]
fn money_that_is_made_or_lost_or_sent_elsewhere_is_found() {
    breaks(&[Rule::MoneyStays], |run| {
        *run.world.balances.get_mut("account-1").unwrap() -= 30;
    });
    // The sum is right, but the accounts are wrong.
    breaks(&[Rule::MoneyStays], |run| {
        *run.world.balances.get_mut("account-0").unwrap() += 30;
        *run.world.balances.get_mut("account-1").unwrap() -= 30;
    });
    breaks(&[Rule::MoneyStays], |run| {
        run.without(|told| told.content["credit"] == 30);
    });
}

#[test]
fn a_token_that_stops_on_its_way_or_goes_on_is_found() {
    breaks(&[Rule::TokensArrive], |run| {
        run.without(|told| told.receiver == "client:watcher");
    });
    breaks(&[Rule::TokensArrive], |run| {
        run.told("ring-1", "ring-0", "inform", json!({"left": 0})).conversation = "token".to_owned();
    });
    breaks(&[Rule::TokensArrive], |run| {
        *run.world.passed.get_mut("ring-1").unwrap() += 1;
    });
}

#[test]
fn a_timer_that_does_not_fire_or_fires_twice_is_found() {
    breaks(&[Rule::NothingIsLost], |run| {
        run.without(|told| told.content["timer"] == 1);
    });
    breaks(&[Rule::NothingIsTwice], |run| {
        run.told("platform", "alarm-0", "inform", json!({"timer": 1}));
    });
    breaks(&[Rule::NothingIsTwice], |run| {
        run.world.fired.insert("alarm-0".to_owned(), 2);
    });
}

#[test]
fn messages_that_overtake_each_other_are_found() {
    breaks(&[Rule::OrderIsKept], |run| {
        let (first, second) = (run.place("number 5"), run.place("number 7"));
        run.world.history.swap(first, second);
    });
    breaks(&[Rule::OrderIsKept], |run| {
        run.world.links.get_mut("chain-0-2").unwrap().back = 1;
    });
    // The counter counted the second one first.
    breaks(&[Rule::OrderIsKept], |run| {
        run.sent_mut("second").outcome = Outcome::Unknown;
        for told in &mut run.world.history {
            if told.sender == "counter-0" {
                told.content = json!(3 - told.content.as_u64().unwrap());
            }
        }
    });
}

#[test]
fn a_number_that_is_lost_on_its_way_is_found() {
    breaks(&[Rule::NothingIsLost], |run| {
        run.without(|told| told.receiver == "chain-0-2" && told.content["number"] == 5);
        run.world.links.get_mut("chain-0-2").unwrap().count = 1;
    });
}

#[test]
fn an_agent_that_is_not_where_it_was_put_is_found() {
    use Answered::{Done, Refused, Unknown};
    use Operation::{Remove, Start, Stop};
    let cases: [(Operation, Answered, &[Life]); 6] = [
        (Stop, Done, &[Life::Stopped]),
        (Stop, Unknown, &[Life::Running, Life::Stopped]),
        (Start, Refused, &[Life::Running]),
        (Start, Done, &[Life::Running]),
        (Remove, Done, &[Life::Absent]),
        (Remove, Unknown, &[Life::Running, Life::Stopped, Life::Absent]),
    ];
    for (operation, answered, right) in cases {
        for life in [Life::Absent, Life::Running, Life::Stopped, Life::Else] {
            let rules: &[_] = if right.contains(&life) {
                &[]
            } else {
                &[Rule::ChurnIsKept]
            };
            breaks(rules, |run| {
                run.step(Act::Asked(operation, answered));
                run.step(Act::Found(life));
            });
        }
    }
}

#[test]
fn an_answer_without_a_reason_is_found() {
    breaks(&[Rule::NoSurprise], |run| run.records.surprises.push("500".to_owned()));
}
