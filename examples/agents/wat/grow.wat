;; Asks for more memory, 64 KiB at a time, for ever; a refusal does not stop it. It ends by what the host does
;; about memory, or else by its fuel or its deadline.
(module
  (memory (export "memory") 16)

  ;; One buffer, used again for each message. It is good for a megabyte.
  (func (export "caxton_alloc") (param i32) (result i32)
    (i32.const 0))

  (func (export "handle_message") (param $ptr i32) (param $len i32) (result i32)
    (loop $for_ever
      (drop (memory.grow (i32.const 1)))
      (br $for_ever))
    (unreachable)))
