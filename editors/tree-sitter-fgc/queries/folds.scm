[
  (block)
  (members)
  (parameters)
  (record)
  (list)
] @fold
