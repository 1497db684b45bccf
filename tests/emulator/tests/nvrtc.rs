//! Every kernel of every method on every network of the standard library compiles for a GPU, and needs no more of it than
//! it has.
//!
//! Needs NVRTC (`tests/emulator/nvrtc.sh` gets it); without, and unless `FGC_REQUIRE_NVRTC` is set, nothing is checked.

use fgc_compiler::compile;
use fgc_compiler::level::Target;
use fgc_program::cuda::{Function, Precision, module, source};
use fgc_runtime::cuda::nvrtc::{self, Resources};
use parity::Case;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Functions compiled together.
const UNIT: usize = 24;

/// One case of each method on each kind of network.
fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    dirs.retain(|dir| dir.join("case.json").is_file());
    dirs.sort();
    let mut seen = HashSet::new();
    dirs.retain(|dir| {
        let recorded = Case::load(dir).unwrap().recorded;
        let kind: String = recorded.network.chars().take_while(|c| c.is_alphanumeric()).collect();
        // Students and critics take different steps, but their program is one.
        seen.insert((recorded.method, kind))
    });
    dirs
}

/// The functions of a case's program, named after it.
fn functions(dir: &Path, precision: Precision) -> Vec<Function> {
    let case = Case { target: Target::Cuda, ..Case::load(dir).unwrap() };
    let methods = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../methods");
    let path = methods.join(format!("{}.fg", case.recorded.method));
    let text = std::fs::read_to_string(&path).unwrap();
    let compiled = compile("method", &text, &case.setup().unwrap()).unwrap_or_else(|_| panic!("{}", dir.display()));
    module(&compiled.program, precision).functions
}

#[test]
fn kernels_compile_and_fit() {
    if let Err(e) = nvrtc::version() {
        assert!(std::env::var_os("FGC_REQUIRE_NVRTC").is_none(), "{e}");
        eprintln!("not checked: {e}");
        return;
    }
    let mut known = HashSet::new();
    let mut all: Vec<Function> = Vec::new();
    for dir in cases() {
        let products = |f: &Function| f.shared > 0 || f.text.contains("product<");
        // Precisions differ in their products alone, which are much the same everywhere.
        let name = dir.file_name().unwrap().to_string_lossy();
        let rounded = if name.starts_with("dmd2") || name.starts_with("causal_sft") {
            &[Precision::Tf32, Precision::Bf16][..]
        } else {
            &[]
        };
        let variants = rounded.iter().flat_map(|p| functions(&dir, *p));
        for function in functions(&dir, Precision::F32).into_iter().chain(variants.filter(products)) {
            if known.insert(function.text.clone()) {
                all.push(Function { name: format!("f{}", all.len()), ..function });
            }
        }
    }
    let units: Vec<&[Function]> = all.chunks(UNIT).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Vec<(usize, Resources)> {
        let mut found = Vec::new();
        while let Some((i, unit)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, *units.get(i)?))) {
            let cubin = nvrtc::compile(&source(unit), "sm_90").unwrap_or_else(|e| panic!("{e}"));
            let resources = nvrtc::resources(&cubin.log);
            assert_eq!(resources.len(), unit.len(), "{}", cubin.log);
            for resources in resources {
                let place = unit.iter().position(|f| f.name == resources.name).unwrap();
                found.push((i * UNIT + place, resources));
            }
        }
        found
    };
    let mut found = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        [work(), other.join().unwrap()].concat()
    });
    found.sort_by_key(|(i, _)| *i);
    println!("registers  shared  stack  spills  threads  kernel");
    let mut wrong = Vec::new();
    for (i, r) in &found {
        let f = &all[*i];
        println!(
            "{:9} {:7} {:6} {:7} {:8}  {} {}",
            r.registers,
            r.shared + f.shared,
            r.stack,
            r.spills,
            f.threads,
            r.name,
            f.about
        );
        if r.spills > 0 || r.shared > 48 << 10 || r.registers * f.threads > 65536 {
            wrong.push(format!("{r:?}: {}\n{}", f.about, f.text));
        }
    }
    println!("{} kernels", found.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
