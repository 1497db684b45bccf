//! Every example of docs/language.md, and the README's, compiles without a complaint; the tables of methods are true.

use fgc_compiler::check;
use fgc_compiler::diagnostic::render;
use fgc_compiler::preset::{Field, NetSpec, Preset, Setup};
use fgc_runtime::data::DataSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn setup() -> Setup {
    let spec = |network: &str| NetSpec {
        network: network.into(),
        schedule: "edm".into(),
        predicts: "x0".into(),
        precondition: "edm".into(),
        sigma_data: 0.5,
    };
    let field = |axis: &str, n: usize| Field { axes: vec![axis.into()], shape: vec![n] };
    Setup {
        batch: 6,
        fields: [("x".to_owned(), field("C", 2)), ("c".to_owned(), field("K", 4))].into_iter().collect(),
        nets: [
            ("denoiser".to_owned(), spec("mlp(hidden = 16, blocks = 2, emb = 8, classes = classes)")),
            ("critic".to_owned(), spec("mlp_critic()")),
        ]
        .into_iter()
        .collect(),
        ..Setup::default()
    }
}

/// The `fg` examples of a page.
fn examples(page: &str) -> Vec<&str> {
    page.split("```fg\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(rest)).collect()
}

fn compile_without_complaint(file: &str, page: &str) {
    for (i, example) in examples(page).into_iter().enumerate() {
        match check::check(&format!("example {i} of {file}"), example, &setup()) {
            Ok(checked) => {
                let warnings: String = checked.warnings.iter().map(|w| render(w, &checked.sources, false)).collect();
                assert!(warnings.is_empty(), "{warnings}");
            }
            Err(failure) => {
                let errors: String = failure.diagnostics.iter().map(|d| render(d, &failure.sources, false)).collect();
                panic!("{errors}");
            }
        }
    }
}

#[test]
fn the_examples_of_the_language_page_compile() {
    let page = include_str!("../docs/language.md");
    assert!(examples(page).len() >= 8, "the page has an example for each construct");
    compile_without_complaint("docs/language.md", page);
}

#[test]
fn the_method_of_the_readme_compiles() {
    let page = include_str!("../README.md");
    assert_eq!(examples(page).len(), 1);
    compile_without_complaint("README.md", page);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

/// Files of a folder with an extension: stems and texts.
fn files(folder: &str, extension: &str) -> BTreeMap<String, String> {
    let paths = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let wanted = paths.filter(|path| path.extension().is_some_and(|e| e == extension));
    wanted.map(|path| (stem(&path), std::fs::read_to_string(&path).unwrap())).collect()
}

/// Rows of the first table of a page with this heading: cells, links reduced to their texts.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let plain = |cell: &str| match cell.split_once("](") {
        Some((text, _)) => text.trim_start_matches('[').to_owned(),
        None => cell.trim_matches('`').to_owned(),
    };
    let lines = page.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
    let table = lines.take_while(|line| line.starts_with('|'));
    table.map(|line| line.trim_matches('|').split('|').map(|cell| plain(cell.trim())).collect()).collect()
}

/// Lines of every method (at most 40), its presets and its recorded cases are those that exist.
#[test]
fn the_table_of_methods_is_true() {
    let (specs, presets) = (files("methods", "fg"), files("methods/presets", "ron"));
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    let parsed = |text: &String| options.from_str::<Preset<DataSpec>>(text).unwrap();
    let settings: BTreeMap<&String, Preset<DataSpec>> = presets.iter().map(|(k, text)| (k, parsed(text))).collect();
    let cases = std::fs::read_dir(root().join("tests/cases")).unwrap().map(|e| e.unwrap().path().join("case.json"));
    let cases: Vec<serde_json::Value> =
        cases.map(|path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).collect();
    let page = include_str!("../docs/methods.md");
    assert!(page.contains(&format!("holds {} training steps", cases.len())), "{} cases", cases.len());
    let table = rows(page, "| method | paper");
    assert_eq!(table.iter().map(|row| &row[0]).collect::<BTreeSet<_>>(), specs.keys().collect::<BTreeSet<_>>());
    for row in &table {
        let [method, _, spec, lines, named, recorded] = &row[..] else { panic!("{row:?}") };
        let code = specs[method].lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
        let code = code.count();
        assert_eq!((spec, lines), (&format!("methods/{method}.fg"), &code.to_string()), "{method}");
        assert!(code <= 40, "{method} has {code} lines");
        let named: BTreeSet<&str> = named.split(", ").collect();
        let with_settings = settings.iter().filter(|(_, preset)| preset.methods.contains_key(method));
        assert_eq!(named, with_settings.map(|(name, _)| name.as_str()).collect(), "presets of {method}");
        let of_method = cases.iter().filter(|case| case["method"] == method.as_str()).count();
        assert_eq!(*recorded, of_method.to_string(), "cases of {method}");
        assert!(page.contains(&format!("\n## {method}\n")), "a section on {method}");
    }
    let measured: BTreeSet<String> = rows(page, "| method | preset").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(measured, specs.keys().cloned().collect());
    let readme: BTreeSet<String> =
        rows(include_str!("../README.md"), "| method | paper").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(readme, specs.keys().cloned().collect());
}
