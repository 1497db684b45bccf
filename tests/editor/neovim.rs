//! A real editor: Neovim without a screen.

use std::path::Path;
use std::process::Command;

#[test]
fn neovim_edits_a_method() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = tempfile::tempdir().unwrap();
    let spec = work.path().join("dmd2.fg");
    std::fs::copy(root.join("methods/dmd2.fg"), &spec).unwrap();
    let output = Command::new("nvim")
        .args(["--headless", "-u", "NORC", "-i", "NONE", "-n", "--cmd"])
        .arg(format!("set runtimepath^={}", root.join("editors/neovim").display()))
        .arg("-c")
        .arg(format!("luafile {}", root.join("tests/editor/neovim.lua").display()))
        .env("FGC", env!("CARGO_BIN_EXE_fgc"))
        .env("SPEC", &spec)
        .env("HOME", work.path())
        .env("XDG_STATE_HOME", work.path())
        .env("FGC_CACHE_DIR", work.path().join("cache"))
        .output()
        .unwrap_or_else(|e| panic!("this test needs Neovim 0.7 or newer (apt-get install neovim): {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
