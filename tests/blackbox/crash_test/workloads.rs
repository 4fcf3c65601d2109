//! The clients. Each sends one request after the other until the server is gone, and logs the responses.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::agents;
use super::churn;
use super::log::{Log, Outcome, Sent, Unanswered, What};
use crate::client::{Answer, Client};
use crate::guests;
use crate::harness::TestNode;

pub(crate) const COUNTERS: usize = 2;
pub(crate) const ACCOUNTS: usize = 5;
pub(crate) const RING: usize = 4;
pub(crate) const CHAINS: usize = 2;
/// The number of agents in a chain.
pub(crate) const LINKS: usize = 3;
pub(crate) const ALARMS: usize = 2;
/// The latest time of a timer. It is so long that timers of one round are due in the next, or while the server is down.
const LATEST: Duration = Duration::from_millis(1_500);
/// The link of a chain that is slower than the client that sends numbers, so that there is a queue when the fault comes.
const SLOW: (usize, usize) = (0, 0);
const WORK: Duration = Duration::from_millis(20);
/// How many numbers a client sends without a pause, on average, and the pause in which the slow link can catch up.
const BURST: u32 = 8;
const PAUSE: Duration = Duration::from_millis(300);
/// The time that every other counter takes for a message. Its queue stays short, because most clients wait for the reply.
const COUNTING_MILLIS: u64 = 10;
/// The client that gets a message for each token that has arrived.
pub(crate) const WATCHER: &str = "watcher";

const LONGEST_WAY: u64 = 40;
const HIGHEST_AMOUNT: u64 = 1_000;
/// The longest pause of a client between two messages, so that the history of a long run is small enough to be read.
const THINKS: Duration = Duration::from_millis(20);

pub(crate) fn counter(number: usize) -> String {
    format!("counter-{number}")
}

pub(crate) fn account(number: usize) -> String {
    format!("account-{number}")
}

pub(crate) fn ring(number: u64) -> String {
    format!("ring-{}", number % RING as u64)
}

pub(crate) fn alarm(number: usize) -> String {
    format!("alarm-{number}")
}

pub(crate) fn link(chain: usize, number: usize) -> String {
    format!("chain-{chain}-{number}")
}

/// Deploys all agents that are never stopped or removed.
pub(crate) async fn deploy(node: &TestNode) {
    for n in 0..COUNTERS {
        let module = guests::slow_counter(if n % 2 == 0 { 0 } else { COUNTING_MILLIS });
        node.deploy_as(json!({"name": counter(n)}), module).await;
    }
    for n in 0..ACCOUNTS {
        // It crashes often, and must not fail for that.
        let supervision = json!({"intensity": 10_000, "period": "1s", "backoff": {"min": "1ms", "max": "5ms"}});
        let config = json!({"name": account(n), "supervision": supervision});
        node.deploy_as(config, agents::account()).await;
    }
    for n in 0..ALARMS {
        node.deploy(&alarm(n), "timer").await;
    }
    for n in 0..RING as u64 {
        node.deploy_as(json!({"name": ring(n)}), agents::ring(&ring(n + 1), WATCHER))
            .await;
    }
    for chain in 0..CHAINS {
        for n in 0..LINKS {
            let next = (n + 1 < LINKS).then(|| link(chain, n + 1));
            let module = agents::link(next.as_deref(), if (chain, n) == SLOW { WORK } else { Duration::ZERO });
            node.deploy_as(json!({"name": link(chain, n)}), module).await;
        }
    }
}

/// A client in one round.
pub(crate) struct Worker {
    name: String,
    pub client: Client,
    pub log: Arc<Log>,
    pub dice: StdRng,
}

/// The server is gone, or about to go.
pub(crate) struct Gone;

/// Starts all clients of a round.
pub(crate) fn start(node: &TestNode, log: &Arc<Log>, seed: u64) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    let worker = |kind: &str, number: usize| {
        let name = format!("{kind}-{number}");
        let own = name
            .bytes()
            .fold(seed, |seed, byte| seed.wrapping_mul(31) ^ u64::from(byte));
        Worker {
            name,
            client: node.client(),
            log: log.clone(),
            dice: StdRng::seed_from_u64(own ^ log.round() as u64),
        }
    };
    for n in 0..3 {
        clients.spawn(worker("counting", n).count());
        clients.spawn(worker("paying", n).pay());
        clients.spawn(worker("passing", n).pass());
        clients.spawn(worker("winding", n).wind());
    }
    for chain in 0..CHAINS {
        clients.spawn(worker("numbering", chain).number(chain));
    }
    clients.spawn(worker("poking", 0).poke());
    for n in 0..churn::WORKERS {
        clients.spawn(churn::live(worker("churning", n), n));
    }
    clients
}

impl Worker {
    async fn count(mut self) {
        loop {
            self.think().await;
            let receiver = counter(self.dice.random_range(0..COUNTERS));
            if self.request(&receiver, What::Count, &json!(null)).await.is_err() {
                return;
            }
        }
    }

    async fn pay(mut self) {
        loop {
            self.think().await;
            let from = self.dice.random_range(0..ACCOUNTS);
            let to = self.dice.random_range(0..ACCOUNTS); // sometimes the account pays itself
            let amount = self.dice.random_range(1..=HIGHEST_AMOUNT);
            let content = json!({"amount": amount, "pay": account(to)});
            let what = What::Pay { from, to, amount };
            if self.request(&account(from), what, &content).await.is_err() {
                return;
            }
        }
    }

    async fn pass(mut self) {
        loop {
            self.think().await;
            let hops = self.dice.random_range(0..=LONGEST_WAY);
            let receiver = ring(0);
            let content = json!({"left": hops});
            if self.tell(&receiver, What::Token { hops }, &content).await.is_err() {
                return;
            }
        }
    }

    async fn wind(mut self) {
        let latest = u64::try_from(LATEST.as_micros()).expect("a short time");
        loop {
            self.think().await;
            let receiver = alarm(self.dice.random_range(0..ALARMS));
            let micros = self.dice.random_range(1..=latest);
            let what = What::Alarm { micros };
            if self.request(&receiver, what, &json!(micros)).await.is_err() {
                return;
            }
        }
    }

    async fn number(mut self, chain: usize) {
        loop {
            if self.dice.random_ratio(1, BURST) {
                tokio::time::sleep(PAUSE).await;
            }
            let n = self.log.next_number();
            let content = json!({"number": n});
            let what = What::Number { chain, n };
            if self.tell(&link(chain, 0), what, &content).await.is_err() {
                return;
            }
        }
    }

    async fn poke(mut self) {
        loop {
            self.think().await;
            let receiver = churn::any_name(&mut self.dice);
            if self.request(&receiver, What::Poke, &json!(null)).await.is_err() {
                return;
            }
        }
    }

    pub(crate) async fn think(&mut self) {
        let micros = u64::try_from(THINKS.as_micros()).expect("a short time");
        tokio::time::sleep(Duration::from_micros(self.dice.random_range(0..micros))).await;
    }

    /// Sends a request, and in half of the cases waits for the reply.
    async fn request(&mut self, receiver: &str, what: What, content: &Value) -> Result<(), Gone> {
        let wait = self.dice.random_bool(0.5);
        self.say("request", wait, receiver, what, content).await
    }

    /// Sends an inform, which needs no reply.
    async fn tell(&mut self, receiver: &str, what: What, content: &Value) -> Result<(), Gone> {
        self.say("inform", false, receiver, what, content).await
    }

    async fn say(&mut self, act: &str, wait: bool, receiver: &str, what: What, content: &Value) -> Result<(), Gone> {
        let tag = format!("{}-{}", self.name, self.log.next_number());
        let conversation = match what {
            What::Token { .. } => tag.clone(),
            What::Count | What::Poke | What::Pay { .. } | What::Number { .. } | What::Alarm { .. } => {
                format!("talk-{}", self.name)
            }
        };
        let message = json!({
            "performative": act, "sender": self.name, "receiver": receiver, "content": content,
            "conversation_id": conversation, "reply_with": tag,
        });
        let path = if wait { WAIT } else { "/api/v1/messages" };
        let answer = send(&self.client, path, &tag, &message).await;
        let (outcome, goes_on) = told(&self.log, what, &tag, answer.as_ref());
        if outcome == Outcome::Unknown {
            self.log.unanswered.lock().unwrap().push(Unanswered {
                tag: tag.clone(),
                path,
                message,
            });
        }
        self.log.sent(Sent {
            round: self.log.round(),
            tag,
            what,
            sender: self.name.clone(),
            receiver: receiver.to_owned(),
            outcome,
        });
        goes_on
    }
}

const WAIT: &str = "/api/v1/messages/wait";

/// The idempotency key of each message is its tag, so that it can be sent again.
async fn send(client: &Client, path: &str, tag: &str, message: &Value) -> Option<Answer> {
    let request = client.request(Method::POST, path).header("Idempotency-Key", tag);
    Client::try_answer(request.json(message)).await
}

/// The outcome of the message by the response, and whether the client goes on.
fn told(log: &Log, what: What, tag: &str, answer: Option<&Answer>) -> (Outcome, Result<(), Gone>) {
    let Some(answer) = answer else {
        return (Outcome::Unknown, Err(Gone));
    };
    match answer.status {
        200 => {
            let id = answer.body["message_id"].as_str().unwrap().to_owned();
            let outcome = match answer.body.get("reply") {
                Some(reply) => Outcome::Answered {
                    id,
                    content: reply["content"].clone(),
                },
                None => Outcome::Acknowledged { id },
            };
            (outcome, Ok(()))
        }
        408 | 429 => (Outcome::Refused, Ok(())), // the request did not arrive in time, or the mailbox is full
        404 | 409 if what == What::Poke => (Outcome::Refused, Ok(())),
        503 => (Outcome::Unknown, Err(Gone)),
        status => {
            log.surprise(format_args!("{tag}: {status} {}", answer.body));
            (Outcome::Unknown, Ok(()))
        }
    }
}

/// Sends about half of the requests without a response again, before the clients send anything else. Returns how many.
pub(crate) async fn send_again(node: &TestNode, log: &Log, dice: &mut StdRng) -> usize {
    let unanswered = std::mem::take(&mut *log.unanswered.lock().unwrap());
    let mut again = 0;
    for Unanswered { tag, path, message } in unanswered {
        if dice.random_bool(0.5) {
            continue;
        }
        again += 1;
        let what = log
            .sent
            .lock()
            .unwrap()
            .iter()
            .rev()
            .find(|sent| sent.tag == tag)
            .map(|sent| sent.what);
        let answer = send(node, path, &tag, &message).await;
        let (outcome, _) = told(log, what.expect("it was sent"), &tag, answer.as_ref());
        log.answered_at_last(&tag, outcome);
    }
    again
}
