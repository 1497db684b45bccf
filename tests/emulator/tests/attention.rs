//! Bands as one function each: whole steps of attention networks, emulated, against the interpreter; forward, backward,
//! forward-mode derivatives and their gradients, masks and caches, in every precision and order of threads.

mod common;
#[path = "common/attention.rs"]
mod examples;

use emulator::Emulator;
use examples::{ALONG, FIT, TANGENT};
use fgc_program::cuda::{Function, Machine, Module, Precision, SHARED, module_for, stored};
use fgc_program::{Distribution, InputKind, OutputKind, Program};
use fgc_runtime::Values;
use fgc_runtime::cpu::{self, Backend};
use fgc_runtime::cuda;
use std::sync::Arc;

/// The fewest KiB of shared memory in which all bands are functions; long rows then go through them in columns.
fn little(program: &Program, precision: Precision) -> usize {
    let machine = |shared| Machine { shared, ..Machine::default() };
    let made = |shared: usize| module_for(&stored(program, precision), precision, machine(shared));
    let least = (16..=SHARED >> 10).map(|kib| kib << 10).find(|shared| made(*shared).apart.is_empty()).unwrap();
    let columns = |function: &Function| function.about.contains(" columns, ");
    assert!(made(least).functions.iter().any(columns), "nothing goes in columns");
    least
}

struct Example {
    method: &'static str,
    network: &'static str,
    /// Axes after B.
    shape: &'static [usize],
    batch: usize,
}

fn program(example: &Example) -> Program {
    examples::program(example.method, example.network, example.shape, example.batch)
}

/// Numbers in [−1, 1) from a seed.
fn noise(seed: usize, len: usize) -> impl Iterator<Item = f64> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    })
}

/// What each input and each network's weights are, by buffer.
fn given(program: &Program) -> Vec<(fgc_program::BufferId, Values)> {
    let mut all = Vec::new();
    for (i, input) in program.inputs.iter().enumerate() {
        let len = input.shape.iter().product();
        let unit = noise(i, len).map(|x| (x + 1.0) / 2.0);
        let (low, high, whole) = match input.kind {
            InputKind::Draw(Distribution::Normal) | InputKind::Data => (-1.5, 1.5, false),
            InputKind::Draw(Distribution::Index { n }) => (0.0, n as f64, true),
            _ => (0.2, 0.8, false),
        };
        let scaled = unit.map(|x| low + (high - low) * x);
        let values = match input.dtype {
            fgc_program::DType::F32 => Values::F32(scaled.map(|x| x as f32).collect()),
            fgc_program::DType::F64 => Values::F64(scaled.map(|x| if whole { x.floor() } else { x }).collect()),
            fgc_program::DType::I64 => Values::I64(scaled.map(|x| x as i64).collect()),
            fgc_program::DType::Bool => Values::Bool(scaled.map(|x| x > 0.5).collect()),
        };
        all.push((input.buffer, values));
    }
    for (i, net) in program.nets.iter().enumerate() {
        let mut weights = vec![0.0; net.len];
        for (j, param) in net.params.iter().enumerate() {
            let len = param.shape.iter().product::<usize>();
            for (k, x) in noise(100 + 1000 * i + j, len).enumerate() {
                weights[param.offset + k] = 0.25 * x as f32;
            }
        }
        all.push((net.weights, Values::F32(weights)));
    }
    all
}

/// Losses and gradients of the first step.
fn reported(program: &Program, read: impl Fn(fgc_program::BufferId) -> Values) -> Vec<(String, Vec<f64>)> {
    let plan = &program.plans[program.schedule.steps[0].plan];
    let wanted = |kind: &OutputKind| matches!(kind, OutputKind::Loss | OutputKind::Metric | OutputKind::Grad { .. });
    let outputs = plan.outputs.iter().filter(|output| wanted(&output.kind));
    outputs
        .map(|output| {
            let values = match read(output.buffer) {
                Values::F32(v) => v.into_iter().map(f64::from).collect(),
                Values::F64(v) => v,
                _ => Vec::new(),
            };
            (output.name.clone(), values)
        })
        .collect()
}

fn emulated(program: &Program, precision: Precision, shared: usize, seed: u64) -> (Vec<(String, Vec<f64>)>, Module) {
    let driver = Box::new(Emulator::within(seed, shared));
    let mut device = cuda::Device::new(Arc::new(program.clone()), precision, driver).unwrap_or_else(|e| panic!("{e}"));
    for (buffer, values) in given(program) {
        device.set_values(buffer, &values).unwrap();
    }
    device.run(program.schedule.steps[0].plan).unwrap();
    (reported(program, |buffer| device.values(buffer).unwrap()), device.module().clone())
}

/// ‖a − b‖ / ‖b‖ over everything.
fn distance(a: &[(String, Vec<f64>)], b: &[(String, Vec<f64>)]) -> f64 {
    let (mut difference, mut size) = (0.0, 0.0);
    for ((_, a), (_, b)) in a.iter().zip(b) {
        for (a, b) in a.iter().zip(b) {
            difference += (a - b) * (a - b);
            size += b * b;
        }
    }
    f64::sqrt(difference / size)
}

/// All bands of the program are functions, and compute what the interpreter does whatever the order of threads; with little
/// shared memory long rows go through them in columns.
fn check(example: &Example, precisions: &[Precision]) {
    let program = program(example);
    assert!(program.plans.iter().any(|plan| !plan.bands.is_empty()), "{}", fgc_program::print::plans(&program));
    let mut reference = cpu::Device::new(Arc::new(program.clone()), Backend::Reference, 2).unwrap();
    for (buffer, values) in given(&program) {
        reference.set_values(buffer, &values).unwrap();
    }
    reference.run(program.schedule.steps[0].plan).unwrap();
    let expected = reported(&program, |buffer| reference.values(buffer).unwrap());
    for &precision in precisions {
        let allowed = match precision {
            Precision::F32 => 2e-5,
            Precision::Tf32 => 5e-3,
            Precision::Bf16 => 5e-2,
        };
        for shared in [SHARED, little(&program, precision)] {
            let (found, module) = emulated(&program, precision, shared, 0);
            assert_eq!(module.apart, vec![], "bands that are not one function");
            let off = distance(&found, &expected);
            println!("{} {precision:?} in {shared} bytes: {off:.1e}", example.network);
            assert!(off < allowed, "{} in {precision:?}: {off:.1e}", example.network);
            let again = emulated(&program, precision, shared, 5).0;
            assert!(found == again, "threads in another order give another result");
        }
    }
}

const ALL: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

#[test]
fn forward_and_backward() {
    let example = Example {
        method: FIT,
        network: "dit(dim = 64, depth = 1, heads = 2, patch = 2)",
        shape: &[2, 20, 20],
        batch: 3,
    };
    check(&example, &ALL);
}

#[test]
fn forward_mode_derivatives() {
    let example = Example {
        method: TANGENT,
        network: "dit(dim = 72, depth = 1, heads = 2, patch = 2)",
        shape: &[1, 18, 18],
        batch: 3,
    };
    check(&example, &ALL);
}

#[test]
fn gradients_of_forward_mode_derivatives() {
    let example = Example {
        method: ALONG,
        network: "dit(dim = 64, depth = 1, heads = 2, patch = 2)",
        shape: &[1, 18, 18],
        batch: 3,
    };
    check(&example, &ALL);
}
