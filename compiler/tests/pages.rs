//! The pages of docs/errors: every code has one; its example gives exactly that code, and the repaired one nothing.
//! What users read for the example is a snapshot.

use fgc_compiler::diagnostic::{Diagnostic, Severity, apply, codes, page, render};
use fgc_compiler::preset::{Field, NetSpec, Setup};
use fgc_compiler::source::Sources;
use std::collections::BTreeSet;
use std::path::Path;

/// What an example is compiled for, changed by the words after ```` ```fg ````: `set NAME=VALUE`, `net NAME=NETWORK`,
/// `schedule=NAME`, `predicts=KIND`, `pin NAME=SHAPE`.
fn setup(options: &str) -> Setup {
    let spec = |network: &str| NetSpec {
        network: network.into(),
        schedule: "edm".into(),
        predicts: "x0".into(),
        precondition: "edm".into(),
        sigma_data: 0.5,
    };
    let field = |axis: &str, n: usize| Field { axes: vec![axis.into()], shape: vec![n] };
    let nets = [
        ("denoiser", spec("mlp(hidden = 8, blocks = 1, emb = 4, classes = classes)")),
        ("critic", spec("mlp_critic()")),
    ];
    let mut setup = Setup {
        batch: 6,
        fields: [("x".to_owned(), field("C", 2)), ("c".to_owned(), field("K", 4))].into_iter().collect(),
        nets: nets.into_iter().map(|(name, spec)| (name.to_owned(), spec)).collect(),
        // Files of kernels that examples name; from here, so that messages do not vary with the machine.
        folder: Some("../docs/extern".into()),
        ..Setup::default()
    };
    let Some((word, value)) = options.split_once('=') else { return setup };
    let value = value.to_owned();
    match word.split_once(' ') {
        Some(("set", name)) => drop(setup.set.insert(name.into(), value)),
        Some(("net", name)) => drop(setup.nets.insert(name.into(), spec(&value))),
        Some(("pin", name)) => {
            let shape = value.split('x').map(|n| n.parse().unwrap()).collect();
            setup.pins.insert(name.into(), (fgc_program::DType::F32, shape));
        }
        _ if word == "schedule" => setup.nets["denoiser"].schedule = value,
        _ if word == "predicts" => setup.nets["denoiser"].predicts = value,
        _ => panic!("unknown option `{options}`"),
    }
    setup
}

/// The examples of a page: options and text.
fn examples(page: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line.strip_prefix("```")) {
            (false, Some(rest)) if rest.starts_with("fg") => {
                out.push((rest[2..].trim().into(), String::new()));
                inside = true;
            }
            (true, Some(_)) => inside = false,
            (true, None) => out.last_mut().unwrap().1 += &format!("{line}\n"),
            _ => {}
        }
    }
    out
}

fn check(text: &str, options: &str) -> (Sources, Vec<Diagnostic>) {
    match fgc_compiler::compile("example.fg", text, &setup(options)) {
        Ok(done) => (done.checked.sources, done.checked.warnings),
        Err(failure) => (failure.sources, failure.diagnostics),
    }
}

#[test]
fn examples_give_their_code_and_repaired_ones_nothing() {
    let mut wrong = String::new();
    for (code, _) in codes() {
        let text = page(code).unwrap();
        assert!(text.starts_with(&format!("# {code}: ")), "{code} has no title");
        for part in ["\n## Example\n", "\n## Repaired\n"] {
            assert!(text.contains(part), "{code} lacks {part}");
        }
        let examples = examples(text);
        let [(options, bad), (repaired_options, good)] = examples.as_slice() else {
            assert!(code.starts_with("FG09"), "{code} has {} examples", examples.len());
            continue;
        };
        let show = |(sources, ds): &(Sources, Vec<Diagnostic>)| -> String {
            ds.iter().map(|d| render(d, sources, false)).collect()
        };
        let found = check(bad, options);
        if found.1.is_empty() || found.1.iter().any(|d| d.code != code) {
            wrong += &format!("{code}: the example gives\n{}\n", show(&found));
        }
        let left = check(good, repaired_options);
        if !left.1.is_empty() {
            wrong += &format!("{code}: the repaired example gives\n{}\n", show(&left));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_examples_say() {
    for (code, _) in codes() {
        let examples = examples(page(code).unwrap());
        let Some((options, text)) = examples.first() else { continue };
        let (sources, found) = check(text, options);
        let shown: String = found.iter().map(|d| render(d, &sources, false)).collect();
        insta::with_settings!({ snapshot_path => "snapshots/pages", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(code, shown);
        });
    }
}

/// Every code in the sources has a page, and every page a code.
#[test]
fn codes_and_pages_agree() {
    fn collect(dir: &Path, out: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for (at, _) in text.match_indices("\"FG") {
                    let code: String = text[at + 1..].chars().take(6).collect();
                    if code[2..].bytes().all(|b| b.is_ascii_digit()) && text[at + 7..].starts_with('"') {
                        out.insert(code);
                    }
                }
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut used = BTreeSet::new();
    for part in ["grammar/src", "compiler/src", "lsp/src", "runtime/src", "src"] {
        collect(&root.join(part), &mut used);
    }
    let pages: BTreeSet<String> = codes().into_iter().map(|(code, _)| code.to_owned()).collect();
    assert_eq!(used, pages);
}

/// Every cure that is offered works: its diagnostic is gone, and no new error is there.
#[test]
fn cures_cure() {
    let mut wrong = String::new();
    let mut cures = 0;
    let mut try_all = |name: &str, text: &str, options: &str| {
        let (sources, found) = check(text, options);
        let file = sources.ids().find(|id| sources.file(*id).name == "example.fg").unwrap();
        let key = |d: &Diagnostic| (d.code, d.message.clone());
        let errors =
            |found: &[Diagnostic]| found.iter().filter(|d| d.severity == Severity::Error).map(key).collect::<Vec<_>>();
        let before = errors(&found);
        for d in &found {
            for fix in d.fixes.iter().filter(|f| f.edits.iter().all(|e| e.place.file == file)) {
                let mended = apply(fix, file, &sources);
                let (_, left) = check(&mended, options);
                let again = left.iter().filter(|l| key(l) == key(d)).count()
                    >= found.iter().filter(|f| key(f) == key(d)).count();
                let new: Vec<_> = errors(&left).into_iter().filter(|e| !before.contains(e)).collect();
                // What stood behind another mistake shows once that is gone.
                let alone = before.len() <= 1 && !d.code.starts_with("FG00");
                if again || alone && !new.is_empty() {
                    wrong += &format!("{name} {}: `{}` gives {:?}, again: {again}\n{mended}\n", d.code, fix.title, new);
                }
                cures += 1;
            }
        }
    };
    for (code, _) in codes() {
        for (options, text) in examples(page(code).unwrap()).iter().take(1) {
            try_all(code, text, options);
        }
    }
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui")).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        try_all(&entry.file_name().to_string_lossy(), &text, "");
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(cures >= 40, "only {cures} cures were tried");
}
