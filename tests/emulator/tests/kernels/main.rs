//! Every kind of kernel and product as CUDA C++, emulated, means what the interpreter says it does, whatever the order of
//! its threads.

mod bands;
mod draws;
mod epilogues;
mod library;
mod loops;
mod operands;
mod products;

use emulator::Emulator;
use fgc_program::cuda::{Machine, Module, Precision, SHARED, module, module_for, problems, stored};
use fgc_program::*;
use fgc_runtime::Values;
use fgc_runtime::cpu::{self, Backend};
use fgc_runtime::cuda::Device;
use std::sync::Arc;

const F: DType = DType::F32;
const ALL: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

fn load(buffer: usize, index: Index) -> Expr {
    Expr::Load { buffer, index }
}

/// The sum of variables, each so many times.
fn at(terms: &[(u32, i64)]) -> Index {
    Index { terms: terms.iter().map(|(var, times)| (Atom::Var(Var(*var)), *times)).collect(), offset: 0 }
}

/// A program of persistent buffers and one plan.
fn program(buffers: Vec<(DType, usize)>, kernels: Vec<Kernel>, launches: Vec<Launch>) -> Program {
    let buffers =
        buffers.into_iter().map(|(dtype, len)| Buffer { dtype, narrow: false, len, place: Place::Persistent });
    Program {
        method: "test".into(),
        batch: 1,
        nets: vec![],
        inputs: vec![],
        buffers: buffers.collect(),
        kernels,
        constants: vec![],
        codes: Vec::new(),
        plans: vec![Plan { name: "step".into(), launches, ..Plan::default() }],
        schedule: Schedule { steps: vec![] },
        samplers: Default::default(),
        arena: 0,
        spill: 0,
    }
}

/// A program of one kernel, its buffers in order.
fn single(kernel: Kernel) -> Program {
    let buffers: Vec<_> = kernel.shared().iter().map(|b| (b.dtype, b.len)).collect();
    let args = (0..buffers.len() as u32).map(BufferId).collect();
    program(buffers, vec![kernel], vec![Launch::Kernel { kernel: KernelId(0), args }])
}

/// Numbers in [−1, 1) from a seed.
fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..len).map(next).collect()
}

/// Values for a buffer; integers are positions below `below`.
fn values(dtype: DType, len: usize, seed: u64, below: i64) -> Values {
    let noise = noise(seed, len).into_iter();
    match dtype {
        DType::Bool => Values::Bool(noise.map(|x| x > 0.0).collect()),
        DType::I64 => Values::I64(noise.map(|x| ((x + 1.0) * 0.5 * below as f64) as i64).collect()),
        DType::F32 => Values::F32(noise.map(|x| x as f32).collect()),
        DType::F64 => Values::F64(noise.collect()),
    }
}

fn as_f64(values: &Values) -> Vec<f64> {
    match values {
        Values::Bool(v) => v.iter().map(|b| *b as u8 as f64).collect(),
        Values::I64(v) => v.iter().map(|x| *x as f64).collect(),
        Values::F32(v) => v.iter().map(|x| *x as f64).collect(),
        Values::F64(v) => v.clone(),
    }
}

/// All buffers after the plan has run from these.
fn emulated(program: &Program, precision: Precision, shared: usize, seed: u64, inputs: &[Values]) -> Vec<Values> {
    let emulator = Box::new(Emulator::within(seed, shared));
    let mut device = Device::new(Arc::new(program.clone()), precision, emulator).unwrap_or_else(|e| panic!("{e}"));
    for (i, values) in inputs.iter().enumerate() {
        device.set_values(BufferId(i as u32), values).unwrap();
    }
    device.run(0).unwrap();
    (0..inputs.len()).map(|i| device.values(BufferId(i as u32)).unwrap()).collect()
}

/// Checks a program on random inputs against its definition, within this part of each buffer's largest number; its code.
fn check(program: &Program, precision: Precision, tolerance: f64, below: i64) -> Module {
    check_within(SHARED, program, precision, tolerance, below)
}

/// As [`check`], where bands have so many bytes of shared memory.
fn check_within(shared: usize, program: &Program, precision: Precision, tolerance: f64, below: i64) -> Module {
    // What lives within a band comes last, and has no values outside.
    let lasting = program.buffers.iter().take_while(|b| b.place == Place::Persistent).enumerate();
    let inputs: Vec<Values> = lasting.map(|(i, b)| values(b.dtype, b.len, i as u64 + 1, below)).collect();
    let mut reference = cpu::Device::new(Arc::new(program.clone()), Backend::Reference, 1).unwrap();
    for (i, values) in inputs.iter().enumerate() {
        reference.set_values(BufferId(i as u32), values).unwrap();
    }
    reference.run(0).unwrap();
    let found = emulated(program, precision, shared, 0, &inputs);
    for (i, found) in found.iter().enumerate() {
        let (expected, found) = (as_f64(&reference.values(BufferId(i as u32)).unwrap()), as_f64(found));
        let largest = expected.iter().fold(1e-30, |most: f64, x| most.max(x.abs()));
        for (j, (a, b)) in expected.iter().zip(&found).enumerate() {
            let same = a == b || (a - b).abs() <= tolerance * largest || a.is_nan() && b.is_nan();
            assert!(same, "buffer {i}, element {j}: {a} by definition, {b} emulated");
        }
    }
    for seed in [1, 5] {
        assert!(
            found == emulated(program, precision, shared, seed, &inputs),
            "threads in order {seed} give another result"
        );
    }
    module_for(&stored(program, precision), precision, Machine { shared, ..Machine::default() })
}

/// A module that does not fit its program is not run.
#[test]
fn calls_are_checked() {
    let program = products::contraction([20, 24, 3000], &[], [false; 3], 0, DType::F32);
    let good = module(&program, Precision::F32);
    assert_eq!(problems(&program, &good), Vec::<String>::new());
    let said = |change: &dyn Fn(&mut Module), says: &str| {
        let mut module = good.clone();
        change(&mut module);
        let found = problems(&program, &module).join("; ");
        assert!(found.contains(says), "{found:?} does not say `{says}`");
    };
    said(&|m| m.plans[0][0].truncate(1), "no call writes buffer 2");
    said(&|m| m.plans[0][0][0].buffers.truncate(1), "takes 3 parameters, not 2");
    said(&|m| m.plans[0][0][1].scratches = false, "takes 2 parameters, not 1");
    said(&|m| m.plans[0][0][1].buffers[0] = BufferId(7), "not the launch's");
    said(&|m| m.plans[0][0][0].function = 9, "no function 9");
    said(&|m| m.plans[0].clear(), "has 1 launches, not 0");
    said(&|m| m.functions[0].threads = 100, "no whole warps");
}
