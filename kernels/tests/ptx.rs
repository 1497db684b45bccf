//! `rms_silu.ptx` is what the compiler makes of this crate: made again and compared, where there is a compiler that can.
//!
//! That is Debian's `rustc-web` with `rust-web-src`, whose LLVM has NVIDIA's back end, in the version that the file was made
//! with; `FGC_PTX_RUSTC` names another. `FGC_PTX_UPDATE=1` writes the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler that made the file.
const VERSION: &str = "1.96.0";

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The compiler and the sources of its `core`; or why there is none.
fn toolchain() -> Result<(String, PathBuf), String> {
    let rustc = std::env::var("FGC_PTX_RUSTC").unwrap_or_else(|_| "/usr/bin/rustc".into());
    let said = |args: &[&str]| -> Result<String, String> {
        let output = Command::new(&rustc).args(args).output().map_err(|e| format!("{rustc}: {e}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let version = said(&["--version"])?;
    if version.split(' ').nth(1) != Some(VERSION) {
        return Err(format!("{rustc} is {version}, and the file was made by {VERSION} (apt-get install rustc-web)"));
    }
    if !said(&["--print", "target-list"])?.contains("nvptx64-nvidia-cuda") {
        return Err(format!("{rustc} has no nvptx64-nvidia-cuda"));
    }
    let sysroot = PathBuf::from(said(&["--print", "sysroot"])?).join("lib/rustlib/src/rust/library");
    let sources = [sysroot, format!("/usr/src/rustc-{VERSION}/library").into()];
    let core = sources.into_iter().map(|library| library.join("core/src/lib.rs")).find(|core| core.is_file());
    Ok((rustc, core.ok_or("the sources of core are not there (apt-get install rust-web-src)")?))
}

/// Runs the compiler for a GPU.
fn compile(rustc: &str, args: &[&str], source: &Path, libraries: &Path) {
    let target =
        ["--target", "nvptx64-nvidia-cuda", "-C", "target-cpu=sm_90", "-C", "opt-level=3", "-C", "panic=abort"];
    let output = Command::new(rustc)
        .args(target)
        .args(["--edition", "2024", "--cap-lints", "allow", "-L"])
        .arg(libraries)
        .args(args)
        .arg(source)
        // `core` and the kernels use what is not stable.
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .expect("a compiler that runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `core` for a GPU, kept from earlier tests: it takes half a minute.
fn core(rustc: &str, source: &Path) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nvptx-{VERSION}"));
    if kept.is_dir() {
        return kept;
    }
    let made = kept.with_extension(std::process::id().to_string());
    fs::create_dir_all(&made).expect("a directory");
    let out = made.to_str().expect("a path of text");
    let library = ["--crate-type", "rlib", "-Zforce-unstable-if-unmarked", "--out-dir", out];
    compile(rustc, &[&library[..], &["--crate-name", "core"]].concat(), source, &made);
    // Nothing of it is needed, but a crate of this name.
    let empty = made.join("compiler_builtins.rs");
    fs::write(&empty, "#![no_std]\n#![feature(compiler_builtins)]\n#![compiler_builtins]\n").expect("a file");
    compile(rustc, &[&library[..], &["--crate-name", "compiler_builtins"]].concat(), &empty, &made);
    if fs::rename(&made, &kept).is_err() {
        // Another test was first.
        _ = fs::remove_dir_all(&made);
    }
    kept
}

#[test]
fn the_file_is_what_the_compiler_makes() {
    let (rustc, source) = match toolchain() {
        Ok(found) => found,
        Err(why) => return eprintln!("not made again: {why}"),
    };
    let libraries = core(&rustc, &source);
    let out = libraries.join(format!("rms_silu-{}.ptx", std::process::id()));
    let args = ["--crate-name", "fgc_kernels", "--crate-type", "cdylib", "--emit=asm", "-o"];
    let args = [&args[..], &[out.to_str().expect("a path of text")]].concat();
    compile(&rustc, &args, &here().join("src/lib.rs"), &libraries);
    let made = fs::read_to_string(&out).expect("what was made");
    _ = fs::remove_file(out);
    let file = here().join("rms_silu.ptx");
    if std::env::var_os("FGC_PTX_UPDATE").is_some() {
        fs::write(&file, &made).expect("the file can be written");
    }
    let shipped = fs::read_to_string(file).expect("the file that is shipped");
    assert!(made == shipped, "rms_silu.ptx is not what the compiler makes of this crate: run with FGC_PTX_UPDATE=1");
}

/// Nothing in it is left to be found elsewhere, and every kernel is there.
#[test]
fn the_file_stands_alone() {
    let text = fs::read_to_string(here().join("rms_silu.ptx")).expect("the file that is shipped");
    assert!(!text.contains(".extern"), "it calls what it does not define");
    for entry in ["rms_silu(", "rms_silu_jvp(", "rms_silu_vjp("] {
        assert!(text.contains(&format!(".visible .entry {entry}")), "{entry}");
    }
    assert_eq!(text.matches(".entry").count(), 3);
}
