//! Compiling and caching.

use crate::build::*;
use fgc_program::*;
use fgc_runtime::cpu::compile::{CompileError, Compiler};
use fgc_runtime::cpu::{Device, DeviceError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn doubling(name: &str, factor: f32) -> Kernel {
    let value = bin(BinaryOp::Mul, load(0, var(0)), Expr::Const(Scalar::F32(factor)));
    let buffers = vec![(DType::F32, 5, Access::Read), (DType::F32, 5, Access::Write)];
    Kernel { name: name.into(), ..kernel(5, buffers, vec![store(1, var(0), value)]) }
}

/// A compiler that notes each compilation in `log`.
fn logging(dir: &Path, then: &str) -> (PathBuf, PathBuf) {
    let (script, log) = (dir.join("cc.sh"), dir.join("log"));
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in --version|*-fsyntax-only*) ;; *) echo \"$*\" >> {} ;; esac\n{then}\n",
        log.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    (script, log)
}

#[test]
fn what_is_in_the_cache_is_not_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let (script, log) = logging(dir.path(), "exec ${CC:-cc} \"$@\"");
    let compiler = Compiler::new(&script.display().to_string(), dir.path());
    let compilations = || std::fs::read_to_string(&log).unwrap_or_default().lines().count();
    let program = Arc::new(single(doubling("first", 2.0)));
    let first = Device::compiled(program.clone(), &compiler, 1).unwrap();
    assert_eq!((first.units_built(), compilations()), (1, 1));
    let second = Device::compiled(program, &compiler, 1).unwrap();
    assert_eq!((second.units_built(), compilations()), (0, 1));
    // What a kernel is called is no reason either, though its comment is part of the text that is kept.
    let kernels = [doubling("a", 2.0), doubling("b */ #error", 2.0), doubling("c", 3.0)];
    assert_eq!(compiler.compile(&kernels, &[1.0; 3]).unwrap().entries.len(), 3);
    let found = compiler.compile(&kernels, &[1.0; 3]).unwrap();
    let [a, b, c] = [0, 1, 2].map(|i| found.entries[i] as usize);
    assert!(found.built == 0 && a == b && a != c);
}

/// Code that hardly runs is compiled quickly, and computes the same.
#[test]
fn little_work_is_compiled_quickly() {
    let dir = tempfile::tempdir().unwrap();
    let (script, log) = logging(dir.path(), "exec ${CC:-cc} \"$@\"");
    let compiler = Compiler::new(&script.display().to_string(), dir.path());
    let kernels = [doubling("a", 2.0), doubling("b", 3.0), doubling("c", 4.0)];
    let compiled = compiler.compile(&kernels, &[0.001, 0.5, 0.0]).unwrap();
    // One file of two kernels, one of one; then the linker.
    let log = std::fs::read_to_string(&log).unwrap();
    assert_eq!((compiled.built, log.lines().count()), (2, 3), "{log}");
    let flags = |line: &str| {
        line.split(' ').filter(|word| word.starts_with("-f") || word.starts_with("-O")).map(String::from).collect()
    };
    let [first, second]: [Vec<String>; 2] = [0, 1].map(|i| log.lines().nth(i).map(flags).unwrap_or_default());
    assert_ne!(first, second, "{log}");
    for (entry, factor) in compiled.entries.iter().zip([2.0, 3.0, 4.0]) {
        let (x, mut y) = ([1.0f32, -2.5, 7.0], [0.0f32; 3]);
        let buffers = [x.as_ptr().cast_mut().cast(), y.as_mut_ptr().cast()];
        // SAFETY: a kernel of two buffers of at least so many elements, run on the first three.
        unsafe { entry(buffers.as_ptr(), 0, 3) };
        assert_eq!(y, x.map(|x| x * factor));
    }
}

/// As those of other versions are.
#[test]
fn flags_that_a_compiler_does_not_know_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = "for flag; do case $flag in *-unswitch-*|-fno-tree-sra) \
                  echo \"cc: error: unknown '${flag%=*}'; did you mean '-march=native'?\" >&2; bad=1;; esac; done; [ -z \"$bad\" ] || exit 1";
    let (script, log) = logging(dir.path(), &format!("{refuse}\nexec ${{CC:-cc}} \"$@\""));
    let compiler = Compiler::new(&script.display().to_string(), dir.path());
    assert_eq!(compiler.compile(&[doubling("k", 2.0)], &[1.0]).unwrap().entries.len(), 1);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.lines().count() == 1 && log.contains("-march=native") && !log.contains("max-unswitch"), "{log}");
}

#[test]
fn a_damaged_cache_entry_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let compiler = compiler(dir.path());
    drop(compiler.compile(&[doubling("k", 2.0)], &[1.0]).unwrap());
    let entries = std::fs::read_dir(dir.path().join("kernels")).unwrap().map(|entry| entry.unwrap().path());
    let object = entries.into_iter().find(|path| path.extension().is_some_and(|e| e == "so")).unwrap();
    std::fs::write(&object, b"").unwrap();
    assert_eq!(compiler.compile(&[doubling("k", 2.0)], &[1.0]).unwrap().entries.len(), 1);
}

#[test]
fn a_missing_compiler_is_told_from_a_failing_one() {
    let dir = tempfile::tempdir().unwrap();
    let program = Arc::new(single(doubling("k", 2.0)));
    let missing = Compiler::new("/no/such/compiler", dir.path());
    let Err(error) = Device::compiled(program.clone(), &missing, 1) else { panic!("compiled without a compiler") };
    assert!(matches!(error, DeviceError::Compile(CompileError::NoCompiler { .. })), "{error}");
    assert!(error.to_string().contains("/no/such/compiler"), "{error}");
    let (script, _) = logging(dir.path(), "[ \"$1\" = --version ] || { echo out of registers >&2; exit 1; }");
    let failing = Compiler::new(&script.display().to_string(), dir.path());
    let Err(error) = Device::compiled(program, &failing, 1) else { panic!("compiled by a failing compiler") };
    assert!(matches!(error, DeviceError::Compile(CompileError::Failed { .. })), "{error}");
    assert!(error.to_string().contains("out of registers"), "{error}");
}
