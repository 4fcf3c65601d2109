//! A clock that somebody sets, under a running server. It needs libfaketime, so `scripts/clock-jumps` runs it.

use std::time::{Duration, Instant};

use caxton::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::request;
use crate::harness::{TestNode, until};

/// How much later than its time something may happen.
const LATE: Duration = Duration::from_secs(1);

/// Runs `what`, and checks that it took this long.
async fn takes<T>(long: Duration, name: &str, what: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = what.await;
    let took = began.elapsed();
    eprintln!(
        "clock: {name:<9} {:>5} ms, and should take {}",
        took.as_millis(),
        long.as_millis()
    );
    assert!(
        took + Duration::from_millis(20) >= long && took < long + LATE,
        "{name} took {took:?}"
    );
    done
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime: scripts/clock-jumps"]
async fn a_clock_that_is_set_makes_nothing_late_twice_or_lost() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let set = |offset: &str| std::fs::write(&clock, offset).unwrap();
    set("+0");
    let library = std::env::var("LIBFAKETIME").expect("LIBFAKETIME is the path of the library");
    let first = format!(
        "export LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \
         DONT_FAKE_MONOTONIC=1;",
        clock.display()
    );
    let config = "[retention]\nage = \"1h\"\n";
    let node = TestNode::start_after(&first, config).await;
    node.deploy("timer", "timer").await;
    node.deploy("silent", "echo").await;
    node.post("/api/v1/agents/silent/suspend", &json!({})).await.good();
    let second = json!({"max": "100ms", "min": "100ms"});
    let supervision = json!({"intensity": 1, "period": "2s", "backoff": second});
    let crashing = crate::guests::example("crash_once");
    node.deploy_as(json!({"name": "once", "supervision": supervision}), crashing)
        .await;

    let keyed = async || {
        let post = node
            .request(Method::POST, "/api/v1/messages")
            .header("Idempotency-Key", "k");
        let answer = post.json(&request("timer", &json!("kept"))).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["message_id"].clone()
    };
    let kept = keyed().await;
    for (fired, offset) in (1..).zip([3_600, 0, 86_400, 0]) {
        node.told("timer", &json!(2_000_000)).await;
        let unheard = request("silent", &json!(null));
        let waiting = node.post("/api/v1/messages/wait?timeout_seconds=2", &unheard);
        let timer = until("the timer fires", async || {
            (node.told("timer", &Value::Null).await == fired).then_some(())
        });
        let began = tokio::time::sleep(Duration::from_millis(200));
        let jump = async {
            began.await;
            set(&format!("+{offset}"));
        };
        let two = Duration::from_secs(2);
        let ((), timed_out, ()) = tokio::join!(takes(two, "timer", timer), takes(two, "wait", waiting), jump);
        timed_out.refused(504, "TIMEOUT");
        let reply = node.ask("timer", &Value::Null).await;
        let there: Timestamp = reply["timestamp"].as_str().unwrap().parse().unwrap();
        let ahead = (there.micros() - Timestamp::now().micros()) / 1_000_000;
        assert!((offset - ahead).abs() <= 1, "the server's clock is {ahead} s ahead");
        // Within its intensity each time: the restarts before are forgotten after the period, whatever the clock says.
        let handled = takes(Duration::ZERO, "restart", node.told("once", &json!(1))).await;
        assert_eq!(handled["ok"], true);
        assert_eq!(
            keyed().await,
            kept,
            "the answer of a key is kept for a day of this process"
        );
        tokio::time::sleep(LATE).await;
        assert_eq!(node.told("timer", &Value::Null).await, fired, "no timer fires twice");
    }
    let log = node.logged();
    assert!(!log.contains("ERROR"), "{log}");
}
