//! What rounding costs: losses and gradients of whole steps in each precision, against f32.

use emulator::Emulator;
use fgc_compiler::level::Target;
use fgc_program::Program;
use fgc_program::cuda::{Precision, module, problems, stored};
use fgc_runtime::cpu::DeviceError;
use fgc_runtime::{Device, cuda};
use parity::{Case, Tensors, replay};
use std::path::Path;
use std::sync::Arc;

fn computed(name: &str, precision: Precision) -> Tensors {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let case = Case { target: Target::Cuda, ..Case::load(&root.join("tests/cases").join(name)).unwrap() };
    let open = |program: Program| -> Result<Device, DeviceError> {
        let whole = Arc::new(program);
        let stored = stored(&whole, precision);
        assert_eq!(problems(&stored, &module(&stored, precision)), Vec::<String>::new());
        let device = cuda::Device::new(whole.clone(), precision, Box::new(Emulator::new(0)))?;
        let narrow = precision == Precision::Bf16;
        assert_eq!(device.program().buffers.iter().any(|b| b.narrow), narrow);
        // What is left in f32: gradients, and what is small or added to.
        let (before, after) = (whole.arena, device.program().arena);
        assert!(if narrow { after * 10 < before * 7 } else { after == before }, "{after} bytes of {before}");
        Ok(device.into())
    };
    replay(&case, &root.join("methods"), &open).unwrap_or_else(|e| panic!("{name}: {e}")).tensors
}

/// ‖a − b‖ / ‖b‖ over all gradients together.
fn distance(a: &Tensors, b: &Tensors, prefix: &str) -> f64 {
    let (mut difference, mut size) = (0.0, 0.0);
    for (name, b) in b.iter().filter(|(name, _)| name.starts_with(prefix)) {
        for (x, y) in a[name].to_f64().iter().zip(b.to_f64()) {
            difference += (x - y) * (x - y);
            size += y * y;
        }
    }
    f64::sqrt(difference / size)
}

/// docs/cuda.md states these.
#[test]
fn gradients_are_within_their_precision() {
    for name in ["cm-ct-unet", "causal-sft-vdit"] {
        let exact = computed(name, Precision::F32);
        for (precision, loss, gradients) in [(Precision::Tf32, 1e-3, 3e-3), (Precision::Bf16, 3e-3, 3e-2)] {
            let rounded = computed(name, precision);
            let found = [distance(&rounded, &exact, "loss."), distance(&rounded, &exact, "grad.")];
            println!("{name} {precision:?}: loss {:.1e}, gradients {:.1e}", found[0], found[1]);
            assert!(found[0] < loss && found[1] < gradients, "{name} in {precision:?}: {found:?}");
            assert!(found[1] > 1e-6, "{precision:?} rounds nothing");
        }
    }
}
