//! What cannot be written to standard error or standard output ends nothing and stops nothing.

use std::fs::File;
use std::io;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::guests;
use crate::harness::{TestNode, caxton, until};

/// An agent that counts its requests, and its ordered ends.
async fn deploy_counter(node: &TestNode) {
    let module = guests::counter_until("(drop (call $add_one))");
    node.deploy_as(json!({"name": "counter"}), module).await;
    assert_eq!(node.told("counter", &json!(null)).await, 1);
}

/// Checks that SIGTERM ends the server in order: the agent has its last turn.
async fn stops_in_order(mut node: TestNode) {
    let status = node.terminate().await;
    assert!(status.success(), "{status}");
    node.restart().await;
    assert_eq!(node.told("counter", &json!(null)).await, 3, "2 was its last turn");
}

async fn lost(node: &TestNode) -> f64 {
    node.series("caxton_log_lines_lost_total", &[]).await.unwrap()
}

/// Makes the server log until it loses a line.
async fn until_the_queue_is_full(node: &TestNode) {
    until("the queue of the log is full", async || {
        let requests = (0..100).map(|_| node.get("/healthz"));
        futures_util::future::join_all(requests).await;
        (lost(node).await > 0.0).then_some(())
    })
    .await;
}

fn to(output: impl Into<Stdio>, mut command: Command) -> Command {
    command.stderr(output);
    command
}

#[tokio::test]
async fn a_log_whose_reader_has_gone_is_lost_and_counted() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let node = TestNode::start_changed("", |command| to(writer, command)).await;
    deploy_counter(&node).await;
    assert!(lost(&node).await > 0.0);
    stops_in_order(node).await;
}

#[tokio::test]
async fn a_log_on_a_full_disk_is_lost_and_counted() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let node = TestNode::start_changed("", |command| to(full, command)).await;
    deploy_counter(&node).await;
    assert!(lost(&node).await > 0.0);
    stops_in_order(node).await;
}

#[tokio::test]
async fn a_server_with_closed_outputs_serves() {
    let node = TestNode::start_after("exec 1>&- 2>&-;", "").await;
    deploy_counter(&node).await;
    stops_in_order(node).await;
}

#[tokio::test]
async fn a_reader_of_the_log_that_has_stopped_stops_nothing() {
    let (reader, writer) = io::pipe().unwrap();
    let node = TestNode::start_changed("", |mut command| {
        command.env("CAXTON_LOG", "trace");
        to(writer, command)
    })
    .await;
    deploy_counter(&node).await;
    until_the_queue_is_full(&node).await;
    stops_in_order(node).await;
    drop(reader);
}

#[tokio::test]
async fn a_log_that_can_be_written_again_says_how_many_lines_are_lost() {
    let (reader, writer) = io::pipe().unwrap();
    let node = TestNode::start_changed("", |mut command| {
        command.env("CAXTON_LOG", "trace");
        to(writer, command)
    })
    .await;
    until_the_queue_is_full(&node).await;
    let said = tokio::task::spawn_blocking(|| {
        let mut lines = io::BufRead::lines(io::BufReader::new(reader)).map(Result::unwrap);
        lines.any(|line| line.contains("lines of it are lost"))
    });
    assert!(said.await.unwrap());
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_is_said() {
    let node = TestNode::start_changed("", |mut command| {
        command.env("CAXTON_LOG", "caxton=loud");
        command
    })
    .await;
    until("it is said", async || {
        node.logged().contains("CAXTON_LOG").then_some(())
    })
    .await;
}

/// Runs a command of the program with this standard output.
async fn run_to(output: impl Into<Stdio>, arguments: &[&str]) -> Output {
    let mut command = caxton();
    command.args(arguments).stdout(output).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // The command holds the parent's copy of the output.
    drop(command);
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_command_goes_on_without_a_reader_and_reports_an_output_that_is_full() {
    let mut node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    assert!(node.terminate().await.success());
    let data = node.data_dir();
    let doctor = ["doctor", "--data-dir", data.to_str().unwrap()];
    for (arguments, fails_when_full) in [(&doctor[..], true), (&["demo"], true), (&["--help"], false)] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let gone = run_to(writer, arguments).await;
        let said = String::from_utf8_lossy(&gone.stderr);
        assert_eq!(gone.status.code(), Some(0), "{arguments:?}: {said}");

        let full = File::options().write(true).open("/dev/full").unwrap();
        let full = run_to(full, arguments).await;
        let said = String::from_utf8_lossy(&full.stderr);
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        if fails_when_full {
            assert!(!full.status.success(), "{arguments:?}");
            assert!(
                said.contains("cannot write to standard output"),
                "{arguments:?}: {said}"
            );
        }
    }
}
