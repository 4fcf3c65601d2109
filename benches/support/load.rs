//! A load of requests on agents that reply. Other agents may disturb it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use caxton::message::Draft;
use caxton::node::{Caller, Node};
use hdrhistogram::Histogram;
use serde_json::json;

/// How many clients there are. Each sends its next request after the reply to the last one.
const CLIENTS: usize = 8;

/// A request to which every agent of the load replies.
pub(crate) fn request(agent: &str) -> Draft {
    let json = json!({"performative": "request", "receiver": agent, "content": {"n": 1}});
    Draft::from_json(json.to_string().as_bytes()).expect("it is a message")
}

/// The replies a second and their times, while [`CLIENTS`] send requests to the agents from `echo-0` on, `agents` in all.
pub(crate) async fn load(node: &Arc<Node>, agents: usize, time: Duration) -> (f64, Histogram<u64>) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (node, stop) = (node.clone(), stop.clone());
        clients.spawn(async move {
            let mut times = Histogram::<u64>::new(3).expect("three digits are allowed");
            for n in (client..).step_by(CLIENTS) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                let draft = request(&format!("echo-{}", n % agents));
                let reply = node
                    .send_and_wait(&Caller::anonymous(), draft, Duration::from_secs(60), false)
                    .await;
                reply.expect("good agents answer");
                times += u64::try_from(began.elapsed().as_nanos()).expect("no answer takes centuries");
            }
            times
        });
    }
    let began = Instant::now();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Histogram::new(3).expect("three digits are allowed");
    while let Some(times) = clients.join_next().await {
        all += times.expect("a client ends well");
    }
    (all.len() as f64 / began.elapsed().as_secs_f64(), all)
}
