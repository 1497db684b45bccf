//! Whole steps as CUDA C++, emulated, equal the recorded ones.

use emulator::Emulator;
use fgc_compiler::level::Target;
use fgc_program::Program;
use fgc_program::cuda::Precision;
use fgc_runtime::cpu::DeviceError;
use fgc_runtime::{Device, cuda};
use parity::{Case, compare_rounded, replay};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases").join(name)
}

/// Every case of `names` agrees with threads in each of these orders.
fn agree(names: &[&str], seeds: &[u64]) {
    agree_in(Precision::F32, names, seeds);
}

fn agree_in(precision: Precision, names: &[&str], seeds: &[u64]) {
    let methods = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../methods");
    let mut wrong = Vec::new();
    for name in names {
        let case = Case { target: Target::Cuda, ..Case::load(&case(name)).unwrap() };
        for &seed in seeds {
            let open = |program: Program| -> Result<Device, DeviceError> {
                Ok(cuda::Device::new(Arc::new(program), precision, Box::new(Emulator::new(seed)))?.into())
            };
            let found = replay(&case, &methods, &open).unwrap_or_else(|e| panic!("{name}: {e}"));
            let found = compare_rounded(&case, &found, precision);
            println!(
                "{name} in {precision}: losses {:.1e}, gradients {:.1e}, moved {:.1e}",
                found.loss, found.grad, found.after
            );
            wrong.extend(found.wrong.iter().map(|what| format!("{name}, threads in order {seed}: {what}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn steps_of_vectors() {
    agree(&["cm-cd-mlp", "dmd2-student-mlp", "meanflow-ct-l2-mlp", "fdistill-js-mlp"], &[0, 7]);
}

#[test]
fn steps_of_images() {
    agree(&["dmd2-student-unet", "scm-ct-unet"], &[1]);
}

#[test]
fn steps_of_videos() {
    agree(&["self-forcing-student-vdit", "causal-sft-vdit"], &[1]);
}

/// One step, and several with what an optimiser keeps.
#[test]
fn steps_in_less_precision() {
    let one = ["cm-cd-mlp", "dmd2-student-mlp"];
    let several = ["cm-stage-train-mlp", "cm-train-mlp", "dmd2-train-mlp", "dmd2-train-r1-mlp", "fdistill-state-mlp"];
    for precision in [Precision::Tf32, Precision::Bf16] {
        agree_in(precision, &one, &[1]);
        agree_in(precision, &several, &[1]);
        agree_in(precision, &["sft-radam-decay-mlp"], &[1]);
    }
}

/// Every recorded case; `cargo test --release -p emulator --test cases -- --ignored`.
fn all_steps(precision: Precision) {
    let cases = std::fs::read_dir(case("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut cases: Vec<String> = cases.collect();
    cases.sort();
    assert!(!cases.is_empty());
    agree_in(precision, &cases.iter().map(String::as_str).collect::<Vec<_>>(), &[1]);
}

#[test]
#[ignore = "takes more than a minute; the other tests take samples"]
fn all_steps_in_f32() {
    all_steps(Precision::F32);
}

#[test]
#[ignore = "takes more than a minute; precision.rs takes samples"]
fn all_steps_in_tf32() {
    all_steps(Precision::Tf32);
}

#[test]
#[ignore = "takes more than a minute; precision.rs takes samples"]
fn all_steps_in_bf16() {
    all_steps(Precision::Bf16);
}
