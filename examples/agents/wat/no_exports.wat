;; Exports nothing that a host could call. A deploy is refused, and the error names what is missing.
(module)
