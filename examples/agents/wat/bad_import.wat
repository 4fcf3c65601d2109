;; Imports what is neither Caxton's nor sealed WASI: refused when it is deployed, by name.
(module
  (import "env" "open_file" (func (param i32 i32) (result i32)))
  (memory (export "memory") 16)

  ;; One buffer, used again for each message. It is good for a megabyte.
  (func (export "caxton_alloc") (param i32) (result i32)
    (i32.const 0))

  (func (export "handle_message") (param $ptr i32) (param $len i32) (result i32)
    (i32.const 0)))
