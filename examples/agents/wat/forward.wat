;; Forwards the content of every request to the agent named "counter", in a request of its own: with a new
;; conversation, and a reply_with made of the message's id. It ignores the replies of counter.
(module
  (import "caxton" "send_message" (func $send_message (param i32 i32) (result i32)))
  (memory (export "memory") 2)

  (data (i32.const 0) ",\"content\":")
  (data (i32.const 16) "null")
  (data (i32.const 32) "}")
  (data (i32.const 48) "\"performative\":\"request\"")
  (data (i32.const 80) "{\"performative\":\"request\",\"receiver\":\"counter\",\"reply_with\":\"forward-")
  (data (i32.const 160) "\"message_id\":\"")

  (func (export "handle_message") (param $ptr i32) (param $len i32) (result i32)
    (call $open (local.get $len))
    (if (i32.eqz (call $after (i32.const 48) (i32.const 24))) (then (return (i32.const 0))))
    (global.set $out (global.get $draft))
    (call $put (i32.const 80) (i32.const 69))
    (call $put_text (call $after (i32.const 160) (i32.const 14)))
    (call $put (i32.const 0) (i32.const 11))
    (call $put (global.get $content) (global.get $content_len))
    (call $send))

  ;; ---- The rest is the same in every agent here that replies ----
  ;; The host writes a message as compact JSON, its own fields first, in a fixed order, and the content last.
  ;; The first match of `"sender":"` before the content is therefore the sender. Texts are copied unchanged,
  ;; with their escapes, from one JSON text into another.

  (global $message i32 (i32.const 4096))            ;; the buffer for messages, one at a time
  (global $end (mut i32) (i32.const 0))             ;; the end of the part that $after searches
  (global $content (mut i32) (i32.const 0))         ;; where the content begins
  (global $content_len (mut i32) (i32.const 0))
  (global $draft (mut i32) (i32.const 0))           ;; where the draft begins: behind the message
  (global $out (mut i32) (i32.const 0))             ;; where the next part of the draft is written

  ;; Takes memory for the message, for a draft that may repeat all of it, and for a page with the rest of the draft.
  (func (export "caxton_alloc") (param $len i32) (result i32)
    (local $more i32)
    (local.set $more
      (i32.sub
        (i32.add (i32.shr_u (local.get $len) (i32.const 15)) (i32.const 3))
        (memory.size)))
    (if (i32.gt_s (local.get $more) (i32.const 0))
      (then (if (i32.lt_s (memory.grow (local.get $more)) (i32.const 0)) (then (unreachable)))))
    (global.get $message))

  ;; Begins with a message: finds its content, null if it has none, and limits later searches to the part
  ;; before the content.
  (func $open (param $len i32)
    (global.set $draft (i32.add (global.get $message) (local.get $len)))
    (global.set $end (global.get $draft))
    (global.set $content (call $after (i32.const 0) (i32.const 11)))
    (global.set $content_len
      (i32.sub (i32.sub (global.get $draft) (i32.const 1)) (global.get $content)))
    (if (global.get $content)
      (then (global.set $end (global.get $content)))
      (else
        (global.set $content (i32.const 16))
        (global.set $content_len (i32.const 4)))))

  ;; The address behind the first occurrence of the $n bytes at $text; 0 if they do not occur.
  (func $after (param $text i32) (param $n i32) (result i32)
    (local $at i32) (local $i i32)
    (local.set $at (global.get $message))
    (loop $next
      (if (i32.gt_u (i32.add (local.get $at) (local.get $n)) (global.get $end))
        (then (return (i32.const 0))))
      (local.set $i (i32.const 0))
      (block $differs
        (loop $same
          (br_if $differs
            (i32.ne
              (i32.load8_u (i32.add (local.get $at) (local.get $i)))
              (i32.load8_u (i32.add (local.get $text) (local.get $i)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $same (i32.lt_u (local.get $i) (local.get $n))))
        (return (i32.add (local.get $at) (local.get $n))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    (unreachable))

  (func $put (param $from i32) (param $n i32)
    (memory.copy (global.get $out) (local.get $from) (local.get $n))
    (global.set $out (i32.add (global.get $out) (local.get $n))))

  ;; Appends a text to the draft, from behind its opening quote to behind its closing one.
  (func $put_text (param $from i32)
    (local $to i32) (local $c i32)
    (local.set $to (local.get $from))
    (loop $next
      (local.set $c (i32.load8_u (local.get $to)))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (if (i32.eq (local.get $c) (i32.const 0x5c)) ;; a backslash and the character that it escapes
        (then
          (local.set $to (i32.add (local.get $to) (i32.const 1)))
          (br $next)))
      (br_if $next (i32.ne (local.get $c) (i32.const 0x22))))
    (call $put (local.get $from) (i32.sub (local.get $to) (local.get $from))))

  ;; Ends the draft and sends it. Returns 0, or the host's error code.
  (func $send (result i32)
    (call $put (i32.const 32) (i32.const 1))
    (call $send_message (global.get $draft) (i32.sub (global.get $out) (global.get $draft)))))
