//! The effects of a turn and the calls that it may make: the host for tests follows the server's rules.

use std::time::Duration;

use caxton_agent::testing::{BEGINNING, End, MAX_DELIVERIES, Permission, TestHost, World};
use caxton_agent::{
    Agent, Content, Draft, Failure, Host, HostError, Level, Message, Performative, Result, TimerId, info,
};
use serde::{Deserialize, Serialize};

/// Follows the orders in its messages.
#[derive(Debug)]
struct Puppet {
    /// How many messages this instance has seen.
    seen: u32,
}

#[derive(Serialize, Deserialize)]
enum Order {
    /// Changes everything that a turn can change, and ends as given.
    Change(Ending),
    /// Replies with the number of messages that this instance has seen.
    Seen,
    Cancel(TimerId),
    Every(u64),
    Use(Call),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Ending {
    Well,
    Error,
    /// Panics at the first so many deliveries.
    Panic(u32),
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
enum Call {
    Send,
    SendBack,
    Reply,
    State,
    Random,
    Timers,
    Environment,
    Directory,
}

impl Agent for Puppet {
    fn init(host: &mut Host) -> Result<Self> {
        if host.variable("BROKEN").is_ok_and(|value| value.is_some()) {
            return Err("broken".into());
        }
        Ok(Self { seen: 0 })
    }

    fn handle(&mut self, message: &Message, host: &mut Host) -> Result {
        self.seen += 1;
        match message.content()? {
            Order::Change(ending) => {
                host.set("changed", &true)?;
                host.after(Duration::from_secs(1))?;
                host.send(Draft::new(Performative::Inform, "somebody"))?;
                host.inform("done")?;
                info!(host, "delivery {}", message.delivery_attempt);
                match ending {
                    Ending::Panic(until) if message.delivery_attempt <= until => panic!("as told"),
                    Ending::Error => return Err("as told".into()),
                    Ending::Well | Ending::Panic(_) => {}
                }
            }
            Order::Seen => host.inform(&self.seen)?,
            Order::Cancel(timer) => {
                let there = host.cancel(timer)?;
                host.inform(&there)?;
            }
            Order::Every(millis) => {
                let timer = host.every(Duration::from_millis(millis))?;
                host.inform(&timer)?;
            }
            Order::Use(call) => attempt(call, message, host)?,
        }
        Ok(())
    }

    fn timer(&mut self, id: TimerId, host: &mut Host) -> Result {
        let at = host.monotonic();
        host.send(Draft::to_all(Performative::Inform, "clock").content(&(id, at))?)?;
        Ok(())
    }

    fn shutdown(&mut self, host: &mut Host) {
        host.set("farewell", &self.seen).expect("state is permitted");
        assert_ne!(self.seen, 2, "two is too many");
    }
}

fn attempt(call: Call, message: &Message, host: &mut Host) -> Result<(), HostError> {
    match call {
        Call::Send => host.send(Draft::to_one(Performative::Inform, "tailor")),
        Call::SendBack => host.send(Draft::answer(Performative::Inform, message)),
        Call::Reply => host.inform("here"),
        Call::State => host.set("used", &1),
        Call::Random => host.random_u32().map(drop),
        Call::Timers => host.after(Duration::ZERO).map(drop),
        Call::Environment => host.variables().map(drop),
        Call::Directory => host.find("tailor").map(drop),
    }
}

fn start() -> TestHost<Puppet> {
    TestHost::start().expect("it starts")
}

fn order(order: &Order) -> Draft {
    Draft::new(Performative::Request, "puppet")
        .content(order)
        .expect("JSON")
}

fn seen(puppet: &mut TestHost<Puppet>) -> u32 {
    let answer = puppet.deliver("ann", order(&Order::Seen)).only();
    answer.content.read().expect("a number")
}

#[test]
fn a_turn_that_ends_well_has_all_its_effects() {
    let mut puppet = start();
    let turn = puppet.deliver("ann", order(&Order::Change(Ending::Well)));
    assert_eq!(turn.log, [(Level::Info, "delivery 1".into())]);
    let receivers: Vec<_> = turn.ok().into_iter().flat_map(|draft| draft.receivers).collect();
    assert_eq!(receivers, ["somebody", "ann"]);
    assert_eq!(puppet.state("changed"), Some(true));
    assert_eq!(puppet.timers(), [(TimerId(1), BEGINNING + Duration::from_secs(1))]);
}

#[test]
fn a_turn_that_ends_in_error_has_none_and_is_over() {
    let mut puppet = start();
    let turn = puppet.deliver("ann", order(&Order::Change(Ending::Error)));
    assert_eq!(turn.end, End::Failed("as told".into()));
    assert_eq!(turn.log.len(), 1, "lines are kept");
    assert!(turn.sent.is_empty() && puppet.timers().is_empty());
    assert_eq!(puppet.state::<bool>("changed"), None);
    assert_eq!(seen(&mut puppet), 2, "the instance is the same");
}

#[test]
fn a_turn_that_crashes_has_none_and_a_new_instance_gets_the_message_again() {
    let mut puppet = start();
    assert_eq!(seen(&mut puppet), 1);
    let turn = puppet.deliver("ann", order(&Order::Change(Ending::Panic(1))));
    assert_eq!(turn.log.len(), 2);
    assert_eq!(turn.ok().len(), 2, "of the second delivery alone");
    assert_eq!(puppet.timers().len(), 1);
    assert_eq!(seen(&mut puppet), 2, "the instance is a new one");
}

#[test]
fn a_message_that_crashes_each_time_is_given_up() {
    let mut puppet = start();
    let turn = puppet.deliver("ann", order(&Order::Change(Ending::Panic(u32::MAX))));
    assert_eq!(turn.end, End::Crashed("as told".into()));
    assert_eq!(turn.log.len(), MAX_DELIVERIES as usize);
    assert!(turn.sent.is_empty() && puppet.timers().is_empty());
    assert_eq!(seen(&mut puppet), 1);
}

#[test]
fn an_answer_goes_where_the_message_says_and_joins_its_conversation() {
    let mut puppet = start();
    let message = order(&Order::Use(Call::Reply))
        .reply_to("bob")
        .conversation_id("talk")
        .reply_with("1")
        .protocol("fipa-request");
    let answer = puppet.deliver("ann", message).only();
    assert_eq!(answer.receivers, ["bob"]);
    assert_eq!(answer.conversation_id.as_deref(), Some("talk"));
    assert_eq!(answer.in_reply_to.as_deref(), Some("1"));
    assert_eq!(answer.protocol.as_deref(), Some("fipa-request"));
    assert_eq!(answer.content, Content::Json("\"here\"".into()));
}

#[test]
fn a_last_turn_takes_effect_unless_it_panics_and_is_had_once() {
    let mut puppet = start();
    puppet.deliver("ann", order(&Order::Seen)).ok();
    puppet.shut_down().ok();
    assert_eq!(puppet.state("farewell"), Some(1));
    for _ in 0..2 {
        puppet.deliver("ann", order(&Order::Seen)).ok();
    }
    assert!(matches!(puppet.shut_down().end, End::Crashed(_)));
    assert_eq!(puppet.state("farewell"), Some(1), "of the turn that ended well");
}

#[test]
fn timers_fire_in_their_order_each_at_its_time_and_outlive_the_instance() {
    let mut puppet = start();
    let every = puppet.deliver("ann", order(&Order::Every(400))).only();
    let every: TimerId = every.content.read().expect("a timer");
    puppet.deliver("ann", order(&Order::Change(Ending::Well))).ok();
    puppet.restart();
    let fired: Vec<(TimerId, Duration)> = puppet
        .advance(Duration::from_millis(1250))
        .into_iter()
        .map(|turn| turn.only().content.read().expect("a timer and its time"))
        .collect();
    let at = |id, millis| (TimerId(id), Duration::from_millis(millis));
    assert_eq!(fired, [at(1, 400), at(1, 800), at(2, 1000), at(1, 1200)]);

    for there in [true, false] {
        let answer = puppet.deliver("ann", order(&Order::Cancel(every))).only();
        assert_eq!(answer.content.read::<bool>().expect("yes or no"), there);
    }
    assert_eq!(puppet.advance(Duration::from_secs(60)), []);
}

#[test]
fn what_is_denied_fails_and_answers_are_always_permitted() {
    let calls = [
        (Permission::Message, Call::Send, "send"),
        (Permission::State, Call::State, "state.set"),
        (Permission::Random, Call::Random, "random"),
        (Permission::Timers, Call::Timers, "timer.set-once"),
        (Permission::Environment, Call::Environment, "environment"),
        (Permission::Directory, Call::Directory, "directory"),
    ];
    for (denied, ..) in calls {
        let mut puppet = World::new().deny(denied).start::<Puppet>().expect("it starts");
        for (permission, call, name) in calls {
            let end = puppet.deliver("ann", order(&Order::Use(call))).end;
            if permission == denied {
                assert_eq!(end, End::Failed(format!("{name}: not permitted")));
            } else {
                assert_eq!(end, End::Ok, "{call:?} without {denied:?}");
            }
        }
        for call in [Call::SendBack, Call::Reply] {
            puppet.deliver("ann", order(&Order::Use(call))).only();
        }
    }
}

#[test]
fn a_failed_init_is_a_failed_start() {
    let broken = World::new().variable("BROKEN", "yes").start::<Puppet>();
    assert_eq!(broken.expect_err("it does not start").to_string(), "broken");
}

/// Runs one of [`SCRIPTS`] as a turn.
struct Script;

impl Agent for Script {
    fn init(host: &mut Host) -> Result<Self> {
        info!(host, "in init");
        host.set("ready", &true)?;
        host.send(Draft::new(Performative::Inform, "mother"))?;
        Ok(Self)
    }

    fn handle(&mut self, message: &Message, host: &mut Host) -> Result {
        SCRIPTS[message.content::<usize>()?](host)
    }
}

const SCRIPTS: &[fn(&mut Host) -> Result] = &[
    drafts_are_checked,
    state_is_typed,
    others_are_found,
    no_timer_of_its_own,
];

fn drafts_are_checked(host: &mut Host) -> Result {
    let mut nobody = Draft::new(Performative::Inform, "nobody");
    nobody.receivers.clear();
    let call = || Draft::new(Performative::Cfp, "seller");
    let named = |name| Draft::new(Performative::Inform, "seller").extension(name, &1);
    for (draft, fault) in [(nobody, "receiver"), (call(), "reply_by"), (named("trace")?, "x_")] {
        let refused = host.send(draft);
        assert!(
            matches!(&refused, Err(HostError::Malformed("send", why)) if why.contains(fault)),
            "{refused:?}"
        );
    }
    host.send(call().reply_by(host.now()))?;
    Ok(host.send(named("x_trace")?)?)
}

fn state_is_typed(host: &mut Host) -> Result {
    host.set("a/1", &("one", 1))?;
    host.set_bytes("a/2", b"no JSON")?;
    host.set("b", &Vec::<u8>::new())?;
    assert_eq!(host.get("a/1")?, Some(("one".to_owned(), 1)));
    assert_eq!(host.get::<bool>("a")?, None);
    for (key, wrong) in [("a/1", "invalid type"), ("a/2", "expected ident")] {
        let read = host.get::<bool>(key);
        assert!(
            matches!(&read, Err(HostError::Malformed("state.get", why)) if why.contains(wrong)),
            "{read:?}"
        );
    }
    assert_eq!(host.keys("a/")?, ["a/1", "a/2"]);
    assert!(host.delete("a/1")? && !host.delete("a/1")?);
    assert_eq!(host.keys("")?, ["a/2", "b", "ready"]);
    Ok(())
}

fn others_are_found(host: &mut Host) -> Result {
    let found = host.find("tailor")?;
    let names: Vec<_> = found.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(names, ["ada", "zoe"]);
    assert_eq!(host.variable("TOKEN")?.as_deref(), Some("secret"));
    assert_eq!(host.variables()?, ["TOKEN"]);
    let random = [host.random_bytes(16)?, host.random_bytes(16)?];
    assert_ne!(random[0], random[1]);
    Ok(())
}

fn no_timer_of_its_own(host: &mut Host) -> Result {
    host.after(Duration::from_secs(1))?;
    Ok(())
}

#[test]
fn what_the_host_takes_and_gives_is_checked() -> Result<(), Failure> {
    let mut agent = World::new()
        .variable("TOKEN", "secret")
        .agent("zoe", &["tailor"])
        .agent("ada", &["baker", "tailor"])
        .agent("eve", &["baker"])
        .start::<Script>()?;
    for script in 0..SCRIPTS.len() {
        let turn = agent.deliver("ann", Draft::new(Performative::Request, "script").content(&script)?);
        assert_eq!((&turn.end, turn.log.len()), (&End::Ok, 0), "init is no part of a turn");
    }
    assert_eq!(agent.state("ready"), Some(true), "and what it stores lasts");
    let fired = agent.advance(Duration::from_secs(1)).remove(0);
    assert!(matches!(fired.end, End::Failed(why) if why.contains("no `timer`")));
    Ok(())
}

#[test]
fn bytes_are_content_too_and_no_json() {
    let bytes = Content::Bytes {
        content_type: "image/png".into(),
        data: vec![1],
    };
    let error = bytes.read::<u8>().expect_err("it is no JSON").to_string();
    assert!(error.contains("image/png"), "{error}");
}
