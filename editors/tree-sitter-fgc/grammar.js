/**
 * @file The syntax of .fg, specs of methods that distil diffusion models. It reads what grammar/src/fg.pest reads, and
 * names what grammar/src/ast.rs names; tests/agreement.rs compares the two on every file of the repository.
 * @license Apache-2.0
 */

/// <reference types="tree-sitter-cli/dsl" />
// @ts-check

// Rising precedence.
const PREC = { open: 0, or: 1, and: 2, not: 3, compare: 4, range: 5, add: 6, multiply: 7, negate: 8, power: 9, postfix: 10 };

// Words that mean something at their places and are names elsewhere.
const SOFT = [
  'carry', 'data', 'draw', 'every', 'extern', 'from', 'frozen', 'kernel', 'layer', 'loss', 'method', 'metric', 'net',
  'otherwise', 'over', 'param', 'sample', 'scan', 'schedule', 'state', 'step', 'use', 'weight',
];
// Words that are never names, but may name members and arguments.
const HARD = ['and', 'else', 'false', 'fn', 'for', 'if', 'in', 'let', 'none', 'not', 'or', 'return', 'then', 'true', 'var'];

/** Words as nodes of another kind. */
const as = (words, kind) => words.map(word => alias(word, kind));
const comma1 = rule => seq(rule, repeat(seq(',', rule)));
/** A list that may end with a comma. */
const listed = rule => seq(comma1(rule), optional(','));

module.exports = grammar({
  name: 'fg',

  word: $ => $.identifier,

  extras: $ => [/[ \t\r\n\uFEFF]/, $.comment, $.doc_comment, $.module_doc],

  supertypes: $ => [$._expression, $._statement, $._item],

  inline: $ => [$._name, $._member_name],

  conflicts: $ => [
    // `net a = f() b(1)` goes on where `net a = f() b = 1` has ended.
    [$.net_statement],
    // `in {a, b}` lists what is allowed; `in {a, b}.c..1` begins an interval.
    [$._operand, $.field],
  ],

  rules: {
    source_file: $ => repeat($._item),

    // ---- items

    _item: $ => choice(
      $.use_item, $.let_item, $.function_item, $.layer_item, $.schedule_item, $.method_item, $.extern_item,
    ),

    use_item: $ => seq(
      'use',
      field('path', $._member_name), repeat(seq('.', field('path', $._member_name))),
      optional(seq('.', '{', listed(field('name', $._name)), '}')),
    ),

    let_item: $ => seq('let', field('name', $._name), optional($._type_of), '=', field('value', $._expression)),
    function_item: $ => seq('fn', $._function),
    layer_item: $ => seq('layer', $._function),
    _function: $ => seq(
      field('name', $._name),
      field('parameters', $.parameters),
      optional(seq('->', field('result', $.type))),
      field('body', choice($.block, seq('=', $._expression))),
    ),
    schedule_item: $ => seq('schedule', field('name', $._name), field('body', $.members)),
    members: $ => seq('{', repeat(choice($.let_item, $.function_item)), '}'),
    method_item: $ => seq('method', field('name', $._name), field('parameters', $.parameters), field('body', $.block)),

    extern_item: $ => seq(
      'extern', 'kernel',
      field('name', $._name), field('parameters', $.parameters),
      '->', field('result', choice($.type, $.results)),
      'from', field('file', $.string),
      optional(field('clauses', $.clauses)),
    ),
    results: $ => seq('{', listed($.result), '}'),
    result: $ => seq(field('name', $._member_name), $._type_of),
    clauses: $ => seq('{', repeat($.clause), '}'),
    clause: $ => seq(field('name', $._name), '=', field('value', $._expression)),

    parameters: $ => seq('(', optional(listed($.parameter)), ')'),
    parameter: $ => seq(
      field('name', $._member_name),
      optional($._type_of),
      optional(seq('=', field('default', $._expression))),
      optional(seq('in', field('values', choice($.one_of, $.interval)))),
    ),
    one_of: $ => prec(1, seq('{', listed($._expression), '}')),
    interval: $ => prec.right(seq(
      optional(field('low', $._bound)),
      '..',
      optional(field('high', $._bound)),
    )),
    // What may bound an interval: no `..` of its own.
    _bound: $ => choice(
      $._operand,
      alias($.bound_negation, $.unary_expression),
      alias($.bound_sum, $.binary_expression),
    ),
    bound_negation: $ => prec(PREC.negate, seq(field('operator', '-'), field('value', $._bound))),
    bound_sum: $ => choice(
      ...[['+', PREC.add], ['-', PREC.add], ['*', PREC.multiply], ['/', PREC.multiply]].map(([operator, precedence]) =>
        prec.left(precedence, seq(field('left', $._bound), field('operator', operator), field('right', $._bound)))),
      prec.right(PREC.power, seq(field('left', $._bound), field('operator', choice('^', '**')), field('right', $._bound))),
    ),

    // ---- types

    _type_of: $ => seq(':', field('type', $.type)),
    type: $ => prec.right(seq(
      field('name', choice(...as(['fn', $.identifier, ...SOFT], $.type_identifier))),
      optional(seq('<', field('clock', $._name), '>')),
      optional(field('axes', $.axes)),
      optional('?'),
    )),
    axes: $ => seq('[', optional(listed($.axis)), ']'),
    axis: $ => choice('..', seq(field('name', $._name), optional(seq('=', field('extent', $._expression))))),

    // ---- statements

    block: $ => seq('{', repeat($._statement), '}'),

    _statement: $ => choice(
      $.let_statement, $.var_statement, $.assign_statement, $.if_statement, $.for_statement, $.scan_statement,
      $.return_statement, $.draw_statement, $.data_statement, $.net_statement, $.param_statement, $.state_statement,
      $.loss_statement, $.metric_statement, $.step_statement, $.sample_statement,
    ),

    let_statement: $ => seq('let', $._names, optional($._type_of), '=', field('value', $._expression)),
    var_statement: $ => seq('var', field('name', $._name), optional($._type_of), '=', field('value', $._expression)),
    assign_statement: $ => seq(field('name', $._name), field('operator', choice('=', '+=')), field('value', $._expression)),
    if_statement: $ => seq(
      'if', field('condition', $._expression), field('then', $.block),
      optional(seq('else', field('else', choice($.block, $.if_statement)))),
    ),
    for_statement: $ => seq('for', $._names, 'in', field('values', $._expression), field('body', $.block)),
    scan_statement: $ => seq(
      'scan', $._names, 'in', field('values', $._expression), 'carry', field('carried', $._name), field('body', $.block),
    ),
    return_statement: $ => seq('return', field('value', $._expression)),
    draw_statement: $ => seq('draw', comma1($.draw)),
    draw: $ => seq(
      field('name', $._name),
      optional(seq('[', field('index', $._expression), ']')),
      '~',
      field('law', $._expression),
    ),
    data_statement: $ => seq('data', comma1($.slot)),
    slot: $ => seq(field('name', $._name), optional($._type_of)),
    net_statement: $ => seq('net', field('name', $._name), '=', field('value', $._expression), repeat($.attribute)),
    attribute: $ => choice(
      'frozen',
      seq('from', field('source', $._name)),
      // `sample` begins a statement.
      seq(
        field('name', choice($.identifier, ...as(SOFT.filter(word => word !== 'sample'), $.identifier))),
        field('arguments', $.arguments),
      ),
    ),
    param_statement: $ => seq(
      'param', field('name', $._name), $._type_of, optional(seq('~', field('initial', $._expression))),
    ),
    state_statement: $ => seq('state', field('name', $._name), optional($._type_of), '=', field('value', $._expression)),
    loss_statement: $ => seq(
      'loss', field('name', $._name), '=', field('value', $._expression),
      optional(seq('weight', field('weight', $._expression))),
      '->', comma1(field('learner', $._name)),
    ),
    metric_statement: $ => seq('metric', comma1($.metric)),
    metric: $ => seq(field('name', $._name), '=', field('value', $._expression)),
    step_statement: $ => seq(
      'step',
      optional(field('name', choice(
        $.identifier,
        ...as(SOFT.filter(word => word !== 'every' && word !== 'otherwise'), $.identifier),
      ))),
      optional(choice(seq('every', field('every', $._expression)), 'otherwise')),
      field('body', $.block),
    ),
    sample_statement: $ => seq('sample', optional(seq(field('name', $._name), '=')), field('value', $._expression)),

    _names: $ => comma1(field('name', $._name)),

    // ---- expressions

    _expression: $ => choice($._operand, $.record, $.unary_expression, $.binary_expression, $.range_expression),

    _operand: $ => choice(
      $.number, $.string, $.none, $.boolean, $._name, $.list, $.parenthesized_expression,
      $.if_expression, $.lambda, $.member_expression, $.index_expression, $.call_expression,
    ),

    none: _ => 'none',
    boolean: _ => choice('true', 'false'),
    number: _ => /[0-9][0-9_]*(\.[0-9][0-9_]*)?([eE][+-]?[0-9]+)?/,

    string: $ => seq(
      '"',
      repeat(choice($.string_content, $.escape_sequence, $.interpolation)),
      token.immediate('"'),
    ),
    string_content: _ => token.immediate(prec(1, /[^"\\{}\n]+/)),
    escape_sequence: _ => token.immediate(/\{\{|\}\}|\\["\\n]/),
    interpolation: $ => seq(token.immediate('{'), $._expression, '}'),

    list: $ => seq('[', optional(listed($._expression)), ']'),
    record: $ => seq('{', optional(listed($.field)), '}'),
    field: $ => choice(
      seq(field('name', $._member_name), ':', field('value', $._expression)),
      field('name', $._name),
    ),
    parenthesized_expression: $ => seq('(', $._expression, ')'),

    unary_expression: $ => choice(
      prec(PREC.not, seq(field('operator', choice('not', '!')), field('value', $._expression))),
      prec(PREC.negate, seq(field('operator', '-'), field('value', $._expression))),
    ),
    binary_expression: $ => {
      const left = [
        [choice('or', '||'), PREC.or],
        [choice('and', '&&'), PREC.and],
        [choice('==', '!=', '<', '<=', '>', '>='), PREC.compare],
        [choice('+', '-'), PREC.add],
        [choice('*', '/'), PREC.multiply],
      ];
      const of = operator => seq(
        field('left', $._expression), field('operator', operator), field('right', $._expression),
      );
      return choice(
        ...left.map(([operator, precedence]) => prec.left(precedence, of(operator))),
        prec.right(PREC.power, of(choice('^', '**'))),
      );
    },
    range_expression: $ => prec.left(PREC.range, seq(field('low', $._expression), '..', field('high', $._expression))),

    // These reach as far as they can.
    if_expression: $ => prec.right(PREC.open, seq(
      'if', field('condition', $._expression), 'then', field('then', $._expression), 'else', field('else', $._expression),
    )),
    lambda: $ => prec.right(PREC.open, seq(
      'fn', field('parameters', $.parameters), '=', field('body', $._expression),
    )),

    member_expression: $ => prec(PREC.postfix, seq(
      field('value', choice($._operand, $.record)), '.', field('member', $._member_name),
    )),
    index_expression: $ => prec(PREC.postfix, seq(
      field('value', choice($._operand, $.record)), '[', field('index', $._expression), ']',
    )),
    call_expression: $ => prec(PREC.postfix, seq(
      field('function', choice($._operand, $.record)),
      optional(seq('@', field('scope', choice($.string, $._member_name)))),
      field('arguments', alias($._call_arguments, $.arguments)),
    )),
    _call_arguments: $ => seq('(', optional(choice(listed($.argument), seq(comma1($.argument), $.over))), ')'),
    arguments: $ => seq('(', optional(listed($.argument)), ')'),
    argument: $ => seq(optional(seq(field('name', $._member_name), '=')), field('value', $._expression)),
    // All axes but these: `not` belongs to the list.
    over: $ => prec(PREC.compare, seq('over', optional(choice('not', '!')), listed($._expression))),

    // ---- words

    identifier: _ => /[A-Za-z_][A-Za-z0-9_]*/,
    _name: $ => choice($.identifier, ...as(SOFT, $.identifier)),
    _member_name: $ => choice($.identifier, ...as([...SOFT, ...HARD], $.identifier)),

    module_doc: _ => token(/\/\/![^\n]*/),
    doc_comment: _ => token(/\/\/\/([^\/\n][^\n]*)?/),
    comment: _ => token(/\/\/(\/\/[^\n]*|[^\/!\n][^\n]*)?/),
  },
});
