; Later patterns win over earlier ones.

(identifier) @variable

; ---- words

[
  "let" "var" "data" "draw" "net" "state" "param" "loss" "metric" "step" "sample"
  "layer" "schedule" "method" "extern" "kernel"
  "from" "frozen" "weight" "every" "otherwise" "over" "in" "carry"
] @keyword

"fn" @keyword.function
"return" @keyword.return
"use" @keyword.import
["if" "then" "else"] @keyword.conditional
["for" "scan"] @keyword.repeat
["and" "or" "not"] @keyword.operator

(comment) @comment
[(doc_comment) (module_doc)] @comment.documentation

(number) @number
(boolean) @boolean
(none) @constant.builtin
(string) @string
(escape_sequence) @string.escape
(interpolation ["{" "}"] @punctuation.special)

["+" "-" "*" "/" "^" "**" "==" "!=" "<" "<=" ">" ">=" "&&" "||" "!" "=" "+=" "->" "~" ".." "@"] @operator
["(" ")" "[" "]" "{" "}"] @punctuation.bracket
["," ":" "."] @punctuation.delimiter

; ---- types

(type_identifier) @type
(type clock: (identifier) @type)
"?" @operator
; An axis: an upper-case letter, alone or with digits.
((identifier) @constant (#match? @constant "^[A-Z][0-9]*$"))

; ---- names

(use_item path: (identifier) @module)
(use_item name: (identifier) @function)
(function_item name: (identifier) @function)
(layer_item name: (identifier) @function)
(schedule_item name: (identifier) @type)
(method_item name: (identifier) @function)
(extern_item name: (identifier) @function)
(let_item name: (identifier) @constant)
(parameter name: (identifier) @variable.parameter)
(argument name: (identifier) @variable.parameter)

(net_statement name: (identifier) @type)
(loss_statement name: (identifier) @label)
(loss_statement learner: (identifier) @type)
(metric name: (identifier) @label)
(step_statement name: (identifier) @label)
(sample_statement name: (identifier) @label)
(attribute name: (identifier) @attribute)
(attribute source: (identifier) @type)

(field name: (identifier) @property)
(result name: (identifier) @property)
(clause name: (identifier) @property)
(member_expression member: (identifier) @property)

(call_expression function: (identifier) @function.call)
(call_expression function: (member_expression member: (identifier) @function.method.call))
(call_expression scope: (identifier) @string.special)
; Gradients end here.
((call_expression function: (identifier) @function.builtin) (#eq? @function.builtin "stop"))
