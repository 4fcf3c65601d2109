;; Sends a message that begins 8 bytes before the end of its memory and ends 8 bytes after it. That is a trap, not
;; a result code.
(module
  (import "caxton" "send_message" (func $send_message (param i32 i32) (result i32)))
  (memory (export "memory") 16)

  ;; One buffer, reused for each message. A message of a megabyte fits.
  (func (export "caxton_alloc") (param i32) (result i32)
    (i32.const 0))

  (func (export "handle_message") (param $ptr i32) (param $len i32) (result i32)
    (call $send_message
      (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8))
      (i32.const 16))))
