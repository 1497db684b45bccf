//! Every example of docs/language.md, and the README's, compiles without a complaint.

use fgc_compiler::check;
use fgc_compiler::diagnostic::render;
use fgc_compiler::preset::{Field, NetSpec, Setup};

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
