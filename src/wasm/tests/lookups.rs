//! What a guest looks up: its own variables, and who is there.

use super::components::{OK, component, start};
use super::*;

/// Ends in the error of a call that was refused, as `components` has it.
const REFUSED: &str = "(if (i32.load8_u (i32.const 64)) (then (return (call $said))))";

fn granted(variables: &[(&str, &str)]) -> Granted {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Granted {
        environment: Some(variables.iter().map(owned).collect()),
        ..Granted::default()
    }
}

/// A guest that says the value of `TOKEN`, or is ok when there is none.
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
