//! Guests from compilers for WASI: they print, and they may exit.

use serde_json::json;

use crate::guests;
use crate::harness::{TestNode, until};

#[tokio::test]
async fn what_a_guest_prints_is_in_the_servers_log() {
    let node = TestNode::start().await;
    node.deploy_as(
        json!({"name": "talker"}),
        guests::printing_echo("all is well so far", ""),
    )
    .await;
    assert_eq!(node.told("talker", &json!(7)).await, 7);
    let line = until("the line is logged", async || {
        let logged = node.logged();
        logged
            .lines()
            .find(|line| line.contains("all is well so far"))
            .map(str::to_owned)
    })
    .await;
    assert!(line.contains("WARN") && line.contains("talker"), "{line}");
}

#[tokio::test]
async fn an_exit_of_a_guest_is_a_crash_that_tells_its_code() {
    let node = TestNode::start().await;
    let config = json!({"name": "leaver", "delivery": {"max_deliveries": 1}});
    node.deploy_as(config, guests::printing_echo("bye", "(call $proc_exit (i32.const 3))"))
        .await;
    assert_eq!(node.ask("leaver", &json!(7)).await["performative"], "failure");
    let exit = node.agent("leaver").await["last_exits"][0].clone();
    assert_eq!(
        (&exit["reason"], &exit["detail"]),
        (&json!("trap"), &json!("the agent exited, with code 3"))
    );
}
