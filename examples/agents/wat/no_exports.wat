;; Nothing that a host could call: refused when it is deployed, with what is missing.
(module)
