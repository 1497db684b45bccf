[
  (block)
  (members)
  (parameters)
  (record)
  (results)
  (clauses)
  (list)
] @fold
