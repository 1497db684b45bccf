//! Every kernel of every method on every network of the standard library compiles for a GPU, and needs no more of it than
//! it has.
//!
//! Needs NVRTC (`tests/emulator/nvrtc.sh` gets it); without, and unless `FGC_REQUIRE_NVRTC` is set, nothing is checked.

mod common;
#[path = "common/attention.rs"]
mod examples;

use fgc_compiler::compile;
use fgc_compiler::level::Target;
use fgc_program::cuda::{Function, Precision, module, source, stored};
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

/// Cases whose products, convolutions and attention are compiled for all architectures and precisions.
const ROUNDED: [&str; 2] = ["dmd2", "causal_sft"];

/// The functions of a case's program, named after it.
fn functions(dir: &Path, precision: Precision) -> Vec<Function> {
    let case = Case { target: Target::Cuda, ..Case::load(dir).unwrap() };
    let methods = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../methods");
    let path = methods.join(format!("{}.fg", case.recorded.method));
    let text = std::fs::read_to_string(&path).unwrap();
    let compiled = compile("method", &text, &case.setup().unwrap()).unwrap_or_else(|_| panic!("{}", dir.display()));
    module(&stored(&compiled.program, precision), precision).functions
}

/// Whether there is NVRTC; must be, where that is asked for.
fn present() -> bool {
    let version = nvrtc::version();
    if let Err(e) = &version {
        assert!(std::env::var_os("FGC_REQUIRE_NVRTC").is_none(), "{e}");
        eprintln!("not checked: {e}");
    }
    version.is_ok()
}

/// Functions of cases, each text once and under a name of its own.
#[derive(Default)]
struct Distinct {
    known: HashSet<String>,
    all: Vec<Function>,
}

impl Distinct {
    fn add(&mut self, functions: impl IntoIterator<Item = Function>) {
        for function in functions {
            if self.known.insert(function.text.clone()) {
                self.all.push(Function { name: format!("f{}", self.all.len()), ..function });
            }
        }
    }
}

fn has_products(f: &Function) -> bool {
    f.shared > 0 || f.text.contains("product<")
}

fn is_rounded(dir: &Path) -> bool {
    let name = dir.file_name().unwrap().to_string_lossy().replace('-', "_");
    ROUNDED.iter().any(|rounded| name.starts_with(rounded))
}

/// What each function needs; asserts that it is there.
fn resources(all: &[Function], architecture: &str) -> Vec<Resources> {
    let units: Vec<&[Function]> = all.chunks(UNIT).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Vec<(usize, Resources)> {
        let mut found = Vec::new();
        while let Some((i, unit)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, *units.get(i)?))) {
            let cubin = nvrtc::compile(&source(unit), architecture).unwrap_or_else(|e| panic!("{architecture}: {e}"));
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
    let wrong = found.iter().filter(|(i, r)| {
        let f = &all[*i];
        r.spills > 0 || r.shared > 48 << 10 || r.registers * f.threads > 65536
    });
    let wrong: Vec<String> =
        wrong.map(|(i, r)| format!("{architecture} {r:?}: {}\n{}", all[*i].about, all[*i].text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    found.into_iter().map(|(_, r)| r).collect()
}

#[test]
fn kernels_compile_and_fit() {
    if !present() {
        return;
    }
    let mut distinct = Distinct::default();
    for dir in cases() {
        distinct.add(functions(&dir, Precision::F32));
        // Precisions differ in their products alone, which are much the same everywhere.
        for precision in [Precision::Tf32, Precision::Bf16].into_iter().filter(|_| is_rounded(&dir)) {
            distinct.add(functions(&dir, precision).into_iter().filter(has_products));
        }
    }
    println!("registers  shared  stack  spills  threads  kernel");
    let found = resources(&distinct.all, "sm_90");
    for (r, f) in found.iter().zip(&distinct.all) {
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
    }
    println!("{} kernels", found.len());
}

/// Attention over thousands of keys is one function, forward, backward, in forward mode, and the gradient of that.
#[test]
fn long_attention_fits() {
    if !present() {
        return;
    }
    let mut distinct = Distinct::default();
    for method in [examples::FIT, examples::TANGENT, examples::ALONG] {
        // Features of a head, 4096 tokens.
        for (dim, heads) in [(32, 1), (64, 1), (256, 2), (256, 1)] {
            let network = &format!("dit(dim = {dim}, depth = 1, heads = {heads}, patch = 1)");
            let program = examples::program(method, network, &[4, 64, 64], 2);
            let precisions =
                if dim / heads == 128 { vec![Precision::Bf16] } else { vec![Precision::F32, Precision::Bf16] };
            for precision in precisions {
                let module = module(&stored(&program, precision), precision);
                assert_eq!(module.apart, vec![], "{network} in {precision:?}");
                let columns: Vec<Function> =
                    module.functions.into_iter().filter(|f| f.about.contains(" columns, ")).collect();
                for function in &columns {
                    assert!(function.about.contains(", one pass"), "{}", function.about);
                }
                distinct.add(columns);
            }
        }
    }
    for (r, f) in resources(&distinct.all, "sm_90").iter().zip(&distinct.all) {
        println!("{:9} {:7} {}", r.registers, r.shared + f.shared, f.about);
    }
}

/// Architectures differ in their tensor cores, and in how many registers the assembler finds a use for.
#[test]
fn products_fit_older_and_newer_gpus() {
    if !present() {
        return;
    }
    let mut distinct = Distinct::default();
    for dir in cases().iter().filter(|dir| is_rounded(dir)) {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            distinct.add(functions(dir, precision).into_iter().filter(has_products));
        }
    }
    for architecture in nvrtc::ARCHITECTURES.into_iter().filter(|a| *a != "sm_90") {
        println!("{} kernels for {architecture}", resources(&distinct.all, architecture).len());
    }
    let ptx = nvrtc::compile(&source(&distinct.all[..1]), "compute_80").unwrap();
    let text = String::from_utf8(ptx.code).unwrap();
    assert!(text.contains(".target sm_80") && text.contains(".entry f0") && text.ends_with('\0'), "{text}");
}
