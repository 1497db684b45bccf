//! What each name refers to.

use fgc_compiler::module::{ModuleId, Modules};
use fgc_compiler::names::{Names, SymbolKind, Target};
use fgc_compiler::source::{Sources, standard_modules};

fn names(text: &str) -> (Modules, Sources, ModuleId, Names) {
    let (mut modules, mut sources) = (Modules::default(), Sources::default());
    let id = modules.load_user(&mut sources, "m.fg", text, &mut Vec::new());
    let names = Names::of(id, &modules, &sources);
    (modules, sources, id, names)
}

/// Bare names of a module that refer to nothing.
fn unknown(names: &Names, text: &str) -> Vec<String> {
    let bare = |start: usize, end: usize| !text[..start].ends_with('.') && !text[end..].trim_start().starts_with('=');
    let uses = names.uses.iter().filter(|u| u.target == Target::Unknown && bare(u.span.start, u.span.end));
    uses.map(|u| u.name.clone()).collect()
}

#[test]
fn every_name_of_the_library_and_the_methods_refers_to_something() {
    let (mut modules, mut sources) = (Modules::default(), Sources::default());
    modules.load_user(&mut sources, "empty.fg", "", &mut Vec::new());
    for path in standard_modules() {
        let id = modules.load_standard(&mut sources, &path, &mut Vec::new()).unwrap();
        let names = Names::of(id, &modules, &sources);
        let text = sources.file(modules.module(id).file).text.clone();
        assert_eq!(unknown(&names, &text), Vec::<String>::new(), "{path}");
        for name in &names.uses {
            assert_eq!(&text[name.span.start..name.span.end], name.name, "{path}");
        }
    }
    let mut methods = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../methods")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "fg") {
            let text = std::fs::read_to_string(&path).unwrap();
            let (.., names) = names(&text);
            assert_eq!(unknown(&names, &text), Vec::<String>::new(), "{}", path.display());
            methods += 1;
        }
    }
    assert!(methods >= 13);
}

/// `name → line of its definition`, for every use of a name of the file.
fn local(text: &str) -> Vec<String> {
    let (.., names) = names(text);
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    let of = |u: &fgc_compiler::names::Use| match u.target {
        Target::Symbol(i) => {
            Some(format!("{}@{} -> {}", u.name, line(u.span.start), line(names.symbols[i].site_at(u.span.start).start)))
        }
        _ => None,
    };
    names.uses.iter().filter_map(of).collect()
}

#[test]
fn scopes_are_those_of_the_language() {
    let text = "let k = 2
fn f(x, n = k) {
  let x = x + n
  for k in 0..3 { let y = k }
  return x * k
}
schedule s {
  let t_min = k
  fn alpha(t) = t + t_min
}
method m(a: f64 = 1.0) {
  if a > 0 { let b = 1 } else { let b = 2 }
  let g = fn(x) = x + a + b
  step one { let c = f(n = b, x = (c2)) }
  let c2 = { b, d: [\"{g}\"] }
}
";
    assert_eq!(
        local(text),
        [
            "k@2 -> 1",
            "x@3 -> 3",
            "n@3 -> 2",
            "k@4 -> 4",
            "x@5 -> 3",
            "k@5 -> 1",
            "k@8 -> 1",
            "t@9 -> 9",
            "t_min@9 -> 8",
            "a@12 -> 11",
            "x@13 -> 13",
            "a@13 -> 11",
            "b@13 -> 12",
            "f@14 -> 2",
            "n@14 -> 2",
            "b@14 -> 12",
            "x@14 -> 2",
            "b@15 -> 12",
            "g@15 -> 13",
        ]
    );
    let (.., names) = names(text);
    let b = names.symbols.iter().find(|s| s.name == "b").unwrap();
    assert_eq!(b.sites.len(), 2, "both branches bind one name");
    assert!(names.uses.iter().any(|u| u.name == "b" && u.shorthand));
    let visible = |piece: &str| -> Vec<&str> {
        let at = text.find(piece).unwrap();
        names.visible(at).into_iter().map(|i| names.symbols[i].name.as_str()).collect()
    };
    assert_eq!(visible("return"), ["x", "n", "k", "f", "s"]);
    assert!(!visible("let c2").contains(&"c") && visible("let c2").contains(&"b"));
    assert!(names.symbols.iter().any(|s| s.kind == SymbolKind::Step && s.name == "one"));
}

#[test]
fn names_of_other_modules_and_their_parameters_are_found() {
    let text = "use std.loss.{vsd}\nuse std.schedule.edm\nmethod m() {\n  let a = vsd(1, 2, 3, h = 4) + mse(1, 2)\n  let b = edm.t_max\n}\n";
    let (modules, sources, id, names) = names(text);
    let found = |name: &str, n: usize| {
        let used = names.uses.iter().filter(|u| u.name == name).nth(n).unwrap();
        let place = names.place(&used.target, used.span.start, id, &modules).unwrap();
        let file = sources.file(place.file);
        (file.name.clone(), file.text[place.span.start..place.span.end].to_owned())
    };
    for n in 0..2 {
        assert_eq!(found("vsd", n), ("std/loss.fg".into(), "vsd".into()));
    }
    assert_eq!(found("h", 0), ("std/loss.fg".into(), "h".into()));
    assert_eq!(found("mse", 0), ("std/loss.fg".into(), "mse".into()), "through the prelude");
    assert_eq!(found("edm", 1), ("std/schedule/edm.fg".into(), "edm".into()));
}
