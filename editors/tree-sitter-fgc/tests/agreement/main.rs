//! Editors colour and select by this grammar, fgc reads by its own: on every spec both see the same.

mod ours;
mod theirs;

use std::path::{Path, PathBuf};

/// What a node is, and where: kind, start, end; parents before children.
pub type Nodes = Vec<(String, usize, usize)>;

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pending: Vec<PathBuf> =
        ["methods", "stdlib", "grammar/tests", "compiler/tests", "docs", "fuzz/regressions"]
            .map(|f| root.join(f))
            .into();
    let mut found = Vec::new();
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "fg") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_spec_has_the_same_tree() {
    let files = files();
    assert!(files.len() > 30);
    for path in files {
        agree(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap());
    }
}

/// What no spec of the repository has.
#[test]
fn odd_texts_have_the_same_tree() {
    for text in [
        "let a = -b ^ 2 * -c ^ -d ^ e",
        "let a = not b == c and not d or e",
        "let a = b * not c + d",
        "let a = 1 + fn(x) = x + 2 ^ 3",
        "let a = if b then c else d + if e then f else g .. h",
        "let a = (b + c) * ((d))",
        "let a = f(x over C, H)[0].y(z)(w)@\"s.{i + 1}\"(v, k = 2,)",
        "let a = [1, 2.5, 1e-3, 1_000]",
        "let a = [b .. c + 1, d .. -e]",
        "let a = {b: {c}, d, e: f,}.b",
        "let data = draw + step * weight",
        "fn f(in: int = 3 in 1..2 * n - 1, of = f(if = 2, in = 3) in ..-1, x: time<edm>[B]? = none in {a, b}) = of.let",
        "let a = \"{{b}} {c} // {d[\"e\"]}\\n\\\"\"",
        "method m() { data x: f32[B, T, ..], c  data = data\n x = c step {} step every every {} step scan otherwise {} }",
        "method m() { net a = f() frozen from b g(1) warmup(2) h = 3 net c = d() k += 1 sample a }",
        "method m() { loss l = a weight b -> c, weight sample a sample = b sample c = d }",
        "method m() { draw a[0] ~ b, c ~ d metric e = f, g = h var i: f64 = 1 state j: f32[K = 3] = i return j }",
        "method m() { if a {} else if b { c = d } else {} for i, j in k { } scan l in m carry n { } }",
        "layer l(x) -> f32[B, O = 2] { param w: f32[C = n] ~ u(1) param v: f32 return x(w) }",
        "schedule s { let a = 1 fn f() = 2 /// doc\n let b = a }",
        "use std.loss.{vsd, cfg,} use std.schedule.edm use std",
        "//! doc\n//\n////\n///\n/// doc\nlet a = 1 // end",
        "let a = b //\n  // c\n  (d)",
        "",
    ] {
        assert_eq!(fgc_grammar::parse(text).errors, [], "{text}");
        agree(text, text);
    }
}

/// What one refuses the other refuses; but tree-sitter takes keywords for names.
#[test]
fn mistakes_are_mistakes() {
    for text in
        ["let a", "let a = ", "let = 3", "let a = (b", "method m { }", "let a = b c", "let a = f(, b)", "let a = \"b"]
    {
        assert!(!fgc_grammar::parse(text).errors.is_empty(), "{text}");
        assert!(theirs::nodes(text).is_err(), "{text}");
    }
}

fn agree(name: &str, text: &str) {
    let parsed = fgc_grammar::parse(text);
    let theirs = theirs::nodes(text);
    if !parsed.errors.is_empty() {
        return;
    }
    let ours = ours::nodes(&parsed.file);
    let theirs = theirs.unwrap_or_else(|tree| panic!("{name}: not read: {tree}"));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{name}: {:?} and {:?}", &text[ours.1..ours.2], &text[theirs.1..theirs.2]);
    }
    assert_eq!(ours.len(), theirs.len(), "{name}");
}
