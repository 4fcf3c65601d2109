//! The effects of a turn: messages and state, and the log.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::message::Draft;

async fn send(draft: &str) -> Result<Draft, End> {
    let mut turn = handle(&mut start(&sender(draft)).await).await;
    if turn.end == End::Ok {
        Ok(turn.effects.sends.remove(0))
    } else {
        Err(turn.end)
    }
}

#[tokio::test]
async fn a_draft_is_sent_as_it_is_written_but_for_its_sender() {
    let draft = send(r#"{"performative":"inform","receiver":"friend","content":[1,2],"sender":"platform"}"#)
        .await
        .unwrap();
    assert_eq!(draft.receivers, ["friend"]);
    assert_eq!(draft.content, Content::Json("[1,2]".into()));
    assert_eq!(draft.sender, None);
    assert_eq!(
        (draft.conversation_id, draft.protocol, draft.in_reply_to),
        (None, None, None),
        "it starts a conversation"
    );
}

#[tokio::test]
async fn a_draft_that_is_none_is_malformed() {
    for bad in [
        "",
        "null",
        "{",
        r#"{"performative":"inform"}"#,
        r#"{"performative":"shout","receiver":"friend"}"#,
    ] {
        assert_eq!(send(bad).await.unwrap_err(), returned(-1), "{bad}");
    }
}

#[tokio::test]
async fn every_receiver_must_be_permitted() {
    assert_eq!(
        send(r#"{"performative":"inform","receiver":"foe"}"#).await.unwrap_err(),
        returned(-2)
    );
    assert_eq!(
        send(r#"{"performative":"inform","receiver":["friend","foe"]}"#)
            .await
            .unwrap_err(),
        returned(-2)
    );
}

#[tokio::test]
async fn an_answer_may_be_sent_only_where_its_asker_may_send() {
    for (reply_to, allowed) in [("foe", false), ("friend", true), ("client:alice", true)] {
        let sent = send(&format!(
            r#"{{"performative":"request","receiver":"friend","reply_to":"{reply_to}"}}"#
        ))
        .await;
        assert_eq!(sent.is_ok(), allowed, "{reply_to}");
    }
}

#[tokio::test]
async fn whoever_sent_the_message_in_hand_may_be_answered() {
    for receiver in ["client:alice", "desk"] {
        let draft = send(&format!(r#"{{"performative":"inform","receiver":"{receiver}"}}"#))
            .await
            .unwrap();
        assert_eq!(draft.conversation_id.as_deref(), Some("talk"));
        assert_eq!(draft.protocol.as_deref(), Some("fipa-request"));
        assert_eq!(draft.in_reply_to.as_deref(), Some("r1"));
    }
}

#[tokio::test]
async fn a_draft_that_names_the_message_in_hand_joins_its_conversation() {
    let draft = send(r#"{"performative":"inform","receiver":"friend","in_reply_to":"r1"}"#)
        .await
        .unwrap();
    assert_eq!(draft.conversation_id.as_deref(), Some("talk"));
    assert_eq!(draft.protocol.as_deref(), Some("fipa-request"));
}

#[tokio::test]
async fn an_answer_to_another_message_keeps_out_of_this_conversation() {
    let draft = send(r#"{"performative":"inform","receiver":"desk","in_reply_to":"r0"}"#)
        .await
        .unwrap();
    assert_eq!(
        (draft.conversation_id, draft.in_reply_to.as_deref()),
        (None, Some("r0"))
    );
    let draft = send(r#"{"performative":"inform","receiver":"desk","conversation_id":"new"}"#)
        .await
        .unwrap();
    assert_eq!(
        (draft.conversation_id.as_deref(), draft.in_reply_to),
        (Some("new"), None)
    );
}

#[tokio::test]
async fn an_answer_that_names_the_conversation_gets_the_rest() {
    let draft = send(r#"{"performative":"inform","receiver":"desk","conversation_id":"talk","protocol":"mine"}"#)
        .await
        .unwrap();
    assert_eq!(
        (draft.protocol.as_deref(), draft.in_reply_to.as_deref()),
        (Some("mine"), Some("r1"))
    );
    // A question to a third party in the same conversation is not a reply.
    let draft = send(r#"{"performative":"query_ref","receiver":"friend","conversation_id":"talk"}"#)
        .await
        .unwrap();
    assert_eq!((draft.protocol, draft.in_reply_to), (None, None));
}

#[tokio::test]
async fn sends_are_counted() {
    let draft = r#"{"performative":"inform","receiver":"friend"}"#;
    let again = sender(draft).replace(
        "(result i32) (call $send",
        "(result i32) (drop (call $send (i32.const 0) (i32.const 45))) (call $send",
    );
    assert_eq!(draft.len(), 45);
    let mut instance = start(&again).await;
    let turn = instance.handle(&message(), 1, Budget { sends: 2, ..BUDGET }).await;
    assert_eq!((turn.end, turn.effects.sends.len()), (End::Ok, 2));
    let turn = instance.handle(&message(), 1, Budget { sends: 1, ..BUDGET }).await;
    assert_eq!(
        (turn.end, turn.effects.sends.len()),
        (returned(-3), 0),
        "an error drops what was sent before it"
    );
    let turn = instance.handle(&message(), 1, Budget { sends: 0, ..BUDGET }).await;
    assert_eq!(turn.end, returned(-3));
}

#[tokio::test]
async fn sends_are_weighed() {
    // 20 times a megabyte of content is more than one turn may cost the host.
    let wat = guest(
        r#"(data (i32.const 0) "{\22performative\22:\22inform\22,\22receiver\22:\22friend\22,\22content\22:\22")"#,
        "(local $n i32)
         (drop (memory.grow (i32.const 17)))
         (memory.fill (i32.const 56) (i32.const 120) (i32.const 1048576))
         (i32.store16 (i32.const 1048632) (i32.const 0x7d22))
         (loop $next (result i32)
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (if (call $send (i32.const 0) (i32.const 1048634)) (then (return (local.get $n))))
           (br $next))",
    );
    let turn = start(&wat)
        .await
        .handle(&message(), 1, Budget { sends: 100, ..BUDGET })
        .await;
    assert_eq!(turn.end, returned(16));
}

#[tokio::test]
async fn an_error_and_a_crash_have_no_effects() {
    let draft = r#"{"performative":"inform","receiver":"friend"}"#;
    let stored = "(drop (call $store (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)))";
    for (end, rest) in [
        ("(i32.const 5)", "error"),
        ("(unreachable)", "crash"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "crash"),
    ] {
        let wat = sender(draft).replace(
            "(result i32) (call $send",
            &format!("(result i32) {stored} (drop (call $send"),
        );
        let wat = wat.replace("(i32.const 45)))", &format!("(i32.const 45))) {end})"));
        let mut instance = start(&wat).await;
        let turn = handle(&mut instance).await;
        assert!(turn.effects.sends.is_empty() && turn.effects.writes.is_empty());
        assert_eq!(matches!(turn.end, End::Crash(_)), rest == "crash", "{:?}", turn.end);
        // After an error the next turn starts afresh.
        if rest == "error" {
            assert_eq!(handle(&mut instance).await.end, returned(5));
        }
    }
}

/// Collects the lines of the log, in its text format.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) async fn logged(wat: &str) -> Vec<String> {
    let mut instance = start(wat).await;
    logged_by(&mut instance).await
}

/// The lines that one turn logs.
async fn logged_by(instance: &mut Instance) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    {
        // The subscriber is set for this thread only. The guest runs on it too, because the runtime of a test has no other.
        let _subscriber = tracing::subscriber::set_default(subscriber);
        handle(instance).await;
    }
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    text.lines()
        .filter(|line| line.contains("caxton::guest"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn log_lines_have_their_level_and_agent_and_stay_one_line() {
    let lines = logged(&guest(
        r#"(data (i32.const 0) "two\0alines\1b[31m")"#,
        "(call $log (i32.const 0) (i32.const 0) (i32.const 3))
         (call $log (i32.const 4) (i32.const 0) (i32.const 14))
         (unreachable)",
    ))
    .await;
    assert_eq!(lines.len(), 2, "a crash takes no line back: {lines:?}");
    assert!(
        lines[0].contains("TRACE") && lines[0].contains("two") && lines[0].contains("guest"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("ERROR") && lines[1].contains(r"two\nlines\u{1b}[31m"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_turn_logs_so_much_and_no_more() {
    let lines = logged(&guest(
        "",
        "(local $n i32)
         (memory.fill (i32.const 0) (i32.const 120) (i32.const 60000))
         (loop $next
           (call $log (i32.const 2) (i32.const 0) (i32.const 60000))
           (br_if $next (i32.lt_s (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100))))
         (i32.const 0)",
    ))
    .await;
    let whole = super::super::caps::LOG_TURN_BYTES / super::super::caps::LOG_LINE_BYTES;
    assert_eq!(lines.len(), whole + 1);
    assert!(lines[0].len() < super::super::caps::LOG_LINE_BYTES + 200);
    assert!(lines[whole].contains("drops what else"));
}

#[tokio::test]
async fn an_agent_logs_so_much_a_second_and_hears_what_was_dropped() {
    let three_lines = guest(
        "",
        "(memory.fill (i32.const 0) (i32.const 120) (i32.const 4000))
         (call $log (i32.const 2) (i32.const 0) (i32.const 4000))
         (call $log (i32.const 2) (i32.const 0) (i32.const 4000))
         (call $log (i32.const 2) (i32.const 0) (i32.const 4000))
         (i32.const 0)",
    );
    let host = Host {
        log_rate: LogRate::new(8_000),
        ..host(&ALL)
    };
    let mut instance = start_with(host, &three_lines).await;
    let lines = logged_by(&mut instance).await;
    assert_eq!(lines.len(), 2, "the third line is over the rate");
    let mut turns = 1;
    let said = loop {
        turns += 1;
        let lines = logged_by(&mut instance).await;
        if !lines.is_empty() {
            break lines;
        }
    };
    // The first turn with lines again may still have lost some lines before the first one that was logged.
    let lost_before = 4_000 + (turns - 2) * 3 * 4_000;
    let word = |lost: usize| format!("dropped {} bytes", lost_before + lost);
    let words = [word(0), word(4_000), word(8_000)];
    assert!(
        words.iter().any(|word| said[0].contains(word)),
        "{words:?}: {}",
        said[0]
    );
    assert!(said.len() > 1, "and the line itself");
}
