//! What must always hold, held by the simulation: seeds by the hundred here, by the ten thousand in `scripts/simulate`.

use std::time::Duration;

use caxton::fipa::Performative;
use caxton::message::Message;
use caxton::simulation::{Ended, Faults, Simulation, Summary, Turn};

/// Seeds of one test, unless `SIMULATION_SEEDS` says otherwise.
const SEEDS: u64 = 200;

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str, otherwise: u64| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => otherwise,
    };
    let first = number("SIMULATION_FIRST_SEED", 0);
    first..first + number("SIMULATION_SEEDS", SEEDS)
}

/// Adds one for each message that is not an answer, and answers those that ask.
fn counter(message: &Message, turn: &mut Turn<'_>) -> Ended {
    let count = turn
        .get("count")
        .map_or(0, |bytes| String::from_utf8_lossy(&bytes).parse::<u64>().unwrap());
    turn.set("count", (count + 1).to_string());
    if message.performative.expects_reply() {
        turn.inform(count + 1);
    }
    Ended::Ok
}

/// Breaks now and then, says no now and then, sets timers, and hands some of what it is asked on to others.
fn erratic(message: &Message, turn: &mut Turn<'_>) -> Ended {
    if turn.chance(0.1) {
        return Ended::Crash("unreachable".to_owned());
    }
    if turn.chance(0.1) {
        return Ended::Error("not today".to_owned());
    }
    if message.performative == Performative::Request {
        if turn.chance(0.3) {
            turn.set_timer(Duration::from_millis(700));
        }
        if turn.chance(0.5) {
            turn.request("counter", "on behalf of another");
        }
        if turn.chance(0.1) {
            turn.request("nobody", "is there anyone?");
        }
        turn.inform("done");
    }
    Ended::Ok
}

fn world(seed: u64) -> Simulation {
    Simulation::new(seed)
        .agent("counter", 1, || counter)
        .agent("erratic", 1, || erratic)
        .agent("crowd", 2, || erratic)
        .agent("twins", 2, || counter)
}

fn run(make: impl Fn(u64) -> Simulation) -> Summary {
    let mut all = Summary::default();
    for seed in seeds() {
        let summary = make(seed).run().unwrap_or_else(|broken| panic!("{broken}"));
        // No increment is lost, by one instance or by several.
        for name in ["counter", "twins"] {
            if let Some(agent) = summary.agents.get(name) {
                let count = agent
                    .state
                    .get("count")
                    .map_or("0".into(), |count| String::from_utf8_lossy(count));
                assert_eq!(count, agent.turns.to_string(), "seed {seed}, {name}");
            }
        }
        all.messages += summary.messages;
        all.turns += summary.turns;
        all.dead_letters += summary.dead_letters;
        all.timers_fired += summary.timers_fired;
        all.kills += summary.kills;
    }
    println!("{all:?}");
    all
}

#[test]
fn what_must_always_hold_does_whatever_is_killed() {
    let all = run(world);
    assert!(
        all.turns > 0 && all.dead_letters > 0 && all.timers_fired > 0 && all.kills > 0,
        "{all:?}"
    );
}

#[test]
fn without_faults_nothing_is_lost_to_a_stop() {
    let all = run(|seed| {
        Simulation::new(seed)
            .agent("counter", 1, || counter)
            .faults(Faults::None)
    });
    assert!(all.turns > 0);
    assert_eq!((all.dead_letters, all.kills), (0, 0));
}

#[test]
fn a_seed_does_the_same_again() {
    for seed in [1, 7, 42] {
        assert_eq!(world(seed).run(), world(seed).run());
    }
}
