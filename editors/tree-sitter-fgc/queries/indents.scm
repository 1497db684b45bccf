; Helix and Zed: one step more inside brackets.
[
  (block)
  (members)
  (parameters)
  (arguments)
  (record)
  (list)
] @indent

["}" ")" "]"] @outdent
