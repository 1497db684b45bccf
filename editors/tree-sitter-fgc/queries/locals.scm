[
  (function_item)
  (layer_item)
  (method_item)
  (extern_item)
  (block)
  (lambda)
] @local.scope

(parameter name: (identifier) @local.definition.parameter)
(let_statement name: (identifier) @local.definition.var)
(var_statement name: (identifier) @local.definition.var)
(for_statement name: (identifier) @local.definition.var)
(scan_statement name: (identifier) @local.definition.var)
(draw name: (identifier) @local.definition.var)
(slot name: (identifier) @local.definition.var)
(net_statement name: (identifier) @local.definition.var)
(state_statement name: (identifier) @local.definition.var)
(param_statement name: (identifier) @local.definition.var)
(function_item name: (identifier) @local.definition.function)
(layer_item name: (identifier) @local.definition.function)
(extern_item name: (identifier) @local.definition.function)

(identifier) @local.reference
