//! Rules for agents in every language: one table of tests, run with the agent `clerk` of each language.

use serde_json::{Value, json};

use crate::guests;
use crate::harness::{TestNode, until};

enum Then {
    /// It replies with an `inform` of this content.
    Tells(Value),
    /// It replies with an `inform` of this content sooner or later: the request is repeated until it does.
    TellsAtLast(Value),
    /// It replies with this performative.
    Answers(&'static str),
    /// The platform replies in its place with a `failure` of this reason, whose detail contains this text.
    Fails(&'static str, &'static str),
    /// Another agent gets this message from it.
    Reaches(Value),
    /// The server is killed and restarted before the request.
    TellsAfterRestart(Value),
}

use Then::{Answers, Fails, Reaches, Tells, TellsAfterRestart, TellsAtLast};

/// For each rule: its name, the tasks for the clerk, and the outcome of each. `error` is the text by which the language reports a
/// turn that ended in error.
fn table(error: &'static str) -> Vec<(&'static str, Value, Then)> {
    let odd = json!({"text": "grüße \"\\\n😀", "list": [1, -2.5, null, true, {}]});
    let (recall, starts) = (json!({"do": "recall"}), json!({"do": "starts"}));
    let remember = json!({"do": "remember", "say": odd});
    let send = json!({"do": "send", "to": "witness", "say": odd});
    let trap = |times: u32| json!({"do": "trap", "times": times});
    let timer = |ms: u32| json!({"do": "timer", "ms": ms});
    let (fail, odd) = (json!({"do": "fail", "reason": "no paper"}), || odd.clone());
    vec![
        ("init has run", starts.clone(), Tells(json!(1))),
        ("it answers", json!({"do": "reply", "say": odd()}), Tells(odd())),
        ("what it knows not", json!({"do": "dance"}), Answers("not_understood")),
        ("it sends to another", send, Reaches(odd())),
        ("there is no state", recall.clone(), Tells(json!(null))),
        ("it stores", remember, Tells(odd())),
        ("state lasts", recall.clone(), TellsAfterRestart(odd())),
        ("init has run again", starts.clone(), Tells(json!(2))),
        ("an error is told", fail, Fails("error", error)),
        ("an error stores nothing", recall.clone(), Tells(odd())),
        ("an error is no restart", starts.clone(), Tells(json!(2))),
        ("it gets the message again after a trap", trap(1), Tells(json!(2))),
        ("a trap stores nothing", recall.clone(), Tells(odd())),
        ("a trap is a restart", starts.clone(), Tells(json!(3))),
        ("it is given up after three", trap(3), Fails("crashed", "trap")),
        ("nothing of it is stored", recall.clone(), Tells(odd())),
        ("it is back", starts.clone(), Tells(json!(6))),
        ("it sets a timer", timer(20), Tells(json!(1))),
        ("the timer fires", recall.clone(), TellsAtLast(json!({"timer": 1}))),
        ("it sets another", timer(1_000), Tells(json!(2))),
        ("there is a restart meanwhile", starts, TellsAfterRestart(json!(7))),
        ("it fires all the same", recall, TellsAtLast(json!({"timer": 2}))),
    ]
}

async fn holds_for(file: &str, error: &'static str) {
    let mut node = TestNode::start().await;
    let witness = node.deploy("witness", "echo").await;
    let clerk = node.deploy_as(json!({"name": "clerk"}), guests::built(file)).await;
    for (what, task, then) in table(error) {
        if matches!(then, TellsAfterRestart(_)) {
            node.kill_nine();
            node.restart().await;
        }
        if let TellsAtLast(told) = &then {
            until(what, async || (node.told("clerk", &task).await == *told).then_some(())).await;
            continue;
        }
        let answer = node.ask("clerk", &task).await;
        let (act, content) = (&answer["performative"], &answer["content"]);
        match then {
            Tells(told) | TellsAfterRestart(told) | TellsAtLast(told) => {
                assert_eq!((act, content), (&json!("inform"), &told), "{what}");
            }
            Answers(with) => assert_eq!(act, with, "{what}"),
            Fails(reason, detail) => {
                assert_eq!((act, &content["reason"]), (&json!("failure"), &json!(reason)), "{what}");
                let told = content["detail"].as_str().unwrap();
                assert!(told.contains(detail), "{what}: {told}");
            }
            Reaches(message) => {
                let got = node.history(&format!("sender={clerk}&receiver={witness}")).await;
                assert_eq!((got.len(), &got[0]["content"]), (1, &message), "{what}");
                node.until_settled(got[0]["message_id"].as_str().unwrap()).await;
            }
        }
    }
}

#[tokio::test]
async fn the_table_holds_for_rust() {
    holds_for("clerk", "no paper").await;
}

#[tokio::test]
async fn the_table_holds_for_javascript() {
    holds_for("clerk_js", "no paper").await;
}

/// In the core ABI an error is a number without a text.
#[tokio::test]
async fn the_table_holds_for_assemblyscript() {
    holds_for("clerk_as", "1").await;
}

#[tokio::test]
async fn what_a_panic_says_is_in_the_log() {
    let node = TestNode::start().await;
    node.deploy_as(json!({"name": "clerk"}), guests::built("clerk")).await;
    node.ask("clerk", &json!({"do": "trap", "times": 1})).await;
    until("the panic is logged", async || {
        node.logged().contains("as told").then_some(())
    })
    .await;
}
