//! The recorded cases in tests/cases agree, on every backend.

use fgc_compiler::level::Level;
use fgc_runtime::cpu::Backend;
use parity::{Case, compare, on, replay};
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    dirs.retain(|dir| dir.join("case.json").is_file());
    dirs.sort();
    dirs
}

fn all_agree(backend: Backend, level: Level, of: impl Fn(&str) -> bool) {
    let methods = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../methods");
    let mut wrong = Vec::new();
    let mut replayed = 0;
    for dir in cases().iter().filter(|dir| of(&dir.file_name().unwrap().to_string_lossy())) {
        let case = Case { level, ..Case::load(dir).unwrap() };
        match replay(&case, &methods, &on(backend)) {
            Ok(found) => {
                wrong.extend(compare(&case, &found).wrong.into_iter().map(|w| format!("{}: {w}", dir.display())))
            }
            Err(e) => wrong.push(format!("{}: {e}", dir.display())),
        }
        replayed += 1;
    }
    assert!(replayed > 0, "no cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn compiled_steps_equal_the_recorded_ones() {
    all_agree(Backend::Compiled, Level::Rewrite, |_| true);
}

#[test]
fn interpreted_steps_equal_the_recorded_ones() {
    all_agree(Backend::Interpreter, Level::Rewrite, |_| true);
}

#[test]
fn fused_steps_equal_the_recorded_ones() {
    all_agree(Backend::Interpreter, Level::Fuse, |_| true);
}

#[test]
fn steps_of_single_operations_equal_the_recorded_ones() {
    all_agree(Backend::Interpreter, Level::None, |_| true);
}

/// Products and convolutions by their definition, too.
#[test]
fn steps_by_definition_equal_the_recorded_ones() {
    all_agree(Backend::Reference, Level::Rewrite, |name| !name.ends_with("-unet"));
}
