//! No input makes the parser panic, overflow the stack or take long.

#[path = "common/files.rs"]
mod files;
#[path = "common/tree.rs"]
mod tree;

use fgc_grammar::ast::ItemKind;
use fgc_grammar::{format, parse, parse_expr};
use files::files;
use proptest::prelude::*;
use std::time::{Duration, Instant};
use tree::tree;

#[test]
fn every_file_is_read_without_errors() {
    for (path, text) in files() {
        let parsed = parse(&text);
        assert_eq!(parsed.errors, [], "{}", path.display());
    }
}

/// Spans lie in the text, at character boundaries, and errors' are not empty.
fn check(text: &str) {
    let parsed = parse(text);
    for e in &parsed.errors {
        assert!(text.get(e.span.start..e.span.end).is_some(), "{e:?} in {text:?}");
        assert!(e.span.start < e.span.end || text.trim().is_empty(), "{e:?} in {text:?}");
    }
    for item in &parsed.file.items {
        assert!(text.get(item.span.start..item.span.end).is_some());
    }
    let formatted = format(text);
    assert_eq!(formatted.is_ok(), parsed.errors.is_empty());
    if let Ok(formatted) = formatted {
        let again = parse(&formatted);
        assert_eq!(again.errors, [], "formatted: {formatted}\nfrom: {text}");
        assert_eq!(tree(&again.file), tree(&parsed.file));
        assert_eq!(format(&formatted).unwrap(), formatted);
    }
    let _ = parse_expr(text);
}

#[test]
fn mended_characters_keep_their_places() {
    for text in ["×", "let σ = a ≤ b × −c", "let a = \"é{b×c}\"", "→", "fn f(é) = é", "let a = 1 × // é\n"]
    {
        check(text);
    }
}

#[test]
fn every_prefix_of_a_file_has_a_tree() {
    let text = include_str!("../../methods/sft.fg");
    let name = text.find("method sft(").unwrap();
    let body = text.find("data x, c").unwrap();
    for (end, _) in text.char_indices() {
        check(&text[..end]);
        if end > body {
            let parsed = parse(&text[..end]);
            let method = parsed.file.items.iter().find(|i| i.span.start == name);
            assert!(matches!(method.map(|m| &m.kind), Some(ItemKind::Method { .. })), "{}", &text[..end]);
        }
    }
}

#[test]
fn adversarial_texts_end_soon() {
    let open =
        ["(", "[", "{", "\"{", "f(", "x[", "-", "not ", "fn(x) = ", "if a then b else ", "a ^ ", "{ a: ", "a@\"{"];
    let more =
        ["a + ", "a.b", "a(b)", ")", "]", "}", "\"", "let ", "let a = (", "x = ", "///\n", "//!\n", "@", "=", "~"];
    let blocks = ["if a { ", "step { ", "method m() { ", "fn f(", "if a {} else ", "for i in x {", "{}", "{ let a = {"];
    let bad = [
        "loss a = ) ",
        "step evry { ",
        "method m(a b) { ",
        "let = ( ",
        "x y ",
        ";",
        "#\n",
        "'",
        "1.2.3 ",
        "é",
        "\u{4}",
    ];
    let mut slowest = (Duration::ZERO, "");
    for piece in open.iter().chain(&more).chain(&blocks).chain(&bad) {
        for start in ["", "method m() { let a = f("] {
            let text = format!("{start}{}", piece.repeat(40_000 / piece.len()));
            let before = Instant::now();
            parse(&text);
            slowest = slowest.max((before.elapsed(), piece));
            let short = format!("{start}{}", piece.repeat(150));
            check(&short);
        }
    }
    // Measured 0.2 s; anything quadratic takes minutes.
    assert!(slowest.0 < Duration::from_secs(4), "{slowest:?}");
}

#[test]
fn nesting_up_to_the_limit_is_read() {
    for (open, close) in [("(", ")"), ("[", "]"), ("f(", ")"), ("{ a: ", " }"), ("fn(x) = ", "")] {
        let text = |n: usize| format!("let a = {}1{}", open.repeat(n), close.repeat(n));
        assert_eq!(parse(&text(190)).errors, []);
        let errors = parse(&text(300)).errors;
        assert_eq!(errors.iter().map(|e| e.code).collect::<Vec<_>>(), ["FG0006"]);
    }
    // Length is no depth.
    let statements = "  x = -a + b * f(c)[1]\n  if a { return -b } else { y = not c }\n".repeat(2000);
    assert_eq!(parse(&format!("fn f(a) {{\n{statements}}}")).errors, []);
    let items = "fn f(a) = if a then -1 else 2\n".repeat(2000);
    assert_eq!(parse(&items).errors, []);
    let list = format!("let a = [{}]", "-a + b, ".repeat(2000));
    assert_eq!(parse(&list).errors, []);
}

/// A file with pieces cut out, doubled or replaced.
fn edited() -> impl Strategy<Value = String> {
    let texts: Vec<String> = files().into_iter().map(|(_, text)| text).collect();
    let piece = prop_oneof![
        Just(String::new()),
        "[ -~]{1,3}",
        "\\PC",
        prop::sample::select(vec![
            "{", "}", "(", ")", "\"", "\n", "->", "let ", "fn ", "in", "..", "//", "///", "if ", "="
        ])
        .prop_map(str::to_string),
    ];
    let edit = (any::<prop::sample::Index>(), 0usize..4, piece);
    (prop::sample::select(texts), prop::collection::vec(edit, 1..6)).prop_map(|(mut text, edits)| {
        for (at, cut, piece) in edits {
            let mut start = at.index(text.len() + 1);
            while !text.is_char_boundary(start) {
                start -= 1;
            }
            let mut end = (start + cut).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            text.replace_range(start..end, &piece);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edited_files_are_read(text in edited()) {
        check(&text);
    }

    #[test]
    fn any_text_is_read(text in "\\PC{0,60}") {
        check(&text);
    }

    #[test]
    fn any_tokens_are_read(words in prop::collection::vec(prop::sample::select(vec![
        "let", "fn", "x", "y", "(", ")", "{", "}", "[", "]", "=", "+", "-", "*", "^", "..", ".", ",", ":", "->", "~", "\"",
        "if", "then", "else", "method", "step", "every", "loss", "net", "in", "over", "not", "1", "2.5", "@", "\n", "///", "//",
        "for", "return", "draw", "data", "sample", "none", "?", "f32", "weight", "schedule",
    ]), 0..60)) {
        check(&words.join(" "));
        check(&words.concat());
    }
}
