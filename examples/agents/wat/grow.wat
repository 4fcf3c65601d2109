;; Asks for more memory, 64 KiB at a time, without end, even after a refusal. Only the host can end it: at the
;; limit of its memory, its fuel or its deadline.
(module
  (memory (export "memory") 16)

  ;; One buffer, reused for each message. A message of a megabyte fits.
  (func (export "caxton_alloc") (param i32) (result i32)
    (i32.const 0))

  (func (export "handle_message") (param $ptr i32) (param $len i32) (result i32)
    (loop $for_ever
      (drop (memory.grow (i32.const 1)))
      (br $for_ever))
    (unreachable)))
