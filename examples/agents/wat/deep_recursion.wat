;; Calls itself until the stack is used up. The addition after the call keeps it from being a loop.
(module
  (memory (export "memory") 16)

  ;; One buffer, reused for each message. A message of a megabyte fits.
  (func (export "caxton_alloc") (param i32) (result i32)
    (i32.const 0))

  (func $deeper (param $n i32) (result i32)
    (i32.add (call $deeper (i32.add (local.get $n) (i32.const 1))) (local.get $n)))

  (func (export "handle_message") (param $ptr i32) (param $len i32) (result i32)
    (call $deeper (i32.const 0))))
