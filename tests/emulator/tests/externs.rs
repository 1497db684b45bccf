//! The kernels of docs/extern, emulated, compute what their references do, on odd sizes and with threads in any order; and
//! NVRTC accepts them where it is.

mod common;

use emulator::Emulator;
use fgc_compiler::level::Target;
use fgc_compiler::preset::Setup;
use fgc_program::cuda::{Precision, module};
use fgc_program::{Launch, Program};
use fgc_runtime::cpu::{self, Backend};
use fgc_runtime::cuda::nvrtc;
use fgc_runtime::data::Batch;
use fgc_runtime::train::{Model, NonFinite, Pins, Weights};
use fgc_runtime::{Device, Tensor, cuda};
use std::path::Path;
use std::sync::Arc;

const SPEC: &str = include_str!("../../../docs/extern/scale_shift.fg");
const ROWS: usize = 7;

fn compile(target: Target, hidden: usize) -> Program {
    let folder = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/extern"));
    let setup = common::setup(&format!("net_of_scales(hidden = {hidden})"), &[3], ROWS);
    common::program(SPEC, &Setup { folder, target, ..setup })
}

/// Losses of three steps, and the gradients of the last.
fn trained(device: Device) -> (Vec<f64>, Vec<(String, Tensor)>) {
    let (mut model, _) = Model::new(device, 3, &Weights::default()).unwrap();
    let values = (0..ROWS * 3).map(|i| (i as f32 * 0.7).sin()).collect();
    let data = Batch::from([("x".to_owned(), Tensor::f32(vec![ROWS, 3], values))]);
    let step = |_| model.step(&data, &Pins::new(), NonFinite::Stop).unwrap().losses["dsm"];
    let losses = (0..3).map(step).collect();
    (losses, model.gradients().unwrap().into_iter().collect())
}

#[test]
fn kernels_compute_what_their_references_do() {
    for hidden in [33, 300] {
        let reference = cpu::Device::new(Arc::new(compile(Target::Cpu, hidden)), Backend::Reference, 1).unwrap();
        let (losses, gradients) = trained(reference.into());
        let program = compile(Target::Cuda, hidden);
        let calls = program.plans.iter().flat_map(|plan| &plan.launches);
        assert!(calls.filter(|launch| matches!(launch, Launch::Extern(_))).count() >= 2);
        for (seed, precision) in [(0, Precision::F32), (5, Precision::F32), (1, Precision::Bf16)] {
            let emulator = Box::new(Emulator::new(seed));
            let device = cuda::Device::new(Arc::new(program.clone()), precision, emulator).unwrap();
            let tolerance = if precision == Precision::F32 { 1e-4 } else { 5e-2 };
            let (found, grads) = trained(device.into());
            for (found, wanted) in found.iter().zip(&losses) {
                assert!((found - wanted).abs() <= tolerance * wanted, "{hidden}, {seed}: {found}, not {wanted}");
            }
            for ((name, found), (_, wanted)) in grads.iter().zip(&gradients) {
                let (found, wanted) = (found.to_f64(), wanted.to_f64());
                let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
                let off = norm(&mut found.iter().zip(&wanted).map(|(a, b)| a - b));
                assert!(off <= tolerance * (1e-6 + norm(&mut wanted.iter().copied())), "{name}: off by {off}");
            }
        }
    }
}

#[test]
fn nvrtc_compiles_them() {
    if let Err(e) = nvrtc::version() {
        assert!(std::env::var_os("FGC_REQUIRE_NVRTC").is_none(), "{e}");
        eprintln!("not checked: {e}");
        return;
    }
    let functions = module(&compile(Target::Cuda, 33), Precision::F32).functions;
    let outside = functions.iter().find_map(|f| f.outside.as_ref()).unwrap();
    let cubin = nvrtc::compile(&outside.code.text, "sm_90").unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<String> = nvrtc::resources(&cubin.log).into_iter().map(|r| r.name).collect();
    assert!(names.iter().any(|name| name == "scale_shift_vjp"), "{names:?}");
}
