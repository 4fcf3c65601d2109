//! The crash test: clients send requests, a random fault ends the server, and it is restarted, round after round. At the end a
//! checker compares the responses to the clients with the history and the state of the agents. `scripts/crash-test` runs more rounds.

mod agents;
mod checker;
mod churn;
mod log;
mod schedule;
mod workloads;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use self::log::{Act, Answered, Log, Outcome, Records};
use self::schedule::Round;
use self::world::World;
use crate::harness::TestNode;

/// The default number of rounds.
const ROUNDS: usize = 10;
/// The most violations that are printed. A broken rule often causes many.
const PRINTED: usize = 40;

/// How many recoveries at the beginning and at the end of a run are compared: a growing history must not slow them down.
const ENDS: usize = 10;

/// A number from an environment variable. Its name has no prefix `CAXTON_`, because the server reads those as its configuration.
fn from_environment<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse().ok();
    assert!(number.is_some(), "{variable} is no number: {text}");
    number
}

/// The time from the end of the process to the first reply of an agent.
async fn recover(node: &mut TestNode) -> Duration {
    let began = Instant::now();
    node.restart().await;
    world::ask(node, "query_ref", &workloads::account(0)).await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fault_comes_nothing_acknowledged_is_lost_and_nothing_happens_twice() {
    let seed = from_environment("CRASH_TEST_SEED").unwrap_or_else(rand::random);
    let rounds = schedule::schedule(seed, from_environment("CRASH_TEST_ROUNDS").unwrap_or(ROUNDS));
    let mut node = TestNode::start().await;
    println!(
        "scripts/crash-test --rounds {} --seed {seed} repeats these faults; the folder is {}",
        rounds.len(),
        node.keep(true).display()
    );
    workloads::deploy(&node).await;
    let log = Arc::new(Log::default());
    let (mut recoveries, mut again, mut dice) = (Vec::new(), 0, StdRng::seed_from_u64(seed));
    for (number, round) in rounds.iter().enumerate() {
        log.begin_round(number);
        let clients = workloads::start(&node, &log, seed);
        round.happen(&mut node).await;
        clients.join_all().await;
        recoveries.push(recover(&mut node).await);
        again += workloads::send_again(&node, &log, &mut dice).await;
        churn::look(&node, &log).await;
    }
    let world = world::read(&node).await;
    let records = log.records();
    let violations = checker::check(&records, &world);
    println!("{}", report(seed, &rounds, &records, again, &world, &recoveries));
    println!("  violations        {}", violations.len());
    for violation in violations.iter().take(PRINTED) {
        println!("    {violation}");
    }
    if !violations.is_empty() {
        for (number, round) in rounds.iter().enumerate() {
            println!("    round {number}: {round:?}");
        }
        panic!("{} violations, see above", violations.len());
    }
    node.keep(false);
}

fn report(
    seed: u64,
    rounds: &[Round],
    records: &Records,
    again: usize,
    world: &World,
    recoveries: &[Duration],
) -> String {
    let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
    for round in rounds {
        *faults.entry(round.fault.name()).or_default() += 1;
        let killed = round.starts_killed_after.len();
        if killed > 0 {
            *faults.entry("kill -9 at start").or_default() += killed;
        }
    }
    let count = |which: fn(&Outcome) -> bool| records.sent.iter().filter(|sent| which(&sent.outcome)).count();
    let acknowledged = count(|outcome| outcome.id().is_some());
    let answered = count(|outcome| matches!(outcome, Outcome::Answered { .. }));
    let refused = count(|outcome| *outcome == Outcome::Refused);
    let unknown = count(|outcome| *outcome == Outcome::Unknown);
    let faults: Vec<_> = faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let mut text = format!("crash test: seed {seed}, {} rounds\n", rounds.len());
    let mut line = |name: &str, value: String| writeln!(text, "  {name:<17} {value}").unwrap();
    line("faults", faults.join("; "));
    line(
        "clients' messages",
        format!(
            "{} sent, {acknowledged} acknowledged ({answered} of them answered), {refused} refused, {unknown} unknown; \
             {again} of those without a word came again",
            records.sent.len()
        ),
    );
    let operations = |answered| {
        let acts = records.steps.iter().map(|step| step.act);
        acts.filter(|act| matches!(act, Act::Asked(_, told) if *told == answered))
            .count()
    };
    line(
        "churn",
        format!(
            "{} operations acknowledged, {} refused, {} unknown",
            operations(Answered::Done),
            operations(Answered::Refused),
            operations(Answered::Unknown)
        ),
    );
    line(
        "history",
        format!(
            "{} messages, {} of them tried again after a crash of the agent",
            world.history.len(),
            world.tried_again
        ),
    );
    line("timers", format!("{} fired", world.fired.values().sum::<u64>()));
    let tail = recoveries.len().saturating_sub(ENDS);
    line(
        "recovery",
        format!(
            "{} times, p50 {} ms, max {} ms; p50 of the first {ENDS} {} ms, of the last {} ms",
            recoveries.len(),
            median(recoveries).as_millis(),
            recoveries.iter().max().map_or(0, Duration::as_millis),
            median(&recoveries[..ENDS.min(recoveries.len())]).as_millis(),
            median(&recoveries[tail..]).as_millis()
        ),
    );
    text.trim_end().to_owned()
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
