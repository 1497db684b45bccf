//! Emacs without a screen, with Eglot.

use std::path::Path;
use std::process::Command;

/// `cargo test --test editor emacs -- --ignored`
#[test]
#[ignore = "needs Emacs 28 with Eglot (Debian: apt-get install emacs-nox elpa-eglot)"]
fn emacs_edits_a_method() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = tempfile::tempdir().unwrap();
    let spec = work.path().join("dmd2.fg");
    std::fs::copy(root.join("methods/dmd2.fg"), &spec).unwrap();
    let output = Command::new("emacs")
        .args(["-q", "--batch", "--eval", "(package-initialize)", "-L"])
        .arg(root.join("editors/emacs"))
        .arg("-l")
        .arg(root.join("tests/editor/emacs.el"))
        .env("FGC", env!("CARGO_BIN_EXE_fgc"))
        .env("SPEC", &spec)
        .env("HOME", work.path())
        .env("FGC_CACHE_DIR", work.path().join("cache"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
