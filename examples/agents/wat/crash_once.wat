;; Traps at the first delivery of each message. At the next it answers {"ok":true}.
(module
  (import "caxton" "send_message" (func $send_message (param i32 i32) (result i32)))
  (memory (export "memory") 2)

  (data (i32.const 0) ",\"content\":")
  (data (i32.const 16) "\"performative\":\"request")
  (data (i32.const 48) "\"performative\":\"query_")
  (data (i32.const 80) "{\"performative\":\"inform\",\"receiver\":\"")
  (data (i32.const 128) "\"sender\":\"")
  (data (i32.const 144) ",\"conversation_id\":\"")
  (data (i32.const 176) "\"conversation_id\":\"")
  (data (i32.const 208) "\"reply_with\":\"")
  (data (i32.const 224) ",\"in_reply_to\":\"")
  (data (i32.const 240) "null")
  (data (i32.const 256) "}")
  (data (i32.const 272) "\"delivery_attempt\":1")
  (data (i32.const 304) "{\"ok\":true}")

  (func (export "handle_message") (param $ptr i32) (param $len i32) (result i32)
    (call $open (local.get $len))
    (if (call $first_delivery) (then (unreachable)))
    (if (i32.eqz (call $asked)) (then (return (i32.const 0))))
    (call $begin_answer)
    (call $put (i32.const 304) (i32.const 11))
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
        (global.set $content (i32.const 240))
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

  ;; Whether the message is a request or a query. Nothing else gets a reply, so that no two agents reply to each other for ever.
  (func $asked (result i32)
    (i32.or
      (call $after (i32.const 16) (i32.const 23))
      (call $after (i32.const 48) (i32.const 22))))

  ;; Begins the draft of an inform to the sender, in its conversation, up to its content.
  (func $begin_answer
    (local $reply_with i32)
    (global.set $out (global.get $draft))
    (call $put (i32.const 80) (i32.const 37))
    (call $put_text (call $after (i32.const 128) (i32.const 10)))
    (call $put (i32.const 144) (i32.const 20))
    (call $put_text (call $after (i32.const 176) (i32.const 19)))
    (local.set $reply_with (call $after (i32.const 208) (i32.const 14)))
    (if (local.get $reply_with)
      (then
        (call $put (i32.const 224) (i32.const 16))
        (call $put_text (local.get $reply_with))))
    (call $put (i32.const 0) (i32.const 11)))

  ;; Ends the draft and sends it. Returns 0, or the host's error code.
  (func $send (result i32)
    (call $put (i32.const 256) (i32.const 1))
    (call $send_message (global.get $draft) (i32.sub (global.get $out) (global.get $draft))))

  ;; Whether this is the first delivery: a 1, and no digit after it.
  (func $first_delivery (result i32)
    (local $at i32)
    (local.set $at (call $after (i32.const 272) (i32.const 20)))
    (if (i32.eqz (local.get $at)) (then (return (i32.const 0))))
    (i32.gt_u (i32.sub (i32.load8_u (local.get $at)) (i32.const 0x30)) (i32.const 9))))
