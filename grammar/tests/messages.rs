//! What users read when they make a mistake: the place, the sentence, the help.

use fgc_grammar::ast::{ItemKind, StmtKind};
use fgc_grammar::{parse, parse_expr};
use std::fmt::Write;

/// Each text with its errors under it.
fn report(texts: &[&str]) -> String {
    let mut out = String::new();
    for text in texts {
        writeln!(out, "{text}").unwrap();
        for e in parse(text).errors {
            let (line, place) = (1 + text[..e.span.start].matches('\n').count(), &text[e.span.start..e.span.end]);
            writeln!(out, "  {} line {line}, `{place}`: {}", e.code, e.message).unwrap();
            if let Some(help) = e.help {
                writeln!(out, "    help: {help}").unwrap();
            }
        }
        out.push('\n');
    }
    out
}

#[test]
fn habits_of_python() {
    insta::assert_snapshot!(report(&[
        "def f(x):\n    return x + 1",
        "fn f(x): { return x }",
        "method m() { if a: let b = 1 }",
        "method m() {\n  for i in xs:\n    x = i\n}",
        "method m() {\n  let f = lambda x: x + 1\n  let g = 2\n}",
        "import torch\nfrom std import loss\nfn f(x) = x",
        "method m() {\n  if a { x = 1 } elif b { x = 2 }\n}",
        "method m() { let a = b ** 2 }",
        "method m() { let a = None  # nothing\n  let b = True and not False }",
        "method m() { let a = b if c else d }",
        "method m() { let a = [x for x in y] }",
        "method m() { let a = {\"k\": 1} }",
        "method m() { let a = f\"{x}\" }",
        "method m() { let a = 'x' }",
        "method m() { return a, b }",
        "layer f(x) { return self.w * x }",
        "method m() { print(x) }",
        "method m() { while a { x = 1 } }",
        "class Net:\n  pass",
    ]));
}

#[test]
fn habits_of_other_languages() {
    insta::assert_snapshot!(report(&[
        "method m() { let a = b; let c = a && b || !d }",
        "method m() { let a = b ? c : d }",
        "method m() { if (a) { x = 1 } else if (b) { x = 2 } }",
        "fn f(x) => x",
        "method m() { let a = if c { 1 } else { 2 } }",
        "method m() { x -= 1 }",
        "method m() { let a := 1 }",
        "method m() { let a = 5 % 2 }",
        "method m() { let σ = 3 − 2 × ε }",
    ]));
}

#[test]
fn statements() {
    insta::assert_snapshot!(report(&[
        "method m() { loss l = mse(a, b) }",
        "method m() {\n  loss l = mse(a, b)\n  metric k = a\n}",
        "method m() { loss mse(a, b) -> student }",
        "method m() { loss = mse(a, b) -> student }",
        "method m() { let a = b -> student }",
        "method m() { draw z = normal(x) }",
        "method m() { draw a ~ normal(x), b = normal(x) }",
        "method m() { let z ~ normal(x) }",
        "method m() { net student denoiser() }",
        "method m() { net student = denoiser() adam }",
        "method m() { step evry 5 { let a = 1 } }",
        "method m() { step otherwise x { } }",
        "method m() { if c then 1 else 2 }",
        "method m() { if a = b { x = 1 } }",
        "method m() { else { } }",
        "method m() { for i 3 { } }",
        "method m() { scan t in rows { x = 1 } }",
        "layer l() { param w = 3 }",
        "fn f(x) {\n  x + 1\n}",
        "fn f(x) {\n  g(x)\n}",
        "method m() { x: f32 = 1 }",
        "method m() { x == 1 }",
        "method m() { let in = 3 }",
        "method m() { let a = }",
        "method m() { let a = x y }",
        "method m() { f(x) = 3 }",
    ]));
}

#[test]
fn expressions() {
    insta::assert_snapshot!(report(&[
        "let a = 1 < b < 3",
        "let a = 0..1..2",
        "let a = (a b)",
        "let a = f(x = 1, y: 2)",
        "let a = b.",
        "let a = if b then c",
        "let a = \"{b c}\"",
        "let a = \"abc",
        "let a = \"a}b\\q\"",
        "let a = 12abc + 1.5.2 + 2. + .5",
        "let a = 99999999999999999999 + 1e999",
        "let a: f32[B C] = 1",
        "let a: f32<edm> = 1",
    ]));
}

#[test]
fn items_and_parameters() {
    insta::assert_snapshot!(report(&[
        "fn f x = 3",
        "fn f(x)",
        "fn (x) = 1",
        "method m(a: int = 3 b: f32, c:, d: int in) { data x }",
        "method m(a, 3, in) { data x }",
        "use std.loss.{a b}",
        "use std loss",
        "loss a = b -> c\nlet x = 1\nmetric d = e",
        "method m() {\n  fn f(x) = x\n  let a = 1\n}",
        "method m() {\n  let a = 1\n  /// nothing\n}",
        "fn f() = 1\n//! late",
        "schedule s { let a = 1  loss b = c -> d }",
        "method m() { let a = map(fn(/// doc\n x) = x, y) }",
    ]));
}

#[test]
fn delimiters() {
    insta::assert_snapshot!(report(&[
        "method m() {\n  step every 5 {\n    loss a = b -> c\n  sample few_step(x)\n}\n\nfn g(x) = x",
        "method m() {\n  data x",
        "method m() {\n  let a = 1\n}}\nfn f(x) = x",
        "method m() {\n  step {\n    let a = f(x, g(y)\n    let b = 2\n  }\n}",
        "method m() {\n  let a = [1, 2\n  x = 3\n}",
        "method m() {\n  loss a = mse(b, c -> d\n}",
        "method m(a, b {\n  data x\n}",
        "method m() {\n  if (a { x = 1 }\n}",
        "method m() {\n  let a = )\n  let b = [1)]\n}",
    ]));
}

#[test]
fn three_mistakes_are_three_errors_and_the_rest_is_whole() {
    let text = "\
use std.loss.vsd
method m(a: int = 1) {
  data x, c
  draw z = normal(x)
  let y = f(z
  step every {
    loss l = mse(x, y) -> student
    metric k == l
  }
  sample few_step(student)
}
fn after(x) = x
";
    let parsed = parse(text);
    insta::assert_snapshot!(report(&[text]));
    assert_eq!(parsed.errors.len(), 4);
    let [_, method, after] = parsed.file.items.as_slice() else { panic!("{:?}", parsed.file.items) };
    assert!(matches!(&after.kind, ItemKind::Fn(f) if f.name.text == "after"));
    let ItemKind::Method { params, body, .. } = &method.kind else { panic!("{method:?}") };
    assert_eq!(params.len(), 1);
    let kinds: Vec<&str> = body
        .stmts
        .iter()
        .map(|s| match s.kind {
            StmtKind::Data(_) => "data",
            StmtKind::Sample { .. } => "sample",
            StmtKind::Error => "error",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["data", "error", "error", "error", "sample"]);
}

#[test]
fn a_bad_parameter_spares_the_others_and_the_body() {
    let parsed = parse("method m(a: int = 1, b = , c: f64) { data x }");
    let ItemKind::Method { params, body, .. } = &parsed.file.items[0].kind else { panic!() };
    let names: Vec<&str> = params.iter().map(|p| p.name.text.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(body.stmts.len(), 1);
    assert_eq!(parsed.errors.len(), 1);
    assert_eq!(parsed.errors[0].expected, ["an expression"]);
}

#[test]
fn values_from_outside() {
    assert!(parse_expr("lognormal(-1.1, 2.0)").is_ok());
    assert!(parse_expr(" [1, 2] // both").is_ok());
    for text in ["", "1 2", "let a = 1", "(", "a < b < c", "1.2.3", "\"", "1 }"] {
        let errors = parse_expr(text).unwrap_err();
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    }
}

#[test]
fn reports_end_at_a_hundred() {
    assert_eq!(parse(&"let = 1\n".repeat(1000)).errors.len(), 100);
}
