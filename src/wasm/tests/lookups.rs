//! What a guest looks up: its environment variables and the directory.

use super::components::{OK, component, start};
use super::*;
use crate::wasm::caps;

/// Ends the turn with the error of a call that was refused. Results are where [`component`] puts them.
const REFUSED: &str = "(if (i32.load8_u (i32.const 64)) (then (return (call $said))))";

fn granted(variables: &[(&str, &str)]) -> Granted {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Granted {
        environment: Some(variables.iter().map(owned).collect()),
        ..Granted::default()
    }
}

/// A guest that fails with the value of the variable `TOKEN` as its reason, or ends well if there is none.
fn reader() -> Vec<u8> {
    component(
        "agent",
        r#"(import "caxton:agent/environment@1.0.0" "get" (func $get (param i32 i32 i32)))"#,
        OK,
        &format!(
            "(call $get (i32.const 256) (i32.const 5) (i32.const 64)) {REFUSED}
             (if (i32.eqz (i32.load8_u (i32.const 68))) (then (return (i32.const 16))))
             (call $say (i32.load (i32.const 72)) (i32.load (i32.const 76)))"
        ),
        r#"(data (i32.const 256) "TOKEN")"#,
    )
}

async fn end(module: Vec<u8>, grants: &Granted) -> End {
    handle(&mut start(module, grants).await).await.end
}

#[tokio::test]
async fn an_agent_reads_its_variables() {
    let there = granted(&[("OTHER", "x"), ("TOKEN", "s3cret")]);
    assert_eq!(end(reader(), &there).await, End::Error("s3cret".to_owned()));
    assert_eq!(end(reader(), &granted(&[("OTHER", "x")])).await, End::Ok);
}

#[tokio::test]
async fn the_names_of_variables_are_listed_in_their_order() {
    let body = format!(
        "(call $list (i32.const 64)) {REFUSED}
         (if (i32.ne (i32.load (i32.const 72)) (i32.const 2)) (then (unreachable)))
         (call $say (i32.load (i32.load (i32.const 68))) (i32.load offset=4 (i32.load (i32.const 68))))"
    );
    let import = r#"(import "caxton:agent/environment@1.0.0" "list" (func $list (param i32)))"#;
    let lister = component("agent", import, OK, &body, "");
    let there = granted(&[("TOKEN", "s3cret"), ("OTHER", "x")]);
    assert_eq!(end(lister.clone(), &there).await, End::Error("OTHER".to_owned()));
    assert_eq!(end(lister, &Granted::default()).await, End::Error("no0".to_owned()));
}

#[tokio::test]
async fn variables_need_a_grant() {
    assert_eq!(end(reader(), &Granted::default()).await, End::Error("no0".to_owned()));
}

/// A guest that searches for `tailor` `times` times. It fails with the second capability of the last agent found as its reason.
fn searcher(times: u32) -> Vec<u8> {
    component(
        "agent",
        r#"(import "caxton:agent/directory@1.0.0" "find" (func $find (param i32 i32 i32)))"#,
        OK,
        &format!(
            "(local $n i32) (local $last i32)
             (loop $next
               (call $find (i32.const 256) (i32.const 6) (i32.const 64)) {REFUSED}
               (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {times}))))
             ;; The pointer of the list is at 68 and its length at 72. An element has 24 bytes, and its capabilities are the last 8.
             (if (i32.eqz (i32.load (i32.const 72))) (then (return (i32.const 16))))
             (local.set $last (i32.add (i32.load (i32.const 68))
               (i32.mul (i32.const 24) (i32.sub (i32.load (i32.const 72)) (i32.const 1)))))
             (if (i32.ne (i32.load offset=20 (local.get $last)) (i32.const 2)) (then (unreachable)))
             (call $say
               (i32.load offset=8 (i32.load offset=16 (local.get $last)))
               (i32.load offset=12 (i32.load offset=16 (local.get $last))))"
        ),
        r#"(data (i32.const 256) "tailor")"#,
    )
}

fn tailors(count: usize) -> Granted {
    let tailor = |n| Found {
        id: AgentId::new(),
        name: format!("tailor-{n}").parse().unwrap(),
        capabilities: vec!["tailor".to_owned(), format!("skill-{n}")],
    };
    let smith = Found {
        capabilities: vec!["smith".to_owned(), "tailor".to_owned()],
        ..tailor(0)
    };
    Granted {
        directory: Some((1..=count).map(tailor).chain([smith]).collect()),
        ..Granted::default()
    }
}

#[tokio::test]
async fn an_agent_finds_others_by_their_capability() {
    assert_eq!(end(searcher(1), &tailors(0)).await, End::Ok);
    assert_eq!(end(searcher(1), &tailors(3)).await, End::Error("skill-3".to_owned()));
}

#[tokio::test]
async fn searches_need_a_grant_and_have_limits() {
    assert_eq!(
        end(searcher(1), &Granted::default()).await,
        End::Error("no0".to_owned())
    );
    let many = caps::FOUND + 10;
    assert_eq!(
        end(searcher(1), &tailors(many)).await,
        End::Error("skill-256".to_owned())
    );
    let mut instance = start(searcher(caps::SEARCHES), &tailors(1)).await;
    for _ in 0..2 {
        assert_eq!(
            handle(&mut instance).await.end,
            End::Error("skill-1".to_owned()),
            "each turn has its own"
        );
    }
    let end = end(searcher(caps::SEARCHES + 1), &tailors(1)).await;
    assert_eq!(end, End::Error("no1".to_owned()));
}
