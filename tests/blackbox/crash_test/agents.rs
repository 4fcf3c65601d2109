//! The agents of the crash test, assembled from text. Each keeps 8-byte numbers in its state, and replies to a `query_ref` with them.
//!
//! The functions that read and write messages come from `counter.wat`. Only the handling of a message differs.

use std::fmt::Write as _;
use std::time::Duration;

use crate::guests;

/// The address of the texts of an agent, behind those of `counter.wat`.
const TEXTS: usize = 512;
/// The first address that `counter.wat` uses for its digits, and then for the message.
const TEXTS_END: usize = 2_048;

/// The balance of each account at first.
pub(crate) const OPENING_BALANCE: u64 = 1_000_000;

/// An account traps at the first delivery of each amount that is a multiple of this.
const BREAKS_AT: u64 = 8;

/// Functions for numbers in state, under keys of one letter.
const NUMBERS: &str = r#"
  (data (i32.const 256) "abc")
  (global $a i32 (i32.const 256))
  (global $b i32 (i32.const 257))
  (global $c i32 (i32.const 258))

  (func $get (param $key i32) (result i64)
    (i64.store (i32.const 3072) (i64.const 0)) ;; stays if there is no such key
    (drop (call $load_data (local.get $key) (i32.const 1) (i32.const 3072) (i32.const 8)))
    (i64.load (i32.const 3072)))

  (func $set (param $key i32) (param $n i64)
    (i64.store (i32.const 3072) (local.get $n))
    (if (call $store_data (local.get $key) (i32.const 1) (i32.const 3072) (i32.const 8)) (then (unreachable))))

  (func $add (param $key i32) (param $n i64)
    (call $set (local.get $key) (i64.add (call $get (local.get $key)) (local.get $n))))

  ;; The decimal number that begins here.
  (func $number (param $at i32) (result i64)
    (local $n i64) (local $digit i32)
    (loop $next
      (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 0x30)))
      (if (i32.lt_u (local.get $digit) (i32.const 10))
        (then
          (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next))))
    (local.get $n))

  (func $put_number (param $n i64)
    (global.set $digits (i32.const 2080))
    (loop $next
      (global.set $digits (i32.sub (global.get $digits) (i32.const 1)))
      (i32.store8 (global.get $digits)
        (i32.add (i32.wrap_i64 (i64.rem_u (local.get $n) (i64.const 10))) (i32.const 0x30)))
      (local.set $n (i64.div_u (local.get $n) (i64.const 10)))
      (br_if $next (i64.ne (local.get $n) (i64.const 0))))
    (call $put (global.get $digits) (i32.sub (i32.const 2080) (global.get $digits))))

  ;; An inform, up to its receiver.
  (func $begin_inform
    (global.set $out (global.get $draft))
    (call $put (i32.const 16) (i32.const 37)))

  ;; The conversation of the message, in the draft too.
  (func $put_conversation
    (call $put (i32.const 80) (i32.const 20))
    (call $put_text (call $after (i32.const 112) (i32.const 19))))

  ;; Searches the content as well from now on.
  (func $look_into_content (global.set $end (global.get $draft)))
"#;

/// An agent that handles messages by the code `handle`. In it, `(put "x")` appends a text to the draft, and `(find "x")` returns
/// the address behind a text in the message, or 0.
fn module(handle: &str) -> Vec<u8> {
    let counter = guests::text("counter");
    let (head, rest) = counter
        .split_once("  (func (export \"handle_message\")")
        .expect("counter.wat has a handler");
    let (_, tools) = rest
        .split_once("  (global $digits (mut i32)")
        .expect("counter.wat has digits");
    let clock = r#"(import "caxton" "current_timestamp" (func $now (result i64)))"#;
    let head = head.replacen("(module", &format!("(module {clock}"), 1);
    let (body, texts) = place_texts(handle);
    guests::assemble(&format!(
        "{head}{texts}{NUMBERS}
  (func (export \"handle_message\") (param $ptr i32) (param $len i32) (result i32)
    (local $n i64)
    (call $open (local.get $len))
    {body})
  (global $digits (mut i32){tools}"
    ))
}

/// Replaces the short forms by calls. Returns the code, and the data that it needs.
fn place_texts(handle: &str) -> (String, String) {
    let (mut body, mut data, mut at) = (handle.to_owned(), String::new(), TEXTS);
    for (short, call) in [("(put \"", "$put"), ("(find \"", "$after")] {
        while let Some(begin) = body.find(short) {
            let from = begin + short.len();
            let length = body[from..].find("\")").expect("a text ends");
            let text = body[from..from + length].replace('\'', "\\\"");
            let bytes = length;
            writeln!(data, "  (data (i32.const {at}) \"{text}\")").unwrap();
            let call = format!("(call {call} (i32.const {at}) (i32.const {bytes}))");
            body.replace_range(begin..from + length + 2, &call);
            at += bytes;
        }
    }
    assert!(at <= TEXTS_END, "the texts run into what is behind them");
    (body, data)
}

/// An account. `{"amount":5,"pay":"other"}` takes 5 from it and sends `{"credit":5}` to the other account, in one turn. At the first
/// delivery of an amount that is a multiple of [`BREAKS_AT`], it traps after all that. State: the sum of its credits, and the sum of
/// its debits.
pub(crate) fn account() -> Vec<u8> {
    module(&format!(
        r#"
    (if (find "'performative':'query_ref'")
      (then
        (call $begin_answer)
        (call $put_number
          (i64.add (i64.const {OPENING_BALANCE}) (i64.sub (call $get (global.get $a)) (call $get (global.get $b)))))
        (return (call $send))))
    (call $look_into_content)
    (if (find "'credit':")
      (then
        (call $add (global.get $a) (call $number (find "'credit':")))
        (return (i32.const 0))))
    (if (i32.eqz (find "'pay':'")) (then (return (i32.const 0))))
    (local.set $n (call $number (find "'amount':")))
    (call $add (global.get $b) (local.get $n))
    (call $begin_inform)
    (call $put_text (find "'pay':'"))
    (put ",'content':{{'credit':")
    (call $put_number (local.get $n))
    (put "}}")
    (if (call $send) (then (return (i32.const 1))))
    (call $begin_answer)
    (call $put_number (local.get $n))
    (if (call $send) (then (return (i32.const 1))))
    (if (i32.and
          (i64.eqz (i64.rem_u (local.get $n) (i64.const {BREAKS_AT})))
          (i32.ne (find "'delivery_attempt':1,") (i32.const 0)))
      (then (unreachable)))
    (i32.const 0)"#
    ))
}

/// A member of a ring. It counts a `{"left":7}`, and sends `{"left":6}` to `next`. When none is left it informs the client
/// `watcher`. All these messages have the same conversation.
pub(crate) fn ring(next: &str, watcher: &str) -> Vec<u8> {
    module(&format!(
        r#"
    (if (find "'performative':'query_ref'")
      (then
        (call $begin_answer)
        (call $put_number (call $get (global.get $a)))
        (return (call $send))))
    (call $look_into_content)
    (if (i32.eqz (find "'left':")) (then (return (i32.const 0))))
    (call $add (global.get $a) (i64.const 1))
    (local.set $n (call $number (find "'left':")))
    (call $begin_inform)
    (if (i64.eqz (local.get $n))
      (then
        (put "client:{watcher}'")
        (call $put_conversation)
        (put ",'content':'arrived'"))
      (else
        (put "{next}'")
        (call $put_conversation)
        (put ",'content':{{'left':")
        (call $put_number (i64.sub (local.get $n) (i64.const 1)))
        (put "}}")))
    (call $send)"#
    ))
}

/// A link of a chain. It records the number in each `{"number":7}`, and forwards it to `next`, if there is one. State: the last
/// number, how many numbers came, and how many of them were not greater than the one before. Each turn takes `work`.
pub(crate) fn link(next: Option<&str>, work: Duration) -> Vec<u8> {
    let micros = work.as_micros();
    let pass_on = next.map_or_else(String::new, |next| {
        format!(
            r#"
    (call $begin_inform)
    (put "{next}'")
    (call $put_conversation)
    (put ",'content':{{'number':")
    (call $put_number (local.get $n))
    (put "}}")
    (if (call $send) (then (return (i32.const 1))))"#
        )
    });
    module(&format!(
        r#"
    (if (find "'performative':'query_ref'")
      (then
        (call $begin_answer)
        (put "{{'last':")
        (call $put_number (call $get (global.get $a)))
        (put ",'count':")
        (call $put_number (call $get (global.get $b)))
        (put ",'back':")
        (call $put_number (call $get (global.get $c)))
        (put "}}")
        (return (call $send))))
    (call $look_into_content)
    (if (i32.eqz (find "'number':")) (then (return (i32.const 0))))
    (local.set $n (i64.add (call $now) (i64.const {micros})))
    (loop $work (br_if $work (i64.lt_s (call $now) (local.get $n))))
    (local.set $n (call $number (find "'number':")))
    (if (i64.le_u (local.get $n) (call $get (global.get $a)))
      (then (call $add (global.get $c) (i64.const 1)))
      (else (call $set (global.get $a) (local.get $n))))
    (call $add (global.get $b) (i64.const 1))
    {pass_on}
    (i32.const 0)"#
    ))
}
