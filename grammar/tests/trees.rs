//! The tree of each construct.

#[path = "common/tree.rs"]
mod tree;

use fgc_grammar::ast::*;
use fgc_grammar::{Span, parse, parse_expr};
use tree::tree;

/// One line a node of a list: statements of `body`.
fn statements(body: &str) -> String {
    let parsed = parse(&format!("layer l() {{\n{body}\n}}"));
    assert_eq!(parsed.errors, []);
    let tree = tree(&parsed.file);
    let stmts = tree[1][0]["kind"]["Layer"]["body"]["Block"]["stmts"].as_array().unwrap();
    stmts.iter().map(|s| format!("{} {}\n", s["doc"], s["kind"])).collect()
}

fn items(text: &str) -> String {
    let parsed = parse(text);
    assert_eq!(parsed.errors, []);
    let tree = tree(&parsed.file);
    let items = tree[1].as_array().unwrap();
    items.iter().map(|s| format!("{} {}\n", s["doc"], s["kind"])).collect()
}

/// `e` with every operation in brackets.
fn shape(e: &Expr) -> String {
    match &*e.kind {
        ExprKind::None => "none".into(),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::Int(n) => n.to_string(),
        ExprKind::Float(x) => format!("{x:?}"),
        ExprKind::Name(n) => n.clone(),
        ExprKind::Range { lo, hi } => format!("[{}..{}]", shape(lo), shape(hi)),
        ExprKind::Unary { op, value } => format!("[{op:?} {}]", shape(value)),
        ExprKind::Binary { op, left, right, .. } => format!("[{} {op:?} {}]", shape(left), shape(right)),
        ExprKind::If { cond, then, otherwise } => {
            format!("[if {} {} {}]", shape(cond), shape(then), shape(otherwise))
        }
        ExprKind::Lambda { body, .. } => format!("[fn {}]", shape(body)),
        ExprKind::Member { base, name } => format!("[{} . {}]", shape(base), name.text),
        ExprKind::Index { base, index } => format!("[{} at {}]", shape(base), shape(index)),
        ExprKind::Call { callee, args, .. } => {
            let args: Vec<String> = args.iter().map(|a| shape(&a.value)).collect();
            format!("[{}: {}]", shape(callee), args.join(" "))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn precedence() {
    let cases = [
        ("a or b and not c == d", "[a Or [b And [Not [c Eq d]]]]"),
        ("a + b - c", "[[a Add b] Sub c]"),
        ("a * b + c / d", "[[a Mul b] Add [c Div d]]"),
        ("-a ^ 2", "[Neg [a Pow 2]]"),
        ("2 ^ -a * b", "[[2 Pow [Neg a]] Mul b]"),
        ("a ^ b ^ c", "[a Pow [b Pow c]]"),
        ("-a * b", "[[Neg a] Mul b]"),
        ("0..n + 1", "[0..[n Add 1]]"),
        ("a - 1 < b", "[[a Sub 1] Lt b]"),
        ("(a + b) * c", "[[a Add b] Mul c]"),
        ("-f(x)[1].y", "[Neg [[[f: x] at 1] . y]]"),
        ("if a then b else c + 1", "[if a b [c Add 1]]"),
        ("if a then b else if c then d else e", "[if a b [if c d e]]"),
        ("fn(x) = x + 1", "[fn [x Add 1]]"),
        ("1_000 + 1e-4 + 0.5 + 2", "[[[1000 Add 0.0001] Add 0.5] Add 2]"),
        ("not not true", "[Not [Not true]]"),
        ("(1 < 2) == true", "[[1 Lt 2] Eq true]"),
        ("net.step(loss, data) - state", "[[[net . step]: loss data] Sub state]"),
        ("x.in.let", "[[x . in] . let]"),
    ];
    for (text, want) in cases {
        assert_eq!(shape(&parse_expr(text).unwrap()), want, "{text}");
    }
}

#[test]
fn expressions() {
    insta::assert_snapshot!(statements(
        r#"
        x = "blocks.{i}.lin{j + 1}: {{\"a\\\n}}"
        x = { out: e, features, in: 3, }
        x = {}
        x = [1, [2], ]
        x = mean(d over C, H)
        x = f(a, if = b over not B)
        x = linear@inp(x, 32)
        x = net.layers@"b.{i}"(x)
        x = fn(a: f64, b = 2) = a
        "#
    ));
}

#[test]
fn statement_kinds() {
    insta::assert_snapshot!(statements(
        r#"
        /// One.
        /// Two.
        let a, b: f32 = c
        var x = 1
        x += 2
        if a { x = 1 } else if b { x = 2 } else { x = 3 }
        for i, j in pairs(xs) { }
        scan t, u in rows carry x { x = t }
        return x
        draw t ~ law(s), noise[i] ~
          normal(x)
        data x, path: f32[B, P, ..]
        net s = denoiser() from teacher frozen
          adamw(lr = 1e-4) ema(0.9)
        param weight: f32[O = out, C = n]? ~ uniform(0.1)
        param bias: time<edm>[B]
        state bins: f64[K = 10] = 1
        loss l = e weight w -> student, critic
        metric m = e
        step every k { }
        step student every 2 { }
        step critic otherwise { }
        step { }
        sample few_step(student)
        sample teacher = ode(teacher)
        "#
    ));
}

#[test]
fn item_kinds() {
    insta::assert_snapshot!(items(
        r#"
        use std.loss.{vsd, cfg,}
        use std.schedule.edm
        /// Doc.
        let sigma: f64 = 0.5
        fn f(x, n: int) -> f64 = x
        layer l(x: f32[B, ..], t: time, s: schedule? = none) { return x }
        schedule edm { let t_min = 0.0 /// Signal.
          fn alpha(t) = 1 }
        method m(
          /// Scale.
          guidance: f64? = none in 0.., in: int = 3 in -1..n + 1, low in ..1,
          kind: str = "a" in {"a", "b"},
        ) { }
        "#
    ));
}

#[test]
fn keywords_are_names_where_nothing_else_can_stand() {
    let text = "\
fn f(net, data, step, schedule) {
  let loss = net.loss(data, step = step) + schedule.sample
  state = loss * over
  step = data
  sample = step
  let state = data
  draw = from
  if step { weight = every } else { carry = frozen }
  for draw in data { metric = draw }
  return mean(over over C)
}";
    let parsed = parse(text);
    assert_eq!(parsed.errors, []);
    let ItemKind::Fn(Function { body: Body::Block(body), .. }) = &parsed.file.items[0].kind else { panic!() };
    assert_eq!(body.stmts.len(), 9);
}

#[test]
fn spans_are_what_was_written() {
    let text = "fn f(x) {\n  /// Doc.\n  let a = (b + c) * d // note\n\n  return a\n}\n// end\n";
    let parsed = parse(text);
    let at = |s: Span| &text[s.start..s.end];
    let item = &parsed.file.items[0];
    assert_eq!(at(item.span), text[..text.find("\n// end").unwrap()].to_string());
    let ItemKind::Fn(Function { body: Body::Block(body), .. }) = &item.kind else { panic!() };
    assert_eq!(at(body.stmts[0].span), "let a = (b + c) * d");
    let StmtKind::Let { value, .. } = &body.stmts[0].kind else { panic!() };
    let ExprKind::Binary { left, right, op_span, .. } = &*value.kind else { panic!() };
    assert_eq!([at(left.span), at(*op_span), at(right.span)], ["(b + c)", "*", "d"]);
    assert_eq!(at(body.stmts[1].span), "return a");
    let comments: Vec<&str> = parsed.file.comments.iter().map(|c| at(c.span)).collect();
    assert_eq!(comments, ["// note", "// end"]);
}

#[test]
fn documentation() {
    let parsed = parse("//! One.\n//!\n//!  Three.\n// note\n\n/// Item.\nlet a = 1");
    assert_eq!(parsed.file.doc, "One.\n\n Three.");
    assert_eq!(parsed.file.items[0].doc, "Item.");
    assert_eq!(parsed.file.comments[0].text, "note");
}
