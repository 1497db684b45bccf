; Helix and Zed: one step more inside brackets.
[
  (block)
  (members)
  (parameters)
  (arguments)
  (record)
  (results)
  (clauses)
  (list)
] @indent

["}" ")" "]"] @outdent
