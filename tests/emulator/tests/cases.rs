//! Whole steps as CUDA C++, emulated, equal the recorded ones.

use emulator::Emulator;
use fgc_compiler::level::Target;
use fgc_program::Program;
use fgc_program::cuda::Precision;
use fgc_runtime::cpu::DeviceError;
use fgc_runtime::{Device, cuda};
use parity::{Case, compare, replay};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases").join(name)
}

/// Every case of `names` agrees with threads in each of these orders.
fn agree(names: &[&str], seeds: &[u64]) {
    let methods = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../methods");
    for name in names {
        let case = Case { target: Target::Cuda, ..Case::load(&case(name)).unwrap() };
        for &seed in seeds {
            let open = |program: Program| -> Result<Device, DeviceError> {
                Ok(cuda::Device::new(Arc::new(program), Precision::F32, Box::new(Emulator::new(seed)))?.into())
            };
            let found = replay(&case, &methods, &open).unwrap_or_else(|e| panic!("{name}: {e}"));
            let wrong = compare(&case, &found).wrong;
            assert!(wrong.is_empty(), "{name}, threads in order {seed}: {}", wrong.join("\n"));
        }
    }
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

/// Every recorded case; `cargo test -p emulator --test cases -- --ignored`.
#[test]
#[ignore = "takes more than a minute; the other tests take samples"]
fn all_steps() {
    let cases = std::fs::read_dir(case("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut cases: Vec<String> = cases.collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases.iter().for_each(|name| agree(&[name], &[1]));
}
